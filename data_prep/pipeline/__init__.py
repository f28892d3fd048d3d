"""Interactions → whole users with their targets.

`sequences` has the steps, and calls `k_core`, `user_histories`, `splits`, `event_counts`.
May import: `engines`, `catalogue`, `settings`, `errors`.
"""
