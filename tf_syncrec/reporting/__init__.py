"""Results as people read them: pages, tables, pictures.

From the files of a run or a comparison alone.
May import: `evaluation`, `comparison`, `utils`.
"""
