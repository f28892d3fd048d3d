"""The picture of a grid: every trial once a panel, the chosen ones marked; no grid, no picture."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest

from tests.support.small_comparison import small_comparison
from tf_syncrec.reporting.comparison_report import comparison_page, write_comparison
from tf_syncrec.reporting.pictures.grid_picture import grid_picture, panels_of

DOMAINS = ["books", "films"]
GRID: dict[str, list] = {
    "model.dim": [16, 8, 32],
    "loss.name": ["bpr", "bce"],
    "train.patience": [5],
}


def trials_of(places, stand_in=False):
    """All points of `GRID` for each place, each with a number of its own, the best one chosen."""
    rng = np.random.default_rng(0)
    found = []
    for place in places:
        own = [
            {
                "domain": place,
                "settings": dict(zip(GRID, values, strict=True)),
                "validation": float(rng.random()),
                "stand_in": stand_in,
                "chosen": False,
            }
            for values in itertools.product(*GRID.values())
        ]
        max(own, key=lambda trial: trial["validation"])["chosen"] = True
        found += own
    return found


@pytest.mark.parametrize("places", [[None], DOMAINS, [DOMAINS]], ids=["all", "single", "pair"])
def test_every_trial_is_once_in_each_panel_and_the_chosen_one_is_marked(places):
    trials = trials_of(places)
    panels = panels_of(json.loads(json.dumps(trials)))
    assert list(panels) == ["model.dim", "loss.name"]  # the third one is the same in all
    assert [panel.values for panel in panels.values()] == [[8, 16, 32], ["bpr", "bce"]]
    for setting, panel in panels.items():
        drawn = [
            (list(place) if isinstance(place, tuple) else place, panel.values[dot.at], *dot[1:])
            for place, dots in panel.dots.items()
            for dot in dots
        ]
        assert drawn == [
            (t["domain"], t["settings"][setting], t["validation"], t["chosen"]) for t in trials
        ]

    figure = grid_picture("syncrec", panels)
    assert len(figure.axes) == len(panels)
    for axes, panel in zip(figure.axes, panels.values(), strict=True):
        every = [dot for dots in panel.dots.values() for dot in dots]
        shown: dict[str, list] = {"dots": [], "rings": [], "lines": []}
        for line in axes.lines:
            kind = "lines" if line.get_linestyle() != "None" else "dots"
            kind = "rings" if line.get_markerfacecolor() == "none" else kind
            shown[kind] += map(tuple, np.asarray(line.get_xydata()).tolist())
        assert sorted(shown["dots"]) == sorted(dot[:2] for dot in every)
        assert sorted(shown["rings"]) == sorted(dot[:2] for dot in every if dot.chosen)
        assert len(shown["rings"]) == len(places)
        best = [
            (at, max(dot.validation for dot in dots if dot.at == at))
            for dots in panel.dots.values()
            for at in range(len(panel.values))
        ]
        assert shown["lines"] == best


def test_a_picture_a_tuned_network_on_the_page_and_beside_it_and_none_without_a_grid(tmp_path):
    plain = small_comparison(DOMAINS)
    tuning = {"sasrec": [None], "mmoe_single": DOMAINS}
    tuned = plain | {
        "tuning": {m: {"seconds": 1.0, "trials": trials_of(p)} for m, p in tuning.items()}
    }
    for name, comparison, wanted in (("plain", plain, set()), ("tuned", tuned, set(tuning))):
        root = tmp_path / name
        root.mkdir()
        write_comparison(root, comparison, pa.table({"domain": ["books"]}), {})
        assert {file.name for file in root.glob("grid-*")} == {f"grid-{m}.png" for m in wanted}
        markdown, page = (root / "comparison.md").read_text(), comparison_page(comparison, {})
        assert page == (root / "report.html").read_text()
        assert {m for m in tuning if f"(grid-{m}.png)" in markdown} == wanted
        assert {m for m in tuning if f"<h3>What each setting does: {m}</h3>" in page} == wanted
    # Of `_single` a line a domain, and so a legend.
    assert page.count("<li><svg") - comparison_page(plain, {}).count("<li><svg") == len(DOMAINS)


def test_what_nothing_was_learned_of_is_left_out():
    learned, not_learned = trials_of(["books"]), trials_of(["films"], stand_in=True)
    assert panels_of([*learned, *not_learned]) == panels_of(learned) != {}
    assert panels_of(not_learned) == {} == panels_of([])
