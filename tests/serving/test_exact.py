"""What is served is what was evaluated."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.serving_exactness import check
from tests.conftest import FakePrepared
from tests.support.exporting import DOMAINS, make_model
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.ranking import ModelScorer, rank_split
from tf_syncrec.training.run_directory import Run

USERS = 120


@pytest.fixture(scope="module")
def scorer(served):
    return ModelScorer(served.model)


@pytest.fixture(scope="module")
def rows(served, scorer, tmp_path_factory):
    """Of `test_ranks.parquet`: random users, histories long and short, some targets never seen."""
    rng = np.random.default_rng(0)
    users = []
    for user in range(USERS):
        history = rng.integers(1, len(served.ids) + 1, rng.integers(1, 25)).astype(np.int32)
        target = int(rng.integers(1, len(served.ids) + 1)) if user % 9 else 0
        raw = served.ids[target - 1] if target else "never seen"
        domain = int(served.catalogue.item_domains[target - 1]) if target else user % len(DOMAINS)
        users.append(
            {"user_id": f"user {user}".encode(), "items": history, "target": target}
            | {"target_item_id": raw.encode(), "domain": domain}
        )
    prepared = FakePrepared(served.catalogue, {"test": users})
    ranks = rank_split(scorer, evaluation_batches(prepared, "test", 32), served.catalogue)
    run = Run(tmp_path_factory.mktemp("exact"))
    run.write_ranks(ranks, served.catalogue)
    return pq.read_table(run.ranks_file).to_pylist()


def test_served_answers_are_the_evaluators_ranking(rest, scorer, rows):
    result = check(scorer, rest.served.catalogue, rows, rest.url)
    assert result["users"] == USERS
    wrong = {what: count for what, count in result.items() if what.startswith("wrong")}
    assert not any(wrong.values()), wrong
    assert result["same_items_in_the_same_order"] >= USERS - 5
    assert result["targets_looked_up"] > 20


def test_the_comparison_sees_a_model_that_is_another(rest, scorer, rows):
    other = make_model(rest.served.catalogue, seed=1)
    result = check(ModelScorer(other), rest.served.catalogue, rows[:20], rest.url)
    assert result["wrong_ranking"] > 10
    moved = [row | {"rank": row["rank"] % 5 + 1} for row in rows]
    result = check(scorer, rest.served.catalogue, moved, rest.url)
    assert result["wrong_rank_of_target"] > 5 and not result["wrong_ranking"]
