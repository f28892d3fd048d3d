"""Parts of the score that have no gradient: set after training, by `tf_syncrec.scoring`.

Votes of co-occurring items, coming back, what is popular lately, weights of the two views, how
scores of domains compare. A layer a file, named after it. May import: `layers.views` and `utils`.
"""
