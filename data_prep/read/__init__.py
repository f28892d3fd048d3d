"""Files of any supported shape → one table of interactions.

Here is which files and how they look (`sources`, `amazon`, `download`), how they are read
(`interactions`, and slower, but by line, `text_records`), which rows are no interactions
(`row_checks`, `quarantine`), and the generator (`synthetic`). May import: `engines`, `errors`.
"""
