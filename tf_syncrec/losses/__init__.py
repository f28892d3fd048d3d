"""What a target costs, and what it is compared with.

Loss functions by name, and negatives.
May import: nothing of `tf_syncrec`.
"""
