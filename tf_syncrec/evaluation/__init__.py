"""Where a target stands, and what the numbers say.

Metrics, full ranking, kinds of targets, significance.
May import: `models`, `layers`, `data`, `utils`.
"""
