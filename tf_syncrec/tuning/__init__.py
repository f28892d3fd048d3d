"""`fit --tune N`: several trainings, of which validation chooses the settings of the run.

`space` says what is searched, `study` asks Optuna what to try next and when to give up, `trial` is
one training, `states` and `record` what is written down, `search` the whole from top to bottom.
May import: `training`, `comparison.grid_search` (which reads `--grid`) and what they may.
"""
