"""What TensorBoard shows of a training.

Scalars, gates, waiting for input, item vectors.
May import: what `training` may.
"""
