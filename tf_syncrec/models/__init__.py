"""The networks: SyNCRec and one file a baseline.

`base` has what all share, `registry` their names.
May import: `layers`, `losses`, `distributed`, `data`, `utils`.
"""
