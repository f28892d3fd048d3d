"""What a dataset that has a name is made of: public releases, and logs that are made up here.

Where its files are, how they look and which of their rows count; a dataset a file.
May import: `read.sources`, `settings`, `files`, `errors`.
"""
