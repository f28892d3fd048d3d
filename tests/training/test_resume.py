"""A training that is interrupted goes on to the end it would have had, to the last bit."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data_prep import InputError
from tests.support import killed
from tests.test_fit import TINY, write_log
from tf_syncrec.cli import run_command
from tf_syncrec.data.batches import train_batches
from tf_syncrec.fit import main as fit
from tf_syncrec.training.backup import Backup
from tf_syncrec.training.checkpoints import Checkpoints
from tf_syncrec.utils.locks import RunLock
from tf_syncrec.utils.stopping import Stopped

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.support.killed"])


def h5_arrays(file: Path) -> dict[str, bytes]:
    """All arrays of an HDF5 file."""
    found = {}
    with h5py.File(file) as content:
        content.visititems(
            lambda name, node: (
                found.update({name: node[()].tobytes()}) if isinstance(node, h5py.Dataset) else None
            )
        )
    return found


def whole_state(directory: Path):
    """All that the last checkpoint of a training holds: bits of variables, progress, best weights.

    Weights, λ, optimizer, random numbers and metrics are variables; seconds are left out.
    """
    last = max(directory.glob("step-*"))
    variables = h5_arrays(last / "variables.h5")
    assert len(variables) > 100
    progress = json.loads((last / "state.json").read_text())["progress"]
    for row in (progress, *progress["history"]):
        for measured in [name for name in row if name.endswith("seconds")]:
            del row[measured]
    best = h5_arrays(last / "best.weights.h5") | h5_arrays(last / "optimizer.h5")
    assert best
    return last.name, variables, progress, best


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """`whole_state` of a training that nothing disturbed."""
    directory = tmp_path_factory.mktemp("whole") / "checkpoints"
    _, trained = killed.train_kept(directory, killed.settings())
    assert len(trained.history) > 3, "too short to be interrupted"
    return whole_state(directory)


def run_and_kill(start, directory: Path, rng, moment: str) -> str | None:
    """Starts a process and kills it.

    Args:
        start: makes the process.
        directory: of its checkpoints.
        rng: chance.
        moment: `"any"`: a random time after the start; `"checkpoint"`: while the n-th checkpoint
            from now is written, or shortly after.

    Returns:
        What was on disk at that moment; None if the process had ended before.
    """
    process = start()
    process.start()
    if moment == "any":
        end = time.monotonic() + rng.uniform(0, 8)
        while process.is_alive() and time.monotonic() < end:
            time.sleep(0.01)
    else:
        met: set[str] = set()
        known = set(os.listdir(directory)) if directory.exists() else set()
        wanted = rng.randint(1, 3)
        while process.is_alive() and len(met) < wanted:
            here = os.listdir(directory) if directory.exists() else []
            met |= {name for name in here if name.endswith("partial")} - known
            time.sleep(0.0005)
        time.sleep(rng.choice([0, rng.uniform(0, 0.03)]))
    ended = not process.is_alive()
    if not ended:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    if ended:
        assert process.exitcode == 0
        return None
    return " ".join(sorted(os.listdir(directory))) if directory.exists() else "nothing"


def kill_often(directory, log, moments, seed):
    """Kills a training at all these moments and lets it end; returns what was on disk."""
    rng = random.Random(seed)

    def start():
        return FORKS.Process(target=killed.train_in_process, args=(directory, log))

    met: list[str] = []
    for moment in moments:
        found = run_and_kill(start, directory, rng, moment)
        assert found is not None, f"ended before it was killed often enough: {met}"
        met.append(found)
        print(f"kill {len(met)} ({moment}): {found}")
    last = start()
    last.start()
    last.join()
    assert last.exitcode == 0, log.read_text()[-3000:]
    return met


@pytest.mark.long  # `test_run_machine.py` kills the command at any of its events
def test_killed_over_and_over(tmp_path, uninterrupted):
    """kill -9 at 20 moments of one training, most of them while a checkpoint is written."""
    moments = ["any"] * 5 + ["checkpoint"] * 15
    random.Random(2).shuffle(moments)
    met = kill_often(tmp_path / "run", tmp_path / "log", moments, 3)
    assert len(met) >= 20 and sum("partial" in found for found in met) >= 3, met
    assert len(set(met)) > 10, "always killed at the same place"
    assert whole_state(tmp_path / "run") == uninterrupted


# ------------------------------------------------------------------------------- one process


def stop_at(monkeypatch, step, how):
    """Has something happen after the n-th step of the training that comes next."""
    count = 0
    original = Backup.on_train_batch_end

    def after_step(self, batch, logs=None):
        nonlocal count
        count += 1
        if count == step:
            how()
        original(self, batch, logs)

    monkeypatch.setattr(Backup, "on_train_batch_end", after_step)


@pytest.mark.slow
def test_sigterm_in_the_middle_of_an_epoch(tmp_path, monkeypatch, uninterrupted):
    """Without checkpoints in the epoch: the signal makes one. Then the newest one is damaged."""
    directory, config = tmp_path / "run", killed.settings(checkpoint_steps=0)
    stop_at(monkeypatch, 18, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped, match=r"SIGTERM; go on with --resume") as stopped:
        killed.train_kept(directory, config)
    assert stopped.value.code == 128 + signal.SIGTERM
    steps = sorted(path.name for path in directory.glob("step-*"))
    assert steps == ["step-000000014", "step-000000018"]
    with open(directory / steps[-1] / "variables.h5", "r+b") as file:
        file.truncate(1000)
    killed.train_kept(directory, config)
    assert whole_state(directory) == uninterrupted


@pytest.mark.slow
def test_another_configuration_does_not_go_on(tmp_path, monkeypatch):
    stop_at(monkeypatch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        killed.train_kept(tmp_path, killed.settings())
    before = {file: file.read_bytes() for file in tmp_path.rglob("step-*/*")}
    with pytest.raises(InputError, match=r"train.learning_rate = 0.001, .* says 0.5"):
        killed.train_kept(tmp_path, killed.settings(learning_rate=0.5))
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("step-*/*")}


def test_a_checkpoint_of_an_earlier_version_is_refused(tmp_path):
    """Whole, and of the same settings, but without the file that has the variables now."""
    config = killed.settings()
    state = {"identity": config.identity(killed.ring().name), "progress": {}}

    def write(directory):
        (directory / "state.json").write_text(json.dumps(state))

    Checkpoints(tmp_path, print).save(3, write)
    with pytest.raises(InputError, match=r"step-000000003 does not fit .*variables.h5 cannot be"):
        killed.train_kept(tmp_path, config)
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-000000003"]


def spoil_step(number):
    """Makes the loss of the n-th training step no number."""

    def spoil(model):
        steps = tf.Variable(0, trainable=False)
        original = model.batch_losses

        def batch_losses(*args, **kwargs):
            losses = original(*args, **kwargs)
            count = steps.assign_add(1)
            factor = tf.where(count == number, float("nan"), 1.0)
            return losses._replace(total=losses.total * factor)

        model.batch_losses = batch_losses

    return spoil


def test_a_loss_that_is_no_number_stops_with_step_users_and_checkpoint(tmp_path):
    with pytest.raises(FloatingPointError) as error:
        killed.train_kept(tmp_path, killed.settings(), spoil_step(16))
    batches = train_batches(killed.ring(), 4, 4, killed.settings().train.seed)
    users = ", ".join(batches.users_of(1, 1))
    for words in ("epoch 2, step 2 of 14", f"users of the batch: {users};", "step-000000015"):
        assert words in str(error.value)


@pytest.mark.slow
def test_a_skipped_step_changes_nothing(tmp_path):
    """The step is counted, and the state before it is the state after it but for chance."""
    states: dict[int, tuple[float, bool]] = {}

    def listen(model):
        spoil_step(16)(model)
        original = model.train_step

        def train_step(batch):
            before = [tf.identity(weight) for weight in kept(model)]
            logs = original(batch)
            same = [tf.reduce_all(a == b.value) for a, b in zip(before, kept(model), strict=True)]
            tf.py_function(
                lambda skipped, same: states.setdefault(len(states), (float(skipped), bool(same))),
                [logs["skipped_steps"], tf.reduce_all(same)],
                [],
            )
            return logs

        model.train_step = train_step

    def kept(model):
        metrics = [x for x in model.metrics_variables if "skipped" not in x.path]
        return [
            *(x for x in model.variables if "seed_generator" not in x.path),
            *model.optimizer.variables,
            *metrics,
        ]

    _, trained = killed.train_kept(tmp_path, killed.settings(on_nan="skip", epochs=2), listen)
    assert [row["skipped_steps"] for row in trained.history] == [0, 1]
    unchanged = [step for step, (_, same) in states.items() if same]
    assert unchanged == [15]


# ------------------------------------------------------------------------------- the command


def refused(arguments, capsys):
    """The one line with which `fit` refuses."""
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: fit(arguments))
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_resume_without_a_run(tmp_path, capsys):
    assert "--output_dir" in refused(["--resume"], capsys)
    nothing = refused(["--resume", "--output_dir", str(tmp_path / "run")], capsys)
    assert "holds no run" in nothing and not (tmp_path / "run").exists()


def test_resume_with_other_settings(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    killed.settings().save(tmp_path / "run" / "config.yaml")
    resume = ["--resume", "--output_dir", str(tmp_path / "run")]
    line = refused([*resume, "--set", "model.dim=8"], capsys)
    assert "model.dim = 4" in line and "8" in line
    assert "--resume" in refused(["--output_dir", str(tmp_path / "run")], capsys)


@pytest.mark.slow
def test_the_command_killed_in_training_in_the_export_and_before_the_report(tmp_path, capsys):
    log = tmp_path / "log"
    write_log(tmp_path / "log.csv")
    options = [
        *("--dataset", "interactions", "--path", str(tmp_path / "log.csv"), *TINY, "--epochs", "4"),
        *("--data_dir", str(tmp_path / "data"), "--resume", "--set", "model.neighbours=3"),
    ]
    run, whole = tmp_path / "run", tmp_path / "whole"

    def start(directory, *options):
        arguments = [*options, "--output_dir", str(directory)]
        process = FORKS.Process(target=killed.fit_in_process, args=(arguments, log))
        process.start()
        return process

    def signal_when(pattern, number, *options):
        process = start(run, *options)
        while process.is_alive() and not list(run.glob(pattern)):
            time.sleep(0.001)
        os.kill(process.pid, number)
        process.join()
        return process.exitcode

    started = start(whole, *options)
    started.join()
    assert started.exitcode == 0, log.read_text()[-3000:]
    # The same command begins a run and goes on with it.
    assert signal_when("checkpoints/step-*", signal.SIGTERM, *options) == 128 + signal.SIGTERM
    assert f"--resume --output_dir {run}" in log.read_text().splitlines()[-1]
    assert signal_when("export/syncrec/.*", signal.SIGKILL, "--resume") == -signal.SIGKILL
    assert signal_when("export/syncrec/1", signal.SIGKILL, "--resume") == -signal.SIGKILL
    ended = start(run, "--resume")
    ended.join()
    assert ended.exitcode == 0

    assert whole_state(run / "checkpoints") == whole_state(whole / "checkpoints")
    assert h5_arrays(run / "checkpoints" / "best.weights.h5") == h5_arrays(
        whole / "checkpoints" / "best.weights.h5"
    )
    ranks = [pq.read_table(directory / "test_ranks.parquet") for directory in (run, whole)]
    assert ranks[0].equals(ranks[1])
    found = [json.loads((directory / "metrics.json").read_text()) for directory in (run, whole)]
    for metrics in found:
        del metrics["training"]
    assert found[0] == found[1]
    assert [path.name for path in (run / "export" / "syncrec").iterdir()] == ["1"]
    tf.saved_model.load(str(run / "export" / "syncrec" / "1"))
    assert (run / "report.html").exists()
    fit(["--resume", "--output_dir", str(run)])
    assert "finished run" in capsys.readouterr().out


def test_two_processes_cannot_write_one_run(tmp_path, capsys):
    """The lock is that of a living process: what a killed one held is free."""
    run = tmp_path / "run"
    run.mkdir()
    killed.settings().save(run / "config.yaml")
    hold = (
        "import sys, time; from pathlib import Path; from tf_syncrec.utils.locks import RunLock; "
        "lock = RunLock(Path(sys.argv[1])); lock.acquire(); print('held', flush=True); "
        "time.sleep(300)"
    )
    with subprocess.Popen([sys.executable, "-c", hold, run], stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        before = sorted(path.name for path in run.iterdir())
        line = refused(["--resume", "--output_dir", str(run)], capsys)
        assert f"{run}: is being written by process {other.pid}" in line
        assert before == sorted(path.name for path in run.iterdir())
        other.kill()
        other.wait()
    lock = RunLock(run)
    lock.acquire()
    lock.acquire()
    with pytest.raises(InputError, match=f"process {os.getpid()}"):
        RunLock(run).acquire()
    lock.release()
    lock.acquire()
    lock.release()


@pytest.mark.slow
def test_checkpoints_by_the_clock(tmp_path, monkeypatch):
    """Every two minutes, of a training whose every look at the clock takes one."""
    minutes = iter(range(10_000))
    monkeypatch.setattr("tf_syncrec.training.backup.time.monotonic", lambda: 60.0 * next(minutes))
    saved: list[int] = []
    original = Checkpoints.save

    def save(self, step, write):
        saved.append(step)
        return original(self, step, write)

    monkeypatch.setattr(Checkpoints, "save", save)
    config = killed.settings(checkpoint_steps=0, checkpoint_minutes=2.0, epochs=1)
    killed.train_kept(tmp_path, config)
    assert saved[-1] == 14 and len(saved) > 3
    assert all(0 < later - earlier <= 2 for earlier, later in pairwise([0, *saved[:-1]]))
