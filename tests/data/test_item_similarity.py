"""Likeness of items by all that is known of them, vectors as well, against a literal reading."""

import numpy as np
import pytest
import scipy.sparse as sparse

from tests.support.listed_items import with_items
from tf_syncrec.data import cosine, item_similarity
from tf_syncrec.data.item_attributes import compared, load
from tf_syncrec.data.item_similarity import like_items, likenesses


@pytest.fixture
def known(make_prepared):
    prepared = with_items(make_prepared(sizes=(12, 5, 0, 20)))
    attributes = load(prepared)
    assert attributes is not None and attributes.dense is not None
    return prepared.catalogue, attributes


def literal(attributes):
    """The mean of the columns' cosines, but for columns that an item lacks: `[items, items]`."""
    columns = [attributes.dense]
    for number in range(len(attributes.columns)):
        of_column = np.zeros((len(attributes.tokens), attributes.size + 1))
        for item, (tokens, weights) in enumerate(
            zip(attributes.tokens, attributes.weights, strict=True)
        ):
            for token, weight in zip(tokens, weights, strict=True):
                if token and attributes.column_of[token] == number:
                    of_column[item, token] = weight
        columns.append(of_column)
    units = []
    for column in columns:
        lengths = np.linalg.norm(column, axis=1, keepdims=True)
        units.append(column / np.where(lengths > 0, lengths, 1))
    held = sum(unit.any(axis=1).astype(float) for unit in units)
    together = sum(unit @ unit.T for unit in units)
    found = together / np.sqrt(np.maximum(np.outer(held, held), 1))
    np.fill_diagonal(found, 0)
    return found


@pytest.mark.parametrize("at_once", [2**22, 60])
def test_vectors_take_part_beside_attributes(known, monkeypatch, at_once):
    monkeypatch.setattr(cosine, "PAIRS_AT_ONCE", at_once)
    catalogue, attributes = known
    every = np.maximum(literal(attributes)[:, 1:], 0)
    of_tokens = compared(attributes.tokens, attributes.weights, attributes.column_of, None)
    assert np.abs(every - sparse.hstack(likenesses(of_tokens, catalogue)).toarray()).max() > 0.3
    found = sparse.hstack(likenesses(attributes.compared(), catalogue)).toarray()
    np.testing.assert_allclose(found, every, atol=1e-5)
    few = likenesses(attributes.compared(), catalogue, neighbours=2)
    for domain, matrix in enumerate(few):
        there = catalogue.item_domains == domain
        best = np.sort(every[:, there], axis=1)[:, -2:]
        of_each = np.sort(matrix.toarray(), axis=1)[:, -2:]
        np.testing.assert_allclose(of_each, best[:, -of_each.shape[1] :], atol=1e-5)


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize("with_vectors", [True, False])
def test_lists_have_the_most_alike_of_those_that_may_be_listed(known, cold, with_vectors):
    catalogue, attributes = known
    parts = attributes.compared()
    every = sparse.hstack(likenesses(parts if with_vectors else (parts[0], None), catalogue))
    listed = np.append(False, (catalogue.counts == 0) == cold)
    whole = every.toarray() * listed[1:]
    ids, values = like_items(parts if with_vectors else (parts[0], None), 4, listed)
    assert ids.dtype == np.int32 and values.dtype == np.float32
    for item, row in enumerate(whole):
        best = np.sort(row)[::-1][:4]
        np.testing.assert_allclose(values[item], best, atol=1e-6)
        there = ids[item] > 0
        np.testing.assert_array_equal(there, best > 0)
        np.testing.assert_allclose(row[ids[item][there] - 1], best[there], atol=1e-6)
        assert len(set(ids[item][there])) == there.sum()


def test_of_too_many_pairs_vectors_are_left_out_and_one_is_told(known, monkeypatch):
    catalogue, attributes = known
    given, vectors = attributes.compared()
    listed = np.append(False, np.ones(catalogue.num_items, bool))
    expected = like_items((given, None), 4, listed)
    monkeypatch.setattr(item_similarity, "VECTOR_PAIRS", catalogue.num_items**2 - 1)
    with pytest.warns(UserWarning, match=f"{catalogue.num_items} items are too many"):
        found = like_items((given, vectors), 4, listed)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
