"""Prepared sequences → tf.data batches of left-padded ids, and what is counted of them.

`batches` is what training and ranking read.
May import: `utils`.
"""
