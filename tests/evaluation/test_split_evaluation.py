"""What the split of the data means to what is trained and ranked on it."""

import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep import prepare
from tf_syncrec import evaluate
from tf_syncrec.comparison.libraries.bridge import write_exchange
from tf_syncrec.comparison.libraries.library import RECBOLE
from tf_syncrec.evaluation.full_ranking import PROTOCOL, protocol
from tf_syncrec.fit import main as fit

SMALL: dict[str, Any] = {"users": 60, "items_per_domain": 20, "interactions_per_user": 12}


def test_the_protocol_names_the_split_and_else_stays_the_same(tmp_path):
    def told(**options: Any):
        return protocol(
            prepare("synthetic", synthetic=SMALL, data_dir=tmp_path, report=None, **options)
        )

    alone = told()
    default = told(split="global_time")
    other = told(split="global_time", validation_share=0.25, test_share=0.07)
    assert "leave-one-out" in alone["split"] and "the last is the test target" in alone["split"]
    assert default["split"].startswith("global time: the last 10 % of all interactions")
    assert "the 10 % before" in default["split"] and "leave-one-out" not in default["split"]
    assert "the last 7 %" in other["split"] and "the 25 % before" in other["split"]
    for one in (alone, default, other):
        assert {key: one[key] for key in PROTOCOL} == PROTOCOL
    assert len({one["dataset"] for one in (alone, default, other)}) == 3


def test_recbole_is_told_nobody_for_a_user_without_training_rows(tmp_path, make_prepared):
    prepared = make_prepared(users=20, seed=1)
    stranger = prepared.splits["train"].pop(4)["user_id"]
    write_exchange(RECBOLE, tmp_path, prepared, "SASRec", {}, 0)
    names = [row["user_id"] for row in prepared.splits["train"]]
    for split in ("validation", "test"):
        users = np.load(tmp_path / f"{split}.npz")["user"].tolist()
        expected = [
            0 if row["user_id"] == stranger else 1 + names.index(row["user_id"])
            for row in prepared.splits[split]
        ]
        assert users == expected and users.count(0) == 1


@pytest.mark.slow
def test_a_run_on_a_global_time_split(tmp_path, capsys):
    """Also with users of whose history no item was ever trained, each a batch of its own."""
    rng = np.random.default_rng(0)
    lines = ["user_id,item_id,domain,timestamp"]
    for user in range(100):
        start = rng.integers(3000)
        for step in range(rng.integers(1, 14)):
            domain, item = rng.integers(3), rng.integers(30)
            lines.append(f"u{user},d{domain}_i{item},d{domain},{start + 100 * step}")
    for user in range(5):
        lines += [f"n{user},new{user},d0,2800", f"n{user},d1_i{user},d1,4500"]
    log = tmp_path / "log.csv"
    log.write_text("\n".join(lines) + "\n")
    options = ["--set", "data.split=global_time", "--set", "evaluate.batch_size=1"]
    for setting in ("dim=8", "experts=2", "cross_experts=1", "blocks=1", "window=8"):
        options += ["--set", f"model.{setting}"]
    run, data_dir = tmp_path / "run", tmp_path / "data"
    source = ["--dataset", "interactions", "--path", str(log), "--data_dir", str(data_dir)]
    fit([*source, *options, "--epochs", "1", "--output_dir", str(run)])
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["protocol"]["split"].startswith("global time")
    assert "global time" in (run / "report.html").read_text()
    prepared = prepare(
        "interactions", path=log, split="global_time", data_dir=data_dir, report=None
    )
    rows = {row["user_id"].decode(): row for row in prepared.as_dataset("test").as_numpy_iterator()}
    ranks = pq.read_table(run / "test_ranks.parquet").to_pylist()
    assert metrics["test"]["overall"]["users"] == len(ranks) == len(rows)
    for row in ranks:
        history = prepared.catalogue.item_ids[rows[row["user_id"]]["items"] - 1].tolist()
        assert row["history"] == history
        assert row["item_id"] == rows[row["user_id"]]["target_item_id"].decode()
    assert {row["user_id"] for row in ranks if not row["history"]} == {f"n{n}" for n in range(5)}
    capsys.readouterr()
    evaluate.main(["--run", str(run)])
    assert f"{metrics['test']['overall']['ndcg@10']:.4f}" in capsys.readouterr().out
