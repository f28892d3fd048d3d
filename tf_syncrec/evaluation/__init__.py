"""Where a target stands, and what the numbers say.

Full and sampled ranking, in a domain or in all of them; kinds of targets, what one domain does to
another, significance.
May import: `models`, `layers`, `metrics`, `data`, `config`, `utils`.
"""

OVERALL = "overall"
"""What rows of all users are called."""


def shown(domain: str) -> str:
    """A domain's name where rows of all users stand beside it; a domain may be called so too."""
    return f"{domain} (domain)" if domain == OVERALL else domain


ALL_DOMAINS = "all_domains"
"""The protocol that ranks a target among the items of all domains."""
