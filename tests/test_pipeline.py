"""A run chooses by validation: nobody looks at the test split before all is chosen."""

import hashlib
import json

from tests.support.watched import Watched
from tests.test_fit import train, write_log
from tf_syncrec import pipeline
from tf_syncrec.cli import prepare_data


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
    train(tmp_path, "--model", "sasrec", "--set", "model.neighbours=8", epochs=1)
    (watched,) = found
    assert watched.notes and set(watched.notes) == {weights()}
    # With a weight of 0 votes would be there before they are fitted.
    (votes,) = [line for line in said if line.startswith("Votes")]
    assert "weight 0," not in votes
    protocol = json.loads((run / "metrics.json").read_text())["protocol"]
    assert protocol["cold_target_share"] == {"validation": 0.0, "test": 0.25}
