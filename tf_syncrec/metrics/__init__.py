"""Where a target stands among its candidates, and HR, NDCG and MRR from that.

`gains` is numpy, `ranks` and `ranking` are TensorFlow and Keras; all three say the same.
May import: `utils`.
"""
