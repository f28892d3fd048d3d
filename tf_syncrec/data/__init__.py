"""Prepared sequences → tf.data batches of left-padded ids, and what is counted of them.

`batches` is what training and ranking read, `item_attributes` what is known of items.
May import: `utils`.
"""
