"""Published networks that know of domains, beside SyNCRec: one a file.

Each says in its docstring which equations it is made of, what was left out and why.
May import: `base` and `sequential` of `models`, and what these may.
"""
