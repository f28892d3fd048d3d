"""The comparison: numbers that follow from its cells, cells computed once, and plain errors."""

import contextlib
import io
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.image
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import prepare
from tf_syncrec import cell, compare, comparison
from tf_syncrec.cli import prepare_data, run_command
from tf_syncrec.config import Config

ODD = "$a|b c$"
"""A domain whose name means something to Markdown and to matplotlib."""
QUIET = "quiet"
"""A domain of which nobody's last two items are."""
TINY = [
    *("--set", "model.dim=8", "--set", "model.window=6", "--set", "model.blocks=1"),
    *("--set", "loss.negatives=8", "--set", "train.batch_size=32"),
    *("--set", "train.learning_rate=0.01"),
]
METRICS = ("hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr")


def write_log(path, users=70, items=14, seed=0, other_items=None):
    """Chains of items in two domains, and a third one at the start of every sequence.

    Args:
        path: the file.
        users: number of users.
        items: items of a domain.
        seed: of the generator.
        other_items: seed; the items of ODD are then others, and nothing else.
    """
    rng = np.random.default_rng(seed)
    other = np.random.default_rng(other_items)
    lines = ["user_id\titem_id\tdomain\ttimestamp"]
    for user in range(users):
        lines.append(f"u{user}\tq{user % 5}\t{QUIET}\t{100 * user}")
        item = rng.integers(items)
        length = rng.integers(5, 12)
        for step in range(1, length):
            item = (item + 1) % items
            odd = rng.random() < 0.5
            shown = item if not odd or other_items is None else other.integers(items)
            name = f"o{shown}" if odd else f"p{item}"
            if step == length - 1 and user % 10 == 0:
                name += f"new{user}"  # never in training
            lines.append(f"u{user}\t{name}\t{ODD if odd else 'plain'}\t{100 * user + step}")
    path.write_text("\n".join(lines) + "\n")
    return path


def options(directory, *more, models="popularity", seeds="0", epochs=1, output="comparison"):
    return [
        *("--dataset", "interactions", "--path", str(directory / "log.tsv")),
        *("--data_dir", str(directory / "data"), "--output_dir", str(directory / output)),
        *("--models", models, "--seeds", seeds, "--epochs", str(epochs), *TINY, *more),
    ]


class HereAndNow:
    """Stands in for `subprocess.Popen`: a cell in this process, which saves loading TensorFlow."""

    def __init__(self, command, **_):
        said = io.StringIO()
        self.returncode = 0
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                cell.run_cell(Path(command[-1]))
            except Exception:
                traceback.print_exc()
                self.returncode = 1
        self.stdout = iter(said.getvalue().splitlines(keepends=True))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@contextlib.contextmanager
def cells_here():
    with pytest.MonkeyPatch.context() as patch:
        # Only what compare calls so: others need the real one.
        patch.setattr(
            compare, "subprocess", SimpleNamespace(Popen=HereAndNow, PIPE=None, STDOUT=None)
        )
        yield patch


@contextlib.contextmanager
def no_cells():
    """Whatever computes a cell fails the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "subprocess", None)
        yield


def run(directory, *more, **settings):
    """Runs a comparison on a small log; returns its directory."""
    if not (directory / "log.tsv").exists():
        write_log(directory / "log.tsv")
    arguments = options(directory, *more, **settings)
    compare.main(arguments)
    return Path(arguments[arguments.index("--output_dir") + 1])


def strict_json(file):
    """Reads JSON; NaN and infinities, which are none, fail."""

    def refuse(constant):
        raise AssertionError(f"{constant} in {file}")

    return json.loads(file.read_text(), parse_constant=refuse)


def cells_of(root):
    """`(request, rows, result)` of every cell, found by the files alone."""
    return [
        (
            strict_json(file),
            pq.read_table(file.parent / "ranks.parquet").to_pylist(),
            strict_json(file.parent / "result.json"),
        )
        for file in sorted(root.glob("cells/**/cell.json"))
    ]


def by_seed(cells, model) -> dict[int, list[dict]]:
    """The rows of a model, cells of its domains together."""
    found: dict[int, list[dict]] = {}
    for request, rows, _ in cells:
        if request["model"] == model:
            found.setdefault(request["seed"], []).extend(rows)
    return found


def literal_gain(rank, metric):
    if metric == "mrr":
        return 1 / rank
    kind, cut_off = metric.split("@")
    if rank > int(cut_off):
        return 0.0
    return 1.0 if kind == "hr" else 1 / math.log2(1 + rank)


def literal_mean(rows, metric):
    return sum(literal_gain(row["rank"], metric) for row in rows) / len(rows) if rows else 0.0


def snapshot(root):
    """Content and time of every file of the cells."""
    files = [file for file in root.glob("cells/**/*") if file.is_file()]
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def tables_of(markdown):
    """Rows of cells of every table."""
    tables, lines = [], []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            lines.append([text.strip().replace("\\|", "|") for text in cells])
        elif lines:
            tables.append(lines)
            lines = []
    return tables


MODELS = "popularity,item_knn,bprmf_cross,bprmf_single"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """One comparison that most tests look at: `(directory, comparison, cells, what was said)`."""
    directory = tmp_path_factory.mktemp("compare")
    said = io.StringIO()
    with cells_here(), contextlib.redirect_stdout(said):
        root = run(directory, models=MODELS, seeds="3,1")
    return SimpleNamespace(
        directory=directory,
        root=root,
        comparison=strict_json(root / "comparison.json"),
        cells=cells_of(root),
        said=said.getvalue().splitlines(),
    )


# ------------------------------------------------------------------------------------- numbers


def test_every_number_can_be_recomputed_from_the_ranks(compared):
    domains = compared.comparison["domains"]
    assert domains == sorted([ODD, QUIET, "plain"])
    assert set(compared.comparison["models"]) == set(MODELS.split(","))
    for model, found in compared.comparison["models"].items():
        seeds = by_seed(compared.cells, model)
        # Seeds in order of their number, whatever the order they were given in.
        rows_of_seeds = [seeds[seed] for seed in sorted(seeds)]
        places = [(None, found["test"]["overall"]), *found["test"]["domains"].items()]
        assert [name for name, _ in places] == [None, *domains]
        for domain, values in places:
            members = [
                [row for row in rows if domain in (None, row["domain"])] for rows in rows_of_seeds
            ]
            assert values["users"] == len(members[0])
            for metric in METRICS:
                means = [literal_mean(rows, metric) for rows in members]
                assert values[metric]["mean"] == pytest.approx(statistics.fmean(means), abs=1e-12)
                if not members[0]:
                    assert (values[metric]["std"], values[metric]["values"]) == (None, [])
                    continue
                assert values[metric]["values"] == pytest.approx(means, abs=1e-12)
                if len(means) == 1:
                    assert values[metric]["std"] is None
                else:
                    spread = pytest.approx(statistics.stdev(means), abs=1e-12)
                    assert values[metric]["std"] == spread
    cold = [row["cold"] for row in by_seed(compared.cells, "popularity")[3]]
    assert compared.comparison["cold_target_share"] == sum(cold) / len(cold) == 0.1


def test_differences_and_breakdown_follow_from_the_ranks(compared):
    def mean_gains(model, metric):
        """`{user: metric}`, the mean over seeds, and everybody's domain."""
        gains: dict[str, list[float]] = {}
        for rows in by_seed(compared.cells, model).values():
            for row in rows:
                gains.setdefault(row["user_id"], []).append(literal_gain(row["rank"], metric))
        return {user: statistics.fmean(values) for user, values in gains.items()}

    of_user = {r["user_id"]: r["domain"] for r in by_seed(compared.cells, "popularity")[3]}
    models = compared.comparison["models"]
    assert compared.comparison["reference"] == "popularity"
    assert models["popularity"]["against_reference"] == {}
    for model in set(models) - {"popularity"}:
        for metric, found in models[model]["against_reference"].items():
            ours, theirs = mean_gains(model, metric), mean_gains("popularity", metric)
            for domain, row in [(None, found["overall"]), *found["domains"].items()]:
                users = [user for user in ours if domain in (None, of_user[user])]
                difference = [ours[user] - theirs[user] for user in users]
                assert row["users"] == len(users)
                assert row["mean"] == pytest.approx(sum(difference) / max(len(users), 1), abs=1e-12)
                assert row["low"] <= row["mean"] <= row["high"]
                assert 0 < row["p_value"] <= row.get("p_holm", 1.0) <= 1
        assert set(models[model]["against_reference"]) == {"ndcg@10", "hr@10"}

    for model, found in models.items():
        seeds = list(by_seed(compared.cells, model).values())
        for kind in found["breakdown"].values():
            assert sum(group["users"] for group in kind.values()) == len(of_user)
            assert sum(group["share_of_hits"] for group in kind.values()) == pytest.approx(1)
            for metric in ("ndcg@10", "hr@10"):
                total = sum(group["users"] * group[metric] for group in kind.values())
                overall = found["test"]["overall"][metric]["mean"]
                assert total / len(of_user) == pytest.approx(overall, abs=1e-12)
        known = [[row for row in rows if not row["cold"]] for rows in seeds]
        for metric in ("ndcg@10", "hr@10"):
            expected = statistics.fmean(literal_mean(rows, metric) for rows in known)
            assert found["breakdown"]["cold"]["no"][metric] == pytest.approx(expected, abs=1e-12)
            assert found["breakdown"]["cold"]["yes"][metric] == 0


def test_cost_adds_up_over_domains_and_is_averaged_over_seeds(compared):
    for model, found in compared.comparison["models"].items():
        costs = [
            result["cost"] for request, _, result in compared.cells if model == request["model"]
        ]
        seeds = len(by_seed(compared.cells, model))
        for key in ("seconds", "parameters", "seconds_per_epoch"):
            values = [cost[key] for cost in costs if key in cost]
            expected = pytest.approx(sum(values) / seeds) if values else None
            assert found["cost"][key] == expected
        assert found["cost"]["peak_memory_mb"] == max(cost["peak_memory_mb"] for cost in costs)
    trained = compared.comparison["models"]["bprmf_cross"]["cost"]
    assert trained["parameters"] > 0 and trained["epochs"] == [1, 1]


def test_models_of_single_domains_cover_every_user_once(compared):
    merged = {row["user_id"]: row for row in by_seed(compared.cells, "bprmf_cross")[1]}
    assert len(merged) == 70
    for rows in by_seed(compared.cells, "bprmf_single").values():
        assert sorted(row["user_id"] for row in rows) == sorted(merged)
        for row in rows:
            same = merged[row["user_id"]]
            assert (row["domain"], row["cold"]) == (same["domain"], same["cold"])
    for request, rows, _ in compared.cells:
        if request["domain"] is not None:
            assert {row["domain"] for row in rows} <= {request["domain"]}


def test_table_of_negative_transfer_follows_from_both_models(compared):
    tests = {name: model["test"] for name, model in compared.comparison["models"].items()}
    assert set(compared.comparison["negative_transfer"]) == {"bprmf_cross"}
    table = compared.comparison["negative_transfer"]["bprmf_cross"]
    for domain, row in [*table["domains"].items(), (None, table["overall"])]:
        both = [
            test["overall"] if domain is None else test["domains"][domain]
            for test in (tests["bprmf_single"], tests["bprmf_cross"])
        ]
        alone, together = (values["ndcg@10"]["mean"] for values in both)
        assert row["users"] == both[0]["users"]
        assert (row["alone"], row["all_domains"]) == pytest.approx((alone, together), abs=1e-12)
        assert row["difference"]["mean"] == pytest.approx(together - alone, abs=1e-12)
        expected = pytest.approx((together - alone) / alone) if alone else None
        assert row["change"] == expected
    quiet = table["domains"][QUIET]
    assert (quiet["users"], quiet["change"]) == (0, None)
    assert quiet["verdict"] == "not trained alone"


def test_models_without_chance_run_once(compared):
    assert set(by_seed(compared.cells, "popularity")) == {3}
    assert set(by_seed(compared.cells, "item_knn")) == {3}
    assert set(by_seed(compared.cells, "bprmf_cross")) == {1, 3}
    models = compared.comparison["models"]
    assert {name: model["seeds"] for name, model in models.items()} == {
        **{"popularity": [], "item_knn": []},
        **{"bprmf_cross": [1, 3], "bprmf_single": [1, 3]},
    }
    ranks = by_seed(compared.cells, "bprmf_cross")
    assert ranks[1] != ranks[3], "seeds must differ"


# -------------------------------------------------------------------------------------- report


def test_best_is_bold_and_odd_names_break_no_table(compared):
    markdown = (compared.root / "comparison.md").read_text()
    tables = tables_of(markdown)
    for table in tables:
        assert {len(row) for row in table} == {len(table[0])}, table
    assert any(table[0] == ["", *compared.comparison["domains"]] for table in tables)
    models = compared.comparison["models"]
    checked = 0
    for table in tables:
        if not table[0][0].endswith("users") or table[0][1] != "seeds":
            continue
        # The first of them is overall, the others are the domains in order.
        domain = [None, *compared.comparison["domains"]][checked]
        tests = {
            name: model["test"]["overall"] if domain is None else model["test"]["domains"][domain]
            for name, model in models.items()
        }
        for column, metric in enumerate(METRICS, start=2):
            assert table[0][column] == metric.upper()
            best = max(test[metric]["mean"] for test in tests.values())
            for name, seeds, *texts in table[2:]:
                value, text = tests[name][metric], texts[column - 2]
                assert seeds == ("-" if value["std"] is None and name in SCORERS else "2")
                shown = f"{value['mean']:.4f}"
                shown += f" ± {value['std']:.4f}" if value["std"] is not None else ""
                is_best = value["mean"] == best > 0
                assert text == (f"**{shown}**" if is_best else shown)
        checked += 1
    assert checked == 1 + len(compared.comparison["domains"])


SCORERS = ("popularity", "item_knn")


def test_pictures_are_written_and_named_in_the_report(compared):
    markdown = (compared.root / "comparison.md").read_text()
    for name in ("comparison.png", "negative_transfer-bprmf_cross.png"):
        assert f"({name})" in markdown
        picture = matplotlib.image.imread(compared.root / name)
        assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 10
    assert not list(compared.root.rglob("*partial*"))


def test_progress_says_which_cell_of_how_many(compared):
    starts = [re.match(r"\[(\d+)/(\d+)\] (.*): done in \d+ s", line) for line in compared.said]
    done = [match.groups() for match in starts if match]
    assert [(int(i), int(n)) for i, n, _ in done] == [(i, 10) for i in range(1, 11)]
    titles = [title for _, _, title in done]
    assert titles[:3] == ["popularity", "item_knn", "bprmf_cross, seed 3"]
    assert f"bprmf_single, seed 1, {ODD}" in titles
    assert any("bprmf_cross, seed 1: epoch 1: loss" in line for line in compared.said)
    assert compared.said[-4:] == [
        str(compared.root / name)
        for name in (
            *("comparison.json", "comparison.md", "comparison.png"),
            "negative_transfer-bprmf_cross.png",
        )
    ]


# -------------------------------------------------------------------------------------- resume


def test_finished_cells_are_never_computed_again(compared, capsys):
    before = snapshot(compared.root)
    with no_cells():
        run(compared.directory, models=MODELS, seeds="3,1")
    assert snapshot(compared.root) == before
    assert capsys.readouterr().out.count("finished before") == 10
    assert strict_json(compared.root / "comparison.json") == compared.comparison


def test_only_what_is_missing_is_computed(compared):
    """A cell without its result, as a kill leaves it, is computed anew, to the same ranks."""
    before = snapshot(compared.root)
    missing = compared.root / "cells" / "bprmf_cross" / "seed1"
    (missing / "result.json").unlink()
    (missing / "ranks.parquet").write_bytes(b"half a fi")
    with cells_here():
        run(compared.directory, models=MODELS, seeds="3,1")
    after = snapshot(compared.root)
    changed = {file for file in after if after[file] != before.get(file)}
    assert changed and all(file.is_relative_to(missing) for file in changed)
    ranks = missing / "ranks.parquet"
    assert pq.read_table(ranks).equals(pq.read_table(pa.BufferReader(before[ranks][1])))


def test_the_data_may_move(compared, tmp_path):
    """Where the log lies is not what it is."""
    (tmp_path / "log.tsv").write_text((compared.directory / "log.tsv").read_text())
    before = snapshot(compared.root)
    with no_cells():
        run(tmp_path, "--output_dir", str(compared.root), models="popularity", seeds="3")
    assert snapshot(compared.root) == before


OTHERS = {
    "setting": (["--set", "model.dim=4"], ["model.dim", "8", "4"]),
    "epochs": (["--epochs", "7"], ["train.epochs", "1", "7"]),
    "dataset": (["--set", "data.min_interactions=2"], ["dataset", "interactions/"]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_setting_in_the_same_directory_is_refused_before_any_work(compared, name, capsys):
    more, words = OTHERS[name]
    before = snapshot(compared.root)
    with no_cells():
        # mmoe comes first and has no cell yet.
        arguments = options(compared.directory, *more, models=f"mmoe,{MODELS}", seeds="3,1")
        error = refused(arguments, capsys)
    assert all(word in error for word in ("--output_dir", str(compared.root), *words)), error
    assert snapshot(compared.root) == before
    assert not (compared.root / "cells" / "mmoe").exists()


@pytest.mark.slow
def test_killed_in_the_middle_of_a_cell_and_run_again(tmp_path):
    """kill -9 of the real command; the same command again ends where an uninterrupted one does."""
    write_log(tmp_path / "log.tsv")
    more = ("--set", "train.patience=100")
    what = {"models": "popularity,bprmf", "epochs": 20}
    with cells_here():
        whole = run(tmp_path, *more, **what, output="whole")
        # Finished before, as loading TensorFlow for it takes longer than all the rest.
        run(tmp_path, *more, models="popularity", epochs=20)
    root = tmp_path / "comparison"
    for file in root.glob("comparison.*"):
        file.unlink()
    before = snapshot(root)

    command = [sys.executable, "-m", "tf_syncrec.compare", *options(tmp_path, *more, **what)]
    said = run_until("epoch 1:", command)
    assert any("popularity: finished before" in line for line in said), said
    assert "bprmf, seed 0: epoch 1:" in said[-1], said
    begun = root / "cells" / "bprmf" / "seed0"
    assert (begun / "cell.json").exists() and (begun / "log.txt").stat().st_size > 0
    assert not (begun / "result.json").exists()
    assert not (root / "comparison.json").exists()

    compare.main(command[3:])  # its cell is a process of its own
    after = snapshot(root)
    assert before and all(after[file] == before[file] for file in before)
    assert without_cost(root / "comparison.json") == without_cost(whole / "comparison.json")
    for file in whole.rglob("ranks.parquet"):
        assert pq.read_table(file).equals(pq.read_table(root / file.relative_to(whole)))


def run_until(word, command):
    """Kills a command -9 when it says a word; returns what it said when its cell has ended too."""
    said = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if word in line:
                    break
            process.kill()  # not its cell, which is another process
            process.wait()
            deadline = time.monotonic() + 60
            while process_group_lives(process.pid):
                assert time.monotonic() < deadline, "the cell outlives the comparison"
                time.sleep(0.05)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return said


def process_group_lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def without_cost(file):
    comparison = strict_json(file)
    for model in comparison["models"].values():
        assert model.pop("cost")["seconds"] > 0
    return comparison


# -------------------------------------------------------------------------------------- errors


def refused(arguments, capsys):
    """Exit code 2 and one line, which is returned."""
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: compare.main(arguments))
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2
    assert len(error.splitlines()) == 1, error
    return error


BAD_OPTIONS = {
    "unknown model": (["--models", "sasrek"], ["--models", "sasrek", "sasrec"]),
    "unknown of RecBole": (["--models", "recbole:Sasrec"], ["recbole:Sasrec", "recbole:SASRec"]),
    "scorer by domain": (["--models", "popularity_single"], ["popularity_single"]),
    "two suffixes": (["--models", "sasrec_cross_single"], ["sasrec_cross_single"]),
    "repeated": (["--models", "bprmf,popularity,bprmf"], ["--models", "bprmf,popularity,bprmf"]),
    "repeated by another name": (["--models", "sasrec,sasrec_cross"], ["sasrec,sasrec_cross"]),
    "no model": (["--models", ""], ["--models"]),
    "no model but commas": (["--models", ",,"], ["--models", ",,"]),
    "neither": ([], ["--models", "--preset"]),
    "both": (["--models", "bprmf", "--preset", "main"], ["--models", "--preset"]),
    "unknown preset": (["--preset", "mian"], ["--preset", "mian"]),
    "seeds: word": (["--models", "bprmf", "--seeds", "0,one"], ["--seeds", "0,one"]),
    "seeds: empty": (["--models", "bprmf", "--seeds", ""], ["--seeds"]),
    "seeds: negative": (["--models", "bprmf", "--seeds=-1"], ["--seeds", "-1"]),
    "seeds: repeated": (["--models", "bprmf", "--seeds", "1,2,1"], ["--seeds", "1,2,1"]),
    "seed": (["--models", "bprmf", "--seed", "1"], ["--seed 1", "--seeds"]),
    "reference": (
        ["--models", "bprmf,popularity", "--reference", "syncrec"],
        ["--reference syncrec", "bprmf, popularity"],
    ),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_option(name, tmp_path, capsys):
    more, words = BAD_OPTIONS[name]
    output = tmp_path / "comparison"
    with no_cells():
        error = refused(["--dataset", "synthetic", *more, "--output_dir", str(output)], capsys)
    assert all(word in error for word in words), error
    assert not output.exists()


def test_output_dir_that_is_a_file(compared, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    arguments = options(compared.directory, "--output_dir", str(tmp_path / "taken"))
    assert f"--output_dir {tmp_path / 'taken'}" in refused(arguments, capsys)
    assert (tmp_path / "taken").read_text() == "mine"


FAILURES = {
    "error": ("echo epoch 1; echo ValueError: too bad >&2; exit 1", "ValueError: too bad"),
    "killed": ("echo epoch 1; kill -9 $$", "signal 9"),
    "silent": ("exit 3", "code 3"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failing_cell_ends_the_comparison_in_one_line_that_names_its_log(
    compared, tmp_path, monkeypatch, capsys, name
):
    script, word = FAILURES[name]
    failing = tmp_path / "python"
    failing.write_text(f"#!/bin/sh\n{script}\n")
    failing.chmod(0o755)
    monkeypatch.setattr(compare.sys, "executable", str(failing))
    with pytest.raises(SystemExit) as stop:
        compare.main(
            options(compared.directory, "--output_dir", str(tmp_path), models="bprmf,popularity")
        )
    message = str(stop.value.code)
    log = tmp_path / "cells" / "bprmf" / "seed0" / "log.txt"
    assert message.startswith("error: ") and len(message.splitlines()) == 1
    assert "bprmf, seed 0" in message and str(log) in message and word in message
    assert log.read_text().count("epoch 1") == script.count("epoch 1")
    assert not (tmp_path / "cells" / "popularity").exists()
    assert not (tmp_path / "comparison.json").exists()


def test_what_fails_in_a_cell_is_in_its_log_and_the_cell_is_not_finished(compared, tmp_path):
    def fail(*_, **__):
        raise FloatingPointError("the loss is nan")

    with cells_here() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(cell, "train", fail)
        run(compared.directory, "--output_dir", str(tmp_path), models="popularity,bprmf")
    assert "the loss is nan" in str(stop.value.code)
    log = tmp_path / "cells" / "bprmf" / "seed0" / "log.txt"
    assert "Traceback" in log.read_text()
    assert not (log.parent / "result.json").exists()
    assert (tmp_path / "cells" / "popularity" / "seed0" / "result.json").exists()


# ------------------------------------------------------------------------ single-domain models


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """As `compared`, but with others of the items of ODD, and a look at all that the cells read.

    Returns `(cells, [(who reads, domains of the items read)])`.
    """
    directory, met = tmp_path_factory.mktemp("changed"), []
    write_log(directory / "log.tsv", other_items=5)
    with cells_here() as patch:

        def watch(name, positions):
            function = getattr(cell, name)

            def watched(*args, **kwargs):
                met.append((name, [args[i] for i in positions]))
                return function(*args, **kwargs)

            patch.setattr(cell, name, watched)

        watch("train", (2, 3))  # training and validation
        watch("rank_split", (1,))
        root = run(directory, models="bprmf_single,bprmf_cross", seeds="1")
    catalogue = prepare(
        "interactions", path=directory / "log.tsv", data_dir=directory / "data", report=None
    ).catalogue
    read = []
    for name, datasets in met:
        batches = [batch["items"].numpy().ravel() for data in datasets for batch in data]
        if not batches:  # QUIET has no targets: popularity stands in, and ranks nobody
            continue
        items = np.unique(np.concatenate(batches))
        domains = catalogue.item_domains[items[items > 0] - 1]
        read.append((name, {catalogue.domains[domain] for domain in domains}))
    return cells_of(root), read


def test_a_single_domain_model_meets_no_item_of_another_domain(changed):
    # Training, ranking validation, ranking test: of each domain alone, then of all together.
    calls = ("train", "rank_split", "rank_split")
    seen = ({ODD}, {"plain"}, {ODD, QUIET, "plain"})
    assert changed[1] == [(name, domains) for domains in seen for name in calls]


def test_what_happens_in_other_domains_does_not_change_a_single_domain_model(compared, changed):
    """The same items of `plain`, with others of the other domain in between."""

    def ranks(cells, model):
        rows = by_seed(cells, model)[1]
        return {row["user_id"]: row["rank"] for row in rows if row["domain"] == "plain"}

    alone = ranks(changed[0], "bprmf_single")
    assert len(set(alone.values())) > 5
    assert alone == ranks(compared.cells, "bprmf_single")
    assert ranks(changed[0], "bprmf_cross") != ranks(compared.cells, "bprmf_cross")


RARE = {
    # domains of everybody's sequence, and how many test targets are of `rare`
    "no test targets": ("rare rare a rare a", 0),
    "no validation targets": ("rare rare a a rare", 12),
    "no trained items": ("a b a a rare", 12),
    "none but in training": ("rare rare a a b", 0),
}


@pytest.mark.parametrize("name", RARE)
def test_a_domain_of_which_nothing_can_be_learnt_alone(name, tmp_path, capsys):
    """Popularity stands in, which is said, in place of a crash."""
    sequence, targets = RARE[name]
    lines = ["user_id,item_id,domain,timestamp"]
    for user in range(12):
        for step, domain in enumerate(sequence.split()):
            lines.append(f"u{user},{domain}{(user + step) % 6},{domain},{step}")
    (tmp_path / "log.tsv").write_text("\n".join(lines) + "\n")
    settings = {"dataset": "interactions", "path": str(tmp_path / "log.tsv")}
    config = Config.model_validate({"data": settings | {"data_dir": str(tmp_path / "data")}})
    prepared = prepare_data(config)
    one = compare.Cell(compare.parse_name("sasrec_single"), 0, "rare")
    directory = one.directory(tmp_path)
    directory.mkdir(parents=True)
    request = one.request(config, prepared.name)
    (directory / "cell.json").write_text(json.dumps(request))
    cell.run_cell(directory)
    assert "popularity stands in" in capsys.readouterr().out
    rows = pq.read_table(directory / "ranks.parquet").to_pylist()
    assert len(rows) == targets and {row["domain"] for row in rows} <= {"rare"}
    if name == "no trained items":
        assert all(row["cold"] and row["rank"] > 10 for row in rows)
    strict_json(directory / "result.json")


# --------------------------------------------------------------------------- negative transfer


def test_verdicts_on_planted_ranks(tmp_path, capsys):
    """Ranks written by hand: the preset finds them, and says who is hurt and who is helped."""
    rng = np.random.default_rng(0)
    domains = ["hurt", "helped", "same", "$|"]
    lines = ["user_id\titem_id\tdomain\ttimestamp"]
    for user in range(200):
        for step in range(4):
            domain = domains[(user + step // 2) % 4]
            lines.append(f"u{user}\t{domain}{rng.integers(9)}\t{domain}\t{step}")
    (tmp_path / "log.tsv").write_text("\n".join(lines) + "\n")
    prepared = prepare(
        "interactions", path=tmp_path / "log.tsv", data_dir=tmp_path / "data", report=None
    )
    users = {
        row["user_id"].decode(): prepared.catalogue.domains[row["domain"]]
        for row in prepared.as_dataset("test").as_numpy_iterator()
    }
    # Of each domain, ranks alone and with all others; `$|` differs as often up as down.
    planted = {"hurt": ([1, 2], [9, 30]), "helped": ([9, 30], [1, 2])}
    planted |= {"same": ([3, 3], [3, 3]), "$|": ([2, 5], [5, 2])}
    root = tmp_path / "comparison"
    for model in ("syncrec", "syncrec_single", "sasrec_cross", "sasrec_single"):
        for seed in range(2):
            for part in domains if model.endswith("_single") else [None]:
                own = [user for user in users if part in (None, users[user])]
                ranks = [planted[users[u]][part is None][int(u[1:]) // 4 % 2] for u in own]
                if model.startswith("syncrec"):  # nothing changes
                    ranks = [4] * len(own)
                plant_cell(root, model, seed, part, own, [users[u] for u in own], ranks)
    arguments = options(tmp_path, seeds="0,1")
    at = arguments.index("--models")
    arguments[at : at + 2] = ["--preset", "negative_transfer"]
    with no_cells():
        compare.main(arguments)
    comparison = strict_json(root / "comparison.json")
    assert comparison["reference"] == "sasrec_single"
    found = comparison["negative_transfer"]
    expected = {"hurt": "hurt", "helped": "helped"}
    expected |= dict.fromkeys(("same", "$|"), "no clear difference")
    rows = found["sasrec_cross"]["domains"]
    assert {name: row["verdict"] for name, row in rows.items()} == expected
    assert {row["verdict"] for row in found["syncrec"]["domains"].values()} == {
        "no clear difference"
    }
    mean = {
        name: [statistics.fmean(literal_gain(rank, "ndcg@10") for rank in ranks) for ranks in both]
        for name, both in planted.items()
    }
    for name, (alone, together) in mean.items():
        assert (rows[name]["alone"], rows[name]["all_domains"]) == pytest.approx((alone, together))
        assert rows[name]["change"] == pytest.approx(together / alone - 1)
    assert rows["hurt"]["difference"]["high"] < 0 < rows["helped"]["difference"]["low"]

    tables = tables_of((root / "comparison.md").read_text())
    (table,) = [t for t in tables if t[0][-1] == "other domains" and t[2][-1] != t[3][-1]]
    assert {row[0]: row[-1] for row in table[2:] if row[0] in domains} == expected
    # Red for hurt and blue for helped; nothing of both where nothing changes.
    red, blue = (0xC0, 0x39, 0x2B), (0x24, 0x71, 0xA3)
    assert colours(root / "negative_transfer-sasrec_cross.png") >= {red, blue}
    assert not colours(root / "negative_transfer-syncrec.png") & {red, blue}


@pytest.mark.parametrize(("gain", "verdict"), [(0.2, "no clear difference"), (-0.1, "hurt")])
def test_seeds_that_disagree_make_no_verdict(gain, verdict):
    """Significant over users on average, but with the second seed the other way round."""
    alone = np.full((2, 50), 0.5)
    together = alone + np.add([[-0.4], [gain]], np.linspace(0, 0.01, 50))
    ranks: dict[str, Any] = {
        "sasrec": SimpleNamespace(gains=lambda metric: together),
        "sasrec_single": SimpleNamespace(gains=lambda metric: alone),
    }
    models = {name: compare.parse_name(name) for name in ranks}
    index = np.zeros(50, int)
    table = comparison._negative_transfer(models, ranks, index, ["only"], set())["sasrec"]
    row = table["domains"]["only"]
    assert row["difference"]["p_value"] < 0.01 and row["difference"]["high"] < 0
    assert row["verdict"] == verdict
    assert row["by_seed"] == pytest.approx([-0.395, gain + 0.005])
    stand_in = comparison._negative_transfer(
        models, ranks, index, ["only"], {("sasrec_single", "only")}
    )
    assert stand_in["sasrec"]["domains"]["only"]["verdict"] == "not trained alone"


def plant_cell(root, model, seed, domain, users, domains, ranks):
    """A finished cell, written as by hand."""
    directory = compare.Cell(compare.parse_name(model), seed, domain).directory(root)
    directory.mkdir(parents=True)
    table = {"user_id": users, "domain": domains, "rank": ranks, "cold": [False] * len(users)}
    pq.write_table(pa.table(table), directory / "ranks.parquet")
    cost = {"peak_memory_mb": 1.0, "seconds": 2.0}
    result = {"stand_in": False, "validation": {}, "cost": cost}
    (directory / "result.json").write_text(json.dumps(result))


def colours(file):
    """Distinct colours of a picture."""
    pixels = np.round(255 * matplotlib.image.imread(file)[..., :3]).astype(int)
    return set(map(tuple, np.unique(pixels.reshape(-1, 3), axis=0).tolist()))


def test_cells_are_made_seed_by_seed_and_have_directories_of_their_own():
    """A comparison that is stopped has whole seeds; any name of a domain can be a directory."""
    names = ["bprmf_single", "item_knn", "recbole:SASRec"]
    domains = ["a/b", "..", "", "A", "a"]
    cells = compare.cells_of([compare.parse_name(name) for name in names], [4, 2], domains)
    assert [c.seed for c in cells] == [4] * 7 + [2] * 6
    directories = [c.directory(Path("root")) for c in cells]
    assert len({str(directory).lower() for directory in directories}) == len(cells)
    assert all(d.resolve().is_relative_to(Path("root").resolve()) for d in directories)
