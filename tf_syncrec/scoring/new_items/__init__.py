"""Items that nobody had in training: what they are worth in a score, and more of them later.

May import: as `scoring`, whose lists of neighbours it uses.
"""
