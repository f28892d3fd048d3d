"""The command `syncrec`: every command line of the project by one name."""

import runpy
import sys
from collections.abc import Sequence

COMMANDS = {
    "fit": ("tf_syncrec.fit", "train on interactions of several domains, evaluate and export"),
    "evaluate": ("tf_syncrec.evaluate", "evaluate a trained run on a split"),
    "compare": ("tf_syncrec.compare", "train and evaluate several models with one protocol"),
    "recommend": (
        "tf_syncrec.recommend",
        "write recommendations for every user, without a server",
    ),
    "gate": ("tf_syncrec.gate", "decide whether a new run, or log, may replace the current one"),
    "abtest": ("tf_syncrec.abtest", "CTR of two variants, with intervals by domain"),
    "report": ("tf_syncrec.report", "write report.html of a finished run again"),
    "export": ("serving.export", "write a trained run as a SavedModel"),
    "fill": ("serving.fill_histories", "write the histories of a log into a store for serving"),
    "serve": ("serving.local_server", "serve a REST API, for development"),
}
"""Command → the module that is run, and what it is for."""

USAGE = "\n".join(
    [
        "usage: syncrec COMMAND [options]",
        "",
        *(f"  {name:9} {about}" for name, (_, about) in COMMANDS.items()),
        "",
        "syncrec COMMAND --help   options and examples",
        "syncrec --version        the release and the commit",
    ]
)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a command as `python -m` does: the same messages, the same exit codes.

    Args:
        argv: the command and its options; None for the arguments of this process.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    name = given[0] if given else "--help"
    if name in ("-h", "--help"):
        print(USAGE)
    elif name == "--version":
        from tf_syncrec.utils.version import version_line

        print(version_line())
    elif name in COMMANDS:
        sys.argv[1:] = given[1:]
        try:
            runpy.run_module(COMMANDS[name][0], run_name="__main__", alter_sys=True)
        except ModuleNotFoundError as error:  # of `pip install --no-deps`, for the client
            if (error.name or "").startswith(("data_prep", "serving", "tf_syncrec")):
                raise  # a mistake of ours
            print(
                f"error: syncrec {name} needs {error.name}, which is not installed: install "
                "tf_syncrec with its dependencies",
                file=sys.stderr,
            )
            sys.exit(2)
    else:
        print(f"error: {name!r} is none of {', '.join(COMMANDS)} (syncrec --help)", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
