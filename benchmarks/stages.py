"""Seconds and memory of the stages of one `fit`: what a user waits for besides the training.

    python -m benchmarks.stages --dataset interactions --path log.csv --epochs 1

The options are those of `python -m tf_syncrec.fit`; the run is written as ever. CPU seconds are of
all cores together, so that they say the same on a machine that is busy with other things. Stages
within a stage have a dot more, and are part of it. Memory is the most that the process held during
the stage (Linux; MiB, resident).
"""

import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tabulate import tabulate

from tf_syncrec import cli
from tf_syncrec.command_start import limit_numpy_threads

STAGES = {
    "tf_syncrec.pipeline": (
        *("prepare_data", "initialise_items", "train", "fit_score", "fit_mixture", "measure"),
        *("sample_recommendations", "export", "write_report"),
    ),
    "tf_syncrec.scoring.fit_score": (
        *("count_neighbours", "fit_repeats", "fit_votes", "fit_trend", "fit_view_weights"),
        "rank_split",
    ),
    "tf_syncrec.training.run_metrics": (
        *("rank_split", "rank_all_domains", "compare_views", "influence"),
    ),
    "tf_syncrec.training.callbacks": ("rank_split",),
}
"""Functions that are timed, by the module that calls them."""


Rows = dict[tuple[str, ...], list[float]]
"""By stage, each below the one that it is part of: calls, seconds, CPU seconds, peak MiB."""


class Clock:
    """Adds up what functions take, each below the one that it was called by.

    Args:
        peak_memory: the most memory that this process held since it was asked last, MiB.
    """

    def __init__(self, peak_memory: Callable[[], float]) -> None:
        self._peak_memory = peak_memory
        self.rows: Rows = {}
        self._open: list[str] = []
        self._peaks: list[float] = []  # of the open ones, so far

    def timed(self, function: Callable, name: str) -> Callable:
        """The function; what it takes is added up."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._open.append(name)
            row = self.rows.setdefault(tuple(self._open), [0.0, 0.0, 0.0, 0.0])
            self._note_peak()
            self._peaks.append(0.0)
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._open.pop()
                row[0] += 1
                row[1] += time.perf_counter() - wall
                row[2] += time.process_time() - cpu
                self._note_peak()
                row[3] = max(row[3], self._peaks.pop())

        return call

    def _note_peak(self) -> None:
        """Gives all open stages the peak since the last call; the next one begins from here."""
        peak = self._peak_memory()
        self._peaks = [max(peak, earlier) for earlier in self._peaks]


def stages_of(arguments: Sequence[str]) -> tuple[Rows, tuple[float, float]]:
    """Runs `fit`.

    Args:
        arguments: its options.

    Returns:
        What its stages took, and before it what loading the program took: seconds, CPU seconds.
    """
    limit_numpy_threads()
    cli.load_tensorflow()
    from benchmarks.workload import peak_since_last_call

    clock = Clock(peak_since_last_call)
    for module, names in STAGES.items():
        for name in names:
            owner = __import__(module, fromlist=["_"])
            *classes, function = name.split(".")
            for each in classes:
                owner = getattr(owner, each)
            setattr(owner, function, clock.timed(getattr(owner, function), name))
    begun = time.perf_counter(), time.process_time()
    loading = begun[0] - _process_start(), begun[1]
    from tf_syncrec.fit import main as fit

    clock.timed(fit, "fit")(list(arguments))
    return clock.rows, loading


def main() -> None:
    if {"-h", "--help"} & {*sys.argv[1:]}:
        print(__doc__)
        return
    stages, loading = stages_of(sys.argv[1:])
    rows: list[tuple] = [("loading", "", *loading, "")]
    rows += [
        ("· " * (len(place) - 1) + place[-1], int(calls), wall, cpu, round(peak))
        for place, (calls, wall, cpu, peak) in stages.items()
    ]
    print()
    print(tabulate(rows, ("stage", "calls", "seconds", "CPU seconds", "MiB"), floatfmt=".1f"))
    whole, training = stages[("fit",)], stages["fit", "train"]
    outside = [loading[n] + whole[1 + n] - training[1 + n] for n in range(2)]
    print(f"\nAll but the training: {outside[0]:.1f} s, {outside[1]:.1f} CPU seconds")


def _process_start() -> float:
    """When this process began, on the clock of `time.perf_counter`."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.perf_counter() - (since_boot - ticks / os.sysconf("SC_CLK_TCK"))


if __name__ == "__main__":
    main()
