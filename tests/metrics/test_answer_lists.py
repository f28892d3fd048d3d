"""Coverage, novelty, diversity and popularity are those of RecTools, and what their names say."""

import itertools

import numpy as np
import pytest

from tf_syncrec.metrics.answer_lists import (
    coverage,
    gini,
    intra_list_diversity,
    mean_of_lists,
    popularity_bias,
    self_information,
)

COUNTS = np.array([4, 3, 1, 1, 1, 0])
"""Training interactions of six items of a domain; every one of another user."""
LISTS = np.array([[1, 2, 3], [1, 3, 5], [2, 1, 0]])
VECTORS = np.array([[1, 0], [1, 1], [0, 2], [-1, 0], [-1, 1], [3, 1]], float)


def vectors_of(lists):
    return np.concatenate([np.full([1, 2], 9.0), VECTORS])[lists]  # row 0 is of no item


def test_the_numbers_are_those_of_rectools():
    """RecTools 0.19.0: `MeanInvUserFreq`, `AvgRecPopularity`, `CatalogCoverage`,
    `IntraListDiversity` (with cosine distances), `calc_per_user` on these lists, k = 3."""
    information = np.append(0.0, self_information(COUNTS, np.zeros(6, int)))
    novelty = mean_of_lists(LISTS, information)
    assert novelty == pytest.approx([2.126940594646977, 2.6552614282206957, 1.5294468445267841])
    popularity = mean_of_lists(LISTS, np.append(0, COUNTS))
    assert popularity == pytest.approx([2.6666666666666665, 2.0, 3.5])
    assert coverage(LISTS, 6) == pytest.approx(0.6666666666666666)
    diversity = intra_list_diversity(LISTS, vectors_of(LISTS))
    assert diversity == pytest.approx([0.5285954792089683, 1.0, 0.29289321881345254])


def test_popularity_bias_is_1_where_lists_are_as_popular_as_what_people_take():
    counts = np.append(0, COUNTS)
    assert popularity_bias(LISTS[:, :1], LISTS[:, 0], counts) == 1.0
    mean = np.mean([8 / 3, 2.0, 3.5])
    assert popularity_bias(LISTS, np.array([2, 3, 0]), counts) == pytest.approx(mean / (4 / 3))
    assert popularity_bias(LISTS, np.zeros(3, int), counts) == 0.0  # nobody took a known item


def test_gini_goes_from_0_to_1():
    assert gini(np.full(50, 7)) == 0.0
    one = np.zeros(50, int)
    one[3] = 9
    assert gini(one) == pytest.approx(1 - 1 / 50)
    assert gini(np.zeros(5, int)) == 0.0
    shown = np.random.default_rng(0).integers(0, 9, 30)
    pairs = np.abs(shown[:, None] - shown[None]).sum()
    assert gini(shown) == pytest.approx(pairs / (2 * 30**2 * shown.mean()))


def test_places_without_an_item_change_nothing_and_no_order_does():
    rng = np.random.default_rng(1)
    lists = np.array([rng.permutation(6)[:4] + 1 for _ in range(20)])
    padded = np.pad(lists, [(0, 0), (0, 3)])
    shuffled = rng.permuted(padded, axis=1)
    literal = [
        np.mean(
            [
                1 - (a @ b) / np.linalg.norm(a) / np.linalg.norm(b)
                for a, b in itertools.combinations(vectors_of(row), 2)
            ]
        )
        for row in lists
    ]
    counts = np.append(5, COUNTS)  # also of no item, which counts for nothing
    for other in (lists, padded, shuffled):
        assert intra_list_diversity(other, vectors_of(other)) == pytest.approx(literal)
        assert mean_of_lists(other, counts) == pytest.approx(counts[lists].mean(axis=1))
        assert coverage(other, 6) == coverage(lists, 6)
