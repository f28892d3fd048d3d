"""Ranking against sampled negatives, to stand beside published tables.

Drawing them, keeping them in a file, ranking against them.
May import: what `evaluation` may.
"""

SAMPLED = ("sampled_domain", "sampled_all")
"""Where negatives are drawn from: the trained items of the target's domain, or of all domains."""

NEGATIVES = 100
"""Drawn for each target, as in the published tables."""
