"""What has nothing to do with recommending: files, locks, the terminal, memory, threads.

Small tools that every other room may use.
May import: nothing of `tf_syncrec`.
"""
