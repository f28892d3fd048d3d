"""May tonight's model, or tonight's log, reach people? Beside what serves them now.

`__main__` is the command line, `judging` all that follows. `data_cards` and `clocks` compare logs;
`later_rows` makes questions of rows that neither run has seen (`unseen`), `scoring` asks both runs,
`verdicts` judges by `limits`, and `tables` shows it.
May import: `run`, `recommending`, `evaluation`, `training`, `metrics`, `cli`, `config`.
"""


def main(argv: list[str] | None = None) -> None:
    """Runs the command line, as `python -m tf_syncrec.gate` does."""
    from tf_syncrec.gate.__main__ import main as run

    run(argv)
