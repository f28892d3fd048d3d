"""Where people come back and where they do not: what is measured is what is served."""

import json

import numpy as np
import pandas as pd
import pytest

import tf_syncrec
from tf_syncrec.evaluation import AT_REQUEST_TIME, TIMED
from tf_syncrec.metrics.gains import user_gains


def write_log(path, shares, users=60, items=30, seed=0):
    """A domain for each part of the events that repeats an item of the user's own; in baskets."""
    rng = np.random.default_rng(seed)
    lines = ["user_id,item_id,domain,timestamp"]
    for user in range(users):
        had: dict[int, list[int]] = {domain: [] for domain in range(len(shares))}
        time = 1_500_000_000 + 1000 * user
        for _ in range(rng.integers(6, 20)):
            time += int(rng.choice([0, 0, 3600, 86400, 7 * 86400]))
            domain = int(rng.integers(len(shares)))
            own = had[domain]
            if own and (rng.random() < shares[domain] or len(set(own)) == items):
                item = int(rng.choice(own))
            else:
                item = int(rng.choice(sorted({*range(items)} - {*own})))
            own.append(item)
            lines.append(f"u{user},d{domain}_{item},d{domain},{time}")
    path.write_text("\n".join(lines) + "\n")
    return path


def fitted(log, **more):
    """A tiny run on a log, beside it."""
    return tf_syncrec.fit(
        dataset="interactions",
        path=str(log),
        data_dir=str(log.parent / "data"),
        output_dir=str(log.parent / "run"),
        config="tiny",
        epochs=1,
        verbose=False,
        **more,
    )


def told_of_times(run, ranks, told):
    """Places of the targets in answers to requests that tell times, beyond ten infinite."""
    found = []
    for name, rows in ranks.groupby("domain"):
        histories, times = (
            dict(zip(rows["user_id"], map(list, rows[column]), strict=True))
            for column in ("history", "history_timestamps")
        )
        now = rows["timestamp"].tolist() if told == AT_REQUEST_TIME else None
        answers = run.recommend(histories, name, k=10, timestamps=times, now=now)
        place = answers.set_index(["user_id", "item_id"])["rank"].to_dict()
        targets = zip(rows["user_id"], rows["item_id"], strict=True)
        found += [place.get(target, np.inf) for target in targets]
        ranked = np.where(rows[f"rank_{told}"] <= 10, rows[f"rank_{told}"], np.inf)
        np.testing.assert_array_equal(found[-len(rows) :], ranked)
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize("repeats", ["auto", "exclude"])
@pytest.mark.parametrize("network", ["bprmf", pytest.param("mmoe", marks=pytest.mark.long)])
def test_metrics_follow_from_the_answers_of_the_export(network, repeats, tmp_path):
    """HR and NDCG of all domains, from 0 to 100 % repeats, recomputed from answers alone."""
    log = write_log(tmp_path / "log.csv", shares=(0, 0.03, 0.4, 1))
    settings = {"data.repeats": repeats, "model.neighbours": 5}
    settings |= {"model.repeat_consumption": True, "model.trend": True}
    settings |= {"model.time_inputs": "auto"}
    run = fitted(log, model=network, settings=settings)
    again = [repeats == "auto" and name in ("d2", "d3") for name in run.catalogue.domains]
    assert run.catalogue.repeats.tolist() == again
    assert np.any(run.model.trend.gain)
    inputs = ("gap", "hour", "weekday") if network == "mmoe" else ()
    assert run.model.time_inputs == tuple(run.metrics["protocol"].get("time_inputs", ())) == inputs
    timed = any(again) or bool(inputs)
    assert np.any(run.model.repeats.weight.numpy(), axis=(0, 2)).tolist() == again
    rules = run.metrics["protocol"]["repeats"]
    assert [rules[name] == "include" for name in run.catalogue.domains] == again
    ranks = pd.read_parquet(run.ranks_file)
    gains: dict[str, list] = {"hr@10": [], "ndcg@10": []}
    usual = []
    for name, rows in ranks.groupby("domain"):
        histories = dict(zip(rows["user_id"], map(list, rows["history"]), strict=True))
        answers = run.recommend(histories, name, k=10)
        place = answers.set_index(["user_id", "item_id"])["rank"].to_dict()
        targets = zip(rows["user_id"], rows["item_id"], strict=True)
        found = np.array([place.get(target, np.inf) for target in targets], float)
        usual.append(found)
        for metric, received in gains.items():
            received.append(user_gains(found, metric))
            measured = run.metrics["test"]["domains"][name][metric]
            assert received[-1].mean() == pytest.approx(measured, abs=1e-12), (name, metric)
        had = [row.item_id in row.history for row in rows.itertuples()]
        assert (name != "d3") or np.mean(had) > 0.9
        recommended = [a.item_id in histories[a.user_id] for a in answers.itertuples()]
        assert any(recommended) == (rules[name] == "include")
        if rules[name] == "exclude":
            assert not np.isfinite(found[had]).any()
    for metric, received in gains.items():
        overall = np.concatenate(received).mean()
        assert overall == pytest.approx(run.metrics["test"]["overall"][metric], abs=1e-12)
    for told in TIMED if timed else ():
        by_times = told_of_times(run, ranks, told)
        measured = run.evaluate("test", told)
        assert measured == run.metrics[told]["test"]
        for metric in gains:
            assert user_gains(by_times, metric).mean() == pytest.approx(
                measured["overall"][metric], abs=1e-12
            )
        assert (by_times != np.concatenate(usual)).any()
    assert {*TIMED} & {*run.metrics} == ({*TIMED} if timed else set())
    for sample in json.loads(run.samples_file.read_text()):
        history = set(sample["history"])
        assert rules[sample["domain"]] == "include" or not history & set(sample["recommended"])


@pytest.mark.slow
def test_a_rule_of_the_domain_is_overridden_by_a_request(tmp_path):
    log = write_log(tmp_path / "log.csv", shares=(0, 1))
    run = fitted(log, model="bprmf")
    history = {"u1": [f"d{domain}_{item}" for domain in (0, 1) for item in range(5)]}

    def comes_back(domain, **options):
        return bool(
            set(run.recommend(history, domain, k=30, **options)["item_id"]) & {*history["u1"]}
        )

    assert not comes_back("d0") and comes_back("d1")
    for domain in ("d0", "d1"):
        assert comes_back(domain, exclude_seen=False)
        assert not comes_back(domain, exclude_seen=True)
    everything = run.recommend(history, k=60)["item_id"]
    assert {name[:2] for name in {*everything} & {*history["u1"]}} == {"d1"}
