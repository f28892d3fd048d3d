"""The first screen says what the numbers say, and its command can be run."""

import json
import shlex

import pytest

from tests.reporting.test_report import make_run, result
from tf_syncrec import compare
from tf_syncrec.reporting.html import read_json
from tf_syncrec.reporting.next_step import again, below_popularity, compared, next_step
from tf_syncrec.reporting.run_answer import answer_of, listed
from tf_syncrec.reporting.run_report import write_report
from tf_syncrec.reporting.target_kinds import kinds_of

COMMAND = "python -m tf_syncrec.fit --dataset interactions --path 'my log.csv' --seed 3"


@pytest.fixture
def metrics(tmp_path):
    run = make_run(tmp_path, ["books", "toys", "films"])
    found = read_json(run / "metrics.json")
    found["training"]["command"] = f"{COMMAND} --output_dir runs/x --resume"
    found["baselines"]["popularity"]["test"]["domains"] |= {"books": result(0.0), "toys": result(0)}
    return found


def said(metrics, folder):
    """The first screen, as the report has it."""
    (folder / "metrics.json").write_text(json.dumps(metrics))
    row = {"popularity": 0.04, "alone": None, "ratio": 2.0}
    rows = [
        {"name": name, "ndcg@10": value["ndcg@10"] if value["users"] else None}
        for name, value in metrics["test"]["domains"].items()
    ]
    return answer_of(metrics, metrics["test"]["overall"] | row, rows, folder)


def test_who_is_hurt_is_named_with_its_interval(metrics, tmp_path):
    answer = said(metrics, tmp_path)
    text = answer.facts["Is a domain hurt by the others?"]
    assert "books" in text and "-0.020" in text and "-0.030 to -0.010" in text
    assert "Helped: toys." in text and answer.verdict == "hurt"
    for row in metrics["views"]["domains"].values():
        row["verdict"] = "no clear difference"
    answer = said(metrics, tmp_path)
    assert answer.facts["Is a domain hurt by the others?"] == "None for certain."
    assert answer.verdict == ""


def test_best_and_lowest_are_of_domains_that_have_users(metrics, tmp_path):
    text = said(metrics, tmp_path).facts["In which domains"]
    assert text.startswith("Best in films (0.0540), lowest in toys (0.0520)")  # books has no users


def test_the_command_to_try_next_is_about_what_is_missing(metrics, tmp_path):
    run = tmp_path / "a run"
    hurt = next_step(metrics, run)
    assert "books" in hurt.why
    assert hurt.command == COMMAND.replace("fit", "compare").replace(" --seed 3", "") + (
        " --preset negative_transfer"
    )
    for row in metrics["views"]["domains"].values():
        row["verdict"] = "helped"
    served = next_step(metrics, run).command
    assert shlex.split(served)[-1] == f"{run}/export/syncrec"
    left_out = {key: value for key, value in metrics.items() if key != "test"}
    assert "evaluate --run" in next_step(left_out, run).command
    popular = metrics["baselines"]["popularity"]["test"]["domains"]
    popular["films"] = result(metrics["test"]["domains"]["films"]["ndcg@10"])  # equal is no better
    assert below_popularity(metrics) == ["films"]
    tuned = next_step(metrics, run)
    assert "films" in tuned.why and shlex.split(tuned.command)[-2:] == ["--tune", "12"]


def test_a_command_is_taken_over_without_what_belongs_to_its_run():
    training = {"command": f"{COMMAND} --output_dir=runs/x --set model.dim=8 --no_test"}
    words = shlex.split(again(training, "--tune 12"))
    assert words[3:] == [
        *("--dataset", "interactions", "--path", "my log.csv"),
        *("--set", "model.dim=8", "--tune", "12"),
    ]


def test_what_compare_does_not_take_is_left_out(monkeypatch):
    given = (
        "--dataset interactions --path 'my log.csv' --items=items.csv --data_dir d --epochs 3 "
        "--config tiny --set model.dim=8 --set train.init_from=runs/y --quiet --seed 3 --profile "
        "--log csv --model sasrec --workers a:1,b:2 --worker_index 0 --worker_patience 9 "
        "--init_from runs/y --tune 12 --grid model.dim=8,16 --titles t.csv --no_test --resume "
        "--output_dir runs/x"
    )
    more = "--preset negative_transfer"
    words = shlex.split(compared({"command": f"python -m tf_syncrec.fit {given}"}, more))
    seen = {}

    class Reached(Exception):
        """The options were taken."""

    def stop(args, *_):
        seen.update(vars(args))
        raise Reached

    monkeypatch.setattr(compare, "config_from", stop)
    with pytest.raises(Reached):
        compare.main(words[3:])
    assert words[:3] == ["python", "-m", "tf_syncrec.compare"]
    assert seen["data.path"] == "my log.csv" and str(seen["data.items.path"]) == "items.csv"
    assert seen["settings"] == ["model.dim=8"] and seen["output_dir"] is None
    assert seen["preset"] == "negative_transfer" and seen["train.epochs"] is not None


def test_many_names_become_their_number():
    assert listed([]) == ""
    assert [listed(list("abcd"[:n])) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    assert listed(list("abcde")) == "5 domains"


def test_kinds_that_nobody_has_heard_of_are_shown(metrics, tmp_path):
    group = {"users": 5, "hr@10": 0.5, "ndcg@10": 0.25, "share_of_hits": 0.5}
    metrics["breakdown"] = {
        "moon_phase": {
            "new": group | {"error": 0.01},
            "full": group,
            "nobody": group | {"users": 0},
        },
        "cold": {"yes": group, "no": group | {"users": 0}},
        "history": {"0-2": group, "3-5": group | {"ndcg@10": 0.5}},
    }
    kinds = kinds_of(metrics["breakdown"])
    assert [kind.title for kind in kinds["items"]] == ["moon phase"]  # of `cold` there is one group
    new, full = kinds["items"][0].groups
    assert new.give_or_take == pytest.approx(0.0196) and full.give_or_take is None
    assert [group.bar for group in kinds["users"][0].groups] == [0.5, 1.0]
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    source = write_report(tmp_path).read_text()
    assert "Moon phase" in source and "± 0.020" in source and "nobody there" not in source
