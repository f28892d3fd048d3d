"""A trained model → a SavedModel: raw ids in, raw ids out.

`recommender` is the computation: vocabulary and `search`; beside it warm-up and version folders.
May import: `tf_syncrec.models`, `tf_syncrec.scoring`.
"""

INDEXES = ("exact", "bfloat16", "scann")
"""How the items of a domain are searched."""
