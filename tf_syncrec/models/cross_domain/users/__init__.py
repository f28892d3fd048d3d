"""Networks that know who a user is, by a vector in each domain or one for all: one a file.

`by_domain` is what they have in common, on `baselines.bprmf`; `graph` and `domain_mlp` are parts.
May import: `base`, `sequential`, `baselines` of `models`, and what these may.
"""
