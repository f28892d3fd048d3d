"""A store is filled with all of a log, once, however often that is stopped."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data_prep import InputError, prepare
from data_prep.log_histories import write_histories
from data_prep.settings import data_config
from serving import fill_histories
from serving.histories import Event, fill, open_histories
from tests.support.redis_server import needs_redis
from tf_syncrec.config import Config
from tf_syncrec.training.run_directory import RunDirectory

USERS = 150
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def keep():
    """Less than some users have."""
    return 8


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Users with few events and many, with ties, and rows that stand there twice."""
    rng = np.random.default_rng(3)
    rows = []
    for user in range(USERS):
        for _ in range(rng.geometric(0.1)):
            item = rng.integers(12)
            rows.append(f"user {user},item {item},d{item % 2},{rng.integers(5) + 1.5e9:.0f}")
    rows += rows[::7]
    rng.shuffle(rows)
    file = tmp_path_factory.mktemp("log") / "log.csv"
    file.write_text("user_id,item_id,domain,timestamp\n" + "\n".join(rows) + "\n")
    return file


def columns(row):
    return row["items"], row["timestamps"]


def of_log(log, keep):
    """`{user: last events}`, as the preparation of data orders them."""
    file = log.with_suffix(".arrow")
    if not file.exists():
        write_histories(data_config("interactions", path=str(log)), file)
    with pa.ipc.open_file(str(file)) as reader:
        rows = reader.read_all().to_pylist()
    return {
        row["user_id"]: [Event(*event) for event in zip(*columns(row), strict=True)][-keep:]
        for row in rows
    }


def contents(store):
    return {f"user {n}": store.latest(f"user {n}") for n in range(USERS)}


def options(log, address, *more):
    return ["--input", str(log), "--histories", address, "--keep", "8", *more]


def test_a_store_has_the_last_events_of_the_log_in_its_order(log, store, address, tmp_path, capsys):
    work = tmp_path / "work"
    fill_histories.main(options(log, address, "--work_dir", str(work)))
    assert contents(store) == of_log(log, 8)
    assert f"{USERS} of {USERS} histories, " in capsys.readouterr().out
    assert not work.exists()
    fill_histories.main(options(log, address, "--work_dir", str(work)))  # once more is no more
    assert contents(store) == of_log(log, 8)


def test_what_happened_since_stays(log, store, address, tmp_path):
    store.record("user 3", "new", 2e9)
    fill_histories.main(options(log, address, "--work_dir", str(tmp_path / "work")))
    assert store.latest("user 3") == [*of_log(log, 7)["user 3"], Event("new", 2e9)]


class Killed(BaseException):
    pass


class Killing:
    """A store that is killed at its n-th change, before or after that is done."""

    def __init__(self, store, moment, after):
        self._store, self._left, self._after = store, moment, after
        self.keep, self.mark = store.keep, store.mark
        self.recorded = 0

    def _change(self, change, *args):
        self._left -= 1
        if self._left or self._after:
            change(*args)
        if not self._left:
            raise Killed

    def record_many(self, events):
        self.recorded += len(events)
        self._change(self._store.record_many, events)

    def set_mark(self, name, value):
        self._change(self._store.set_mark, name, value)


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_change_it_goes_on_where_it_was(log, tmp_path, monkeypatch, after):
    """Each time into a new store."""
    monkeypatch.setattr(fill, "EVENTS_AT_ONCE", 100)
    file, expected = tmp_path / "histories.arrow", of_log(log, 8)
    settings = data_config("interactions", path=str(log))
    write_histories(settings, file, batch_rows=300)  # several batches, which chunks do not fit

    def filled(moment):
        """Whether it was killed, a store, and how many events that was told."""
        store = open_histories(str(tmp_path / f"{moment}.db"), keep=8)
        killed: Any = Killing(store, moment, after)
        rest: Any = Killing(store, -1, after)
        try:
            assert fill.fill(killed, file, "log", lambda line: None) == USERS
        except Killed:
            if not (after and store.mark("log") == 0 and moment > 1):  # of the last change of all
                fill.fill(rest, file, "log", lambda line: None)
        assert contents(store) == expected and store.mark("log") == 0
        store.close()
        return killed._left == 0, killed.recorded + rest.recorded

    stopped, whole = filled(-1)
    assert not stopped
    moment = 1
    while True:
        stopped, recorded = filled(moment)
        # What is done twice is one chunk at most; and nothing is left out, or done from the start.
        assert whole <= recorded <= whole + 200
        if not stopped:
            break
        moment += 1
    assert moment > 15


def test_the_command_goes_on_after_a_kill(log, tmp_path):
    """A real one, in the middle: by a store that is slow."""
    database, work = str(tmp_path / "h.db"), tmp_path / "work"
    script = (
        "import sys, time; from serving.histories import fill, sqlite; "
        "fill.EVENTS_AT_ONCE = 50; add = sqlite.SQLiteHistories._add; "
        "sqlite.SQLiteHistories._add = lambda *all: (time.sleep(0.05), add(*all)); "
        "from serving.fill_histories import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, *options(log, database, "--work_dir", str(work))]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    store = open_histories(database, keep=8)
    end = time.monotonic() + 60
    while len(found := [user for user, had in contents(store).items() if had]) < 20:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(found) < USERS and [*work.iterdir()]
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fill_histories, "say", said.append)
        fill_histories.main(options(log, database, "--work_dir", str(work)))
    assert any("histories were filled in before" in line for line in said)
    assert contents(store) == of_log(log, 8)
    assert not work.exists()


def test_a_store_that_lost_its_events_is_filled_from_the_start(log, tmp_path):
    """How far it came is noted where the events are, not beside them."""
    file = tmp_path / "histories.arrow"
    write_histories(data_config("interactions", path=str(log)), file)
    lost = open_histories(str(tmp_path / "lost.db"), keep=8)
    killed: Any = Killing(lost, 3, True)
    with pytest.raises(Killed):
        fill.fill(killed, file, "log", lambda line: None)
    new = open_histories(str(tmp_path / "new.db"), keep=8)
    fill.fill(new, file, "log", lambda line: None)
    assert contents(new) == of_log(log, 8)


def test_a_run_fills_from_its_log_and_where_that_is_gone_from_its_dataset(log, tmp_path):
    """Which holds the users and items that it kept: here all, and two targets each."""
    own = shutil.copy(log, tmp_path / "own.csv")
    data = {"dataset": "interactions", "path": str(own), "data_dir": str(tmp_path / "data")}
    config = Config.model_validate({"data": data | {"min_interactions": 1}})
    prepared = prepare(config.data, report=None)
    run = RunDirectory(tmp_path / "run")
    run.directory.mkdir()
    run.describe(config, prepared.catalogue, "{}")
    run.write_json(run.metrics_file, {"protocol": {"dataset": prepared.name}})
    run.checkpoint_file.parent.mkdir()
    run.checkpoint_file.touch()
    for name in ("log", "dataset"):
        store = open_histories(str(tmp_path / f"{name}.db"), keep=8)
        given = ["--run", str(run.directory), "--histories", str(tmp_path / f"{name}.db")]
        fill_histories.main([*given, "--keep", "8", "--work_dir", str(tmp_path / "work")])
        assert contents(store) == of_log(log, 8), name
        store.close()
        own.unlink(missing_ok=True)
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(InputError, match=r"--run .*: its log: .*own\.csv"):
        fill_histories.main(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--histories", "h.db"], "give --run or --input"),
        (["--input", "log.csv"], "--histories"),
        (["--input", "nowhere.csv", "--histories", "h.db"], "--input nowhere.csv: "),
        (["--input", "{log}", "--histories", "nowhere/h.db"], "--histories: .*unable to open"),
        (["--input", "{log}", "--histories", "ftp://h"], "--histories: ftp:// is no kind of store"),
        (["--input", "{log}", "--histories", "h.db", "--keep", "0"], "--keep: a whole number"),
        (["--input", "{log}", "--histories", "h.db", "--expire_days", "3"], "is for Redis"),
        (["--input", "{log}", "--histories", "h.db", "--set", "model.dim=3"], "of data"),
        (["--run", "nowhere", "--histories", "h.db"], "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(log, tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        fill_histories.main([option.format(log=log) for option in given])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "histories.filling").exists()


@needs_redis
def test_a_redis_that_is_away_is_told_before_the_log_is_read(log, tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.log_histories.write_histories", None)
    with pytest.raises(InputError, match=r"--histories: Redis at 127\.0\.0\.1:1: "):
        fill_histories.main(options(log, "redis://127.0.0.1:1/0"))
