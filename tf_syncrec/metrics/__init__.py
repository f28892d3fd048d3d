"""Where a target stands among its candidates, and HR, NDCG and MRR from that.

`gains` is numpy, `target_ranks` and `ranking_metrics` are TensorFlow and Keras, and say the same;
`domain_tracker` says what training learns of the domains. May import: `utils`.
"""
