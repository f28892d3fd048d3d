"""A run chooses by validation: nobody looks at the test split before all is chosen."""

import hashlib
import json

import pytest

import tf_syncrec
from tests.support.watched import Watched
from tests.test_fit import train, write_log
from tf_syncrec import pipeline
from tf_syncrec.cli import prepare_data
from tf_syncrec.config import Config
from tf_syncrec.models.registry import trained_name


def test_the_test_split_is_read_when_nothing_is_left_to_choose(tmp_path, monkeypatch):
    """Weights of the best epoch, and votes, are then those that the run ends with."""
    run, found = tmp_path / "run", []

    def weights():
        file = next((run / "checkpoints").glob("*.weights.h5"), None)
        return file and hashlib.sha256(file.read_bytes()).hexdigest()

    def prepare(config):
        found.append(Watched(prepare_data(config), weights))
        return found[0]

    with write_log(tmp_path / "log.csv", users=80).open("a") as log:
        for user in range(20):  # whose last item nobody else has
            log.write(f"u{user},d0_new{user},d0,1000000\n")
    monkeypatch.setattr(pipeline, "prepare_data", prepare)
    # What comes after the measuring, and takes longer than all the rest.
    monkeypatch.setattr(pipeline, "export", lambda *_: None)
    monkeypatch.setattr(pipeline, "write_report", lambda *_: None)
    said: list[str] = []
    monkeypatch.setattr(pipeline, "say", lambda line="": said.append(line))
    terms = ("--set", "model.neighbours=8", "--set", "model.user_neighbours=0")
    train(tmp_path, "--model", "sasrec", *terms, epochs=1)
    (watched,) = found
    assert watched.notes and set(watched.notes) == {weights()}
    # With a weight of 0 votes would be there before they are fitted.
    (votes,) = [line for line in said if line.startswith("Votes")]
    assert "weight 0," not in votes
    protocol = json.loads((run / "metrics.json").read_text())["protocol"]
    assert protocol["cold_target_share"] == {"validation": 0.0, "test": 0.25}


CARD = {"shared_users": [[9, 0, 0], [0, 7, 0], [0, 0, 0]]}


@pytest.mark.parametrize(
    ("card", "settings", "trained"),
    [
        (CARD, {}, "sasrec"),
        (CARD, {"views": "both"}, "syncrec"),
        (CARD, {"name": "mmoe"}, "mmoe"),
        (CARD, {"name": "syncrec_full"}, "syncrec_full"),
        ({"shared_users": [[9, 1, 0], [1, 7, 0], [0, 0, 0]]}, {}, "syncrec"),
    ],
)
def test_two_views_are_trained_where_they_see_different_things(card, settings, trained):
    assert trained_name(Config.model_validate({"model": settings}), card) == trained


@pytest.mark.slow
def test_a_log_whose_users_are_in_one_domain_each_is_not_paid_for_twice(tmp_path, monkeypatch):
    """And goes on, and is loaded, as what it is."""
    log, lines = tmp_path / "log.csv", ["user_id,item_id,domain,timestamp"]
    for user in range(60):
        domain = "ab"[user % 2]
        lines += [f"u{user},{domain}{(user * 7 + n * n) % 12},{domain},{n}" for n in range(6)]
    log.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(pipeline, "export", lambda *_: None)
    said: list[str] = []
    monkeypatch.setattr(pipeline, "say", lambda line="": said.append(line))
    run = train(tmp_path, "--model", "syncrec", epochs=1)
    assert any(line.startswith("No user is in two domains") for line in said)
    assert any(line.startswith("SASRec: ") for line in said)
    assert json.loads((run / "metrics.json").read_text())["training"]["model"] == "sasrec"
    assert type(tf_syncrec.load(run).model).__name__ == "SASRec"
    train(tmp_path, "--model", "syncrec", "--resume", epochs=1)  # finished: not refused
