"""Files of any supported shape → one table of interactions.

Sources, readers, what is set aside, the public releases and the generator live here.
May import: `engines`, `errors`.
"""
