"""Export of trained runs and their serving over REST."""

import tf_syncrec  # noqa: F401  (first: it chooses the Keras that TFRS finds, and hides noise)
