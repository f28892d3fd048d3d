"""What commands say: help that is true, silence when asked for, tables that fit."""

import io
import re
import shlex
import sys

import pytest

from serving import export, local_server
from tf_syncrec import compare, evaluate, fit, report
from tf_syncrec.cli import Parser
from tf_syncrec.reporting.terminal_tables import metrics_table
from tf_syncrec.utils.terminal import (
    advance,
    be_quiet,
    begin_stage,
    end_stage,
    say,
    steps_bar,
)

COMMANDS = [fit, evaluate, compare, report, export, local_server]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda module: module.__name__)
def test_help_shows_examples_of_options_that_there_are(command, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["--help"])
    assert stop.value.code == 0
    options, examples = capsys.readouterr().out.split("examples:\n")
    known = set(re.findall(r"^  (--\w+)", options, flags=re.M))
    lines = [line for line in examples.splitlines() if line.startswith("  python -m ")]
    assert lines
    for line in lines:
        words = shlex.split(line)
        assert words[2] == command.__name__
        assert {word for word in words if word.startswith("--")} <= known


def test_quiet_is_quiet_until_the_next_command(capsys):
    parser = Parser("x", "Does things.", ["--quiet"])
    parser.add_argument("--quiet", action="store_true")
    parser.parse_args(["--quiet"])
    say("something")
    assert capsys.readouterr().out == ""
    parser.parse_args([])
    say("something")
    assert capsys.readouterr().out == "something\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("out", "quiet", "shown"),
    [(Terminal(), False, True), (Terminal(), True, False), (io.StringIO(), False, False)],
)
def test_a_bar_is_for_terminals(out, quiet, shown, monkeypatch):
    monkeypatch.setattr(sys, "stdout", out)
    be_quiet(quiet)
    bar = steps_bar("epoch 1/2", 5, 0)
    bar.update()
    bar.close()
    be_quiet(False)
    assert ("epoch 1/2" in out.getvalue()) == shown
    # What was drawn is wiped out at the end.
    assert not out.getvalue().rpartition("\r")[2].strip()


def test_a_table_fits_a_narrow_terminal():
    result = {"users": 1000} | dict.fromkeys(("hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr"), 0.1234)
    metrics = {"overall": result, "domains": {"books": result, "films": result}}
    found = {"verdict": "hurt", "cross_less_single": {"mean": -0.1}}
    views = {"overall": found, "domains": {"books": found, "films": found}}
    whole = metrics_table(metrics, metrics, views)
    assert metrics_table(metrics, metrics, views, 200) == whole
    narrow = metrics_table(metrics, metrics, views, 80)
    assert max(map(len, narrow.splitlines())) <= 80 < max(map(len, whole.splitlines()))
    assert narrow.split("\n")[0].split() == [
        *("domain", "users", "NDCG@10", "popularity", "NDCG@10", "ratio", "other", "domains")
    ]


def test_a_domain_called_overall_is_a_domain():
    def result(ndcg):
        return {"users": 10} | dict.fromkeys(("hr@5", "hr@10", "ndcg@5", "mrr"), 0.5) | ndcg

    everybody, domain = result({"ndcg@10": 0.4}), result({"ndcg@10": 0.2})
    metrics = {"overall": everybody, "domains": {"overall": domain}}
    popularity = {
        "overall": result({"ndcg@10": 0.1}),
        "domains": {"overall": result({"ndcg@10": 0.2})},
    }
    *_, of_domain, overall = metrics_table(metrics, popularity).splitlines()
    assert of_domain.startswith("overall (domain) ") and of_domain.split()[-3:] == [
        "0.2000",
        "1.0",
        "x",
    ]
    assert overall.startswith("overall  ") and overall.split()[-3:] == ["0.1000", "4.0", "x"]


@pytest.mark.parametrize(("out", "shown"), [(Terminal(), True), (io.StringIO(), False)])
def test_a_stage_is_shown_while_it_lasts_and_on_terminals_alone(out, shown, monkeypatch):
    monkeypatch.setattr(sys, "stdout", out)
    begin_stage("Ranking", "users ranked")
    advance(1000)
    say("a line")
    begin_stage("Writing")  # ends the other one
    end_stage()
    end_stage()  # of nothing
    advance(1)
    text = out.getvalue()
    assert ("Ranking ... " in text) == ("Writing ... " in text) == shown
    assert "a line\n" in text and ("users ranked" in text) == shown
    assert "Ranking" not in text.partition("Writing")[2]
    assert not text.rpartition("\r")[2].strip() or not shown
