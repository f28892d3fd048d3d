"""Where a target stands, and what the numbers say.

Full and sampled ranking, in a domain or in all of them; kinds of targets, what one domain does to
another, significance.
May import: `models`, `layers`, `metrics`, `data`, `config`, `utils`.
"""

from collections.abc import Mapping
from typing import Any

OVERALL = "overall"
"""What rows of all users are called."""


def shown(domain: str) -> str:
    """A domain's name where rows of all users stand beside it; a domain may be called so too."""
    return f"{domain} (domain)" if domain == OVERALL else domain


def by_domain(table: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of `{"overall": row, "domains": {name: row}}` by what they are called, overall last."""
    rows = {shown(domain): row for domain, row in table["domains"].items()}
    return rows | {OVERALL: table["overall"]}


ALL_DOMAINS = "all_domains"
"""The protocol that ranks a target among the items of all domains."""

NEXT_BASKET = "next_basket"
"""The protocol that ranks all that a user did at the target's time."""

WITH_TIMES, AT_REQUEST_TIME = TIMED = ("with_times", "at_request_time")
"""Protocols in which the request tells when the interactions of the history were; in the second
also when it is itself, which is the time of the target."""
