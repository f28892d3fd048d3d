"""Where a target stands, and what the numbers say.

Full and sampled ranking, in a domain or in all of them; kinds of targets, what one domain does to
another, significance.
May import: `models`, `layers`, `metrics`, `data`, `config`, `utils`.
"""

ALL_DOMAINS = "all_domains"
"""The protocol that ranks a target among the items of all domains."""
