"""Which of two variants is clicked more, and how certain that is, domain by domain.

`__main__` is the command line; `click_rows` reads what was shown and clicked, `rates` has the
numbers. May import: `evaluation`, `cli`.
"""


def main(argv: list[str] | None = None) -> None:
    """Runs the command line, as `python -m tf_syncrec.abtest` does."""
    from tf_syncrec.abtest.__main__ import main as run

    run(argv)
