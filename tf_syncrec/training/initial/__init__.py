"""What a training begins with: first item vectors, or what an earlier run has learned.

`item_vectors` counts; `warm_start` goes on from another run, and `new_events` says who is new to
it. May import: as `training`, of which `run_directory` alone.
"""
