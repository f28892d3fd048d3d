"""The networks: SyNCRec, what it shares with the baselines, and all of them by name.

`base` has what all share, `trainer` how Keras trains and ranks them, `registry` their names.
May import: `layers`, `metrics`, `losses`, `distributed`, `data`, `config`, `utils`.
"""
