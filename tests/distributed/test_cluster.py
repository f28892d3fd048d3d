"""Who trains together, and what is said where that is wrong."""

import json
import threading
import time

import pytest

from data_prep import InputError
from tests.support.processes import free_addresses
from tf_syncrec.distributed.cluster import Cluster, cluster_of
from tf_syncrec.distributed.rendezvous import meet
from tf_syncrec.distributed.replicas import strategy_of
from tf_syncrec.utils.stopping import Stopped


@pytest.fixture(autouse=True)
def no_tf_config(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)


def tf_config(monkeypatch, **values):
    monkeypatch.setenv("TF_CONFIG", json.dumps(values))


def test_options_and_tf_config_say_the_same(monkeypatch):
    assert cluster_of(None, None, "auto") is None
    said = cluster_of("a:1,b:2,c:3", 1, "auto")
    for cluster, task in (
        ({"worker": ["a:1", "b:2", "c:3"]}, {"type": "worker", "index": 1}),
        ({"chief": ["a:1"], "worker": ["b:2", "c:3"]}, {"type": "worker", "index": 0}),
    ):
        tf_config(monkeypatch, cluster=cluster, task=task)
        found = cluster_of(None, None, "multi_worker")
        assert said and found
        assert (found.addresses, found.index) == (said.addresses, said.index)
        assert cluster_of(None, None, "one_device") is None
    tf_config(monkeypatch, cluster=cluster, task={"type": "chief", "index": 0})
    assert cluster_of(None, None, "auto") == Cluster(("a:1", "b:2", "c:3"), 0, "TF_CONFIG")
    assert cluster_of("x:1,y:2", 1, "auto") == Cluster(("x:1", "y:2"), 1), "options come first"
    tf_config(monkeypatch, cluster={}, task={"type": "worker", "index": 0})
    assert cluster_of(None, None, "auto") is None


@pytest.mark.parametrize(
    "workers, index, strategy, words",
    [
        (None, 0, "auto", "--worker_index 0: needs --workers"),
        (None, None, "multi_worker", "TF_CONFIG or by --workers"),
        ("a:1,b:2", None, "auto", "--worker_index 0, 1"),
        ("a:1,b:2", 0, "mirrored", "not with --strategy mirrored"),
        ("a:1,b:2", 2, "auto", "--worker_index 2: --workers lists 2 workers, counted from 0"),
        ("a:1,b:2", -1, "auto", "--worker_index -1"),
        ("a:1,b", 0, "auto", "received 'b', a worker is host:port"),
        ("a:1,b:x", 0, "auto", "'b:x'"),
        ("a:1,b:99999", 0, "auto", "'b:99999'"),
        ("a:1,,b:1", 0, "auto", "received ''"),
        ("a:1,b:2,a:1", 0, "auto", "a:1 stands there twice"),
    ],
)
def test_wrong_options(workers, index, strategy, words):
    with pytest.raises(InputError, match=words):
        cluster_of(workers, index, strategy)


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "received '{'"),
        ("[]", "AttributeError"),
        ('{"cluster": {"worker": ["a:1"]}}', "task"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}', "chief"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "b"}}',
            "ValueError",
        ),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "not one of 1",
        ),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "host:port"),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
            "no parameter server",
        ),
    ],
)
def test_wrong_tf_config(monkeypatch, text, words):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=f"TF_CONFIG.*{words}"):
        cluster_of(None, None, "auto")


def test_skipping_is_not_for_several_workers():
    with pytest.raises(InputError, match="--on_nan skip: not with 2 workers"):
        strategy_of("multi_worker", "skip", Cluster(("a:1", "b:2"), 0))


def test_a_cluster_of_one_trains_alone():
    assert strategy_of("multi_worker", cluster=Cluster(("a:1",), 0)).num_replicas_in_sync == 1


def all_meet(clusters, patience=20.0):
    """What `meet` raised in each of several workers at once."""
    raised: dict[int, Exception | None] = {}

    def run(i, cluster):
        try:
            raised[i] = meet(cluster, patience, print)  # type: ignore[func-returns-value]
        except (InputError, Stopped) as error:
            raised[i] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(clusters)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    return [raised[i] for i in range(len(clusters))]


def test_workers_meet_and_leave_their_ports():
    addresses = tuple(free_addresses(3))
    for _ in range(2):  # the ports are free again
        assert all_meet([Cluster(addresses, i) for i in (2, 0, 1)]) == [None] * 3


def test_a_worker_that_does_not_come_is_named_in_time(monkeypatch):
    monkeypatch.setattr("tf_syncrec.distributed.rendezvous._BETWEEN_LINES", 0.3)
    here, there = free_addresses(2)
    told: list[str] = []
    start = time.monotonic()
    with pytest.raises(Stopped, match=rf"worker 1 \({there}\).*within 1 s") as stopped:
        meet(Cluster((here, there), 0), 1.0, told.append)
    assert stopped.value.code == 1 and time.monotonic() - start < 5
    assert told and f"Waiting for worker 1 ({there})" in told[0]


def test_an_index_given_twice():
    addresses = tuple(free_addresses(2))
    first, second = all_meet([Cluster(addresses, 0)] * 2, 2.0)
    assert isinstance(second, InputError) and "cannot listen on port" in str(second)
    assert isinstance(first, Stopped)


def test_lists_that_differ():
    a, b, c = free_addresses(3)
    found = all_meet([Cluster((a, b), 0), Cluster((a, b, c), 1)], 2.0)
    assert any(isinstance(one, InputError) and "same list" in str(one) for one in found), found
