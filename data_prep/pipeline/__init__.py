"""Interactions → whole users with their targets, step by step.

The core, the order of a user, the splits, and what is counted on the way live here.
May import: `engines`, `read`, `catalogue`, `errors`.
"""
