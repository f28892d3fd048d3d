"""Negatives: of the domain asked for, fair, and one sampler wherever they are wanted."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_syncrec.losses import UniformNegatives


def draw(sizes, domains, count, seed=0):
    sizes = np.asarray(sizes, np.int32)
    offsets = (1 + np.cumsum(sizes) - sizes).astype(np.int32)
    seed = keras.random.SeedGenerator(seed)
    sample = UniformNegatives(count)
    return sample(tf.constant(domains), offsets, tf.constant(sizes), seed).numpy()


@pytest.mark.parametrize("domains", [[0, 1, 2, 3], [[3, 1, 0], [2, 2, 1]]])
def test_negatives_come_from_the_domain_asked_for(domains):
    sizes = [30, 9, 100_000, 70]
    first = np.array([1, 31, 40, 100_040])
    ids = draw(sizes, domains, 8)
    assert ids.shape == (*np.shape(domains), 8)
    local = ids - first[domains][..., None]
    assert np.all(local >= 0)
    assert np.all(local < np.array(sizes)[domains][..., None])


def test_a_domain_without_items_has_no_negatives():
    """None of the domain after it, whose first item stands where its own would."""
    ids = draw([3, 0, 4], [0, 1, 2], 2)
    assert not ids[1].any() and ids[[0, 2]].all()


def test_negatives_are_uniform():
    """Chi-square: 4 standard deviations, so that only a bias fails."""
    for size in (2, 7, 50):
        ids = draw([5, size], np.full(40_000, 1), 1)
        counts = np.bincount(ids.ravel() - 6, minlength=size)
        expected = ids.size / size
        statistic = np.sum((counts - expected) ** 2 / expected)
        assert statistic < (size - 1) + 4 * np.sqrt(2 * (size - 1))
        assert statistic > 0


@pytest.mark.parametrize("count", [1, 3, 4, 7, 8])
@pytest.mark.parametrize("domains", [[0, 1, 2, 3], [[3, 1, 0], [2, 2, 1]]])
def test_a_domain_with_no_more_items_comes_as_a_whole(domains, count):
    """Each item once and 0 for the rest, whatever the seed."""
    sizes, first = np.array([3, 1, 0, 7]), np.array([1, 4, 5, 5])
    ids = draw(sizes, domains, count, seed=count)
    for d, row in zip(np.ravel(domains), ids.reshape(-1, count), strict=True):
        if sizes[d] <= count:
            everything = list(range(first[d], first[d] + sizes[d]))
            assert sorted(row) == [0] * (count - sizes[d]) + everything
        else:
            assert np.all((row >= first[d]) & (row < first[d] + sizes[d]))


def test_small_domains_leave_the_draws_of_others_as_they_are():
    """Other domains in the catalogue, small or large, do not move what a domain draws."""
    alone = draw([1000], [0], 8, seed=4)
    beside = draw([1000, 5, 8], [0, 1, 2], 8, seed=4)
    large = draw([1000, 900, 9], [0, 1, 2], 8, seed=4)
    np.testing.assert_array_equal(beside[0], large[0])
    np.testing.assert_array_equal(beside[0], alone[0])


def test_draws_differ_between_targets_domains_and_steps():
    ids = draw([1000, 1000], [[0, 0, 0], [1, 1, 1]], 8).reshape(6, 8) % 1000
    assert len({tuple(row) for row in ids}) == 6
    seed = keras.random.SeedGenerator(0)
    sample = UniformNegatives(8)
    arguments = (tf.constant([0]), tf.constant([1]), tf.constant([1000]), seed)
    assert np.any(sample(*arguments) != sample(*arguments))
    again, same = (draw([1000], [0], 8, seed=3) for _ in range(2))
    np.testing.assert_array_equal(again, same)


@keras.saving.register_keras_serializable("test")
class LastItems(UniformNegatives):
    """No draw at all: the last items of a domain."""

    def __call__(self, domains, offsets, sizes, seed):
        last = tf.gather(offsets + sizes, domains)[..., None]
        return last - 1 - tf.range(self.count)


@pytest.mark.parametrize("sampler", [UniformNegatives(7, shared=False), LastItems(2)])
def test_a_sampler_is_what_was_saved(sampler):
    saved = keras.saving.serialize_keras_object(sampler)
    again = UniformNegatives.get(saved)
    assert type(again) is type(sampler)
    assert again.get_config() == sampler.get_config()
    draws = [
        each(tf.constant([1, 0]), tf.constant([1, 101]), tf.constant([100, 50]), seed)
        for each, seed in zip(
            (sampler, again), map(keras.random.SeedGenerator, (5, 5)), strict=True
        )
    ]
    np.testing.assert_array_equal(*draws)
    assert UniformNegatives.get(sampler) is sampler


def test_a_number_is_a_shared_uniform_draw():
    assert UniformNegatives.get(12).get_config() == {"count": 12, "shared": True}


@pytest.mark.parametrize("wrong", ["many", 0, 2.5, None])
def test_what_cannot_be_drawn_is_refused(wrong):
    with pytest.raises(ValueError, match=r"must be .*Received"):
        UniformNegatives.get(wrong)
