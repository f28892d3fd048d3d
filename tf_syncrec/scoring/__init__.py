"""What is added to a score after training, and how it is fitted on validation.

Votes of co-occurring items, what coming back is worth, weights of the two views: `fit_score` fits
them in their order. And baselines that are nothing else.
May import: `evaluation` and what that may.
"""
