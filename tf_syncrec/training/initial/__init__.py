"""What a training begins with: first item vectors, or what an earlier run has learned.

`item_vectors` counts; `warm_start` goes on from another run, and `new_events` says who is new to
it; `moments` are those of its optimizer. May import: as `training`, of which `run_directory` and
`optimizers` alone.
"""
