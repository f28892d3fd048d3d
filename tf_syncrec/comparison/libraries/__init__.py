"""Models of other libraries, each in an environment of its own.

`bridge` runs there what `KEY_worker` holds, and reads its scores.
May import: `data`, `evaluation`, `utils`; the workers nothing of ours but `worker_files`.
"""
