"""Export of trained runs and their serving over REST.

Nothing is imported here, so that `serving.client` starts without TensorFlow.
"""
