"""From a model and batches to trained weights, whatever interrupts it.

The loop, its callbacks, optimizers, checkpoints and the run directory live here.
May import: `scoring`, `evaluation` and what these may.
"""
