"""How the time and memory of our training step grow with items, domains, experts and the window.

    python -m benchmarks.scaling --output scaling.json --picture scaling.png

Each point is a process of its own (`train_step --side=ours`); points take turns, round by round,
and figures are medians. Times are relative to the first point of each curve.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from tabulate import tabulate

from benchmarks.train_step import run

CURVES = {
    "items": [15_000, 100_000, 1_000_000],
    "domains": [5, 10, 20],
    "experts": [5, 10],
    "window": [25, 50, 100],
}
"""Other sizes are the defaults of `train_step`."""


def arguments(name: str, value: int) -> list[str]:
    """Of `train_step`, for one point."""
    given = [f"--{name}={value}"]
    if name == "window":
        given.append(f"--length={value}")  # windows stay full
    if name == "experts":
        given.append(f"--cross_experts={round(0.6 * value)}")
    return given


def draw(result: dict[str, dict[str, float]], picture: Path) -> None:
    """A panel a curve; dashed is what would grow as its size does."""
    figure, axes = plt.subplots(1, len(CURVES), figsize=(3 * len(CURVES), 3), sharey=True)
    for axis, (name, values) in zip(axes, CURVES.items(), strict=True):
        axis.plot(values, [result[f"{name}={value}"]["relative"] for value in values], "o-")
        if name == "items":
            axis.set_xscale("log")
        else:
            axis.plot(values, [value / values[0] for value in values], "--", color="grey")
        axis.set_xticks(values, [f"{value:,}" for value in values])
        axis.minorticks_off()
        axis.set_xlabel(name)
    axes[0].set_ylabel("time of a step, relative")
    axes[0].set_ylim(bottom=0)  # last, as it stops all from growing with what is drawn
    figure.tight_layout()
    figure.savefig(picture, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument("--steps", type=int, default=10, help="measured steps a round (10)")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    parser.add_argument("--picture", type=Path, help="a PNG of the curves")
    options = parser.parse_args()
    points = [(name, value) for name, values in CURVES.items() for value in values]
    found: dict[tuple[str, int], list] = {point: [] for point in points}
    for number in range(options.rounds):
        for point in points:
            print(
                f"round {number + 1} of {options.rounds}: {point[0]} {point[1]:,}", file=sys.stderr
            )
            given = [*arguments(*point), f"--steps={options.steps}"]
            found[point].append(run("ours", given))

    def median(point, figure):
        return statistics.median(round_[figure] for round_ in found[point])

    rows, result = [], {}
    for name, value in points:
        extra = median((name, value), "peak_mib") - median(
            (name, value), "weights_and_optimizer_mib"
        )
        step_ms = median((name, value), "step_ms")
        relative = step_ms / median((name, CURVES[name][0]), "step_ms")
        result[f"{name}={value}"] = {
            "step_ms": step_ms,
            "relative": relative,
            "peak_mib_beyond_state": extra,
        }
        rows.append(
            [
                name,
                f"{value:,}",
                f"{step_ms:.0f}",
                f"{relative:.2f}",
                f"{extra:.0f}",
            ]
        )
    headers = ["", "value", "step ms", "relative", "MiB beyond weights and optimizer"]
    print(tabulate(rows, headers, disable_numparse=True))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1))
    if options.picture:
        draw(result, options.picture)


if __name__ == "__main__":
    main()
