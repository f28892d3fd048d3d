"""Several workers are one training: what they tell each other, and one that dies."""

import os
import signal
import time
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from tests.support import killed
from tests.support.processes import free_addresses, last_lines
from tests.test_fit import TINY, write_log
from tests.training.test_resume import FORKS, whole_state

TALK = """
import json
import os
import sys
import time

import numpy as np
import tensorflow as tf

from data_prep import InputError
from tf_syncrec.distributed.cluster import cluster_of
from tf_syncrec.distributed.replicas import strategy_of
from tf_syncrec.utils.stopping import Stopped
from tf_syncrec.distributed.workers import *

workers, index = sys.argv[1], int(sys.argv[2])
cluster = cluster_of(workers, index, "auto")
strategy = strategy_of("auto", cluster=cluster)
found = {"chief": is_chief(strategy), "several": several_workers(strategy)}
found["sum"] = sum_over_workers(strategy, np.array([1.0, index], np.float32)).tolist()
found["said"] = from_chief(strategy, [{"a": "é", "b": 1 / 3, "c": None}] if index == 0 else "no")
with strategy.scope():
    variables = [
        keras.Variable(np.array(values, kind) + index, trainable=False, dtype=kind)
        for values, kind in (([0.1, 2.0], "float32"), ([2**40, 7], "int64"))
    ]
variables[0].assign([index, 0.1])
take_from_chief(strategy, variables)
found["variables"] = [variable.numpy().tolist() for variable in variables]
agree(strategy, {"same": (1, 2)})
try:
    agree(strategy, {"same": 1, "rate": 0.1 + index})
except (InputError, Stopped) as error:
    found["disagree"] = [type(error).__name__, str(error)]
start = time.monotonic()
try:
    with reraise_lost_workers(cluster, lambda: "start again"):
        if index == 1:
            print(json.dumps(found), flush=True)
            os._exit(0)
        from_chief(strategy)
except Stopped as stopped:
    found |= {"lost": str(stopped), "code": stopped.code}
    found["seconds"] = time.monotonic() - start
print(json.dumps(found), flush=True)
os._exit(0)
"""


@pytest.mark.slow
def test_what_workers_tell_each_other():
    workers = free_addresses(2)
    chief, other = last_lines(TALK, *([",".join(workers), index] for index in "01"))
    assert (chief["chief"], other["chief"]) == (True, False)
    for found in (chief, other):
        assert found["several"] and found["sum"] == [2.0, 1.0]
        assert found["said"] == [{"a": "é", "b": 1 / 3, "c": None}]
        assert found["variables"] == [pytest.approx([0, 0.1]), [2**40, 7]]
    assert other["disagree"][0] == "InputError" and "rate = 1.1, there 0.1" in other["disagree"][1]
    assert chief["disagree"][0] == "Stopped" and "worker 1 has other" in chief["disagree"][1]
    # TensorFlow finds out at once, or when the next heartbeats are missing.
    assert "worker" in chief["lost"] and "was lost" in chief["lost"], chief["lost"]
    assert chief["lost"].endswith("start again") and chief["code"] == 1
    assert chief["seconds"] < 60


class Workers:
    """Two processes of the command `fit` that train together.

    Args:
        directory: of the log, data and messages.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        write_log(directory / "log.csv")
        self.options = [
            *("--dataset", "interactions", "--path", str(directory / "log.csv"), *TINY),
            *("--data_dir", str(directory / "data"), "--epochs", "4", "--resume"),
        ]

    def start(self, run: str):
        """Starts both; returns them."""
        workers = ",".join(free_addresses(2))
        processes = []
        for index in range(2):
            log = self.directory / f"{run}.{index}.log"
            cluster = ["--workers", workers, "--worker_index", str(index)]
            # Without a shared disk, the other one has a directory that stays empty.
            directory = self.directory / (run if index == 0 else f"{run} of another machine")
            arguments = [*self.options, *cluster, "--output_dir", str(directory)]
            process = FORKS.Process(target=killed.fit_in_process, args=(arguments, log))
            process.start()
            processes.append(process)
        return processes

    def last_line(self, run: str, index: int) -> str:
        """The last thing that one of them said in all its lives."""
        return (self.directory / f"{run}.{index}.log").read_text().splitlines()[-1]

    def ended(self, processes, within: float = 240) -> list[int]:
        """Their exit codes."""
        for process in processes:
            process.join(within)
        return [process.exitcode for process in processes]


@pytest.mark.slow
def test_one_of_two_workers_dies_and_both_resume(tmp_path):
    """The end is that of two workers that nothing disturbed: weights, optimizer, λ to the bit.

    Of an epoch that was cut in two the means in the log are, but for rounding: each worker goes on
    with an equal part of the sums.
    """
    workers = Workers(tmp_path)
    assert workers.ended(workers.start("whole")) == [0, 0], workers.last_line("whole", 0)
    seconds = []
    for number, code in ((signal.SIGKILL, 1), (signal.SIGTERM, 128 + signal.SIGTERM)):
        known = set((tmp_path / "run" / "checkpoints").glob("step-*"))
        chief, other = workers.start("run")
        while chief.is_alive() and not (
            set((tmp_path / "run" / "checkpoints").glob("step-*")) - known
        ):
            time.sleep(0.01)
        os.kill(other.pid, number)
        start = time.monotonic()
        expected = -number if number == signal.SIGKILL else code
        assert workers.ended([chief, other]) == [code, expected], workers.last_line("run", 0)
        seconds.append(time.monotonic() - start)
        assert "--resume" in workers.last_line("run", 0)
        words = "lost" if number == signal.SIGKILL else "SIGTERM"
        assert words in workers.last_line("run", 0)
    print(f"ended {seconds[0]:.0f} s after SIGKILL, {seconds[1]:.0f} s after SIGTERM")
    assert max(seconds) < 90
    assert workers.ended(workers.start("run")) == [0, 0], workers.last_line("run", 0)
    assert "Resuming from" in (tmp_path / "run.0.log").read_text()

    runs = [tmp_path / name for name in ("run", "whole")]
    (step, variables, progress, best), (*others, other_progress, other_best) = (
        whole_state(run / "checkpoints") for run in runs
    )
    assert [step, variables] == others and best == other_best
    found, expected = (keras.tree.flatten(state) for state in (progress, other_progress))
    for mine, theirs in zip(found, expected, strict=True):
        near = pytest.approx(theirs, rel=1e-5, abs=1e-6) if isinstance(theirs, float) else theirs
        assert mine == near
    ranks = [(run / "test_ranks.parquet").read_bytes() for run in runs]
    assert ranks[0] == ranks[1]
    assert not (tmp_path / "run of another machine").exists()
    assert len((tmp_path / "run.1.log").read_text().splitlines()) < 10, "it is not silent"
    tf.saved_model.load(str(runs[0] / "export" / "syncrec" / "1"))
