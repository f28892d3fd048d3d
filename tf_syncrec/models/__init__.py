"""The networks: SyNCRec and one file a baseline.

`base` has what all share, `trainer` how Keras trains and ranks them, `registry` their names.
May import: `layers`, `metrics`, `losses`, `distributed`, `data`, `config`, `utils`.
"""
