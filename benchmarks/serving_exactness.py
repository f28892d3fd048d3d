"""Is what is served what was evaluated?

    python -m benchmarks.serving_exactness --run runs/NAME [--users 1000] [--url http://...]

For test users of a run: the served top 10 against the offline evaluator's scores of all items, and
against the rank that test_ranks.parquet says the target has; rows against columns; batches of 1
against batches of 64. Without --url, the run's export is served here. If anything differs, the exit
code is 1.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import requests

from benchmarks.serving_process import local_server
from serving.client import Answer, Client
from tf_syncrec.evaluation import AT_REQUEST_TIME, TIMED
from tf_syncrec.evaluation.full_ranking import ModelScorer, Scorer
from tf_syncrec.training.run_directory import RunDirectory

ROUNDING = 1e-4
"""Two scores, of size 10 or so, that are no further apart may change places: a sum of float32
depends on its order, and with it on the size of the batch."""

PATIENCE = 120.0
"""Seconds that an answer may take: this is about what it says."""


def check(
    scorer: Scorer,
    catalogue,
    rows: list[dict[str, Any]],
    url: str,
    name="syncrec",
    by_user=False,
    told: str | None = None,
) -> dict[str, int]:
    """Counts of agreements and disagreements.

    Args:
        scorer: of the trained model.
        catalogue: its items.
        rows: of `test_ranks.parquet`.
        url: of the server.
        name: of the model there.
        by_user: whether it knows users, and is asked by `user_id`.
        told: what it is told of times, one of `evaluation.TIMED`; the scorer is told the same.
    """
    request: dict[str, Any] = {
        "histories": [row["history"] for row in rows],
        "domains": [row["domain"] for row in rows],
        "user_ids": [row["user_id"] for row in rows] if by_user else None,
    }
    if told:
        request["timestamps"] = [row["history_timestamps"] for row in rows]
        rows = [row | {"rank": row[f"rank_{told}"]} for row in rows]
    if told == AT_REQUEST_TIME:
        request["now"] = [row["timestamp"] for row in rows]
    together, alone = (
        Client(url, name, batch_size=size, timeout=PATIENCE).recommend(**request)
        for size in (64, 1)
    )
    known = set(catalogue.item_ids)
    result = {
        "users": len(rows),
        "same_items_in_the_same_order": 0,
        "two_within_rounding_changed_places": 0,
        "wrong_ranking": 0,
        "targets_looked_up": 0,
        "wrong_rank_of_target": 0,
        "wrong_known_items": 0,
        "wrong_batch_of_one": 0,
        "wrong_rows": 0,
    }
    for row, answer, single, scores in zip(
        rows, together, alone, _scores(scorer, catalogue, rows), strict=True
    ):
        best = sorted(scores, key=lambda item: -scores[item])[: len(answer.items)]
        if answer.items == best:
            result["same_items_in_the_same_order"] += 1
        elif _same_but_for_rounding(answer, best, scores):
            result["two_within_rounding_changed_places"] += 1
        else:
            result["wrong_ranking"] += 1
        result["wrong_rank_of_target"] += not _rank_agrees(row, answer, scores)
        result["targets_looked_up"] += row["rank"] <= len(answer.items)
        counted = sum(item in known for item in row["history"])
        result["wrong_known_items"] += answer.known_items != counted
        result["wrong_batch_of_one"] += not _same_but_for_rounding(single, answer.items, scores)
    result["wrong_rows"] = _rows_that_differ(url, name, rows[:64], by_user)
    return result


def _scores(scorer, catalogue, rows):
    """Of each row: `{item: score}` of the candidates, as the offline evaluator scores them."""
    scorer.refresh()
    number = {item: i + 1 for i, item in enumerate(catalogue.item_ids)}
    for row in rows:
        d = catalogue.domains.index(row["domain"])
        offset, size = int(catalogue.offsets[d]), int(catalogue.sizes[d])
        ids = [number[item] for item in row["history"]]
        batch = {"items": np.array([ids], np.int32), "domain": np.array([d], np.int32)}
        batch["user_id"] = np.array([row["user_id"]], object)
        batch["timestamps"] = np.array([row["history_timestamps"]], np.float64)
        batch["target_timestamp"] = np.array([row["timestamp"]], np.float64)
        values = scorer.scores(scorer.queries(batch), offset, size).numpy()[0] if size else []
        items = catalogue.item_ids[offset - 1 : offset - 1 + size]
        seen = set() if catalogue.repeats[d] else set(row["history"])
        yield {
            item: float(value)
            for item, value in zip(items, values, strict=True)
            if item not in seen
        }


def _same_but_for_rounding(answer: Answer, best, scores):
    return (
        len(answer.items) == len(best)
        and len(set(answer.items)) == len(best)
        and all(
            item in scores and abs(scores[item] - scores[expected]) <= ROUNDING
            for item, expected in zip(answer.items, best, strict=True)
        )
    )


def _rank_agrees(row, answer, scores):
    """Whether the target stands where the evaluation says; it may be out of what is served."""
    target, rank = row["item_id"], row["rank"]
    if target not in scores:  # never trained, or had where nobody comes back: served to nobody
        return target not in answer.items
    place = answer.items.index(target) + 1 if target in answer.items else None
    if place == rank or (place is None and rank > len(answer.items)):
        return True
    ordered = sorted(scores.values(), reverse=True)
    return rank <= len(ordered) and abs(scores[target] - ordered[int(rank) - 1]) <= ROUNDING


def _rows_that_differ(url, name, rows, by_user):
    """Rows of one request that the row format and the column format answer otherwise."""
    width = max(1, *(len(row["history"]) for row in rows))
    instances = [
        {"items": row["history"] + [""] * (width - len(row["history"])), "domain": row["domain"]}
        | ({"user_id": row["user_id"]} if by_user else {})
        for row in rows
    ]
    inputs = {key: [instance[key] for instance in instances] for key in instances[0]}
    predictions, outputs = (
        requests.post(f"{url}/v1/models/{name}:predict", json=request, timeout=60).json()[answer]
        for request, answer in (
            ({"instances": instances}, "predictions"),
            ({"inputs": inputs}, "outputs"),
        )
    )
    return sum(
        row != {key: values[i] for key, values in outputs.items()}
        for i, row in enumerate(predictions)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, metavar="DIR")
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--url", help="of a server that serves this run")
    args = parser.parse_args()
    run = RunDirectory(args.run)
    _, catalogue, model = run.load()
    table = pq.read_table(run.ranks_file)
    chosen = np.random.default_rng(0).permutation(table.num_rows)[: args.users]
    rows = table.take(np.sort(chosen)).to_pylist()
    server = (
        contextlib.nullcontext((args.url, 0)) if args.url else local_server(Path(run.export_dir))
    )
    with server as (url, _):
        by_user = hasattr(model, "user_vectors")
        results = {
            told or "full": check(
                ModelScorer(model, told=told), catalogue, rows, url, by_user=by_user, told=told
            )
            for told in (None, *TIMED)
            if told is None or f"rank_{told}" in table.column_names
        }
    print(json.dumps(results, indent=2))
    wrong = [
        count
        for result in results.values()
        for what, count in result.items()
        if what.startswith("wrong")
    ]
    sys.exit(any(wrong))


if __name__ == "__main__":
    main()
