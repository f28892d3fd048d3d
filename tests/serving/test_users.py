"""A model that knows users and not histories, BPRMF, is asked by `user_id`."""

import subprocess
import sys

import numpy as np
import pytest
import requests
import tensorflow as tf

from serving.client import Client, ServingError
from serving.histories import open_histories
from tests.support.exporting import (
    DOMAINS,
    SETTINGS,
    TOP_K,
    USERS,
    random_histories,
)
from tests.support.rest_server import LIMITS, PATIENCE, running
from tf_syncrec.config import Config
from tf_syncrec.training.run_directory import RunDirectory


@pytest.fixture(scope="module")
def rest(exported):
    served = exported("bprmf")
    with running(served.base, LIMITS) as rest:
        rest.served = served
        yield rest


def test_user_id_is_an_input_of_what_recommends(rest):
    asked_by = {
        name: set(signature.structured_input_signature[1])
        for name, signature in rest.served.loaded.signatures.items()
    }
    assert asked_by == {
        "serving_default": {"items", "domain", "user_id"},
        "top_k": {"items", "domain", "k", "user_id"},
        "filtered": {"items", "domain", "k", "allow", "deny", "user_id"},
        "with_options": {"items", "domain", "k", "exclude_seen", "allow", "deny", "user_id"},
        "each_domain": {"items", "k", "user_id"},
        "each_domain_filtered": {"items", "k", "allow", "deny", "user_id"},
        "explain": {"items"},
    }


def test_who_is_known_needs_no_history(rest):
    """And is answered by vectors alone, as nobody votes without a history."""
    answers = Client(rest.url, timeout=PATIENCE).recommend(
        [[], ["unknown"]], "audio", user_ids=[USERS[3]] * 2
    )
    assert answers[0] == answers[1]
    assert (answers[0].fallback, answers[0].known_items) == (False, 0)
    asked = {"user_id": tf.constant([USERS[3]]), "domain": tf.constant([0])}
    query = rest.served.model(asked).numpy()[0]
    items = rest.served.model.candidate_vectors(np.arange(1, 31)).numpy()
    best = np.argsort(-(items @ query))[:TOP_K]
    assert answers[0].items == [rest.served.ids[i] for i in best]


@pytest.mark.parametrize("domain", [*DOMAINS, ""])
def test_who_is_unknown_gets_what_is_popular_and_not_what_they_had(rest, domain):
    """No vote of the history either: a score of popularity is a count."""
    history = random_histories(rest.served, 1, seed=1)[0]
    known, unknown = Client(rest.url, timeout=PATIENCE).recommend(
        [history, history], domain, user_ids=[USERS[0], "nobody"]
    )
    assert (known.fallback, unknown.fallback) == (False, True)
    assert known.known_items == unknown.known_items == len(history)
    catalogue = rest.served.catalogue
    counts = {
        item: count
        for item, count, d in zip(
            rest.served.ids, catalogue.counts, catalogue.item_domains, strict=True
        )
        if item not in history and domain in ("", DOMAINS[d])
    }
    assert unknown.scores == sorted(counts.values(), reverse=True)[:TOP_K]
    assert [counts[item] for item in unknown.items] == unknown.scores
    assert domain == "empty" or known.items != unknown.items


def test_who_is_asked_for_by_id_is_told_to_the_model(rest, tmp_path):
    store = open_histories(str(tmp_path / "histories.db"))
    client = Client(rest.url, timeout=PATIENCE, histories=store)
    store.record(USERS[3], rest.served.ids[2], 1.0)
    answer = client.recommend_user(USERS[3], "audio")
    (expected,) = Client(rest.url, timeout=PATIENCE).recommend(
        [[rest.served.ids[2]]], "audio", user_ids=[USERS[3]]
    )
    assert answer == expected and not answer.fallback and answer.known_items == 1
    assert client.recommend_user("nobody", "audio").fallback


def test_a_request_without_a_user_is_refused(rest):
    with pytest.raises(ServingError, match="Missing named input: user_id") as error:
        Client(rest.url, timeout=PATIENCE).recommend([[]], "audio")
    assert error.value.status == 400
    with pytest.raises(ValueError, match="user_ids: 1 histories, received 2"):
        Client(rest.url, timeout=PATIENCE).recommend([[]], "audio", user_ids=["a", "b"])


@pytest.mark.slow
def test_a_run_is_exported_by_a_process_that_trained_none(rest, tmp_path):
    """It has to find the class of the network, and its users, in the run directory."""
    served, run = rest.served, RunDirectory(tmp_path / "run")
    run.create(Config.model_validate(SETTINGS), served.catalogue, served.model)
    served.model.save_weights(run.checkpoint_file)
    run.write_json(run.metrics_file, {})
    run.lock.release()
    done = subprocess.run(
        [sys.executable, "-m", "serving.export", "--run", str(run.directory)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == f"SavedModel: {run.export_dir / '1'}"
    with running(run.export_dir) as exported:
        answers = [
            Client(url).recommend([served.ids[:3], []], "", user_ids=[USERS[7], "nobody"])
            for url in (rest.url, exported.url)
        ]
    assert answers[0] == answers[1]


def test_explain_says_what_there_is_to_say(rest):
    """Neither λ nor gates."""
    (row,) = Client(rest.url, timeout=PATIENCE).explain([rest.served.ids[:2]])
    assert row == {"domains": list(DOMAINS), "known_items": 2}
    metadata = requests.get(f"{rest.url}/v1/models/syncrec/metadata", timeout=10).json()
    outputs = metadata["metadata"]["signature_def"]["signature_def"]["explain"]["outputs"]
    assert set(outputs) == {"domains", "known_items"}
