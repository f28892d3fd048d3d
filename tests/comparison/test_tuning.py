"""Tuning: every network gets the same trials, validation decides, and nothing is done twice."""

import io
from collections import Counter
from contextlib import redirect_stdout
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from data_prep import prepare
from tests.support.comparing import (
    ODD,
    QUIET,
    cells_here,
    domains_of,
    options,
    refused,
    run,
    scripted_cells,
    strict_json,
    tables_of,
    write_log,
)
from tf_syncrec.comparison import worker as cell
from tf_syncrec.comparison.grid_search import trials_of
from tf_syncrec.comparison.names import parse_name
from tf_syncrec.models.registry import NETWORKS

GRID = ("--grid", "train.learning_rate=0.01,0.1")
"""0.01 is what all tests of the comparison share."""


def place(request):
    return request["model"], request["domain"]


def rate(request):
    return request["config"]["train"]["learning_rate"]


# -------------------------------------------------------------------------------- real trainings


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A comparison with a grid, and a count of what its cells did."""
    directory, said = tmp_path_factory.mktemp("tuned"), io.StringIO()
    done: Counter = Counter()
    with cells_here() as patch, redirect_stdout(said):
        for name in ("train", "rank_split"):
            function = getattr(cell, name)

            def counted(*args, name=name, function=function, **kwargs):
                done[name] += 1
                return function(*args, **kwargs)

            patch.setattr(cell, name, counted)
        root = run(directory, *GRID, models="popularity,bprmf_single", seeds="3,1")
    return SimpleNamespace(
        directory=directory,
        root=root,
        comparison=strict_json(root / "comparison.json"),
        done=done,
        said=said.getvalue().splitlines(),
    )


@pytest.mark.slow
def test_validation_decides_and_test_ranks_of_the_others_do_not_exist(tuned):
    """Recomputed from the files of the cells alone."""
    trials: dict[tuple, list] = {}
    for file in sorted(tuned.root.glob("cells/**/validation.json")):
        request = strict_json(file.parent / "cell.json")
        trials.setdefault(place(request), []).append((strict_json(file), request, file.parent))
    assert set(trials) == {("bprmf_single", domain) for domain in (ODD, QUIET, "plain")}
    finished = [
        strict_json(file.parent / "cell.json") for file in tuned.root.glob("cells/**/result.json")
    ]
    reported = [
        (model, trial)
        for model, found in tuned.comparison["tuning"].items()
        for trial in found["trials"]
    ]
    assert len(reported) == 6
    for (model, domain), own in trials.items():
        assert sorted(rate(request) for _, request, _ in own) == [0.01, 0.1]
        assert {request["seed"] for _, request, _ in own} == {3}
        # Popularity, which stands in for what cannot be learnt, has nothing that was fitted.
        values = {
            rate(request): found["validation"]["overall"]["ndcg@10"]
            if domain == QUIET
            else found["cross_fitted"]
            for found, request, _ in own
        }
        best = 0.01 if domain == QUIET else max(values, key=lambda r: values[r])
        assert domain == QUIET or len(set(values.values())) == 2, "else nothing is chosen"
        for _, request, directory in own:
            chosen = rate(request) == best
            assert (directory / "ranks.parquet").exists() == chosen
            assert (directory / "result.json").exists() == chosen
        # The other seed has the chosen settings too, and nothing else.
        assert sorted(
            (request["seed"], rate(request))
            for request in finished
            if place(request) == (model, domain)
        ) == [(1, best), (3, best)]
        rows = [trial for name, trial in reported if (name, trial["domain"]) == (model, domain)]
        assert {row["settings"]["train.learning_rate"]: row["validation"] for row in rows} == values
        assert [row["settings"]["train.learning_rate"] for row in rows if row["chosen"]] == [best]
        assert {row["stand_in"] for row in rows} == {domain == QUIET}


@pytest.mark.slow
def test_nothing_is_trained_or_ranked_twice(tuned):
    """Two rates for the first seed and the chosen one for the second, of what can be trained."""
    assert tuned.done["train"] == 2 * (2 + 1)  # QUIET cannot be learnt
    # Validation of every trial and of every cell that was none, test of every finished cell.
    finished = 3 * 2 + 1
    assert tuned.done["rank_split"] == 3 * 2 + (3 + 1) + finished


@pytest.mark.slow
def test_progress_names_the_trial_and_the_choice(tuned):
    done = [line.split(": done in")[0] for line in tuned.said if ": done in" in line]
    assert done[:2] == [
        f"[trial 1/6] bprmf_single, seed 3, {ODD}",
        f"[trial 2/6] bprmf_single, seed 3, {ODD}, train.learning_rate=0.1",
    ]
    assert done[5].startswith("[trial 6/6] bprmf_single, seed 3, ")
    assert done[6] == "[1/7] popularity" and len(done) == 6 + 7
    assert sum(line.startswith("chosen: bprmf_single, ") for line in tuned.said) == 3


@pytest.mark.slow
def test_the_report_shows_every_trial_and_the_chosen_in_bold(tuned):
    tables = tables_of((tuned.root / "comparison.md").read_text())
    domains = tuned.comparison["domains"]
    trials = tuned.comparison["tuning"]["bprmf_single"]["trials"]
    (table,) = [t for t in tables if t[0] == ["train.learning_rate", *domains]]
    assert [row[0] for row in table[2:]] == ["0.01", "0.1"]
    for row, name in zip(table[2:], (0.01, 0.1), strict=True):
        for domain, text in zip(domains, row[1:], strict=True):
            (trial,) = [
                trial
                for trial in trials
                if (trial["domain"], trial["settings"]["train.learning_rate"]) == (domain, name)
            ]
            shown = f"{trial['validation']:.4f}"
            expected = f"**{shown}**" if trial["chosen"] else shown
            assert text == ("-" if trial["stand_in"] else expected)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "sasrec" else pytest.mark.long)
        for name in NETWORKS
        if not name.startswith("syncrec_")  # the same network with other settings
    ],
)
def test_a_trial_of_any_network_goes_on_where_it_stopped(network, tmp_path):
    """What a second process reads back predicts as what the first one trained."""
    with cells_here():
        straight = run(tmp_path, models=network, output="straight")
        root = run(tmp_path, "--grid", "model.dim=8", models=network)
    (there,), (here,) = (list(r.glob("cells/**/ranks.parquet")) for r in (straight, root))
    assert len(set(pq.read_table(here)["rank"].to_pylist())) > 5
    assert pq.read_table(here).equals(pq.read_table(there))
    validations = [strict_json(r.parent / "result.json")["validation"] for r in (here, there)]
    assert validations[0] == validations[1]


# ------------------------------------------------------------------------------ made-up outcomes


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """A log on disk and who is asked what of it."""
    directory = tmp_path_factory.mktemp("log")
    write_log(directory / "log.tsv")
    prepared = prepare(
        "interactions", path=directory / "log.tsv", data_dir=directory / "data", report=None
    )
    return SimpleNamespace(directory=directory, users=domains_of(prepared))


def best_at(best):
    """Validation that is highest at a learning rate, of each model and domain its own."""
    return lambda request: 0.9 - abs(rate(request) - best.get(place(request), 0.5))


def rates(*values):
    return ("--grid", f"train.learning_rate={','.join(map(str, values))}")


def test_each_domain_of_a_single_domain_model_chooses_for_itself(log, tmp_path):
    best: dict = {("bprmf_single", ODD): 0.3, ("bprmf_single", "plain"): 0.01}
    best |= {("bprmf_single", QUIET): 0.1, ("bprmf", None): 0.1}
    with scripted_cells(log.users, best_at(best)) as done:
        arguments = ("--output_dir", str(tmp_path))
        models = "bprmf,bprmf_single"
        run(log.directory, *arguments, *rates(0.01, 0.1, 0.3), models=models, seeds="5,2,9")
    assert [kind for kind, _ in done] == 12 * ["trial"] + 4 * ["ranked"] + 8 * ["whole"]
    for kind, request in done:
        if kind != "trial":
            assert rate(request) == best[place(request)]
        assert (request["seed"] == 5) == (kind != "whole")


def test_of_equals_the_first_is_chosen(log, tmp_path):
    with scripted_cells(log.users) as done:
        arguments = ("--output_dir", str(tmp_path))
        run(log.directory, *arguments, *rates(0.3, 0.01, 0.1), models="bprmf")
    assert [rate(request) for kind, request in done if kind == "ranked"] == [0.3]


def findings(root):
    """What a comparison says, but for the command that it was asked with."""
    comparison = strict_json(root / "comparison.json")
    assert comparison.pop("command")
    return comparison


@pytest.mark.slow
def test_a_stopped_tuning_goes_on_where_it_was_stopped(log, tmp_path):
    """Wherever it is stopped: together the two runs do what one does, nothing twice."""
    best: dict = {("bprmf", None): 0.1, ("bprmf_single", ODD): 0.01}
    best |= {("bprmf_single", "plain"): 0.3, ("bprmf_single", QUIET): 0.01}
    more = (*rates(0.01, 0.1, 0.3), "--output_dir")
    what = {"models": "bprmf,bprmf_single,popularity", "seeds": "0,1"}
    with scripted_cells(log.users, best_at(best)) as done:
        run(log.directory, *more, str(tmp_path / "whole"), **what)
        everything = done.pop_all()
        whole = findings(tmp_path / "whole")
        assert len(everything) == 12 + 4 + 4 + 1
        # Between trials, between trials and cells, and among the cells.
        for stop in (7, 12, 14):
            root = tmp_path / str(stop)
            done.stop = stop
            with pytest.raises(KeyboardInterrupt):
                run(log.directory, *more, str(root), **what)
            assert not (root / "comparison.json").exists()
            done.stop = None
            run(log.directory, *more, str(root), **what)
            assert done.pop_all() == everything
            assert findings(root) == whole
            run(log.directory, *more, str(root), **what)
            assert done.pop_all() == []


@pytest.mark.slow
def test_another_grid_uses_what_is_there_and_chooses_anew(log, tmp_path):
    def compared(grid):
        """What is done, as `(kind, rate, seed)`; the higher the rate, the better."""
        with scripted_cells(log.users, rate) as done:
            more = ("--output_dir", str(tmp_path), *grid)
            run(log.directory, *more, models="bprmf", seeds="0,1")
        return [(kind, rate(request), request["seed"]) for kind, request in done]

    assert compared(rates(0.01, 0.1)) == [
        *[("trial", 0.01, 0), ("trial", 0.1, 0)],
        *[("ranked", 0.1, 0), ("whole", 0.1, 1)],
    ]
    # Wider: the new point is tried, and wins; the second seed of 0.1 is not taken for one of 0.3.
    assert compared(rates(0.01, 0.1, 0.3)) == [
        *[("trial", 0.3, 0), ("ranked", 0.3, 0), ("whole", 0.3, 1)]
    ]
    # Narrower: all is there.
    assert compared(rates(0.1, 0.01)) == []
    # Without: 0.01 is what all share; its trial is there, of the first seed.
    assert compared(()) == [("ranked", 0.01, 0), ("whole", 0.01, 1)]
    # Another setting beside it, at the value that it has anyway.
    assert compared((*rates(0.1, 0.3), "--grid", "model.dim=8")) == []
    report = strict_json(tmp_path / "comparison.json")["tuning"]["bprmf"]["trials"]
    assert [trial["settings"] for trial in report] == [
        {"train.learning_rate": rate, "model.dim": 8} for rate in (0.1, 0.3)
    ]
    assert [trial["chosen"] for trial in report] == [False, True]


def test_losing_trials_do_not_show_in_the_results(log, tmp_path):
    """Also where their test ranks lie there from an earlier comparison."""
    kept = {}
    for name, before in {"fresh": False, "used": True}.items():
        with scripted_cells(
            log.users,
            best_at({("bprmf", None): 0.1}),
            lambda request, user: 1 if rate(request) == 0.3 else 7,
        ):
            more = ("--output_dir", str(tmp_path / name))
            if before:
                run(log.directory, *more, *rates(0.3), models="bprmf")
                good = strict_json(tmp_path / name / "comparison.json")
                assert good["models"]["bprmf"]["test"]["overall"]["hr@5"]["mean"] == 1
            run(log.directory, *more, *rates(0.3, 0.1), models="bprmf")
        kept[name] = findings(tmp_path / name)
    assert kept["fresh"] == kept["used"]
    assert kept["used"]["models"]["bprmf"]["test"]["overall"]["hr@5"]["mean"] == 0


def test_a_setting_of_another_comparison_is_found_among_the_trials(log, tmp_path, capsys):
    more = ("--output_dir", str(tmp_path), *rates(0.01, 0.1))
    with scripted_cells(log.users):
        run(log.directory, *more, models="bprmf")
    with scripted_cells(log.users) as done:
        arguments = options(log.directory, *more, "--set", "train.patience=7", models="bprmf")
        error = refused(arguments, capsys)
    assert "train.patience" in error and not done
    # Only the trial that this grid shares with the other one is in the way.
    with scripted_cells(log.users) as done:
        more = ("--output_dir", str(tmp_path), *rates(0.3, 0.1), "--set", "model.dim=4")
        error = refused(options(log.directory, *more, models="mmoe,bprmf"), capsys)
    assert "train.learning_rate=0.1" in error and "model.dim" in error and not done


def test_what_is_no_network_of_ours_is_not_tuned(log, tmp_path, capsys):
    plan = {parse_name(name): (0,) for name in ("popularity", "item_knn", "recbole:SASRec")}
    assert trials_of(plan, ["a", "b"], [(("model.dim", 8),), ()]) == {}
    with scripted_cells(log.users) as done:
        more = ("--output_dir", str(tmp_path / "none"), *rates(0.1))
        error = refused(options(log.directory, *more, models="popularity,item_knn"), capsys)
    assert "--grid" in error and "popularity, item_knn" in error and not done
    assert not (tmp_path / "none").exists()


def test_what_makes_a_network_what_it_is_is_not_tried():
    """`enabled` off is the variant, so that both points are one and the same trial of it."""
    plan = {parse_name(name): (0, 1) for name in ("syncrec", "syncrec_without_lc_ntg")}
    points = [(("negative_transfer.enabled", False),), ()]
    trials = {place[0].text: own for place, own in trials_of(plan, ["a"], points).items()}
    assert [trial.settings for trial in trials["syncrec"]] == points
    assert [trial.settings for trial in trials["syncrec_without_lc_ntg"]] == [()]
