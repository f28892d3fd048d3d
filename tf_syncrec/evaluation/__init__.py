"""Where a target stands, and what the numbers say.

Full and sampled ranking, kinds of targets, what one domain does to another, significance.
May import: `models`, `layers`, `metrics`, `data`, `config`, `utils`.
"""
