"""What more cores bring: the stages of one `fit` on one core, on two, ..., and what is serial.

    python -m benchmarks.cores --dataset interactions --path log.csv --epochs 3 [--cores 1,2]

All other options are those of `python -m tf_syncrec.fit`. Each side is a process that may use so
many cores, and the sides take turns; of `--rounds`, the median counts. An epoch is the median one,
its validation included. The serial share s is that of Amdahl's law, T(n) = T(1) (s + (1 - s) / n),
by the first and the last side, and so is what it says of more cores: it knows of no limit of memory
bandwidth, and of no larger batches, which a machine of many cores would be given.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tabulate import tabulate

MORE = (8, 32, 96)
STAGES = {
    "validation of an epoch": ("fit", "train", "rank_split"),
    "first item vectors": ("fit", "initialise_items"),
    "fitting the score": ("fit", "fit_score"),
    "measuring": ("fit", "measure"),
    "export": ("fit", "export"),
    "all": ("fit",),
}
EPOCH = "epoch"


def measure(arguments: list[str]) -> dict[str, float]:
    """Seconds of the stages of a run, in this process."""
    from benchmarks.stages import stages_of

    with tempfile.TemporaryDirectory() as folder:
        rows, _ = stages_of([*arguments, "--output_dir", f"{folder}/run"])
        training = json.loads((Path(folder) / "run/metrics.json").read_text())["training"]
    found = {EPOCH: training["seconds_per_epoch"]}
    for name, place in STAGES.items():
        if place in rows:
            calls, seconds, *_ = rows[place]
            found[name] = seconds / calls
    return found


def serial_share(one: float, several: float, cores: int) -> float:
    """Of Amdahl's law, by the time on one core and on several; at most 1."""
    return min((cores * several / one - 1) / (cores - 1), 1.0)


def run_side(cores: int, arguments: list[str]) -> dict[str, float]:
    """`measure` in a process that may use so many cores."""
    with tempfile.NamedTemporaryFile(suffix=".json") as found:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.cores", "--side", found.name, *arguments],
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, range(cores)),
        )
        return json.load(found)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cores", default="1,2", metavar="N,N", help="of the sides; default 1,2")
    parser.add_argument("--rounds", type=int, default=1, help="times that each side runs (1)")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options, arguments = parser.parse_known_args()
    if options.side:
        Path(options.side).write_text(json.dumps(measure(arguments)))
        return
    sides = [int(cores) for cores in options.cores.split(",")]
    if sides[0] != 1 or len(sides) < 2 or sides[-1] > len(os.sched_getaffinity(0)):
        parser.error(f"--cores: expected 1 and more, up to what there is; received {options.cores}")
    found: dict[int, list[dict[str, float]]] = {cores: [] for cores in sides}
    for _ in range(options.rounds):
        for cores, runs in found.items():
            runs.append(run_side(cores, arguments))
    rows = []
    for stage in found[1][0]:
        times = [statistics.median(run[stage] for run in found[cores]) for cores in sides]
        serial = serial_share(times[0], times[-1], sides[-1])
        gains = [1 / (serial + (1 - serial) / cores) for cores in MORE]
        rows.append((stage, *times, times[0] / times[-1], serial, *gains))
    headers = [
        *("stage", *(f"{cores} cores, s" for cores in sides), "times as fast", "serial share"),
        *(f"{cores} cores, times" for cores in MORE),
    ]
    form = ("", *(".1f" for _ in sides), ".2f", ".2f", *(".1f" for _ in MORE))
    print(tabulate(rows, headers, floatfmt=form, tablefmt="pipe"))


if __name__ == "__main__":
    main()
