"""What `/metrics` says of the answers is what the answers said."""

import collections
import threading

import numpy as np
import pytest
import requests
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from serving.client import Client
from serving.saved_model.export_time import FILE
from serving.server.monitoring.answer_counts import BOUNDS, AnswerCounts
from tests.support.documents import ROOT, blocks_of
from tests.support.exporting import DOMAINS, padded, random_histories
from tests.support.rest_server import put, running, wait_for

ALL = [*DOMAINS, ""]
COUNTED = ("answers", "fallback_answers", "empty_answers", "history_items", "known_history_items")


def samples_of(text):
    """`{(name, labels): value}` of a scrape."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(rest):
    return samples_of(requests.get(f"{rest.url}/metrics", timeout=10).text)


def asked(rest, body, path=""):
    return requests.post(f"{rest.url}/v1/models/syncrec{path}:predict", json=body, timeout=60)


class ByHand:
    """Counts answers as JSON has them, one by one."""

    def __init__(self):
        self.counts: collections.Counter[tuple] = collections.Counter()
        self.scores = collections.defaultdict(list)

    def history(self, items, row):
        self.counts["syncrec_history_items_total",] += sum(item != "" for item in items)
        self.counts["syncrec_known_history_items_total",] += row["known_items"]

    def answer(self, domain, items, scores, fallback):
        label = ("domain", domain or "*")
        self.counts["syncrec_answers_total", label] += 1
        self.counts["syncrec_fallback_answers_total", label] += fallback
        self.counts["syncrec_empty_answers_total", label] += not any(items)
        if items[0] and not fallback:
            self.scores[label].append(scores[0])

    def buckets(self):
        bounds = [*BOUNDS, float("inf")]
        return {
            ("syncrec_best_score_bucket", label, ("le", "+Inf" if bound > 99 else str(bound))): sum(
                score <= bound for score in scores
            )
            for label, scores in self.scores.items()
            for bound in bounds
        }


def rows_of(reply, row_format):
    """Answers as rows, whatever they came as."""
    assert reply.status_code == 200, reply.text
    if row_format:
        return reply.json()["predictions"]
    columns = reply.json()["outputs"]
    return [
        {name: values[i] for name, values in columns.items()}
        for i in range(len(columns["known_items"]))
    ]


OPTIONS: dict[str, dict] = {
    "serving_default": {},
    "top_k": {"k": 3},
    "with_options": {"k": 40, "exclude_seen": True, "allow": ("",), "deny": ("",)},
}


def test_counts_are_those_of_the_answers(rest):
    """Every signature, rows and columns: histories known, half known, unknown and empty."""
    before, by_hand = scraped(rest), ByHand()
    histories = [*random_histories(rest.served, 8, seed=3), [], ["who?"], ["who?", "what?"]]
    histories += [[rest.served.ids[0], "who?", rest.served.ids[0]]]
    items = padded(histories)
    domains = [ALL[i % len(ALL)] for i in range(len(items))]
    for row_format in (True, False):
        for name, options in OPTIONS.items():
            body = body_of(row_format, name, items, domain=domains, **options)
            for history, domain, row in zip(
                items, domains, rows_of(asked(rest, body), row_format), strict=True
            ):
                by_hand.history(history, row)
                by_hand.answer(domain, row["items"], row["scores"], row["fallback"])
        body = body_of(row_format, "each_domain", items, k=2)
        for history, row in zip(items, rows_of(asked(rest, body), row_format), strict=True):
            by_hand.history(history, row)
            assert row["domains"] == list(DOMAINS)
            for domain, names, scores in zip(
                row["domains"], row["items"], row["scores"], strict=True
            ):
                by_hand.answer(domain, names, scores, row["fallback"])
        body = body_of(row_format, "explain", items)
        for history, row in zip(items, rows_of(asked(rest, body), row_format), strict=True):
            by_hand.history(history, row)
    # Refused, and so no answer.
    assert asked(rest, body_of(True, "", [["a"]], domain=["no such"])).status_code == 400
    assert asked(rest, body_of(True, "top_k", [["a"]], domain=[""], k=10**6)).status_code == 400

    after = scraped(rest)
    expected = {**by_hand.counts, **by_hand.buckets()}
    assert {key: after[key] - before[key] for key in expected} == expected
    # No series but those, and all of them from the start.
    counted = {f"syncrec_{name}_total" for name in COUNTED} | {"syncrec_best_score_bucket"}
    told = {key for key in after if key[0] in counted}
    assert told == {key for key in before if key[0] in counted}
    assert {dict(key[1:])["domain"] for key in told if len(key) > 1} == {*DOMAINS, "*"}
    # The mix is a mix.
    totals: collections.Counter[str] = collections.Counter()
    for (name, *_), value in by_hand.counts.items():
        totals[name] += value
    assert 0 < totals["syncrec_fallback_answers_total"] < totals["syncrec_answers_total"]
    assert 0 < totals["syncrec_known_history_items_total"] < totals["syncrec_history_items_total"]
    assert by_hand.counts["syncrec_empty_answers_total", ("domain", "empty")] > 0
    assert by_hand.counts["syncrec_empty_answers_total", ("domain", "audio")] == 0


def body_of(row_format, signature, items, **columns):
    """A request; an option of one value is given to every row."""
    columns = {
        name: value if isinstance(value, list) else [value] * len(items)
        for name, value in columns.items()
    } | {"items": items}
    if not row_format:
        return {"signature_name": signature, "inputs": columns}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {"signature_name": signature, "instances": rows}


def test_a_histogram_says_quantiles_and_no_sum():
    """With scores below 0 a sum would fall, which Prometheus takes for a restart."""
    counts, scores = AnswerCounts(), np.array([[-31.0], [-30.0], [0.0], [0.5], [30.1]], np.float32)
    answer(counts, scores)
    samples = samples_of(text_of(counts))
    buckets = {
        float(dict(key[1:])["le"]): value
        for key, value in samples.items()
        if key[0] == "syncrec_best_score_bucket" and ("domain", "a") in key
    }
    assert [buckets[bound] for bound in (-30.0, -25.0, -1.0, 0.0, 1.0, 30.0)] == [2, 2, 2, 3, 4, 4]
    assert buckets[float("inf")] == 5 and sorted(buckets.values()) == list(buckets.values())
    assert not any(key[0] in ("syncrec_best_score_sum", "syncrec_best_score") for key in samples)


def answer(counts, scores, domain=b"a", domains=(b"a",)):
    rows = len(scores)
    counts.add(
        domains,
        {"items": np.full([rows, 2], b"x", object), "domain": np.full(rows, domain, object)},
        {
            "items": np.full(scores.shape, b"x", object),
            "scores": scores,
            "domains": np.full(scores.shape, domain, object),
            "known_items": np.ones(rows, np.int32),
            "fallback": np.zeros(rows, np.int32),
        },
    )


def text_of(counts):
    registry = CollectorRegistry()
    registry.register(counts)
    return generate_latest(registry).decode()


def test_names_of_domains_may_be_anything():
    names = ['"quoted"', "back\\slash", "two\nlines", "música", "*?"]
    counts = AnswerCounts()
    for name in names:
        answer(counts, np.zeros([3, 1], np.float32), name.encode(), [n.encode() for n in names])
    samples = samples_of(text_of(counts))
    assert {name: samples["syncrec_answers_total", ("domain", name)] for name in names} == (
        dict.fromkeys(names, 3)
    )


def test_no_answer_is_lost_between_threads():
    """Nor one counted twice, while scrapes go on and new versions bring new domains."""
    counts, threads, requests_each = AnswerCounts(), 8, 60

    def ask(number):
        domain = b"domain %d" % number
        for _ in range(requests_each):
            answer(counts, np.zeros([5, 1], np.float32), domain, [b"shared", domain])
            answer(counts, np.zeros([2, 1], np.float32), b"shared", [b"shared"])

    workers = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        list(counts.collect())
    samples = samples_of(text_of(counts))
    assert samples["syncrec_answers_total", ("domain", "shared")] == 2 * requests_each * threads
    for number in range(threads):
        label = ("domain", f"domain {number}")
        assert samples["syncrec_answers_total", label] == 5 * requests_each
    assert samples["syncrec_history_items_total",] == 2 * 7 * requests_each * threads


def test_another_model_is_answered_and_not_counted(tmp_path):
    put(tmp_path, 1)
    with running(tmp_path) as rest:
        assert asked(rest, {"instances": [{"items": ["a"], "domain": "b"}]}).status_code == 200
        samples = scraped(rest)
    assert samples["syncrec_requests_total", ("status", "200")] == 1
    assert not any(key[0] == "syncrec_answers_total" for key in samples)
    assert samples["syncrec_history_items_total",] == 0


# ------------------------------------------------------------------------------------- versions


def times(samples):
    name = "syncrec_version_exported_timestamp_seconds"
    return {dict(key[1:])["version"]: value for key, value in samples.items() if key[0] == name}


def labels(samples):
    return {
        tuple(value for _, value in key[1:]) for key in samples if key[0] == "syncrec_version_label"
    }


def stamped(base, number, text):
    """A version that says when it was exported; a number of its own tells that it is read."""
    put(base, number)
    (base / str(number) / FILE.parent).mkdir(exist_ok=True)
    (base / str(number) / FILE).write_text(text)


def test_age_and_labels_follow_the_versions(tmp_path):
    stamped(tmp_path, 1, "2026-01-01T00:00:00+00:00\n")
    file = tmp_path / "models.config"

    def configure(stable):
        new = tmp_path / "new.config"
        new.write_text(
            'model_config_list { config { name: "syncrec" base_path: "/x" '
            f'version_labels {{ key: "stable" value: {stable} }} }} }}'
        )
        new.replace(file)

    configure(1)
    with running(tmp_path, config_file=file) as rest:
        assert times(scraped(rest)) == {"1": 1767225600.0}
        assert labels(scraped(rest)) == {("stable", "1")}
        put(tmp_path, 2)  # says nothing of when it was
        wait_for(lambda: set(times(scraped(rest))) == {"2"})
        graph = tmp_path / "2" / "saved_model.pb"
        assert times(scraped(rest))["2"] == pytest.approx(graph.stat().st_mtime, abs=1e-3)
        configure(2)
        wait_for(lambda: labels(scraped(rest)) == {("stable", "2")})
        samples = scraped(rest)
    assert samples["syncrec_version_served", ("version", "2")] == 1
    assert ("syncrec_version_served", ("version", "1")) not in samples


def test_an_export_says_when_it_was(rest):
    """Whatever times its files have."""
    told = times(scraped(rest))
    graph = (rest.served.version / "saved_model.pb").stat().st_mtime
    assert told == {"1": pytest.approx(graph, abs=120)}
    assert told["1"] == int(told["1"])  # as the export says it, and no file's time


def test_a_version_that_cannot_be_loaded_is_one_more_failure(tmp_path):
    """Counted from 0, so that Prometheus sees it rise."""
    put(tmp_path, 1)
    with running(tmp_path) as rest:
        loads = "syncrec_version_loads_total"
        assert scraped(rest)[loads, ("result", "failed")] == 0
        (tmp_path / "aside").mkdir()
        put(tmp_path / "aside", 2)
        (tmp_path / "aside" / "2" / "variables" / "variables.index").unlink()
        (tmp_path / "aside" / "2").rename(tmp_path / "2")
        wait_for(lambda: scraped(rest)[loads, ("result", "failed")] == 1)
        assert scraped(rest)[loads, ("result", "ok")] == 1
        assert set(times(scraped(rest))) == {"1"}


# ------------------------------------------------------------------------------- docs/watching.md


def test_who_asks_can_count_the_same(rest):
    """By the code of the page, for a server that does not look into answers."""
    (block,) = (b for b in blocks_of(ROOT / "docs/watching.md") if b.language == "python")
    page: dict = {}
    exec(block.text, page)
    try:
        before, client = scraped(rest), Client(rest.url, retries=0)
        histories = [*random_histories(rest.served, 5, seed=9), [], ["who?"], ["who?", "what?"]]
        for domain in ("audio", "música", "empty", ""):
            page["count"](histories, domain, client.recommend(histories, domain))
        after = scraped(rest)
        there = samples_of(generate_latest().decode())
        compared = {key for key in there if key[0].removeprefix("syncrec_")[:-6] in COUNTED}
        assert len(compared) == 3 * 4 + 2
        for key in compared:
            assert there[key] == after[key] - before[key], key
        assert there["syncrec_fallback_answers_total", ("domain", "*")] == 3
    finally:
        for name in ("ANSWERS", "FALLBACK", "EMPTY", "ITEMS", "KNOWN"):
            REGISTRY.unregister(page[name])
