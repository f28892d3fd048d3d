"""Whole baskets, against rankings written out, and metrics of `ir_measures`."""

import ir_measures
import numpy as np
import pytest
from ir_measures import R, nDCG

from tests.conftest import FakePrepared
from tests.support.networks import small_network
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.full_ranking import ModelScorer, PopularityScorer, rank_split
from tf_syncrec.evaluation.next_basket import rank_baskets


def with_baskets(prepared, seed=0):
    """Times at which several things were done, the last of them with the target."""
    rng, splits = np.random.default_rng(seed), dict(prepared.splits)
    domains = prepared.catalogue.item_domains
    for split in ("validation", "test"):
        rows = []
        for row in splits[split]:
            times = 1e9 + 86400.0 * np.cumsum(rng.random(len(row["items"])) < 0.4)
            now = times[-1] + 86400.0 * (rng.random() < 0.4)
            mates = [i for i in row["items"][times == now] if domains[i - 1] == row["domain"]]
            basket = list({*mates, int(row["target"])}) + [0] * (rng.random() < 0.3)
            rows.append(
                row | {"timestamps": times, "target_timestamp": now, "basket": np.array(basket)}
            )
        splits[split] = rows
    return FakePrepared(prepared.catalogue, splits)


def literal(scorer, prepared, split="test"):
    """By user: domain, ranks of the basket; of one user after the other."""
    scorer.refresh()
    catalogue, found = prepared.catalogue, {}
    for batch in evaluation_batches(prepared, split, 1):
        earlier = batch["timestamps"].numpy()[0] < float(batch["target_timestamp"][0])
        history = batch["items"].numpy()[0][earlier & (batch["items"].numpy()[0] > 0)]
        if not len(history):
            continue
        d = int(batch["domain"][0])
        offset, size = int(catalogue.offsets[d]), int(catalogue.sizes[d])
        [row] = [
            row for row in prepared.splits[split] if row["user_id"] == batch["user_id"].numpy()[0]
        ]
        ranks = []
        if size:
            times = batch["timestamps"].numpy()[0][earlier & (batch["items"].numpy()[0] > 0)]
            asked = batch | {"items": history[None], "timestamps": times[None]}
            scores = np.array(scorer.scores(scorer.queries(asked), offset, size))[0]
            out = set() if catalogue.repeats[d] else {*history.tolist()}
            candidates = [i for i in range(offset, offset + size) if i not in out]
            for item in row["basket"]:
                possible = item in candidates
                at_least = [
                    i
                    for i in candidates
                    if possible and scores[i - offset] >= scores[item - offset]
                ]
                ranks.append(len(at_least) if possible else np.inf)
        else:
            ranks = [np.inf] * len(row["basket"])
        found[row["user_id"]] = d, sorted(ranks)
    return found


@pytest.mark.parametrize("told", [None, "with_times"])
def test_ranks_are_those_of_a_literal_ranking(make_prepared, told):
    prepared = with_baskets(make_prepared())
    model = small_network(prepared, repeat_consumption=True)
    rng = np.random.default_rng(0)
    model.repeats.weight.assign(rng.normal(size=model.repeats.weight.shape))
    scorer = ModelScorer(model, told=told)
    batches = evaluation_batches(prepared, "test", 16)
    expected = literal(scorer, prepared)
    found = rank_baskets(scorer, batches, prepared.catalogue)
    assert found.left_out == len(prepared.splits["test"]) - len(expected) > 0
    received = sorted(
        (int(d), sorted(ranks)[:size])
        for d, ranks, size in zip(found.domains, found.ranks.tolist(), found.sizes, strict=True)
    )
    assert received == sorted(expected.values())
    assert max(len(ranks) for _, ranks in received) > 2


def test_metrics_are_those_of_ir_measures(make_prepared):
    """A cold item of a basket is relevant and never found."""
    prepared = with_baskets(make_prepared(users=150))
    scorer = PopularityScorer(np.random.default_rng(0).random(prepared.catalogue.num_items))
    batches = evaluation_batches(prepared, "test", 16)
    found = rank_baskets(scorer, batches, prepared.catalogue)
    qrels, run = [], []
    for user, (size, ranks) in enumerate(zip(found.sizes, found.ranks, strict=True)):
        known = ranks[np.isfinite(ranks)]
        assert len(set(known)) == len(known)  # no scores are equal
        relevant = [f"d{rank:.0f}" for rank in known]
        relevant += [f"cold {n}" for n in range(size - len(known))]
        qrels += [ir_measures.Qrel(f"q{user}", name, 1) for name in relevant]
        run += [ir_measures.ScoredDoc(f"q{user}", f"d{n}", float(-n)) for n in range(1, 40)]
    measures = {"recall@5": R @ 5, "recall@10": R @ 10, "ndcg@5": nDCG @ 5, "ndcg@10": nDCG @ 10}
    expected = ir_measures.calc_aggregate(measures.values(), qrels, run)
    metrics = found.metrics(prepared.catalogue.domains)
    for name, measure in measures.items():
        assert metrics["overall"][name] == pytest.approx(expected[measure], abs=1e-6)
    rows = metrics["domains"].values()
    assert sum(row["users"] for row in rows) == metrics["overall"]["users"] == len(found.sizes)
    assert metrics["overall"]["size"] == pytest.approx(found.sizes.mean())
    assert found.sizes.mean() > 1.2


def test_a_basket_of_one_is_a_target(make_prepared):
    """Where all that was done before it was done at other times."""
    prepared = make_prepared()
    scorer = ModelScorer(small_network(prepared))
    batches = evaluation_batches(prepared, "test", 16)
    ranks = rank_split(scorer, batches, prepared.catalogue)
    baskets = rank_baskets(scorer, batches, prepared.catalogue)
    np.testing.assert_array_equal(baskets.ranks[:, 0], ranks.ranks)
    both = ranks.metrics(prepared.catalogue.domains), baskets.metrics(prepared.catalogue.domains)
    for k in (5, 10):
        assert both[0]["overall"][f"hr@{k}"] == both[1]["overall"][f"recall@{k}"]
        assert both[0]["overall"][f"ndcg@{k}"] == pytest.approx(both[1]["overall"][f"ndcg@{k}"])
