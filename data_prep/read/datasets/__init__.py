"""What a dataset that has a name is made of: public releases, and logs that are made up.

A file each: where a release is, how it looks, which of its rows count; what a generator plants.
May import: `read.sources`, `settings`, `files`, `errors`.
"""
