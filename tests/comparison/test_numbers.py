"""Numbers of a comparison follow from the ranks in its cells."""

import statistics

import pyarrow.parquet as pq
import pytest

from tests.support.comparing import METRICS, MODELS, ODD, QUIET, by_seed, literal_gain, literal_mean


def test_every_number_can_be_recomputed_from_the_ranks(compared):
    domains = compared.comparison["domains"]
    assert domains == sorted([ODD, QUIET, "plain"])
    assert set(compared.comparison["models"]) == set(MODELS.split(","))
    for model, found in compared.comparison["models"].items():
        seeds = by_seed(compared.cells, model)
        # Seeds in order of their number, whatever the order they were given in.
        rows_of_seeds = [seeds[seed] for seed in sorted(seeds)]
        places = [(None, found["test"]["overall"]), *found["test"]["domains"].items()]
        assert [name for name, _ in places] == [None, *domains]
        for domain, values in places:
            members = [
                [row for row in rows if domain in (None, row["domain"])] for rows in rows_of_seeds
            ]
            assert values["users"] == len(members[0])
            for metric in METRICS:
                means = [literal_mean(rows, metric) for rows in members]
                assert values[metric]["mean"] == pytest.approx(statistics.fmean(means), abs=1e-12)
                if not members[0]:
                    assert (values[metric]["std"], values[metric]["values"]) == (None, [])
                    continue
                assert values[metric]["values"] == pytest.approx(means, abs=1e-12)
                if len(means) == 1:
                    assert values[metric]["std"] is None
                else:
                    spread = pytest.approx(statistics.stdev(means), abs=1e-12)
                    assert values[metric]["std"] == spread
    cold = [row["cold"] for row in by_seed(compared.cells, "popularity")[3]]
    assert compared.comparison["cold_target_share"] == sum(cold) / len(cold) == 0.1


def test_ranks_of_all_models_stand_in_one_table_without_ids(compared):
    table = pq.read_table(compared.root / "ranks.parquet").to_pydict()
    columns = {name: (name, 3, "rank") for name in ("popularity", "item_knn")} | {
        f"{model}/seed{seed}{suffix}": (model, seed, key)
        for model in ("bprmf_cross", "bprmf_single")
        for seed in (1, 3)
        for suffix, key in (("", "rank"), ("/without_votes", "rank_without_votes"))
    }
    assert set(table) == {"domain", "cold", *columns}
    for column, (model, seed, key) in columns.items():
        rows = sorted(by_seed(compared.cells, model)[seed], key=lambda row: row["user_id"])
        assert table[column] == [row.get(key, row["rank"]) for row in rows]
        assert table["domain"] == [row["domain"] for row in rows]
        assert table["cold"] == [row["cold"] for row in rows]


def test_what_each_cell_found_stands_in_the_comparison(compared):
    cells = compared.comparison["cells"]
    assert len(cells) == len(compared.cells) == 10
    results = {(r["model"], r["seed"], r["domain"]): found for r, _, found in compared.cells}
    for cell in cells:
        found = results[cell["model"], cell["seed"], cell["domain"]]
        assert cell["settings"] == {} and found.items() <= cell.items()


def test_differences_and_breakdown_follow_from_the_ranks(compared):
    def mean_gains(model, metric):
        """`{user: metric}`, the mean over seeds, and everybody's domain."""
        gains: dict[str, list[float]] = {}
        for rows in by_seed(compared.cells, model).values():
            for row in rows:
                gains.setdefault(row["user_id"], []).append(literal_gain(row["rank"], metric))
        return {user: statistics.fmean(values) for user, values in gains.items()}

    of_user = {r["user_id"]: r["domain"] for r in by_seed(compared.cells, "popularity")[3]}
    models = compared.comparison["models"]
    assert compared.comparison["reference"] == "popularity"
    assert models["popularity"]["against_reference"] == {}
    for model in set(models) - {"popularity"}:
        for metric, found in models[model]["against_reference"].items():
            ours, theirs = mean_gains(model, metric), mean_gains("popularity", metric)
            for domain, row in [(None, found["overall"]), *found["domains"].items()]:
                users = [user for user in ours if domain in (None, of_user[user])]
                difference = [ours[user] - theirs[user] for user in users]
                assert row["users"] == len(users)
                assert row["mean"] == pytest.approx(sum(difference) / max(len(users), 1), abs=1e-12)
                assert row["low"] <= row["mean"] <= row["high"]
                assert 0 < row["p_value"] <= row.get("p_holm", 1.0) <= 1
        assert set(models[model]["against_reference"]) == {"ndcg@10", "hr@10"}

    for model, found in models.items():
        seeds = list(by_seed(compared.cells, model).values())
        for kind in found["breakdown"].values():
            assert sum(group["users"] for group in kind.values()) == len(of_user)
            assert sum(group["share_of_hits"] for group in kind.values()) == pytest.approx(1)
            for metric in ("ndcg@10", "hr@10"):
                total = sum(group["users"] * group[metric] for group in kind.values())
                overall = found["test"]["overall"][metric]["mean"]
                assert total / len(of_user) == pytest.approx(overall, abs=1e-12)
        known = [[row for row in rows if not row["cold"]] for rows in seeds]
        for metric in ("ndcg@10", "hr@10"):
            expected = statistics.fmean(literal_mean(rows, metric) for rows in known)
            assert found["breakdown"]["cold"]["no"][metric] == pytest.approx(expected, abs=1e-12)
            assert found["breakdown"]["cold"]["yes"][metric] == 0


def test_cost_adds_up_over_domains_and_is_averaged_over_seeds(compared):
    for model, found in compared.comparison["models"].items():
        costs = [
            result["cost"] for request, _, result in compared.cells if model == request["model"]
        ]
        seeds = len(by_seed(compared.cells, model))
        for key in ("seconds", "parameters", "seconds_per_epoch"):
            values = [cost[key] for cost in costs if key in cost]
            expected = pytest.approx(sum(values) / seeds) if values else None
            assert found["cost"][key] == expected
        assert found["cost"]["peak_memory_mb"] == max(cost["peak_memory_mb"] for cost in costs)
    trained = compared.comparison["models"]["bprmf_cross"]["cost"]
    assert trained["parameters"] > 0 and trained["epochs"] == [1, 1]


def test_models_of_single_domains_cover_every_user_once(compared):
    merged = {row["user_id"]: row for row in by_seed(compared.cells, "bprmf_cross")[1]}
    assert len(merged) == 70
    for rows in by_seed(compared.cells, "bprmf_single").values():
        assert sorted(row["user_id"] for row in rows) == sorted(merged)
        for row in rows:
            same = merged[row["user_id"]]
            assert (row["domain"], row["cold"]) == (same["domain"], same["cold"])
    for request, rows, _ in compared.cells:
        if request["domain"] is not None:
            assert {row["domain"] for row in rows} <= {request["domain"]}


def test_table_of_negative_transfer_with_votes_follows_from_both_models(compared):
    """Without votes, see test_votes.py."""
    tests = {name: model["test"] for name, model in compared.comparison["models"].items()}
    assert set(compared.comparison["negative_transfer_with_votes"]) == {"bprmf_cross"}
    table = compared.comparison["negative_transfer_with_votes"]["bprmf_cross"]
    for domain, row in [*table["domains"].items(), (None, table["overall"])]:
        both = [
            test["overall"] if domain is None else test["domains"][domain]
            for test in (tests["bprmf_single"], tests["bprmf_cross"])
        ]
        alone, together = (values["ndcg@10"]["mean"] for values in both)
        assert row["users"] == both[0]["users"]
        assert (row["alone"], row["all_domains"]) == pytest.approx((alone, together), abs=1e-12)
        assert row["difference"]["mean"] == pytest.approx(together - alone, abs=1e-12)
        expected = pytest.approx((together - alone) / alone) if alone else None
        assert row["change"] == expected
    assert set(compared.comparison["negative_transfer"]) == {"bprmf_cross"}
    quiet = compared.comparison["negative_transfer"]["bprmf_cross"]["domains"][QUIET]
    assert (quiet["users"], quiet["change"]) == (0, None)
    assert quiet["verdict"] == "not trained alone"


def test_models_without_chance_run_once(compared):
    assert set(by_seed(compared.cells, "popularity")) == {3}
    assert set(by_seed(compared.cells, "item_knn")) == {3}
    assert set(by_seed(compared.cells, "bprmf_cross")) == {1, 3}
    models = compared.comparison["models"]
    assert {name: model["seeds"] for name, model in models.items()} == {
        **{"popularity": [], "item_knn": []},
        **{"bprmf_cross": [1, 3], "bprmf_single": [1, 3]},
    }
    ranks = by_seed(compared.cells, "bprmf_cross")
    assert ranks[1] != ranks[3], "seeds must differ"
