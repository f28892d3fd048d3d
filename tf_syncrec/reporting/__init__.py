"""Results as people read them: pages, tables, pictures.

`run_report` and `comparison_report` write files, from those of a run or a comparison alone.
May import: `evaluation`, `comparison`, `metrics`, `utils`.
"""
