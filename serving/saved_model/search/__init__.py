"""The best items of a domain for a query: by vectors, with votes, without the history.

May import: `tf_syncrec.layers`, `tf_syncrec.metrics`.
"""
