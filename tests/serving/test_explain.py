"""The signature `explain`: λ and gate weights behind the answers."""

import numpy as np
import tensorflow as tf

from tests.support.exporting import DOMAINS, TOLERANCE, padded, random_histories


def explain(served, histories):
    items = tf.constant(
        padded(histories), tf.string, shape=(len(histories), len(padded(histories)[0]))
    )
    answer = served.loaded.signatures["explain"](items=items)
    return {name: value.numpy() for name, value in answer.items()}


def test_lambda_and_names_are_those_of_the_model(served):
    answer = explain(served, [[], [served.ids[0]]])
    experts = served.model.acmoe.num_experts
    assert [name.decode() for name in answer["domains"][0]] == list(DOMAINS)
    assert [name.decode() for name in answer["experts"][1]] == ["cross 1", "cross 2", "single 1"]
    for row in answer["lambda"]:
        np.testing.assert_allclose(row, served.model.negative_transfer.relative.numpy())
    assert answer["cross_gates"].shape == (2, experts)
    assert answer["single_gates"].shape == (2, len(DOMAINS), experts)
    assert answer["known_items"].tolist() == [0, 1]


def test_gates_say_which_experts_the_answer_comes_from(served, monkeypatch):
    """Experts weighted by the gates and summed are what the model goes on with."""
    histories = random_histories(served, 12, seed=21)
    number = {item: i + 1 for i, item in enumerate(served.ids)}
    width = max(map(len, histories))
    ids = [[0] * (width - len(row)) + [number[item] for item in row] for row in histories]
    acmoe, mixes = served.model.acmoe, []
    inner = type(acmoe)._mix

    def spy(self, cross_experts, single_experts, gates):
        mixes.append(gates)
        return inner(self, cross_experts, single_experts, gates)

    monkeypatch.setattr(type(acmoe), "_mix", spy)
    every = np.tile(np.arange(len(DOMAINS), dtype=np.int32), (len(ids), 1))
    served.model.query_vectors(np.array(ids, np.int32), every)
    cross, single = (gates.numpy() for gates in mixes)
    answer = explain(served, histories)
    np.testing.assert_allclose(answer["cross_gates"], cross[:, -1], atol=1e-5)
    np.testing.assert_allclose(answer["single_gates"], single, atol=1e-5)
    assert np.ptp(answer["cross_gates"], axis=0).max() > 0.01  # they do depend on the history


def test_gate_weights_are_shares_for_known_and_unknown_users(served):
    answer = explain(served, [[], ["unknown"], *random_histories(served, 5, seed=22)])
    for name in ("cross_gates", "single_gates"):
        assert (answer[name] >= 0).all()
        np.testing.assert_allclose(answer[name].sum(axis=-1), 1.0, atol=1e-5)


def explain_items(served, histories, candidates):
    answer = served.loaded.signatures["explain_items"](
        items=tf.constant(padded(histories)), candidates=tf.constant(padded(candidates))
    )
    return {name: value.numpy() for name, value in answer.items()}


def test_the_parts_of_an_item_add_up_to_its_score(served):
    """In every domain, whatever unknown ids lie between known ones."""
    histories = [[*row[:2], "", "unknown", *row[2:]] for row in random_histories(served, 8, 23)]
    for domain in (name for name in DOMAINS if name != "empty"):
        answer = served.loaded.signatures["serving_default"](
            items=tf.constant(padded(histories)), domain=tf.constant([domain] * len(histories))
        )
        found = answer["items"].numpy()
        parts = explain_items(served, histories, [[i.decode() for i in row] for row in found])
        total = parts["votes"].sum(axis=2) + sum(
            parts[name]
            for name in ("single", "cross", "similar_users", "coming_back", "popular_lately")
        )
        np.testing.assert_allclose(total, answer["scores"].numpy(), atol=TOLERANCE)
        assert (total[found == b""] == 0).all()
        assert abs(parts["votes"]).sum() > 1
        assert abs(parts["similar_users"]).sum() > 1


def test_votes_are_of_the_place_where_the_item_stands(served):
    """An item that lists another as its neighbour votes for it, from where the request has it."""
    layer = served.model.neighbours
    others, similarities = layer.others.numpy(), layer.similarities.numpy()
    voter = int(np.argmax(similarities[:, 0] * (others[:, 0] > 0)))
    target = served.ids[others[voter, 0] - 1]
    listed = similarities[voter][others[voter] == others[voter, 0]].sum()
    quiet = next(
        i for i in range(1, len(served.ids) + 1) if others[voter, 0] not in others[i] and i != voter
    )
    history = [served.ids[voter - 1], "", "unknown", served.ids[quiet - 1]]
    (votes,) = explain_items(served, [history], [[target]])["votes"][0]
    once_removed = float(layer.weight.numpy() * layer.decay.numpy())
    np.testing.assert_allclose(votes, [listed * once_removed, 0, 0, 0], rtol=1e-4)


def test_nothing_is_said_of_what_is_not_known(served):
    for histories, candidates in (([[""]], [[""]]), ([["unknown"]], [["neither", ""]])):
        parts = explain_items(served, histories, candidates)
        assert parts["known_items"].tolist() == [0]
        assert all(np.isfinite(value).all() for value in parts.values())
        assert all((parts[name] == 0).all() for name in ("single", "cross", "votes"))
