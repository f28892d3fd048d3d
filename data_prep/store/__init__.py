"""Sequences → TFRecord shards that TFDS serves.

What all builders share (`sequence_builder`), what TFDS says of a dataset (`features`), the shards
(`tfrecords`). May import: all other rooms of the package, but not `builders` and `preparation`.
"""
