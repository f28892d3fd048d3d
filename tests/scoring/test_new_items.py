"""What new items are worth: a planted taste for brands, what is spent on them, and what is not."""

import re
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pytest

from data_prep import Catalogue, InputError
from data_prep.read.items.kinds import Column
from data_prep.store.item_columns import ItemColumns
from tests.conftest import FakePrepared
from tf_syncrec.comparison.knn_tuning import tune_content_knn
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.evaluation.trials import Trials
from tf_syncrec.layers.score_terms.popularity_trend import BEHIND
from tf_syncrec.metrics.gains import user_gains
from tf_syncrec.models.registry import network_of
from tf_syncrec.scoring import choices
from tf_syncrec.scoring.fit_score import fit_score
from tf_syncrec.scoring.new_items import fitting
from tf_syncrec.scoring.new_items.fitting import LATER, TRIED, fit_new_items, share_of_later
from tf_syncrec.scoring.votes import count_neighbours

BRANDS, TRAINED, COLD, USERS = 4, 40, 8, 160


def planted(seed=0, cold_targets=0.5) -> Any:
    """Users who buy one brand. Of the targets a part is of items that nobody has had."""
    rng = np.random.default_rng(seed)
    brands = np.append(np.arange(TRAINED) % BRANDS, np.arange(COLD) % BRANDS)
    rows: dict[str, list] = {"train": [], "validation": [], "test": []}
    counts = np.zeros(TRAINED + COLD, np.int64)
    for user in range(USERS):
        brand, user_id = user % BRANDS, f"user {user}".encode()
        own = np.flatnonzero(brands[:TRAINED] == brand) + 1
        items = rng.choice(own, 5, replace=False).astype(np.int32)
        counts[items - 1] += 1
        rows["train"].append({"user_id": user_id, "items": items})
        for split in ("validation", "test"):
            cold = rng.random() < cold_targets
            pool = np.flatnonzero(brands == brand) + 1
            pool = pool[(pool > TRAINED) == cold]
            target = int(rng.choice(np.setdiff1d(pool, items)))
            row = {"user_id": user_id, "items": items, "target": target, "domain": 0}
            rows[split].append(row | {"target_item_id": f"i{target}".encode()})
    assert (counts[:TRAINED] > 0).all()
    ids = np.array([f"i{n}" for n in range(1, TRAINED + COLD + 1)], object)
    catalogue = Catalogue(("a",), ids, np.zeros(len(ids), np.int32), counts)
    found: Any = FakePrepared(catalogue, rows)
    table = pa.table(
        {
            "item_id": ids.tolist(),
            "listed": np.ones(len(ids), bool),
            "brand": [f"b{n}" for n in brands],
        }
    )
    found.item_columns = ItemColumns(table, (Column("brand", "category"),))
    return found


def untrained(prepared, network="sasrec", **settings) -> Any:
    """A network that knows nothing, so that votes alone can tell."""
    keras.utils.set_random_seed(0)
    small = {"dim": 4, "blocks": 1, "window": 6, "name": network, "neighbours": 0}
    config = Config.model_validate({"model": small | {"likeness": 6, "new_items": 6} | settings})
    model: Any = network_of(network).build(config, prepared)
    model.embedding.items.assign(1e-3 * model.embedding.items)
    count_neighbours(model, prepared)
    return model


def gains_of(model, prepared, split="test"):
    batches = evaluation_batches(prepared, split, 32)
    ranks = rank_split(ModelScorer(model), batches, prepared.catalogue, with_rows=False)
    gains = user_gains(ranks.ranks, "ndcg@10")
    return gains[~ranks.cold].mean(), gains[ranks.cold].mean()


def test_new_items_are_found_by_their_brand():
    """Of 12 candidates of the brand and 36 others, a target of the brand is among the best."""
    prepared = planted()
    said: list[str] = []
    model = untrained(prepared)
    before = gains_of(model, prepared)
    fit_score(model, prepared, evaluation_batches(prepared, "validation", 32), said.append)
    known, new = gains_of(model, prepared)
    assert new > 0.4 > 2 * before[1]
    assert known > 0.9 * before[0]
    assert float(model.new_items.weight) > 0 and any("Cold-start items" in line for line in said)


def test_what_is_told_of_them_is_what_the_whole_score_gives(monkeypatch):
    """Nothing is fitted after them: how far they are behind depends on the weights of the views."""
    monkeypatch.setattr(choices, "PRIOR_USERS", 0)  # so that weights of views are chosen
    prepared = planted()
    said: list[str] = []
    model = untrained(prepared, "syncrec", experts=2, cross_experts=1)
    model.embedding.items.assign(1e3 * model.embedding.items)
    batches = evaluation_batches(prepared, "validation", 32)
    fit_score(model, prepared, batches, said.append, judge=False)
    assert float(model.view_weights.single[0]) != 1.0
    [line] = [line for line in said if line.startswith("Cold-start items")]
    told = [float(number) for number in re.findall(r"0\.\d{4}", line)]
    np.testing.assert_allclose(told, gains_of(model, prepared, "validation"), atol=6e-5)


@pytest.mark.parametrize(
    ("least", "later", "chosen"), [(0.5, 1e6, 10), (0.5, 0.1, 0), (2.0, 1e6, None)]
)
def test_known_targets_lose_no_more_than_is_spent_on_new_ones(monkeypatch, least, later, chosen):
    """Each trial after the other gives new targets more and known ones less."""
    prepared = planted()
    batches = evaluation_batches(prepared, "validation", 32)
    new = np.concatenate([prepared.catalogue.cold[batch["target"]] for batch in batches])

    def trials_of(validation, state, rank):
        if state[0] == "without attributes":
            return Trials(np.full([len(new), 1], least / 0.95), np.zeros(len(new), int))
        steps = np.arange(len(TRIED)) / len(TRIED)
        gains = np.where(new[:, None], steps, 0.901 - steps)
        return Trials(gains, np.zeros(len(new), int))

    monkeypatch.setattr(fitting, "trials_of", trials_of)
    model = untrained(prepared)
    fit_new_items(model, prepared.catalogue, later, batches, lambda line: None)
    weight, gain = (0.0, BEHIND) if chosen is None else TRIED[chosen]
    assert float(model.new_items.weight) == weight
    np.testing.assert_array_equal(
        model.trend.gain, np.float32(gain) * prepared.catalogue.cold.astype(np.float32)
    )


def test_the_more_new_items_will_come_the_more_is_done_for_them():
    prepared = planted(cold_targets=0.2)
    batches, found = evaluation_batches(prepared, "validation", 32), []
    for later in (0.0, 1.0, 100.0):
        model = untrained(prepared)
        model.likeness.weight.assign(4.0)
        model.likeness.decay.assign(0.9)
        fit_new_items(model, prepared.catalogue, later, batches, lambda line: None)
        found.append(gains_of(model, prepared, "validation"))
    (known, new), *others = found
    for known_too, new_too in others:
        assert new_too >= new and known_too <= known
        known, new = known_too, new_too
    assert found[-1][1] > found[0][1]


def test_without_new_items_nothing_is_fitted():
    prepared = planted()
    model = untrained(prepared)
    none = SimpleNamespace(cold=np.zeros(TRAINED + COLD + 1, bool))
    fit_new_items(model, none, 1.0, [], lambda line: pytest.fail(line))  # type: ignore[arg-type]
    assert not bool(model.new_items.voting()) and not model.trend.gain.numpy().any()


def test_a_split_in_time_has_more_new_items_later():
    def of(split):
        return share_of_later(SimpleNamespace(settings=SimpleNamespace(split=split)))

    assert of("global_time") == LATER > of("leave_one_out") == share_of_later(object()) == 1


def test_content_knn_knows_brands_and_nothing_else():
    """Which of a brand is the target, it cannot know; that it is one of the brand, it does."""
    prepared = planted()
    validation = evaluation_batches(prepared, "validation", 32)
    said: list[str] = []
    scorer, trials = tune_content_knn(prepared, validation, said.append)
    assert len(trials) == len(said) and "shrinkage" not in trials[0]
    batch = next(iter(evaluation_batches(prepared, "test", 32)))
    scores = scorer.scores(scorer.queries(batch), 1, TRAINED + COLD)
    brands = np.append(np.arange(TRAINED) % BRANDS, np.arange(COLD) % BRANDS)
    for row, items in zip(scores, batch["items"].numpy(), strict=True):
        own = brands == brands[items[-1] - 1]
        assert (row[own] > 0).all() and not row[~own].any()


def test_content_knn_asks_for_a_file_of_items():
    prepared = planted()
    prepared.item_columns = None
    with pytest.raises(InputError, match="--items"):
        tune_content_knn(prepared, [])
