"""Many trainings side by side: which, in which process, and what they say together.

A cell is a model, a seed and perhaps a domain; `worker` computes one.
May import: `training` and what that may.
"""
