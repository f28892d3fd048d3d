"""What one domain says of another, planted in a made-up log, is found by the network alone."""

import keras
import pytest

from data_prep import prepare
from data_prep.read.datasets import telco
from tf_syncrec.data.batches import datasets
from tf_syncrec.evaluation.full_ranking import ModelScorer
from tf_syncrec.evaluation.influence import influence
from tf_syncrec.models.syncrec import SyNCRec

CUES = {"coupon_use": "call_use", "e_comm": "navi"}


@pytest.mark.slow
def test_a_call_says_which_coupon_and_a_destination_what_is_bought(tmp_path, monkeypatch):
    """More targets of both than by default, so that a small log has enough of them."""
    monkeypatch.setattr(telco, "PAPER_EVENTS", (6, 6, 6, 3, 3))
    settings = {"kind": "telco", "users": 600, "interactions_per_user": 60}
    prepared = prepare("synthetic", data_dir=tmp_path, synthetic=settings)
    catalogue = prepared.catalogue
    sizes = dict(zip(catalogue.domains, catalogue.sizes, strict=True))
    model = SyNCRec(
        sizes, dim=32, window=25, experts=2, cross_experts=1, blocks=1, mutual_information=False
    )
    model.compile(keras.optimizers.Adam(0.005))
    train, _, test = datasets(prepared, model, batch_size=64)
    model.fit(train, epochs=20, verbose=0)
    found = influence(ModelScorer(model, votes=False), test, catalogue)
    for effect, cause in CUES.items():
        of_cause = found[effect].pop(cause)
        assert of_cause["change"] > max(0.06, 3 * of_cause["error"]), found
        others = [of["change"] for of in found[effect].values()]
        assert max(others) < of_cause["change"] / 3, found
