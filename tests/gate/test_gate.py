"""The gate from the outside: a good night passes, each kind of bad one is held back by its name."""

import datetime
import json
import shutil

import numpy as np
import pytest

from data_prep import InputError
from serving.export import export
from tests.gate.conftest import DAY, DOMAINS, NIGHT, write
from tf_syncrec.cli import run_command
from tf_syncrec.gate import main
from tf_syncrec.gate.unseen import learned_until
from tf_syncrec.run import Run
from tf_syncrec.training.run_directory import RunDirectory

NOW = f"{datetime.datetime.fromtimestamp(NIGHT + 4 * DAY, datetime.UTC).isoformat()}"


def gate(tmp_path, *options, code=0):
    """The command; its JSON."""
    output = tmp_path / "gate.json"
    arguments = [*map(str, options), "--output", str(output), "--now", NOW]
    if code:
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == code
    else:
        main(arguments)
    report = json.loads(output.read_text())
    assert report["passed"] == (not report["reasons"]) == (code == 0)
    return report


def asked(nights, candidate="today", current="yesterday"):
    runs = nights.runs
    return (
        *("--candidate", runs.get(candidate, candidate), "--current", runs.get(current, current)),
        *("--test", nights.logs["later"], "--requests", "0"),  # a busy machine is no reason
    )


@pytest.fixture(scope="module")
def good(nights, tmp_path_factory):
    """What is found of a good night."""
    timed = ("--requests", "3", "--slower", "1000")
    return gate(tmp_path_factory.mktemp("good"), *asked(nights), *timed)


def test_a_good_night_passes(good, nights):
    report = good
    assert report["passed"] and report["reasons"] == []
    assert list(report["answers"]["domains"]) == list(DOMAINS)
    for row in report["answers"]["domains"].values():
        assert row["verdict"] in ("the same", "better") and row["ndcg"]["candidate"] > 0.3
        assert row["unknown"] == {"current": 0.0, "candidate": 0.0}
    later = [row for row in nights.rows if row[3] >= NIGHT + DAY]
    assert report["questions"]["users"] == len({user for user, *_ in later})
    assert report["questions"]["targets"] == len({(user, domain) for user, _, domain, _ in later})
    assert sum(row["rows"] for row in report["answers"]["domains"].values()) == len(later)
    assert {check["what"] for check in report["data"]} > {"rows", "newest row", "new rows a day"}
    assert report["limits"]["worse"] == 0.02 and report["seconds"]["current"] > 0


def test_a_run_is_the_same_as_itself(nights, tmp_path):
    report = gate(tmp_path, *asked(nights, "today", "today"))
    for row in [report["answers"]["overall"], *report["answers"]["domains"].values()]:
        assert row["verdict"] == "the same"
        assert [row["difference"][end] for end in ("mean", "low", "high")] == [0.0, 0.0, 0.0]
        assert row["relative"] == [0.0, 0.0, 0.0]
        assert row["ndcg"]["current"] == row["ndcg"]["candidate"] > 0
    assert all(check["current"] == check["candidate"] for check in report["data"])


def test_weights_that_are_mixed_up_are_worse_in_every_domain(nights, tmp_path, copy_of, capsys):
    run = RunDirectory(copy_of("today"))
    config, catalogue, model = run.load()
    rng = np.random.default_rng(0)
    table = max((w for w in model.weights if w.ndim == 2), key=lambda weight: weight.shape[0])
    assert table.shape[0] >= catalogue.num_items
    table.assign(rng.permutation(np.asarray(table)))
    export(model, catalogue, run.export_dir, config.evaluate)
    report = gate(tmp_path, *asked(nights, run.directory), code=3)
    worse = {reason["domain"] for reason in report["reasons"] if reason["kind"] == "worse"}
    assert worse == {"", *DOMAINS}
    assert "HELD BACK  worse in books: NDCG -" in capsys.readouterr().out


# ------------------------------------------------------------------------------- logs of bad nights


def last_night(rows):
    return [row[3] >= NIGHT for row in rows]


def changed(rows, which, change):
    return [change(*row) if chosen else row for row, chosen in zip(rows, which, strict=True)]


def of_films(rows):
    return [row[2] == "films" for row in rows]


def half(rows):
    return rows[::2]


def half_of_the_night(rows):
    return [row for n, row in enumerate(rows) if row[3] < NIGHT or n % 4 == 0]


def without_films(rows):
    return [row for row in rows if row[2] != "films"]


def films_stopped(rows):
    return [row for row in rows if row[2] != "films" or row[3] < NIGHT - 5 * DAY]


def users_renamed(rows):
    return [(f"x{user}", *rest) for user, *rest in rows]


def users_of_films_renamed(rows):
    return changed(rows, of_films(rows), lambda u, i, d, t: (f"x{u}", i, d, t))


def items_of_films_renamed(rows):
    return changed(rows, of_films(rows), lambda u, i, d, t: (u, f"x{i}", d, t))


def times_to_come(rows):
    return changed(rows, last_night(rows), lambda u, i, d, t: (u, i, d, t + 3000 * DAY))


def times_of_loading(rows):
    return changed(rows, last_night(rows), lambda u, i, d, t: (u, i, d, NIGHT + DAY - 1))


def in_milliseconds(rows):
    return [(u, i, d, 1000 * t) for u, i, d, t in rows]


def too_old(rows):
    return [row for row in rows if row[3] < NIGHT - DAY]


def robots(rows):
    return [(f"{robot}{u}", i, d, t) for u, i, d, t in rows for robot in ("", "a", "b")]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (half, {"rows", "new rows a day"}),
        (half_of_the_night, {"new rows a day"}),
        (without_films, {"rows of films", "items"}),
        (
            films_stopped,
            {"days from its last row to the log's of films", "new rows a day of films"},
        ),
        (users_renamed, {"kept user ids"}),
        (users_of_films_renamed, {"multi-domain users of films"}),
        (items_of_films_renamed, {"kept item ids of films"}),
        (times_to_come, {"rows with future dates"}),
        (times_of_loading, {"rows with the timestamp of the row before"}),
        (in_milliseconds, {"unit of times"}),
        (too_old, {"newest row"}),
        (robots, {"rows", "users", "new rows a day"}),
    ],
)
def test_a_bad_log_is_held_back_before_anything_is_trained(nights, tmp_path, spoil, said, capsys):
    rows = [row for row in nights.rows if row[3] < NIGHT + DAY]
    log = write(tmp_path / "spoilt.csv", spoil(rows))
    options = ("--candidate_data", log, "--current", nights.runs["yesterday"])
    report = gate(tmp_path, *options, code=3)
    moved = {
        check["what"] + (f" of {check['domain']}" if check["domain"] else "")
        for check in report["data"]
        if check["moved"]
    }
    assert said <= moved
    shown = capsys.readouterr().out
    for what in said:
        assert f"HELD BACK  data: {what}: " in shown
    assert {reason["kind"] for reason in report["reasons"]} == {"data"}


def test_a_good_log_passes_and_is_found_by_the_training(nights, tmp_path, capsys):
    log = nights.logs["today"]
    report = gate(tmp_path, "--candidate_data", log, "--current", nights.runs["yesterday"])
    today = json.loads((nights.runs["today"] / "metrics.json").read_text())["protocol"]["dataset"]
    assert report["candidate"] == {"run": None, "dataset": today}
    said = capsys.readouterr().out
    assert "Reusing" in said and "PASSED" in said
    # Without a path: the log that the settings of the current run name, here its own.
    report = gate(tmp_path, "--candidate_data", "--current", nights.runs["yesterday"])
    assert report["candidate"]["dataset"] == report["current"]["dataset"]


def test_limits_are_options(nights, tmp_path):
    rows = [row for row in nights.rows if row[3] < NIGHT + DAY]
    log = write(tmp_path / "few.csv", half_of_the_night(rows))
    options = ("--candidate_data", log, "--current", nights.runs["yesterday"])
    gate(tmp_path, *options, code=3)
    assert gate(tmp_path, *options, "--daily_rows", "0")["limits"]["daily_rows"] == 0
    report = gate(tmp_path, *options, "--daily_rows", "0", "--fewer", "0", code=0)
    assert report["limits"]["fewer"] == 0


# ---------------------------------------------------------------------------- rows of a wrong clock


@pytest.mark.parametrize("odd", [pytest.param(0, marks=pytest.mark.long), NIGHT + DAY - 60])
def test_unseen_passes_over_rows_that_are_not_later(good, nights, tmp_path, odd, capsys):
    """A row of 1970 or of the minute before midnight is the moment otherwise."""
    later = [row for row in nights.rows if row[3] >= NIGHT + DAY]
    spoilt = write(tmp_path / "spoilt.csv", [("late", "books1", "books", odd), *later])
    options = [*asked(nights)]
    options[options.index("--test") + 1] = spoilt
    # Of the last minute the runs may have learned nothing, but of the moment they have to say.
    learned = max(learned_until(Run(run), NIGHT + 4 * DAY)[0] for run in nights.runs.values())
    if odd < learned:
        with pytest.raises(InputError, match=r"training data ends at .* or --unseen"):
            main([*map(str, options), "--now", NOW])
    report = gate(tmp_path, *options, "--unseen")
    passed_over = int(odd <= learned)
    first = min(time for *_, time in [(odd,), *later] if time > learned)
    assert report["questions"]["since"] == first
    assert report["questions"]["passed_over"] == passed_over
    assert any(f"{passed_over} rows of --test are skipped" in n for n in report["notes"])
    assert f"note: {passed_over} rows of --test" in capsys.readouterr().out
    if passed_over:
        assert report["answers"] == good["answers"]
    # Of all rows of both days those are left that nobody has learned from.
    whole = write(tmp_path / "whole.csv", nights.rows)
    options[options.index(spoilt)] = whole
    report = gate(tmp_path, *options, "--unseen")
    times = [time for *_, time in nights.rows]
    assert report["questions"]["since"] == min(time for time in times if time > learned)
    assert report["questions"]["passed_over"] == sum(time <= learned for time in times)


def test_unseen_where_nothing_is_left(nights, tmp_path, capsys):
    options = [*map(str, asked(nights)), "--unseen", "--now", NOW]
    options[options.index("--test") + 1] = str(nights.logs["yesterday"])
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: main(options))
    assert stop.value.code == 2
    assert "has no row after " in capsys.readouterr().err


def with_a_row_of_2049(run):
    """Writes one into its card; returns the newest row that it has learned from before."""
    card = json.loads(run.data_card_file.read_text())
    newest = card["times"]["newest_by_split"]
    truth = max(newest["train"], newest["validation"])
    card["times"]["newest"] = newest["train"] = 2_500_000_000.0
    card["times"]["days"]["books"][str(2_500_000_000 // DAY)] = 1
    run.data_card_file.write_text(json.dumps(card))
    return truth


def test_a_row_of_a_day_to_come_is_not_until_when_a_run_has_learned(
    good, nights, tmp_path, copy_of
):
    directory = RunDirectory(copy_of("today"))
    truth = with_a_row_of_2049(directory)
    now = NIGHT + 4 * DAY
    assert learned_until(Run(directory.directory), now) == (truth, 1.0)
    report = gate(tmp_path, *asked(nights, directory.directory))
    assert report["answers"]["overall"]["targets"] == good["answers"]["overall"]["targets"]
    # Where that is no day to come, it is what it says.
    assert learned_until(Run(directory.directory), 2_500_000_000.0) == (2_500_000_000.0, 1.0)
    # Where the data is gone, the card's days say until when it can have been: the last one's end.
    config = directory.config_file.read_text()
    gone = config.replace(str(nights.folder / "data"), str(tmp_path / "gone"))
    directory.config_file.write_text(gone)
    until, _ = learned_until(Run(directory.directory), now)
    assert truth <= until < NIGHT + DAY and until == pytest.approx(NIGHT + DAY)


# ----------------------------------------------------------------------------- what cannot be asked


@pytest.mark.parametrize("newer", ["candidate", "current"])
def test_training_on_rows_of_the_test_is_refused(nights, tmp_path, newer, capsys):
    """By the run that did so, with both times."""
    order = ("today", "yesterday") if newer == "candidate" else ("yesterday", "today")
    card = json.loads((nights.runs["today"] / "data_card.json").read_text())["times"]
    moment = int(max(card["newest_by_split"][split] for split in ("train", "validation")))
    # A test target of the run is none that it has learned from.
    assert NIGHT < moment < card["newest_by_split"]["test"]
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: main([*map(str, asked(nights, *order)), "--since", str(moment)]))
    assert stop.value.code == 2
    said = capsys.readouterr().err
    date = f"{datetime.datetime.fromtimestamp(moment, datetime.UTC):%Y-%m-%d %H:%M:%S}"
    assert f"--{newer} " in said and f"training data ends at {moment} ({date})" in said


def test_the_log_of_both_may_be_the_test_from_a_moment_on(good, nights, tmp_path):
    whole = write(tmp_path / "whole.csv", nights.rows)
    options = list(asked(nights))
    options[options.index("--test") + 1] = whole
    night = datetime.datetime.fromtimestamp(NIGHT + DAY, datetime.UTC)
    for moment, history in ((NIGHT + DAY, whole), (f"{night:%Y-%m-%dT}01:00+01:00", None)):
        more = ("--history", history) if history else ()
        report = gate(tmp_path, *options, "--since", moment, *more)
        assert report["answers"] == good["answers"]
        assert report["questions"]["since"] == NIGHT + DAY


def test_cards_of_earlier_versions(nights, tmp_path, copy_of):
    """They have no times: that is said, and the data says how new it is, while it is there."""
    run = RunDirectory(copy_of("yesterday"))
    card = json.loads(run.data_card_file.read_text())
    newest = card.pop("times")["newest_by_split"]
    run.data_card_file.write_text(json.dumps(card))
    report = gate(tmp_path, *asked(nights, "today", run.directory))
    assert "data card of the current log has no times" in report["notes"][0]
    assert "newest row" not in {check["what"] for check in report["data"]}
    moment = max(newest["train"], newest["validation"])
    with pytest.raises(InputError, match=f"--current .* training data ends at {moment:.0f} "):
        main([*map(str, asked(nights, "today", run.directory)), "--since", str(moment)])
    config = run.config_file.read_text()
    assert str(nights.folder / "data") in config
    run.config_file.write_text(config.replace(str(nights.folder / "data"), str(tmp_path / "gone")))
    with pytest.raises(InputError, match=r"its data, interactions/.*, is gone; train it again"):
        main([*map(str, asked(nights, "today", run.directory))])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--test": None}, "--candidate: give the later rows .* as --test LOG"),
        ({"--test": "none.csv"}, r"--test none\.csv: .*none\.csv"),
        ({"--history": "none.csv"}, r"--history none\.csv: "),
        ({"--candidate": None}, "give either --candidate or --candidate_data"),
        ({"--candidate": None, "--candidate_data": "x.csv"}, "--test: needs --candidate"),
        ({"--candidate": "nowhere"}, "--run nowhere: not a finished run"),
        ({"--current": "nowhere"}, "--run nowhere: not a finished run"),
        ({"--k": "0"}, "--k 0: expected 1 or more"),
        ({"--k": "1000"}, r"--k 1000: the current run answers \d+ at most"),
        ({"--worse": "-1"}, "--worse -1: expected 0 to 1"),
        ({"--slower": "nan"}, "--slower nan: expected 1 or more"),
        ({"--since": "nan"}, "argument --since: expected a finite number, received 'nan'"),
        ({"--since": "soon"}, "argument --since: expected a number or a time by ISO 8601"),
        ({"--unseen": "", "--since": "2e9"}, "--unseen: finds the moment"),
        ({"--since": "2e9"}, r"--test .*later\.csv: has no row from 2000000000 on"),
        ({"--set": "model.dim=3"}, "--set model.dim: only settings of data"),
        ({"--output": "nowhere/gate.json"}, "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_judged_is_told(nights, tmp_path, change, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = asked(nights)
    options = dict(zip(names[::2], map(str, names[1::2]), strict=True)) | change
    arguments = [part for pair in options.items() if pair[1] is not None for part in pair if part]
    with pytest.raises(InputError, match=said):
        main(arguments)
    assert not list(tmp_path.iterdir())


def test_a_candidate_whose_log_is_gone(nights, tmp_path, copy_of):
    run = RunDirectory(copy_of("today"))
    config = run.config_file.read_text()
    run.config_file.write_text(config.replace("today.csv", "gone.csv"))
    with pytest.raises(InputError, match=r"its log: .*gone\.csv.*; name one by --history"):
        gate(tmp_path, *asked(nights, run.directory))
    shutil.rmtree(run.export_dir)
    named = ("--history", nights.logs["today"])
    with pytest.raises(InputError, match=r"holds no exported version"):
        gate(tmp_path, *asked(nights, run.directory), *named)
