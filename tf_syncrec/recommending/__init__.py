"""Answers of an exported model, asked from here: of some histories, or of everybody's.

`served_model` asks a SavedModel as a server does; `everybody` has the answers to all users of a log
written, part by part, `on_spark` on as many machines as there are; `chosen_log` says which log that
is, `filters` what may be answered. May import: `data_prep`, `cli`, `config`, `data`, `training`,
`utils`.
"""
