"""What happens first where a command of ours is started, before anything heavy is imported.

The command itself, and what it catches, is `cli.run_command`; from there on Ctrl-C is told.
"""

import importlib.util
import os
import signal
import sys
from pathlib import Path

PACKAGES = ("data_prep", "serving")
"""Our packages beside this one."""


def started_as_command() -> bool:
    """Whether this process is `python -m` of a module of ours, or `syncrec`."""
    started = sys.orig_argv[1:]
    if "-m" in started:
        module = "".join(started[started.index("-m") + 1 :][:1])
        return module.partition(".")[0] in ("tf_syncrec", *PACKAGES)
    return any(Path(argument).stem == "syncrec" for argument in started[:1])


def begin() -> None:
    """Lets Ctrl-C end the process without a word while modules load, and finds our own packages.

    Raises:
        SystemExit: a file of the user's has the name of a package of ours and comes before it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nohup ignores it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        found = spec and (spec.origin or next(iter(spec.submodule_search_locations or []), None))
        ours = Path(__file__).parents[1] / name
        if not found or ours not in (Path(found), Path(found).parent):
            print(
                f"error: {found or name} is found in place of {ours}, the package of that name "
                "which tf_syncrec needs: start from another folder, or rename it",
                file=sys.stderr,
            )
            raise SystemExit(2)
    limit_numpy_threads()


def limit_numpy_threads() -> None:
    """Has numpy, which is yet to be loaded, compute products in the thread that asks for them.

    They are small ones here, asked for by several threads at once. OpenBLAS shares each out to all
    cores, and its threads wait for the next one at full speed: on two cores what is fitted after a
    training takes a fourth longer. `OPENBLAS_NUM_THREADS` says otherwise, if it is set.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def hear_interrupts() -> None:
    """From now on Ctrl-C is a `KeyboardInterrupt`."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
