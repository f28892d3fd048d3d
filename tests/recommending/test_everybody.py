"""Everybody is answered as the server answers, whole or not at all, and gone on with."""

import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep import InputError
from serving.client import Client
from tests.support.exporting import DOMAINS, TERMS
from tests.support.rest_server import PATIENCE, running
from tf_syncrec import recommend
from tf_syncrec.cli import run_command
from tf_syncrec.recommending import everybody
from tf_syncrec.recommending.parts import SCHEMA, Parts
from tf_syncrec.recommending.served_model import ServedModel

USERS = 120
NOON = 1_700_000_000.0


def write_log(path, served, users=USERS):
    """Histories of all lengths; some items are unknown, some users have nothing else."""
    rng = np.random.default_rng(1)
    rows = ["user_id,item_id,domain,timestamp"]
    for user in range(users):
        for n in range(1 + rng.geometric(0.1)):
            item = "'new'" if user % 10 == 0 or rng.random() < 0.1 else rng.choice(served.ids)
            rows.append(f"user {user},{item},audio,{NOON + 3600 * n}")
    path.write_text("\n".join(rows) + "\n")
    return path


def with_log(served, tmp_path_factory):
    """An export and a log in a folder of its own."""
    log = write_log(tmp_path_factory.mktemp("log") / "log.csv", served)
    return SimpleNamespace(**vars(served), log=log)


@pytest.fixture(scope="module", params=[pytest.param("plain", marks=pytest.mark.slow), "timed"])
def either(request, exported, tmp_path_factory):
    """An export, the server that serves it, and a log."""
    timed = request.param == "timed"
    served = with_log(exported(**TERMS if timed else {}), tmp_path_factory)
    served.timed = timed
    with running(served.base) as rest:
        served.url = rest.url
        yield served


@pytest.fixture(scope="module")
def place(served, tmp_path_factory):
    """One without a server."""
    return with_log(served, tmp_path_factory)


@pytest.fixture
def small_parts(monkeypatch):
    """A dozen of parts in place of one, and chunks within them."""
    monkeypatch.setattr(everybody, "USERS_AT_ONCE", 7)
    write = everybody.write_histories
    monkeypatch.setattr(
        everybody, "write_histories", lambda log, path, say: write(log, path, say, batch_rows=100)
    )


def options(served, output, *more):
    return [
        *("--export_dir", str(served.base), "--input", str(served.log)),
        *("--output", str(output), *more),
    ]


def test_the_answers_are_those_of_the_server_for_every_user(either, tmp_path, small_parts, capsys):
    place = either
    output = tmp_path / "recs.parquet"
    recommend.main(options(place, output, "--k", "7"))
    table = pq.read_table(output)
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    users = list(dict.fromkeys(row["user_id"] for row in rows))
    assert len(users) == USERS
    of_user = {user: [row for row in rows if row["user_id"] == user] for user in users}
    # One user's rows stand together, domain by domain, best first.
    assert [row for user in users for row in of_user[user]] == rows
    histories: dict[str, list[str]] = {user: [] for user in users}
    times: dict[str, list[float]] = {user: [] for user in users}
    for line in place.log.read_text().splitlines()[1:]:
        user, item, _, when = line.split(",")
        histories[user].append(item)
        times[user].append(float(when))
    client = Client(place.url, timeout=PATIENCE)
    told: dict[str, Any] = {}
    if place.timed:
        told = {"timestamps": [times[user] for user in users]}
    for domain in DOMAINS:
        answers = client.recommend([histories[user] for user in users], domain, k=7, **told)
        for user, answer in zip(users, answers, strict=True):
            own = [row for row in of_user[user] if row["domain"] == domain]
            assert [row["item_id"] for row in own] == answer.items
            assert [row["rank"] for row in own] == list(range(1, len(own) + 1))
            assert [row["score"] for row in own] == pytest.approx(answer.scores, abs=1e-3)
            assert {row["fallback"] for row in own} <= {answer.fallback}
    assert any(row["fallback"] for row in rows) and not all(row["fallback"] for row in rows)
    said = capsys.readouterr().out
    assert f"{USERS} of {USERS} users, " in said and f"\n{output}\n" in said
    assert not output.with_name("recs.parquet.parts").exists()


def test_some_domains_and_a_folder_of_files(place, tmp_path, small_parts):
    recommend.main(options(place, tmp_path / "all.parquet"))
    recommend.main(options(place, tmp_path / "recs", "--domains", "música,audio"))
    files = sorted(path.name for path in (tmp_path / "recs").iterdir())
    assert files == [f"part-{n:05d}.parquet" for n in range(len(files))] and len(files) > 5
    found = pq.read_table(tmp_path / "recs").to_pandas()
    whole = pq.read_table(tmp_path / "all.parquet").to_pandas()
    for domain in ("audio", "música"):
        own, expected = (t[t.domain == domain].reset_index(drop=True) for t in (found, whole))
        assert own.drop(columns="score").equals(expected.drop(columns="score"))
        np.testing.assert_allclose(own.score, expected.score, atol=1e-4)
    assert list(dict.fromkeys(found.domain)) == ["música", "audio"]
    for name in ("recs", "folder.parquet"):
        (tmp_path / name).mkdir(exist_ok=True)
        with pytest.raises(InputError, match=f"{name}: is there already"):
            recommend.main(options(place, tmp_path / name))


def test_an_export_of_before_is_asked_domain_by_domain(place, tmp_path, monkeypatch):
    recommend.main(options(place, tmp_path / "one.parquet"))
    load = ServedModel.__init__

    def without(self, *args):
        load(self, *args)
        del self.signatures["each_domain"]

    monkeypatch.setattr(ServedModel, "__init__", without)
    recommend.main(options(place, tmp_path / "two.parquet"))
    one, two = (pq.read_table(tmp_path / f"{n}.parquet").to_pandas() for n in ("one", "two"))
    assert one.drop(columns="score").equals(two.drop(columns="score"))
    np.testing.assert_allclose(one.score, two.score, atol=1e-4)


def test_what_is_finished_is_kept_and_gone_on_with(place, tmp_path, small_parts, monkeypatch):
    recommend.main(options(place, tmp_path / "whole.parquet"))
    output, write = tmp_path / "recs.parquet", Parts.write
    written: list[int] = []

    def breaks(self, number, table):
        if len(written) == 4:
            raise MemoryError
        write(self, number, table)
        written.append(number)

    output.write_bytes(b"yesterday's")
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(Parts, "write", breaks)
        recommend.main(options(place, output))
    assert output.read_bytes() == b"yesterday's"
    assert len(list((tmp_path / "recs.parquet.parts").glob("part-*"))) == 4

    again: list[int] = []

    def notes(self, number, table):
        again.append(number)
        write(self, number, table)

    monkeypatch.setattr(Parts, "write", notes)
    monkeypatch.setattr(everybody, "write_histories", None)  # it is not asked for again
    recommend.main(options(place, output))
    assert again and not set(again) & set(written)
    assert pq.read_table(output).equals(pq.read_table(tmp_path / "whole.parquet"))


def test_parts_of_another_request_are_refused_by_name(place, tmp_path, monkeypatch):
    output = tmp_path / "recs.parquet"
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(Parts, "finish", lambda *_: (_ for _ in ()).throw(MemoryError))
        recommend.main(options(place, output))
    folder = tmp_path / "recs.parquet.parts"
    with pytest.raises(InputError, match=f"{folder} holds output .* with k = 10, and now it is 3"):
        recommend.main(options(place, output, "--k", "3"))
    other = shutil.copy(place.log, tmp_path / "other.csv")
    with open(other, "a") as log:
        log.write("user 1,x,audio,1\n")
    with pytest.raises(InputError, match="begun with another log"):
        recommend.main([*options(place, output), "--input", str(other)])
    lock = everybody.RunLock(folder)
    lock.acquire()
    try:
        with pytest.raises(InputError, match=f"recs.parquet: is being written by .*{os.getpid()}"):
            recommend.main(options(place, output))
    finally:
        lock.release()
    recommend.main(options(place, output))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--domains", "audio,films"], "--domains: unknown domain 'films'; known: audio, books"),
        (["--domains", "audio,audio"], "--domains: 'audio' is asked for twice"),
        (["--k", "0"], "--k 0: expected 1 to"),
        (["--k", "41"], "--k 41: expected 1 to"),
        (["--processes", "0"], "--processes 0: expected 1 or more"),
        (["--run", "runs/x"], "give either --run or --export_dir"),
        (["--now", "soon"], "argument --now: expected a number or a time by ISO 8601"),
        (["--now", "nan"], "argument --now: expected a finite number"),
        (["--set", "model.dim=3"], "--set model.dim: only settings of data"),
        (["--export_dir", "nowhere"], "nowhere: holds no exported version"),
        (["--input", "nowhere.csv"], "error: --input nowhere.csv: "),
    ],
)
def test_what_cannot_be_done_is_told_and_leaves_nothing(place, tmp_path, more, said, capsys):
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: recommend.main([*options(place, tmp_path / "recs.parquet"), *more]))
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_export_alone_knows_no_users(place, tmp_path):
    with pytest.raises(InputError, match="give their histories as --input LOG"):
        recommend.main(["--export_dir", str(place.base), "--output", str(tmp_path / "r.parquet")])


def test_now_is_a_date_or_a_number(either, tmp_path):
    """And makes a difference where times have a say, and nowhere else."""
    asked = []
    for now in (["--now", "1800000000"], ["--now", "2027-01-15T09:00:00+01:00"], []):
        recommend.main(options(either, tmp_path / "r.parquet", *now))
        asked.append(pq.read_table(tmp_path / "r.parquet"))
    assert asked[0].equals(asked[1])
    assert asked[0].equals(asked[2]) == (not either.timed)


@pytest.mark.slow
def test_a_date_is_of_the_unit_of_the_log(place, tmp_path, monkeypatch):
    seen: list[float] = []
    answer = everybody.answer_parts

    def notes(served, parts, numbers, now):
        seen.append(now)
        return answer(served, parts, numbers, now)

    monkeypatch.setattr(everybody, "answer_parts", notes)
    log = tmp_path / "ms.csv"
    log.write_text("user_id,item_id,domain,timestamp\nu,i,audio,1700000000000\n")
    more = ["--input", str(log), "--now"]
    output = tmp_path / "r.parquet"
    for now in ("2027-01-15T08:00:00", "1800000000000"):
        recommend.main([*options(place, output), *more, now])
    assert seen == [1.8e12, 1.8e12]
    for now in ("1800000000", "20270115", "2020-01-01"):
        with pytest.raises(InputError, match=f"--now {now}: is .* last event is later, 17000"):
            recommend.main([*options(place, output), *more, now])
        shutil.rmtree(tmp_path / "r.parquet.parts")


def test_leftovers_without_a_request_are_nobodys(place, tmp_path):
    """As a kill in the middle of removing them leaves them."""
    folder = tmp_path / "r.parquet.parts"
    folder.mkdir()
    for name in ("histories.arrow", "part-00000.parquet", "part-00007.parquet"):
        (folder / name).write_bytes(b"yesterday's")
    recommend.main(options(place, tmp_path / "r.parquet", "--domains", "audio"))
    assert len(pq.read_table(tmp_path / "r.parquet")["user_id"].unique()) == USERS
    assert [path.name for path in tmp_path.iterdir()] == ["r.parquet"]


def test_after_a_log_that_could_not_be_read_another_may_be_given(place, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("user_id,item_id,domain,timestamp\nu,i,audio,soon\n")
    with pytest.raises(InputError, match=r"bad\.csv: line 2"):
        recommend.main([*options(place, tmp_path / "r.parquet"), "--input", str(bad)])
    bad.write_text("user_id,item_id,domain,timestamp\nu,i,audio,7\n")
    recommend.main([*options(place, tmp_path / "r.parquet"), "--input", str(bad)])


@pytest.mark.slow
def test_two_processes_that_are_killed_leave_what_another_command_finishes(place, tmp_path):
    output = tmp_path / "recs.parquet"
    log = write_log(tmp_path / "many.csv", place, users=12_000)
    command = [sys.executable, "-m", "tf_syncrec.recommend", *options(place, output)]
    command += ["--input", str(log), "--processes", "2"]
    folder = tmp_path / "recs.parquet.parts"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not list(folder.glob("part-*.parquet")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    time.sleep(2.0)  # its processes end with it
    there = sorted(folder.glob("part-*.parquet"))
    count = len(Parts(folder).sizes())
    assert 0 < len(there) < count and not output.exists()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert f"{len(there)} of {count} parts were written before." in done.stdout
    table = pq.read_table(output)
    assert len(table["user_id"].unique()) == 12_000
    alone = tmp_path / "alone.parquet"
    recommend.main([*options(place, alone), "--input", str(log)])
    assert pq.read_table(alone).drop(["score"]).equals(table.drop(["score"]))
