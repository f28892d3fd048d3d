"""Sequences → TFRecord shards that TFDS serves.

The builders, their records, the names that say what is in them, and what a kill leaves of them.
May import: all other rooms of the package, but not `prepare`.
"""
