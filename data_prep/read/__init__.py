"""Files of any supported shape → one table of interactions.

Which files and how they look: `locate`, `sources`, `download`; these import nothing heavy. What the
datasets that have a name are made of: `datasets`. How files are read: `interactions`, `file_scan`,
and slower, but by line, `text_records`.
Frames in memory, kept as files: `frames`.
What a value means: `values`. Which rows are none: `row_checks`, `quarantine`.
May import: `engines`, `settings`, `fingerprint`, `files`, `errors`.
"""
