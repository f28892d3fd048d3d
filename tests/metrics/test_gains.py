"""Our metrics are those of `ir_measures`, and nothing but ranks gets through."""

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, Success, nDCG

from tf_syncrec.metrics.gains import METRICS, MISS, domain_metrics, rank_metrics, user_gains
from tf_syncrec.reporting.terminal_tables import metrics_table

REFERENCE = {
    "hr@5": Success @ 5,
    "hr@10": Success @ 10,
    "ndcg@5": nDCG @ 5,
    "ndcg@10": nDCG @ 10,
    "mrr": RR,
}


def reference_of(ranks, measures, candidates=40):
    """Means by `ir_measures`: one relevant document a query, at its rank or not retrieved."""
    qrels, scored = [], []
    for query, rank in enumerate(ranks):
        qrels.append(ir_measures.Qrel(f"q{query}", f"d{rank:.0f}", 1))
        scored += [
            ir_measures.ScoredDoc(f"q{query}", f"d{place}", float(candidates - place))
            for place in range(1, candidates + 1)
        ]
    return ir_measures.calc_aggregate(measures, qrels, scored)


def reference(ranks):
    """The metrics that are reported, by `ir_measures`."""
    found = reference_of(ranks, REFERENCE.values())
    return {name: found[measure] for name, measure in REFERENCE.items()}


@pytest.mark.parametrize("misses", [0.0, 0.3, 1.0])
def test_metrics_are_those_of_ir_measures(misses):
    rng = np.random.default_rng(0)
    ranks = np.where(rng.random(150) < misses, MISS, rng.integers(1, 41, 150))
    ours = rank_metrics(ranks)
    assert ours.pop("users") == 150
    assert ours == pytest.approx(reference(ranks), abs=1e-6)


@pytest.mark.parametrize("metric", [*REFERENCE, "hr@1", "ndcg@3"])
def test_every_gain_is_that_of_ir_measures(metric):
    ranks = np.append(np.random.default_rng(4).integers(1, 21, 200), MISS)
    measure = REFERENCE.get(metric) or {"hr@1": Success @ 1, "ndcg@3": nDCG @ 3}[metric]
    gains = user_gains(ranks, metric)
    assert gains.dtype == np.float64 and gains.shape == ranks.shape
    expected = {rank: reference_of([rank], [measure])[measure] for rank in set(ranks.tolist())}
    np.testing.assert_allclose(gains, [expected[r] for r in ranks.tolist()], rtol=0, atol=1e-6)


def test_metrics_are_the_means_of_the_gains():
    ranks = np.random.default_rng(5).integers(1, 30, 77)
    metrics = rank_metrics(ranks)
    assert tuple(metrics) == ("users", *METRICS) == ("users", *REFERENCE)
    for metric in METRICS:
        assert metrics[metric] == user_gains(ranks, metric).mean()


@pytest.mark.parametrize("wrong", ["ndcg", "hr@0", "hr@-1", "map@5", "ndcg@5x", "MRR", ""])
def test_what_is_no_metric_raises(wrong):
    with pytest.raises(ValueError, match=f"Received: {wrong!r}"):
        user_gains(np.array([1, 2]), wrong)


def test_cut_offs_include_their_own_rank():
    assert rank_metrics(np.array([5]))["hr@5"] == 1
    assert rank_metrics(np.array([6]))["hr@5"] == 0
    assert rank_metrics(np.array([10]))["ndcg@10"] == pytest.approx(1 / np.log2(11))
    assert rank_metrics(np.array([11]))["ndcg@10"] == 0


@pytest.mark.parametrize("metric", METRICS)
def test_a_miss_is_worth_nothing(metric):
    assert user_gains(np.array([MISS]), metric) == 0
    # As in a file that another program reads: the definitions of the metrics need not know of it.
    rank = np.array([1.0, MISS, 4.0])
    definitions = {"hr": rank <= 10, "ndcg": (rank <= 10) / np.log2(1 + rank), "mrr": 1 / rank}
    assert definitions[metric.split("@")[0]].mean() == pytest.approx(rank_metrics(rank)[metric])


def test_domains_are_measured_apart():
    rng = np.random.default_rng(3)
    ranks, domains = rng.integers(1, 41, 90), rng.integers(0, 3, 90)
    domains[domains == 1] = 3  # so that domain 1 has nobody
    metrics = domain_metrics(ranks, domains, ["a", "empty", "c", "d"])
    assert list(metrics["domains"]) == ["a", "empty", "c", "d"]
    for d, name in ((0, "a"), (2, "c"), (3, "d")):
        ours = dict(metrics["domains"][name])
        assert ours.pop("users") == (domains == d).sum()
        assert ours == pytest.approx(reference(ranks[domains == d]), abs=1e-6)
    overall = dict(metrics["overall"])
    assert overall.pop("users") == 90
    assert overall == pytest.approx(reference(ranks), abs=1e-6)


def test_a_domain_without_users_gives_zeros():
    metrics = domain_metrics(np.array([1, 2]), np.array([0, 0]), ["a", "b"])["domains"]["b"]
    assert set(metrics.values()) == {0}
    assert set(metrics) == {"users", *REFERENCE}


@pytest.mark.parametrize("wrong", [0, -1, np.nan])
def test_what_is_no_rank_raises(wrong):
    with pytest.raises(ValueError, match="ranks must be numbers from 1"):
        rank_metrics(np.array([1, wrong, 3]))


def test_values_are_plain_json_numbers():
    assert {type(x) for x in rank_metrics(np.array([1, 20])).values()} == {int, float}


def test_table_shows_every_domain_and_divides_by_no_zero():
    names = ["books", "nobody"]
    metrics = domain_metrics(np.array([1, 20]), np.array([0, 0]), names)
    popularity = domain_metrics(np.array([2, 2]), np.array([0, 0]), names)
    found = {"verdict": "hurt", "cross_less_single": {"mean": -0.25}}
    views = {"overall": found, "domains": dict.fromkeys(names, found)}
    lines = metrics_table(metrics, popularity, views)
    rows = {line.split()[0]: line.split() for line in lines.splitlines()}
    assert rows["nobody"][1:7] == ["0"] + ["0.0000"] * 5
    assert "-" in rows["nobody"]
    assert rows["books"][-2:] == ["hurt", "-0.2500"]
    assert rows["overall"][1] == "2"
