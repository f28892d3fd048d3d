"""Operations that cost less than those that TensorFlow puts together.

Dropout, layer normalisation and the feed-forward network, each with a proof and a benchmark.
May import: nothing of `tf_syncrec`.
"""
