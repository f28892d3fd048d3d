"""What is served is what was evaluated, of whatever network, and needs none of this code."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from benchmarks.serving_exactness import check
from tests.conftest import FakePrepared
from tests.support.exporting import (
    DOMAINS,
    TERMS,
    TOLERANCE,
    USERS,
    make_model,
    padded,
    random_histories,
)
from tests.support.networks import KINDS, OF_A_KIND, OF_USERS, each
from tests.support.rest_server import LIMITS, running
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation import TIMED
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.training.run_directory import RunDirectory

WITH_TERMS = "syncrec, with all that can be fitted on top, and people who come back"


OF_ALL_KINDS = [
    pytest.param("syncrec", marks=pytest.mark.slow),  # with terms it has all that it has without
    *each([name for name in KINDS if name != "syncrec"]),
    WITH_TERMS,
]


@pytest.fixture(scope="module", params=OF_ALL_KINDS)
def network(request, exported, tmp_path_factory):
    """A served network, its scorer and rows of its `test_ranks.parquet`.

    Of random users, histories long and short, some targets never seen.
    """
    more = TERMS if request.param == WITH_TERMS else {}
    found = exported(request.param.partition(",")[0], **more)
    rng = np.random.default_rng(0)
    users = []
    for number, user in enumerate(USERS):
        history = rng.integers(1, len(found.ids) + 1, rng.integers(1, 25)).astype(np.int32)
        target = int(rng.integers(1, len(found.ids) + 1)) if number % 9 else 0
        raw = found.ids[target - 1] if target else "never seen"
        domain = int(found.catalogue.item_domains[target - 1]) if target else number % len(DOMAINS)
        # Baskets, hours, weeks and years; of some users nobody knows when anything was.
        moments = np.random.default_rng(number)
        gaps = moments.choice([0, 0, 0, 1800, 86400, 7 * 86400, 1e8], len(history) + 1)
        times = (1.5e9 + np.cumsum(gaps)) * moments.choice([1.0, 1e3]) * (number % 7 > 0)
        users.append(
            {"user_id": user.encode(), "items": history, "target": target}
            | {"target_item_id": raw.encode(), "domain": domain}
            | {"timestamps": times[:-1], "target_timestamp": times[-1]}
        )
    prepared = FakePrepared(found.catalogue, {"test": users})
    scorer = ModelScorer(found.model)
    timed = {told: ModelScorer(found.model, told=told) for told in TIMED}
    batches = evaluation_batches(prepared, "test", 32)
    ranks = rank_split(scorer, batches, found.catalogue, beside=timed)
    run = RunDirectory(tmp_path_factory.mktemp("exact"))
    run.write_ranks(ranks, found.catalogue)
    with running(found.base, LIMITS) as rest:
        rest.name, rest.served, rest.scorer, rest.timed = request.param, found, scorer, timed
        rest.rows = pq.read_table(run.ranks_file).to_pylist()
        yield rest


def compare(network, scorer=None, rows=None):
    """Agreements and disagreements, by default of what should agree."""
    return check(
        scorer or network.scorer,
        network.served.catalogue,
        rows or network.rows,
        network.url,
        by_user=network.name in OF_USERS,
    )


def test_served_answers_are_the_evaluators_ranking(network):
    result = compare(network)
    assert result["users"] == len(USERS)
    wrong = {what: count for what, count in result.items() if what.startswith("wrong")}
    assert not any(wrong.values()), wrong
    assert result["same_items_in_the_same_order"] >= len(USERS) - 5
    assert result["targets_looked_up"] > 20


def test_requests_that_tell_times_are_answered_as_they_are_evaluated(network):
    """Where times have no say, there is nothing by which they could be told."""
    signatures = network.served.loaded.signatures
    told = set(signatures["with_options"].structured_input_signature[1]) & {"timestamps", "now"}
    if network.name != WITH_TERMS:
        assert not told and "with_times" not in signatures
        return
    assert len(told) == 2
    usual = [row["rank"] for row in network.rows]
    for name, scorer in network.timed.items():
        result = check(scorer, network.served.catalogue, network.rows, network.url, told=name)
        wrong = {what: count for what, count in result.items() if what.startswith("wrong")}
        assert not any(wrong.values()), wrong
        changed = sum(
            row[f"rank_{name}"] != rank for row, rank in zip(network.rows, usual, strict=True)
        )
        assert changed > 20 and result["targets_looked_up"] > 20


@pytest.mark.slow
def test_the_comparison_sees_a_model_that_is_another(network):
    if network.name not in ("bprmf", WITH_TERMS):  # asked by user, and by history
        pytest.skip("whatever the network, it is the same comparison")
    other = make_model(network.served.catalogue, seed=1, network=network.name.partition(",")[0])
    result = compare(network, ModelScorer(other), network.rows[:20])
    assert result["wrong_ranking"] > 10
    moved = [row | {"rank": row["rank"] % 5 + 1} for row in network.rows]
    result = compare(network, rows=moved)
    assert result["wrong_rank_of_target"] > 5 and not result["wrong_ranking"]


def test_a_batch_without_a_row_is_answered_by_none(network):
    signature = network.served.loaded.signatures["serving_default"]
    inputs = {"items": tf.zeros([0, 3], tf.string), "domain": tf.zeros([0], tf.string)}
    if network.name in OF_USERS:
        inputs["user_id"] = inputs["domain"]
    assert {len(value) for value in signature(**inputs).values()} == {0}


SERVER = """
import json, sys
import tensorflow as tf

def plain(value):
    return [plain(v) for v in value] if isinstance(value, list) else (
        value.decode() if isinstance(value, bytes) else value)

def answer(path, request):
    with tf.compat.v1.Session(graph=tf.Graph()) as session:  # what the C++ server does
        graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
        signature = graph.signature_def["serving_default"]
        names = {name: tensor.name for name, tensor in signature.outputs.items()}
        answers = [session.run(names, {signature.inputs[n].name: v for n, v in request.items()})]
        try:
            wrong = request | {"domain": ["wrong"] * len(request["domain"])}
            session.run(names, {signature.inputs[n].name: v for n, v in wrong.items()})
            error = ""
        except tf.errors.InvalidArgumentError as e:
            error = e.message
    loaded = tf.saved_model.load(path)
    found = loaded.signatures["serving_default"](**{n: tf.constant(v) for n, v in request.items()})
    answers.append({name: value.numpy() for name, value in found.items()})
    return {"answers": [{n: plain(a[n].tolist()) for n in a} for a in answers], "error": error}

said = {name: answer(*asked) for name, asked in json.loads(sys.argv[1]).items()}
ours = {"tf_syncrec", "data_prep", "serving", "tensorflow_recommenders"} & set(sys.modules)
print(json.dumps({"said": said, "imported": sorted(ours)}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "names", [OF_A_KIND, pytest.param(sorted({*KINDS} - {*OF_A_KIND}), marks=pytest.mark.long)]
)
def test_a_process_with_nothing_but_tensorflow_serves_them(names, exported, tmp_path):
    histories = [*random_histories(exported("syncrec"), 4, seed=1), ["unknown"], []]
    request = {
        "items": padded(histories),
        "domain": ["audio", "books", "", "música", "música", ""],
    }
    users = {"user_id": [*USERS[:4], "nobody", ""]}
    asked = {
        name: (str(exported(name).version), request | (users if name in OF_USERS else {}))
        for name in names
    }
    environment = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME")}
    done = subprocess.run(
        [sys.executable, "-I", "-c", SERVER, json.dumps(asked)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    output = json.loads(done.stdout.splitlines()[-1])
    assert output["imported"] == []
    for name in names:
        said = output["said"][name]
        assert "unknown domain" in said["error"] and "música" in said["error"]
        signature = exported(name).loaded.signatures["serving_default"]
        found = signature(**{key: tf.constant(value) for key, value in asked[name][1].items()})
        here = {key: value.numpy() for key, value in found.items()}
        for there in said["answers"]:
            for key in ("items", "domains"):
                assert there[key] == [[text.decode() for text in row] for row in here[key]]
            for key in ("known_items", "fallback"):
                assert there[key] == here[key].tolist()
            np.testing.assert_allclose(there["scores"], here["scores"], atol=TOLERANCE)
