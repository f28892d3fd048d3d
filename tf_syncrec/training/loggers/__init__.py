"""Where people keep their runs: CSV files, MLflow, Weights & Biases (`fit --log`).

Which there are and what they need: `installed`; one file each; `all_loggers`
tells those that are asked for what happens.
May import: what `training` may, and in each file the library that it is for.
"""
