"""A trained model → a SavedModel: raw ids in, raw ids out.

The computation, its index, its votes and its warm-up requests.
May import: `tf_syncrec.models`, `tf_syncrec.scoring`.
"""

INDEXES = ("exact", "scann")
"""How the items of a domain are searched."""
