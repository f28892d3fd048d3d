"""Which nights are due, with which logs, and what a kill leaves: without a training."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from data_prep import InputError
from tf_syncrec.gate.__main__ import HELD_BACK

FILE = Path(__file__).parents[2] / "examples" / "nightly" / "night.py"


class Killed(BaseException):
    """In place of SIGKILL."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The script with commands that note how they are asked; `bad` logs, and steps that `kill`."""
    spec = importlib.util.spec_from_file_location("night", FILE)
    assert spec is not None and spec.loader is not None
    night: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(night)
    night.asked, night.bad, night.kill, night.folder = [], set(), None, tmp_path
    (tmp_path / "logs").mkdir()

    def ask(step, **options):
        night.asked.append((step, options))
        if night.kill == step:
            night.kill = None
            raise Killed

    def gate(words):
        words = [word for word in words if word != "--unseen"]
        options: dict[str, str] = dict(zip(words[::2], words[1::2], strict=True))
        step = "check" if "--candidate_data" in words else "judge"
        seen = Path(options.get("--candidate_data", options.get("--test", "")))
        names = {p.name for p in seen.iterdir()} if seen.is_dir() else {seen.name}
        ask(step, days=days_of(names), **options)
        if names & night.bad:
            raise SystemExit(HELD_BACK)

    def fit(path: Path, output_dir: Path, init_from=None, **options):
        ask("fit", days=days_of({file.name for file in path.iterdir()}), init_from=init_from)
        version = output_dir / "export" / "syncrec" / "1"
        version.mkdir(parents=True, exist_ok=True)
        (version / "saved_model.pb").write_text(",".join(night.asked[-1][1]["days"]))

    def recommend(words):
        options = dict(zip(words[::2], words[1::2], strict=True))
        ask("answer", days=days_of({p.name for p in Path(options["--input"]).iterdir()}), **options)

    monkeypatch.setattr(night, "gate", gate)
    monkeypatch.setattr(night.tf_syncrec, "fit", fit)
    monkeypatch.setattr(night.recommend, "main", recommend)
    return night


def days_of(names):
    return sorted(name.split(".")[0][-1] for name in names)


def come(place, *days):
    """Logs of days of May, the names of which end with these digits."""
    for day in days:
        (place.folder / "logs" / f"2024-05-0{day}.csv").write_text("log")


def go(place, monkeypatch, *more):
    """Runs the command; returns its exit code and what was asked: `[(step, days)]`."""
    place.asked.clear()
    words = ["night.py", "--logs", str(place.folder / "logs"), "--work", str(place.folder / "work")]
    monkeypatch.setattr("sys.argv", [*words, *more])
    code: Any = 0
    try:
        place.main()
    except SystemExit as ended:
        code = ended.code
    return code, [(step, "".join(options["days"])) for step, options in place.asked]


def test_a_night_learns_from_the_days_before_and_is_judged_by_its_own(place, monkeypatch):
    come(place, 1)
    assert go(place, monkeypatch) == (0, [])  # nothing to learn from yet
    come(place, 2)
    assert go(place, monkeypatch) == (0, [("fit", "1"), ("answer", "12")])
    come(place, 3)
    code, asked = go(place, monkeypatch)
    assert (code, asked) == (
        0,
        [("check", "123"), ("fit", "12"), ("judge", "3"), ("answer", "123")],
    )
    options = dict(place.asked)
    assert str(options["fit"]["init_from"]).endswith("2024-05-02/run")
    # Logs of equal days: three times what the served run has learned from is no reason.
    assert float(options["check"]["--more"]) == pytest.approx(1 + 2 / 1)
    assert float(options["judge"]["--more"]) == pytest.approx(1 + 1 / 1)
    assert float(options["check"]["--daily_rows"]) == 0.5
    assert go(place, monkeypatch) == (0, [])
    served = sorted((place.folder / "work" / "served" / "syncrec").iterdir())
    assert [(v.name, (v / "saved_model.pb").read_text()) for v in served] == [
        ("1", "1"),
        ("2", "1,2"),
    ]


def test_a_backlog_is_one_log_to_begin_with(place, monkeypatch):
    come(place, 1, 2, 3, 4)
    assert go(place, monkeypatch) == (0, [("fit", "123"), ("answer", "1234")])


def test_what_is_held_back_is_left_out_told_once_and_accepted_by_hand(place, monkeypatch):
    come(place, 1, 2)
    go(place, monkeypatch)
    come(place, 3)
    place.bad.add("2024-05-03.csv")
    assert go(place, monkeypatch) == (3, [("check", "123"), ("answer", "12")])
    assert go(place, monkeypatch) == (0, [])
    come(place, 4)
    code, asked = go(place, monkeypatch)
    assert (code, asked) == (
        0,
        [("check", "124"), ("fit", "12"), ("judge", "4"), ("answer", "124")],
    )
    # Of two days that have come since, one has rows.
    assert float(dict(place.asked)["check"]["--daily_rows"]) == pytest.approx(0.5 * 2 / 3)
    with pytest.raises(InputError, match="--accept 2024-05-04: no log of that day was held back"):
        go(place, monkeypatch, "--accept", "2024-05-04")
    place.bad.clear()
    come(place, 5)
    _, asked = go(place, monkeypatch, "--accept", "2024-05-03")
    assert asked[:2] == [("check", "12345"), ("fit", "1234")]


def test_a_hold_is_told_after_a_kill_in_a_later_night(place, monkeypatch):
    come(place, 1, 2)
    go(place, monkeypatch)
    place.bad.add("2024-05-03.csv")
    come(place, 3, 4)
    place.kill = "fit"
    with pytest.raises(Killed):
        go(place, monkeypatch)
    assert go(place, monkeypatch)[0] == 3


@pytest.mark.parametrize("step", ["check", "fit", "judge", "answer"])
def test_killed_in_any_step_it_goes_on_and_serves_once(place, monkeypatch, step):
    come(place, 1, 2)
    go(place, monkeypatch)
    come(place, 3)
    place.kill = step
    with pytest.raises(Killed):
        go(place, monkeypatch)
    done = [step for step, _ in place.asked[:-1]]
    come(place, 4)  # and what has come since is not mixed in
    code, asked = go(place, monkeypatch)
    steps = ["check", "fit", "judge", "answer"]
    assert code == 0 and [s for s, _ in asked[: 4 - len(done)]] == steps[len(done) :]
    assert ("fit", "12") in asked or step in ("judge", "answer")
    versions = sorted(p.name for p in (place.folder / "work" / "served" / "syncrec").iterdir())
    assert versions == ["1", "2", "3"]


def test_a_kill_between_serving_and_its_note_serves_once(place, monkeypatch):
    come(place, 1, 2)
    note = place.Night.note

    def killed(self, **steps):
        if "serve" in steps:
            raise Killed
        note(self, **steps)

    monkeypatch.setattr(place.Night, "note", killed)
    with pytest.raises(Killed):
        go(place, monkeypatch)
    monkeypatch.setattr(place.Night, "note", note)
    assert go(place, monkeypatch) == (0, [("answer", "12")])
    current = json.loads((place.folder / "work" / "current.json").read_text())
    assert (current["version"], current["nights"]) == (1, 1)


def test_a_log_that_comes_late_is_learned_from_in_the_next_night(place, monkeypatch):
    come(place, 1, 3)
    go(place, monkeypatch)
    come(place, 2)
    assert go(place, monkeypatch) == (0, [])  # and what is answered stays
    come(place, 4)
    assert go(place, monkeypatch)[1][:2] == [("check", "1234"), ("fit", "123")]


def test_a_run_that_cannot_be_gone_on_with_is_begun_anew(place, monkeypatch):
    come(place, 1, 2)
    go(place, monkeypatch)
    fit = place.tf_syncrec.fit

    def refuses(init_from=None, **options):
        if init_from:
            raise InputError("--init_from: another network")
        fit(**options)

    monkeypatch.setattr(place.tf_syncrec, "fit", refuses)
    come(place, 3)
    assert go(place, monkeypatch)[0] == 0
    notes = json.loads((place.folder / "work/nights/2024-05-03/night.json").read_text())
    assert notes["fit"] == "anew"


def test_other_files_are_passed_over_and_two_logs_of_a_day_are_refused(place, monkeypatch):
    come(place, 1, 2)
    for name in ("2024-05-02.csv.md5", "_SUCCESS", "README.md", "2024-05-03.csv.tmp"):
        (place.folder / "logs" / name).write_text("")
    assert go(place, monkeypatch)[1] == [("fit", "1"), ("answer", "12")]
    (place.folder / "logs" / "2024-05-02.csv.gz").write_text("")
    with pytest.raises(InputError, match=r"two logs of a day, 2024-05-02.csv, 2024-05-02.csv.gz"):
        go(place, monkeypatch)


def test_what_only_old_nights_need_is_removed(place, monkeypatch):
    monkeypatch.setattr(place, "KEPT", 2)
    for day in range(1, 7):
        come(place, day)
        go(place, monkeypatch)
    nights = place.folder / "work" / "nights"
    assert [d.name[-1] for d in sorted(nights.iterdir()) if (d / "run").exists()] == ["5", "6"]
    assert len(list((place.folder / "work" / "served" / "syncrec").iterdir())) == 2
