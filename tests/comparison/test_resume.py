"""Cells are computed once: finished ones are kept, killed ones are begun again."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.comparing import (
    MODELS,
    cells_here,
    no_cells,
    options,
    refused,
    run,
    snapshot,
    strict_json,
    write_log,
)
from tf_syncrec import compare
from tf_syncrec.comparison import jobs
from tf_syncrec.utils.locks import RunLock


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
    root = tmp_path / "comparison"  # a copy, since its report will be of one model
    shutil.copytree(compared.root, root)
    before = snapshot(root)
    with no_cells():
        run(tmp_path, "--output_dir", str(root), models="popularity", seeds="3")
    assert snapshot(root) == before


@pytest.mark.slow
@pytest.mark.parametrize("finishes", [True, False], ids=["finishes", "ends"])
def test_what_another_comparison_computes_is_waited_for(tmp_path, capsys, finishes):
    """A second process with the same directory leaves a cell alone while its owner lives."""
    write_log(tmp_path / "log.tsv")
    with cells_here():
        root = run(tmp_path, models="popularity,bprmf", seeds="0")
    whole = strict_json(root / "comparison.json")
    popularity, contested = root / "cells/popularity/seed0", root / "cells/bprmf/seed0"
    (popularity / "result.json").unlink()
    (contested / "result.json").rename(tmp_path / "result.json")
    other = RunLock(contested)  # a second lock of one process is refused as another one's is
    assert other.take() is None
    looks = 0

    def wait(_):
        nonlocal looks
        looks += 1
        assert (popularity / "result.json").exists(), "does not wait while there is work"
        assert not (contested / "result.json").exists(), "computes what another one computes"
        if looks == 3:
            if finishes:
                (tmp_path / "result.json").rename(contested / "result.json")
            other.release()

    with cells_here() as patch:
        patch.setattr(jobs, "time", SimpleNamespace(sleep=wait, perf_counter=time.perf_counter))
        run(tmp_path, models="bprmf,popularity", seeds="0")
    assert looks == 3
    said = capsys.readouterr().out
    assert said.count("waiting for other processes to finish: [1/2]") == 1, said
    assert ("bprmf, seed 0: epoch 1/1" in said.split("waiting for")[1]) is not finishes
    again = strict_json(root / "comparison.json")
    assert {n: m["test"] for n, m in again["models"].items()} == {
        n: m["test"] for n, m in whole["models"].items()
    }


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
@pytest.mark.parametrize(
    "grid",
    [(), pytest.param(("--grid", "train.learning_rate=0.01,0.02"), marks=pytest.mark.long)],
)
def test_killed_in_the_middle_of_a_cell_and_run_again(tmp_path, grid):
    """kill -9 of the real command; the same command again ends where an uninterrupted one does."""
    write_log(tmp_path / "log.tsv")
    more = ("--set", "train.patience=100")
    what = {"models": "popularity,bprmf", "epochs": 20}
    with cells_here():
        # Finished before, as loading TensorFlow for it takes longer than all the rest.
        run(tmp_path, *more, models="popularity", epochs=20)
        more += grid
        whole = run(tmp_path, *more, **what, output="whole")
    root = tmp_path / "comparison"
    for file in root.glob("comparison.*"):
        file.unlink()
    before = snapshot(root)

    command = [sys.executable, "-m", "tf_syncrec.compare", *options(tmp_path, *more, **what)]
    said = run_until("epoch 1/", command)
    assert grid or any("popularity: finished before" in line for line in said), said
    assert "bprmf, seed 0: epoch 1/" in said[-1], said
    begun = root / "cells" / "bprmf" / "seed0"
    assert (begun / "cell.json").exists() and (begun / "log.txt").stat().st_size > 0
    assert not (begun / "result.json").exists() and not (begun / "validation.json").exists()
    assert not (root / "comparison.json").exists()

    compare.main(command[3:])  # its cell is a process of its own
    after = snapshot(root)
    assert before and all(after[file] == before[file] for file in before)
    assert without_cost(root / "comparison.json") == without_cost(whole / "comparison.json")
    for file in whole.rglob("ranks.parquet"):
        assert pq.read_table(file).equals(pq.read_table(root / file.relative_to(whole)))


@pytest.mark.slow
def test_a_cell_ends_with_its_comparison_even_when_it_has_nothing_to_say():
    code = (
        "import time; from tf_syncrec.utils.stopping import end_with_parent; "
        "end_with_parent(); print(); time.sleep(99)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdin is not None and process.stdout is not None
            assert process.stdout.readline() == b"\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            process.stdin.close()  # what the end of its parent does, whatever the reason
            assert process.wait(10) == 1
        finally:
            process.kill()


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
    assert comparison.pop("command")
    for tuning in comparison["tuning"].values():
        assert tuning.pop("seconds") > 0
    for model in comparison["models"].values():
        assert model.pop("cost")["seconds"] > 0
    for cell in comparison["cells"]:
        assert cell.pop("cost")["seconds"] > 0
    return comparison
