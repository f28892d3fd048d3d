"""What is known of items: a file → one typed table, an item a row.

`item_file` finds it, `kinds` sees what a column is, `plain_types` are what Arrow computes
with, `cells` reads its values, `item_table` is all.
May import: `read.tables`, `read.datasets`, `settings`, `errors`.
"""
