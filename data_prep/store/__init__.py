"""Sequences → TFRecord shards that TFDS serves.

The builders, their records and the names that say what is in them live here.
May import: all other rooms of the package, but not `prepare`.
"""
