"""What is added to a score after training, and how it is fitted on validation.

What coming back is worth, votes of co-occurring items, what is popular lately, weights of the two
views, new items: `fit_score` fits them in this order, `mixture` comes after it. And baselines of
terms alone.
May import: `evaluation` and what that may.
"""
