"""Models made for two domains: trained on each two, and every domain has the mean of its pairs."""

import json
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep import InputError
from tests.support.comparing import cells_here, plant_cell, run, strict_json, write_log
from tf_syncrec.comparison.cells import RANKS, cells_of
from tf_syncrec.comparison.names import parse_name
from tf_syncrec.comparison.results import rank_table, read_ranks
from tf_syncrec.comparison.runner import run_comparison
from tf_syncrec.config import Config
from tf_syncrec.metrics.gains import user_gains

DOMAINS = ("books", "films", "music")
USERS = {f"u{n}": DOMAINS[n % 3] for n in range(20)}


@pytest.fixture
def planted(tmp_path):
    """Cells of two seeds with ranks by chance, and `{(seed, pair, user): rank}`."""
    rng = np.random.default_rng(0)
    ranks: dict[tuple, float] = {}
    for seed in (0, 5):
        for pair in combinations(DOMAINS, 2):
            own = [user for user in rng.permutation(list(USERS)) if USERS[user] in pair]
            drawn = rng.integers(1, 15, len(own)).astype(float)
            ranks |= {(seed, pair, user): rank for user, rank in zip(own, drawn, strict=True)}
            of_domain = [USERS[user] for user in own]
            plant_cell(tmp_path, "pi_net_by_pair", seed, pair, own, of_domain, drawn)
    return tmp_path, ranks


def test_a_user_has_the_mean_of_the_pairs_of_his_domain(planted):
    root, ranks = planted
    cells = cells_of({parse_name("pi_net_by_pair"): (0, 5)}, DOMAINS)
    found = read_ranks(root, cells)["pi_net_by_pair"]
    assert found.user_ids.tolist() == sorted(USERS)
    for metric in ("ndcg@10", "mrr"):
        gains = found.gains(metric)
        assert gains.shape == (2, len(USERS))
        for (row, seed), (column, user) in (
            (s, u) for s in enumerate((0, 5)) for u in enumerate(sorted(USERS))
        ):
            of_pairs = [
                rank for (s, pair, u), rank in ranks.items() if (s, u) == (seed, user) and pair
            ]
            assert len(of_pairs) == 2
            expected = user_gains(np.array(of_pairs), metric).mean()
            assert gains[row, column] == pytest.approx(expected, abs=1e-12)


def test_each_pair_has_a_column_by_the_name_of_the_other(planted):
    root, ranks = planted
    table = rank_table(read_ranks(root, cells_of({parse_name("pi_net_by_pair"): (0, 5)}, DOMAINS)))
    for row, user in enumerate(sorted(USERS)):
        others = [domain for domain in DOMAINS if domain != USERS[user]]
        for number, other in enumerate(others, start=1):
            pair = tuple(sorted((USERS[user], other)))
            column = table[f"pi_net_by_pair/seed5/partner{number}"]
            assert column[row].as_py() == ranks[5, pair, user]


def test_pairs_need_two_domains(tmp_path):
    prepared: Any = SimpleNamespace(catalogue=SimpleNamespace(domains=("books",)))
    plan: Any = {parse_name("pi_net_by_pair"): (0,)}
    with pytest.raises(
        InputError, match="--models pi_net_by_pair: needs two domains, the data has books"
    ):
        run_comparison(tmp_path, plan, "pi_net_by_pair", ((), ()), Config(), prepared)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", ["popularity", "pi_net_by_pair"])
def test_nobody_has_no_ranks(tmp_path, model):
    cells = cells_of({parse_name(model): (0,)}, DOMAINS)
    for cell in cells:
        plant_cell(tmp_path, model, 0, cell.domain, [], [], [])
    (found,) = read_ranks(tmp_path, cells).values()
    assert found.gains("ndcg@10").shape == (1, 0)


@pytest.mark.slow
def test_two_domains_are_all_that_a_cell_meets_and_the_page_names_the_best_pair(tmp_path):
    write_log(tmp_path / "log.tsv")
    with cells_here():
        root = run(tmp_path, models="popularity,bprmf_by_pair", seeds="0")
    comparison = strict_json(root / "comparison.json")
    domains = comparison["domains"]
    found = comparison["models"]["bprmf_by_pair"]
    asked = [cell["domain"] for cell in comparison["cells"] if cell["model"] == "bprmf_by_pair"]
    assert asked == [list(pair) for pair in combinations(domains, 2)]
    for domain, partners in found["pairs"].items():
        assert sorted([domain, *partners]) == domains
        mean = found["test"]["domains"][domain]["ndcg@10"]["mean"]
        assert np.mean(list(partners.values())) == pytest.approx(mean, abs=1e-12)
    for directory in root.glob("cells/bprmf_by_pair/seed0/*"):
        pair = json.loads((directory / "cell.json").read_text())["domain"]
        assert set(pq.read_table(directory / RANKS)["domain"].to_pylist()) <= set(pair)
    assert "by the other domain of the pair" in (root / "comparison.md").read_text()
