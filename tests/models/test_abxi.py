"""ABXI: aligned streams, written out; whom an adapter is of, and what all share."""

import numpy as np
import pytest

from tests.support.published import SIZES, attend, domain_of, embed, gradients, norm, swiglu, tiny
from tf_syncrec.models.cross_domain.abxi import ABXI


def numbers(parts):
    return [part.numpy() for part in parts]


def projected(projector, x, which=0):
    return swiglu(x, *(part[which] for part in numbers(projector.parts)))


def adapted(part, x, shared, which):
    total = x + shared
    if part.rank:
        total = total + x @ part.down.numpy()[which] @ part.up.numpy()[which]
    return norm(total, part.scale.numpy()[which, 0], part.offset.numpy()[which, 0])


def literal(model, history, d):
    """The representation for domain d, each stream a sequence of its own."""
    own = [item for item in history if domain_of(item) == d]
    states = []
    for items, start, which in ((history, 0, 0), (own, 1 + d, 1 + d)):
        rows = embed(model, items, start)
        scale, offset = numbers(model.norm.weights)
        h = norm(rows[-1] + attend(model.attention, rows), scale, offset)
        states.append(adapted(model.streams, h, projected(model.feed_forward, h), which))
    cross, single = states
    return adapted(model.invariant, cross, projected(model.projector, cross), d) + adapted(
        model.specific, single, projected(model.domain_projectors, single, d), d
    )


@pytest.mark.parametrize("heads", [1, 2])
def test_it_is_its_equations(heads):
    model = tiny(ABXI, heads=heads, domain_rank=2, invariant_rank=3)
    for history in ([], [3], [3, 7, 12, 1], [6, 9, 8]):
        batch = np.array([[0] * (5 - len(history)) + history], np.int32)
        queries = model.query_vectors(batch, np.array([[2, 0, 1]], np.int32))[0]
        for query, d in zip(queries, (2, 0, 1), strict=True):
            np.testing.assert_allclose(query, literal(model, history, d), rtol=1e-4, atol=1e-5)


def test_adapters_learn_from_their_own_domain_and_the_rest_from_all(make_items):
    model = tiny(ABXI)
    # Two users of the first domain and the last: nothing is to be predicted in the second.
    found = gradients(model, make_items([6, 5], domains=[[0, 2], [0, 2]]))
    for path, gradient in found.items():
        size = np.abs(gradient)
        name = path.split("/")[-1]
        if len(gradient) == len(SIZES) and name != "bias":  # a domain each
            by_domain = size.reshape(len(SIZES), -1).max(axis=1)
            assert by_domain[1] == 0.0 and by_domain[[0, 2]].min() > 1e-6, path
        elif len(gradient) == 1 + len(SIZES) and "adapted" in path:  # and the cross stream
            by_stream = size.reshape(1 + len(SIZES), -1).max(axis=1)
            assert by_stream[2] == 0.0 and by_stream[[0, 1, 3]].min() > 1e-6, path
        else:
            assert size.max() > 1e-6, path


def test_all_domains_are_the_same_to_an_untrained_model_of_one_stream():
    """LoRAs begin at zero: without what is a domain's own, nobody is adapted."""
    model = ABXI(SIZES, window=6, dim=8, dropout=0.0)
    model.specific.scale.assign(np.zeros_like(model.specific.scale))
    items = np.array([[0, 3, 7, 12, 1], [0, 0, 0, 2, 9]], np.int32)
    queries = model.query_vectors(items, np.array([[0, 1, 2]] * 2, np.int32)).numpy()
    np.testing.assert_array_equal(queries, np.repeat(queries[:, :1], 3, axis=1))
    model.invariant.up.assign(np.random.default_rng(0).normal(size=model.invariant.up.shape))
    queries = model.query_vectors(items, np.array([[0, 1, 2]] * 2, np.int32)).numpy()
    assert np.abs(queries - queries[:, :1])[:, 1:].max(axis=2).min() > 0.01
