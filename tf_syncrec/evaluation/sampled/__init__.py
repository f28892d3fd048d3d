"""Ranking against sampled negatives, to stand beside published tables.

Drawing them, keeping them in a file, ranking against them.
May import: what `evaluation` may.
"""
