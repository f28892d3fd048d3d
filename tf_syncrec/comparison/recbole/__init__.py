"""RecBole's models in an environment of their own.

`bridge` runs there what `worker` holds, and reads its scores.
May import: `data`, `evaluation`, `utils`; `worker` nothing of ours.
"""
