"""Files of any supported shape → one table of interactions.

Which files and how they look: `locate`, `sources`, `amazon`, `complete_journey`, `download`; these
import nothing heavy. How they are read: `interactions`, `file_scan`, and slower, but by line,
`text_records`; the Complete Journey by itself.
What a value means: `values`. Which rows are none: `row_checks`, `quarantine`. And the generator:
`synthetic`.
May import: `engines`, `settings`, `fingerprint`, `files`, `errors`.
"""
