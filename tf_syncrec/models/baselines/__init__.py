"""Baselines that know nothing of domains: item-kNN, factors of users, one sequence; one a file.

Each network says what it costs and what a user looks for; all else is in `models.base`.
May import: `base` and `sequential` of `models`, and what these may.
"""
