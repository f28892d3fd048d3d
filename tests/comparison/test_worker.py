"""A cell chooses by validation, and ranks the test targets once."""

import json

import pytest

from tests.support.watched import Watched
from tf_syncrec.comparison import worker
from tf_syncrec.comparison.cells import RANKS, Cell
from tf_syncrec.comparison.names import parse_name
from tf_syncrec.config import Config

SETTINGS = {
    "data": {"dataset": "synthetic"},
    "model": {"dim": 8, "blocks": 1, "window": 6, "neighbours": 4},
    "loss": {"negatives": 8},
    "train": {"epochs": 1},
}


@pytest.mark.parametrize(
    "model", ["bprmf", *(pytest.param(n, marks=pytest.mark.slow) for n in ("item_knn", "sasrec"))]
)
def test_a_cell_reads_the_test_split_once(model, make_prepared, monkeypatch, tmp_path):
    """To rank it: all that is trained, tuned and fitted does without."""
    watched = Watched(make_prepared(users=30))
    monkeypatch.setattr(worker, "prepare_data", lambda config: watched)
    config = Config.model_validate(SETTINGS)
    request = Cell(parse_name(model), 0, None).request(config, watched.name)
    (tmp_path / "cell.json").write_text(json.dumps(request))
    worker.run_cell(tmp_path)
    assert (tmp_path / RANKS).exists() and len(watched.notes) == 1
