"""Ranking against sampled negatives, to stand beside published tables.

Drawing them, keeping them in a file, ranking against them; what no draw is needed for.
May import: what `evaluation` may.
"""

SAMPLED = ("sampled_domain", "sampled_all")
"""Where negatives are drawn from: the trained items of the target's domain, or of all domains."""

NEGATIVES = 100
"""Drawn for each target unless another number is asked for, as in the paper's tables."""

MOST_NEGATIVES = 1000
"""That can be drawn: it takes the square of it; what more would give on average needs no draw."""


def label_of(protocol: str, count: int = NEGATIVES) -> str:
    """What files are called after: the protocol, and the number of negatives unless it is 100."""
    return protocol if count == NEGATIVES else f"{protocol}_{count}"
