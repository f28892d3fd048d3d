"""Networks that know who a user is, by a vector in each domain or one for all: one a file.

On `by_domain`, which is on `baselines.bprmf`; `graph` and `transfer` are their parts.
May import: `base`, `sequential`, `baselines` of `models`, and what these may.
"""
