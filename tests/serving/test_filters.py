"""What a request allows and denies: the answer is what is left of the whole ranking."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from serving.client import Client
from serving.saved_model.recommender import Recommender
from tests.support.exporting import (
    DOMAINS,
    TERMS,
    TOLERANCE,
    USERS,
    make_catalogue,
    make_model,
    padded,
    random_histories,
)
from tests.support.rest_server import LIMITS, PATIENCE, running

WITH_TERMS = "syncrec, with all that can be fitted on top, and people who come back"


@pytest.fixture(
    scope="module", params=["syncrec", pytest.param("bprmf", marks=pytest.mark.slow), WITH_TERMS]
)
def asked(request):
    """A recommender that may answer with all items, and by users where it knows them."""
    catalogue = make_catalogue()
    network, more = request.param.partition(",")[0], {}
    if request.param == WITH_TERMS:
        more = dict(TERMS)
        catalogue = dataclasses.replace(catalogue, repeats=np.array(more.pop("repeats")))
    model = make_model(catalogue, network=network, **more)
    recommender = Recommender(model, catalogue, max_k=catalogue.num_items)
    recommender.ids = [str(item) for item in catalogue.item_ids]
    return recommender


def ask(recommender, name, histories, domains, k, **options):
    """The lists of a signature, `[(item, score), ...]` a row."""
    rows = len(histories)
    inputs = {"items": padded(histories, 1), "domain": domains, "k": [k] * rows, **options}
    if recommender.knows_users:
        inputs["user_id"] = [*USERS[: rows - 1], "nobody"]
    specs = recommender.functions[name].input_signature
    given = []
    for spec in specs:
        value = inputs.get(spec.name)
        if value is None:  # times that are not told
            value = np.zeros([rows, len(inputs["items"][0])] if spec.shape.rank == 2 else [rows])
        given.append(tf.constant(value, spec.dtype))
    answer = recommender.functions[name](*given)
    lists = zip(answer["items"].numpy(), answer["scores"].numpy(), strict=True)
    return [
        [(item.decode(), score) for item, score in zip(*row, strict=True) if item] for row in lists
    ]


def lists(recommender, rows, rng, longest):
    return [
        list(rng.choice([*recommender.ids, "no such item"], rng.integers(0, longest)))
        for _ in range(rows)
    ]


def assert_same(found, expected):
    assert [item for item, _ in found] == [item for item, _ in expected]
    np.testing.assert_allclose(
        [score for _, score in found], [score for _, score in expected], atol=TOLERANCE
    )


@pytest.mark.parametrize("domain", ["audio", "música", ""])
@pytest.mark.parametrize("exclude", [None, True])
def test_answers_are_what_is_left_of_the_whole_ranking(asked, domain, exclude):
    """Of rows that allow something, that deny something, both or neither, all in one batch."""
    rng = np.random.default_rng(0)
    histories = [*random_histories(asked, 22, 1), [], ["unknown"]]
    rows, domains = len(histories), [domain] * len(histories)
    allow, deny = (lists(asked, rows, rng, longest) for longest in (60, 40))
    for row in range(rows):
        allow[row] *= row % 2
        deny[row] *= row % 3 > 0
    name, seen = "filtered", {}
    if exclude is not None:
        name, seen = "with_options", {"exclude_seen": [exclude] * rows}
    nothing = {"allow": [[""]] * rows, "deny": [[""]] * rows}
    whole = ask(asked, name, histories, domains, len(asked.ids), **seen, **nothing)
    filters = {"allow": padded(allow, 1), "deny": padded(deny, 1)}
    some = ask(asked, name, histories, domains, 5, **seen, **filters)
    shorter = 0
    for row in range(rows):
        left = [
            (item, score)
            for item, score in whole[row]
            if (item in allow[row] or not allow[row]) and item not in deny[row]
        ]
        assert_same(some[row], left[:5])
        shorter += left[:5] != whole[row][:5]
    assert shorter > rows / 2


def test_what_is_denied_takes_no_place_of_the_answer(asked):
    """However good it is, and however short the history."""
    histories, nothing = [[asked.ids[0]], []], [[""]] * 2
    whole = ask(
        *(asked, "filtered", histories, ["música"] * 2, len(asked.ids)), allow=nothing, deny=nothing
    )
    deny = [[item for item, _ in row[:30]] for row in whole]
    some = ask(asked, "filtered", histories, ["música"] * 2, 5, allow=nothing, deny=deny)
    for found, row in zip(some, whole, strict=True):
        assert_same(found, row[30:35])


def test_who_allows_only_what_is_unknown_gets_nothing(asked):
    found = ask(
        asked, "filtered", [[asked.ids[0]], []], ["audio"] * 2, 5,
        allow=[["no such item"]] * 2, deny=[[""]] * 2,
    )  # fmt: skip
    assert found == [[], []]


def test_each_domain_is_filtered_as_it_is_alone(asked):
    rng = np.random.default_rng(1)
    histories = [*random_histories(asked, 9, 2), []]
    filters = {
        "allow": padded(lists(asked, 10, rng, 50), 1), "deny": padded(lists(asked, 10, rng, 9), 1),
    }  # fmt: skip
    given = [tf.constant(padded(histories, 1)), tf.fill([10], 4)]
    given += [tf.constant(filters["allow"]), tf.constant(filters["deny"])]
    for spec in asked.functions["each_domain_filtered"].input_signature[4:]:
        if spec.name == "user_id":
            given.append(tf.constant([*USERS[:9], "nobody"]))
        else:
            shape = tf.shape(given[0]) if spec.shape.rank == 2 else [10]
            given.append(tf.zeros(shape, spec.dtype))
    together = asked.functions["each_domain_filtered"](*given)
    for place, domain in enumerate(DOMAINS):
        alone = ask(asked, "filtered", histories, [domain] * 10, 4, **filters)
        for row, expected in enumerate(alone):
            items = together["items"].numpy()[row, place]
            scores = together["scores"].numpy()[row, place]
            found = [(i.decode(), s) for i, s in zip(items, scores, strict=True) if i]
            assert_same(found, expected)


@pytest.mark.slow
def test_by_the_client(exported):
    served = exported(**TERMS)  # times have a say, and are not told here
    with running(served.base, LIMITS) as rest:
        client = Client(rest.url, timeout=PATIENCE, batch_size=2)
        histories = random_histories(served, 3, 3)
        whole = client.recommend(histories, "audio", k=30)
        best = whole[0].items[0]
        (first, *_) = client.recommend(histories, "audio", k=5, deny=[best])
        assert first.items == whole[0].items[1:6]
        some = client.recommend(histories, "audio", k=5, allow=[[best], [best, "?"], ["?"]])
        assert [answer.items for answer in some[::2]] == [[best], []]
        again = client.recommend(
            histories, "audio", k=30, allow=served.ids, deny=[best], exclude_seen=False
        )
        assert best not in again[0].items and len(again[0].items) == 29
        with pytest.raises(ValueError, match="allow: expected item ids, received an empty list"):
            client.recommend(histories, "audio", allow=[])
        with pytest.raises(ValueError, match="deny: 3 histories, received 2"):
            client.recommend(histories, "audio", deny=[["a"], ["b"]])
        with pytest.raises(TypeError, match="allow: expected a list of item ids, received 'a'"):
            client.recommend(histories, "audio", allow="a")
