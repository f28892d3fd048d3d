"""Published networks over sequences that were made for two domains: one a file, and their parts.

Each says in its docstring what it is with more of them; with two it is the paper's.
May import: `base` and `sequential` of `models`, the rest of `cross_domain`, and what these may.
"""
