"""The SavedModel answers like the model, needs nothing but TensorFlow, and never breaks."""

import hashlib
import os
import shutil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from data_prep import InputError
from serving import export as export_module
from serving.export import export
from serving.saved_model import recommender as recommender_module
from serving.saved_model import warmup as warmup_module
from serving.saved_model.recommender import Recommender
from tests.support.exporting import (
    DOMAINS,
    MAX_K,
    TOLERANCE,
    TOP_K,
    WINDOW,
    make_model,
    padded,
    random_histories,
)
from tests.support.like_users import literal_votes_of_users
from tests.support.mixing import literal_log_domains, literal_log_probabilities
from tf_syncrec.config import Config
from tf_syncrec.training.run_directory import RunDirectory

OUTPUTS = {
    "items": tf.string,
    "scores": tf.float32,
    "domains": tf.string,
    "known_items": tf.int32,
    "fallback": tf.int32,
}
INPUTS = {
    "serving_default": {"items": tf.string, "domain": tf.string},
    "top_k": {"items": tf.string, "domain": tf.string, "k": tf.int32},
    "with_options": {
        "items": tf.string,
        "domain": tf.string,
        "k": tf.int32,
        "exclude_seen": tf.bool,
        "allow": tf.string,
        "deny": tf.string,
    },
}


def ask(served, histories, domains, k=None, exclude_seen=None):
    """The answer as numpy arrays, strings decoded; with options where there are any."""
    rows = len(histories)
    items = tf.constant(padded(histories), tf.string, shape=(rows, len(padded(histories)[0])))
    request = {"items": items, "domain": tf.constant(domains)}
    name = "serving_default"
    if k is not None or exclude_seen is not None:
        name = "with_options"
        request["k"] = tf.constant(np.broadcast_to(TOP_K if k is None else k, rows), tf.int32)
        exclude_seen = True if exclude_seen is None else exclude_seen
        request["exclude_seen"] = tf.constant(np.broadcast_to(exclude_seen, rows))
        request["allow"] = request["deny"] = tf.fill([rows, 1], "")
    answer = served.loaded.signatures[name](**request)
    assert set(answer) == set(OUTPUTS)
    result = {name: value.numpy() for name, value in answer.items()}
    for name in ("items", "domains"):
        result[name] = np.char.decode(result[name].astype("S"), "utf-8")
    assert np.isfinite(result["scores"]).all()
    return result


def all_scores(served, histories):
    """Scores of all items by the model itself, `[histories, items]`; of known items only."""
    number = {item: i + 1 for i, item in enumerate(served.ids)}
    known = [[number[item] for item in history if item in number] for history in histories]
    width = max(map(len, known))
    ids = np.array([[0] * (width - len(row)) + row for row in known], np.int32)
    candidates = served.model.candidate_vectors(np.arange(served.model.num_items + 1)).numpy()
    columns = []
    for d, (offset, size) in enumerate(
        zip(served.catalogue.offsets, served.catalogue.sizes, strict=True)
    ):
        queries = served.model.query_vectors(ids, np.full((len(ids), 1), d, np.int32))[:, 0].numpy()
        columns.append(queries @ candidates[offset : offset + size].T)
    votes = literal_votes(served.model.neighbours, known)
    return np.concatenate(columns, axis=1) + votes + user_votes(served.model.user_neighbours, known)


def domain_scores(served, histories, domains, exclude_seen=True):
    """What answers are sorted by: scores, or log-probabilities where every domain is asked."""
    number = {item: i + 1 for i, item in enumerate(served.ids)}
    scores = all_scores(served, histories).astype(float)
    for row, (history, domain) in enumerate(zip(histories, domains, strict=True)):
        if not domain:
            ids = [number[item] for item in history]
            seen = ids if np.broadcast_to(exclude_seen, len(histories))[row] else []
            scores[row] = literal_log_probabilities(served.model.mixture, scores[row], ids, seen)
    return scores


def literal_votes(layer, histories):
    """What the neighbours of each history add, `[histories, items]`."""
    votes = np.zeros((len(histories), layer.others.shape[0]))
    others, similarities = layer.others.numpy(), layer.similarities.numpy()
    for row, history in enumerate(histories):
        latest = {item: age for age, item in reversed(list(enumerate(history[::-1][:WINDOW])))}
        for item, age in latest.items():
            for other, similarity in zip(others[item], similarities[item], strict=True):
                votes[row, other] += 8.0 * 0.8**age * similarity
    return votes[:, 1:]


def user_votes(layer, histories):
    """What all training users add, `[histories, items]`."""
    votes = np.zeros((len(histories), layer.num_items + 1))
    rows = [
        (items.tolist(), range(len(items)))
        for items in np.split(layer.items.numpy(), layer.ends.numpy()[1:-1])
    ]
    for row, history in enumerate(histories):
        found = literal_votes_of_users(rows, history[-WINDOW:], layer.count, 2.0, 0.4)
        votes[row, list(found)] = list(found.values())
    return votes[:, 1:]


def assert_best(served, answer, row, scores, allowed, k):
    """Row `row` of an answer is the best `k` of the allowed items, each once, in order."""
    score_of = dict(zip(served.ids, scores, strict=True))
    expected = sorted((score_of[item] for item in allowed), reverse=True)[:k]
    n, width = len(expected), answer["items"].shape[1]
    items, domains = answer["items"][row], answer["domains"][row]
    np.testing.assert_allclose(answer["scores"][row, :n], expected, atol=TOLERANCE)
    assert len(set(items[:n])) == n
    domain_of = {
        item: DOMAINS[d] for item, d in zip(served.ids, served.catalogue.item_domains, strict=True)
    }
    for item, domain, score in zip(items[:n], domains[:n], answer["scores"][row, :n], strict=True):
        assert item in allowed
        assert domain == domain_of[item]
        assert score_of[item] == pytest.approx(score, abs=TOLERANCE)
    assert items[n:].tolist() == domains[n:].tolist() == [""] * (width - n)
    assert not answer["scores"][row, n:].any()


def items_of(served, domain):
    return [
        item
        for item, d in zip(served.ids, served.catalogue.item_domains, strict=True)
        if domain in ("", DOMAINS[d])
    ]


# ------------------------------------------------------------------------- what is asked and said


def test_signatures_are_the_contract(served):
    assert set(INPUTS) <= set(served.loaded.signatures)
    for name, inputs in INPUTS.items():
        signature = served.loaded.signatures[name]
        _, given = signature.structured_input_signature
        assert {key: spec.dtype for key, spec in given.items()} == inputs
        assert {key: spec.dtype for key, spec in signature.structured_outputs.items()} == OUTPUTS
        assert given["items"].shape.as_list() == [None, None]
        lists = {"items", "allow", "deny"}
        assert all(given[key].shape.as_list() == [None] for key in set(inputs) - lists)


# ------------------------------------------------------------------------------ the right answer


@pytest.mark.parametrize("domain", [*DOMAINS, ""])
def test_answers_are_the_models_ranking_without_the_history(served, domain):
    histories = random_histories(served, 64, seed=2)
    scores = domain_scores(served, histories, [domain] * len(histories))
    answer = ask(served, histories, [domain] * len(histories))
    assert answer["items"].shape == (64, TOP_K)
    assert not answer["fallback"].any()
    np.testing.assert_array_equal(answer["known_items"], [len(h) for h in histories])
    for row, history in enumerate(histories):
        allowed = set(items_of(served, domain)) - set(history)
        assert_best(served, answer, row, scores[row], allowed, TOP_K)


@pytest.mark.slow
def test_a_named_domain_is_answered_without_the_mixture(served):
    """Bit by bit, whatever the mixture of domains has learned."""
    histories, answers = random_histories(served, 20, seed=14), []
    for factor in (1, 2):
        model = make_model(served.catalogue)
        for weight in model.mixture.weights:
            weight.assign(weight * factor)
        functions = Recommender(model, served.catalogue).functions
        asked = SimpleNamespace(loaded=SimpleNamespace(signatures=functions))
        answers.append([ask(asked, histories, [domain] * 20) for domain in (*DOMAINS, "")])
    for domain, one, other in zip((*DOMAINS, ""), *answers, strict=True):
        same = all(np.array_equal(one[name], other[name]) for name in OUTPUTS)
        assert same == (domain != ""), domain


def test_answers_depend_on_the_order_of_the_history(served):
    """Else the comparison above could not see a history that is fed backwards."""
    histories = [history for history in random_histories(served, 20, 3) if len(set(history)) > 2]
    forward = ask(served, histories, ["audio"] * len(histories))
    backward = ask(served, [history[::-1] for history in histories], ["audio"] * len(histories))
    assert (np.abs(forward["scores"] - backward["scores"]).max(axis=1) > 0.01).all()


def test_a_row_is_answered_alike_alone_and_in_company(served):
    histories = [*random_histories(served, 61, seed=4), [], ["unknown"], ["unknown", served.ids[0]]]
    domains = [[*DOMAINS, ""][i % 5] for i in range(len(histories))]
    together = ask(served, histories, domains)
    for row in [*range(0, 60, 6), 61, 62, 63]:
        alone = ask(served, [histories[row]], [domains[row]])
        np.testing.assert_allclose(alone["scores"][0], together["scores"][row], atol=TOLERANCE)
        for name in ("items", "domains", "known_items", "fallback"):
            np.testing.assert_array_equal(alone[name][0], together[name][row])


def test_padding_and_unknown_items_change_nothing(served):
    rng = np.random.default_rng(5)
    histories = random_histories(served, 40, seed=5)
    domains = [[*DOMAINS, ""][i % 5] for i in range(len(histories))]
    noisy = []
    for history in histories:
        row = list(history)
        for _ in range(rng.integers(1, 12)):
            row.insert(rng.integers(len(row) + 1), rng.choice(["", "unknown", "日本", "\n"]))
        noisy.append(row)
    clean, dirty = ask(served, histories, domains), ask(served, noisy, domains)
    np.testing.assert_allclose(clean["scores"], dirty["scores"], atol=TOLERANCE)
    for name in ("items", "domains", "known_items", "fallback"):
        np.testing.assert_array_equal(clean[name], dirty[name])


def test_only_the_window_is_read_but_all_of_the_history_is_left_out(served):
    latest = random_histories(served, 1, seed=6, longest=WINDOW + 1)[0]
    latest = (latest * WINDOW)[:WINDOW]
    older = [item for item in items_of(served, "audio") if item not in latest]
    short = ask(served, [latest], ["audio"], k=MAX_K)
    long = ask(served, [[*older[:20], *older[:20], *latest]], ["audio"], k=MAX_K)
    kept = ~np.isin(short["items"][0], older[:20])
    expected = [item for item in short["items"][0][kept] if item]
    assert [item for item in long["items"][0] if item] == expected
    n = len(expected)
    np.testing.assert_allclose(long["scores"][0, :n], short["scores"][0][kept][:n], atol=TOLERANCE)


@pytest.mark.parametrize("domain", ["audio", "books", ""])
def test_the_history_never_comes_back(served, domain):
    rng = np.random.default_rng(7)
    mine = items_of(served, domain)
    for left in (0, 1, 2, TOP_K + 1):
        order = rng.permutation(mine)
        seen = list(order[left:]) if left < len(mine) else [served.ids[-1]]
        history = list(rng.permutation(seen * 2))
        answer = ask(served, [history], [domain])
        returned = [item for item in answer["items"][0] if item]
        assert set(returned) <= set(mine) - set(history)
        assert len(returned) == min(TOP_K, len(set(mine) - set(history)))
        assert answer["known_items"][0] == len(history)


# ------------------------------------------------------------------------------------- popularity


@pytest.mark.parametrize("history", [[], ["", ""], ["unknown", "", "日本"]])
@pytest.mark.parametrize("domain", [*DOMAINS, ""])
def test_who_is_unknown_gets_what_is_popular(served, history, domain):
    answer = ask(served, [history], [domain])
    assert (answer["fallback"][0], answer["known_items"][0]) == (1, 0)
    count = dict(zip(served.ids, served.catalogue.counts, strict=True))
    mine = items_of(served, domain)
    returned = [item for item in answer["items"][0] if item]
    n = min(TOP_K, len(mine))
    assert len(set(returned)) == n and set(returned) <= set(mine)
    assert [count[item] for item in returned] == sorted(
        [count[item] for item in mine], reverse=True
    )[:n]
    np.testing.assert_array_equal(answer["scores"][0, :n], [count[item] for item in returned])


@pytest.mark.parametrize("domain", [*DOMAINS, ""])
def test_a_batch_of_known_and_unknown_users(served, domain):
    """Popularity for one row must not touch the next."""
    known = random_histories(served, 1, seed=8)[0]
    mixed = ask(served, [known, ["unknown"], known], [domain, domain, "audio"])
    assert mixed["fallback"].tolist() == [0, 1, 0]
    alone = ask(served, [known], [domain])
    np.testing.assert_array_equal(mixed["items"][0], alone["items"][0])
    unknown = ask(served, [["unknown"]], [domain])
    np.testing.assert_array_equal(mixed["items"][1], unknown["items"][0])


def test_request_without_a_column(served):
    items = tf.zeros([2, 0], tf.string)
    answer = served.loaded.signatures["serving_default"](
        items=items, domain=tf.constant(["audio", ""])
    )
    assert answer["fallback"].numpy().tolist() == [1, 1]
    assert (answer["items"].numpy() != b"").all()


@pytest.mark.parametrize("width", [0, 1, 5])
def test_a_batch_without_a_row_is_answered_by_none(served, width):
    request = {"items": tf.zeros([0, width], tf.string), "domain": tf.zeros([0], tf.string)}
    options = {"k": tf.zeros([0], tf.int32), "exclude_seen": tf.zeros([0], tf.bool)}
    options |= {name: tf.zeros([0, width], tf.string) for name in ("allow", "deny")}
    plain = served.loaded.signatures["serving_default"](**request)
    assert {name: value.shape[0] for name, value in plain.items()} == dict.fromkeys(OUTPUTS, 0)
    with_options = served.loaded.signatures["with_options"](**request, **options)
    assert {name: value.shape[0] for name, value in with_options.items()} == dict.fromkeys(
        OUTPUTS, 0
    )
    explained = served.loaded.signatures["explain"](items=request["items"])
    assert all(value.shape[0] == 0 for value in explained.values())


def test_a_history_longer_than_anything(served):
    """Fifty thousand items, all but three of the catalogue, gaps, strangers and repetitions."""
    rng = np.random.default_rng(13)
    left = [items_of(served, domain)[1] for domain in ("audio", "books", "música")]
    rest = [item for item in served.ids if item not in left]
    history = [*rng.choice([*rest, "", "unknown"], 50_000), *rest]
    answer = ask(served, [history, [served.ids[0]]], ["", "audio"], k=MAX_K)
    assert {item for item in answer["items"][0] if item} == set(left)
    assert answer["known_items"].tolist() == [sum(item in rest for item in history), 1]
    # One is left of each domain, so that it is as likely as its domain.
    number = {item: i + 1 for i, item in enumerate(served.ids)}
    known = [number[item] for item in history if item in number]
    of_domains = literal_log_domains(served.model.mixture, known)
    for domain, score in zip(answer["domains"][0][:3], answer["scores"][0][:3], strict=True):
        assert score == pytest.approx(of_domains[DOMAINS.index(domain)], abs=TOLERANCE)


# ---------------------------------------------------------------------------------------- options


def test_every_row_has_its_own_k(served):
    histories = random_histories(served, 6, seed=9)
    ks, domains = [1, 7, MAX_K, 3, 25, 10], ["audio", "", "música", "books", "", "empty"]
    scores = domain_scores(served, histories, domains)
    answer = ask(served, histories, domains, k=ks)
    assert answer["items"].shape == (6, MAX_K)
    for row, (history, domain, k) in enumerate(zip(histories, domains, ks, strict=True)):
        allowed = set(items_of(served, domain)) - set(history)
        assert_best(served, answer, row, scores[row], allowed, k)
    assert ask(served, histories, domains, k=2)["items"].shape == (6, 2)


@pytest.mark.parametrize("k", [[1, 4, 7, 2, 3], [MAX_K] * 5])
def test_each_domain_is_answered_as_if_it_were_asked_for(served, k):
    """All by one pass: known, unknown and empty histories, in domains with fewer items than k."""
    histories = [*random_histories(served, 3, seed=5), ["nobody knows this"], []]
    each = served.loaded.signatures["each_domain"](
        items=tf.constant(padded(histories)), k=tf.constant(k)
    )
    names = served.catalogue.domains
    assert each["domains"].numpy().tolist() == [[name.encode() for name in names]] * 5
    assert each["items"].shape == each["scores"].shape == (5, len(names), max(k))
    for d, domain in enumerate(names):
        alone = served.loaded.signatures["top_k"](
            items=tf.constant(padded(histories)), domain=tf.fill([5], domain), k=tf.constant(k)
        )
        np.testing.assert_array_equal(each["items"][:, d], alone["items"])
        np.testing.assert_allclose(each["scores"][:, d], alone["scores"], atol=1e-5)
        for name in ("known_items", "fallback"):
            np.testing.assert_array_equal(each[name], alone[name])


def test_a_large_k_reaches_across_domains_and_fills_up(served):
    known = random_histories(served, 1, seed=10)[0]
    answer = ask(served, [known, []], ["audio", "books"], k=MAX_K)
    assert (answer["items"][0] != "").sum() == len(set(items_of(served, "audio")) - set(known))
    assert (answer["items"][1] != "").sum() == 3


@pytest.mark.parametrize("k", [0, -1, MAX_K + 1, 2**31 - 1, -(2**31)])
def test_k_has_limits(served, k):
    for _ in range(5):  # whatever the threads do first, this is what is said
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"between 1 and {MAX_K}.*{k}"):
            ask(served, [[], []], ["audio", ""], k=[5, k])


def test_seen_items_come_back_where_they_are_wanted_and_best(served):
    histories = [list(set(history)) for history in random_histories(served, 30, 11, longest=40)]
    domains = [["audio", "", "música"][i % 3] for i in range(len(histories))]
    wanted = [i % 2 == 1 for i in range(len(histories))]
    scores = domain_scores(served, histories, domains, [not w for w in wanted])
    answer = ask(served, histories, domains, exclude_seen=[not w for w in wanted])
    came_back = 0
    for row, (history, domain) in enumerate(zip(histories, domains, strict=True)):
        allowed = set(items_of(served, domain)) - (set() if wanted[row] else set(history))
        assert_best(served, answer, row, scores[row], allowed, TOP_K)
        came_back += bool(set(answer["items"][row]) & set(history))
    assert came_back > 5


def test_with_the_defaults_options_change_nothing(served):
    histories = random_histories(served, 8, seed=12)
    plain = ask(served, histories, [""] * 8)
    options = ask(served, histories, [""] * 8, k=TOP_K, exclude_seen=True)
    for name in OUTPUTS:
        np.testing.assert_array_equal(plain[name], options[name])


@pytest.mark.parametrize("domain", ["film", "Audio", " ", "audio "])
@pytest.mark.parametrize("k", [None, 3])
def test_an_unknown_domain_is_refused_with_those_that_exist(served, domain, k):
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        ask(served, [[served.ids[0]], []], ["audio", domain], k=k)
    for part in ("unknown domain", *DOMAINS, f"[{domain}]"):
        assert part in error.value.message


# --------------------------------------------------------------------------------------- versions


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def quick_save(monkeypatch):
    """Writes a file in place of a model, which takes seconds; fails where the model says so."""

    def save(recommender, path, signatures, options):
        assert set(signatures) == {*INPUTS, "explain"}
        os.makedirs(path)
        with open(os.path.join(path, "saved_model.pb"), "w") as file:
            file.write("model")
        if recommender == "broken":
            raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", save)
    monkeypatch.setattr(
        recommender_module, "Recommender", lambda model, *rest: FakeRecommender(model)
    )
    monkeypatch.setattr(warmup_module, "write_warmup", lambda *arguments: None)


class FakeRecommender(str):
    """The name of a model, with what `export` asks of a recommender."""

    functions = dict.fromkeys((*INPUTS, "explain"))


def export_fake(name, base, keep=5, labelled=()):
    model: Any = name
    catalogue: Any = None
    settings = Config.model_validate({"evaluate": {"keep_versions": keep}}).evaluate
    return export(model, catalogue, base, settings, labelled=labelled)


def test_versions_count_up_and_leave_the_old_ones(served, tmp_path, quick_save):
    assert served.version == served.base / "1"
    assert [path.name for path in served.base.iterdir()] == ["1"]
    shutil.copytree(served.version, tmp_path / "1")
    before = contents(tmp_path / "1")
    second = export_fake("fine", tmp_path)
    (tmp_path / "9").mkdir()
    (tmp_path / "notes").mkdir()
    tenth = export_fake("fine", tmp_path)
    assert (second.name, tenth.name) == ("2", "10")
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "9", "10", "notes"}
    assert before and contents(tmp_path / "1") == before


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_the_newest_versions_stay_and_nothing_else_is_touched(tmp_path, quick_save, keep):
    others = {"notes", "0x1", "²", "1.bak"}
    for name in others:
        (tmp_path / name).mkdir()
    for number in range(1, 5):
        assert export_fake("fine", tmp_path, keep).name == str(number)
        versions = {str(n) for n in range(max(1, number - keep + 1), number + 1)}
        assert {path.name for path in tmp_path.iterdir()} == versions | others


def test_versions_that_models_config_names_stay(tmp_path, quick_save, monkeypatch):
    file = tmp_path / "models.config"
    file.write_text(
        'model_config_list { config { name: "syncrec" base_path: "/models/syncrec" '
        "model_version_policy { specific { versions: 2 versions: 4 } } "
        'version_labels { key: "stable" value: 1 } version_labels { key: "next" value: 9 } } }'
    )
    settings = Config.model_validate({"evaluate": {"keep_versions": 1}})
    monkeypatch.setattr(RunDirectory, "check_finished", lambda run: None)
    monkeypatch.setattr(RunDirectory, "load", lambda run: (settings, None, "fine"))
    options = ["--run", str(tmp_path), "--export_dir", str(tmp_path / "export")]
    for _ in range(5):
        export_module.main([*options, "--model_config_file", str(file)])
    versions = {path.name for path in (tmp_path / "export").iterdir()}
    assert versions == {"1", "2", "4", "5"}
    export_module.main(options)
    assert {path.name for path in (tmp_path / "export").iterdir()} == {"6"}


def test_a_failed_export_deletes_no_version(tmp_path, quick_save):
    export_fake("fine", tmp_path, keep=1)
    with pytest.raises(OSError, match="disk full"):
        export_fake("broken", tmp_path, keep=1)
    assert (tmp_path / "1" / "saved_model.pb").exists()


def test_a_failed_export_is_no_version_and_no_hindrance(tmp_path, quick_save):
    with pytest.raises(OSError, match="disk full"):
        export_fake("broken", tmp_path)
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert export_fake("fine", tmp_path) == tmp_path / "1"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_command_line_says_what_cannot_be_exported(tmp_path):
    with pytest.raises(InputError, match=f"--run {tmp_path}: "):
        export_module.main(["--run", str(tmp_path)])


def test_command_line_refuses_a_file_to_export_into(tmp_path, monkeypatch):
    monkeypatch.setattr(RunDirectory, "check_finished", lambda run: None)
    monkeypatch.setattr(RunDirectory, "load", lambda run: (Config(), None, None))
    file = tmp_path / "file"
    file.write_text("")
    for place in (file, file / "below"):
        with pytest.raises(InputError, match=f"--export_dir {place}: "):
            export_module.main(["--run", str(tmp_path), "--export_dir", str(place)])


def test_a_model_that_learned_nothing_finite_answers_nothing(served):
    """An error, rather than an answer that means nothing."""
    model = make_model(served.catalogue)
    for weight in model.trainable_weights:
        if weight.name == "positions":
            weight.assign(weight * np.nan)
    recommender = Recommender(model, served.catalogue)
    with pytest.raises(tf.errors.InvalidArgumentError, match="query vectors"):
        recommender.functions["serving_default"](
            tf.constant([[served.ids[0]]]), tf.constant(["audio"])
        )
