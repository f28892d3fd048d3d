"""Many trainings side by side: which, in which process, and what they say together.

`plan` and `grid_search` say which, a cell is one of them (a model, a seed and perhaps a domain);
`jobs` has cells computed by `worker`, each a process; `results` reads them; `runner` tells it all.
May import: `training` and what that may.
"""
