"""A trained model → a SavedModel: raw ids in, raw ids out.

`recommender` is the computation: vocabulary, search, votes; beside it warm-up and version folders.
May import: `tf_syncrec.models`, `tf_syncrec.scoring`.
"""

INDEXES = ("exact", "scann")
"""How the items of a domain are searched."""
