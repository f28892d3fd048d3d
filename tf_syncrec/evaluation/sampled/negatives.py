"""Draws negatives: the items that a target is ranked against under the sampled protocols."""

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.evaluation.sampled import NEGATIVES

SEED = 0
"""Fixed: other negatives would give other numbers."""


def draw_negatives(
    protocol: str, name: str, rows, catalogue: Catalogue, count: int = NEGATIVES
) -> np.ndarray:
    """Draws uniformly without replacement from the candidates but for the target.

    What a user gets depends on the user, `name`, the protocol and the catalogue: not on the other
    rows, on a model, or on the machine, as all is reckoned in whole numbers.

    Args:
        protocol: one of `SAMPLED`.
        name: of the dataset and split; other names give other negatives.
        rows: `{"user_id": [users], "domain": [users], "target": [users], "items": ragged [users,
            any]}` of a split.
        catalogue: items and domains.
        count: how many to draw.

    Returns:
        `[users, count]` int32 item ids, ascending; where fewer items are left than `count` it is
        all of them, and 0 in the first columns.
    """
    domains = rows["domain"].numpy()
    if protocol == "sampled_domain":
        first, size = catalogue.offsets[domains], catalogue.sizes[domains]
    else:
        first = np.ones(len(domains), np.int64)
        size = np.full(len(domains), catalogue.num_items)

    # What of the user's own is left out, each once, as places 0, 1, ... in the range drawn from.
    items = not_drawn(rows, catalogue)
    user = np.repeat(np.arange(len(domains)), items.row_lengths().numpy())
    place = items.flat_values.numpy() - first[user]
    inside = (place >= 0) & (place < size[user])
    base = catalogue.num_items + 1
    taken = np.unique(user[inside] * base + place[inside])  # ascending by user, then by place
    number = np.bincount(taken // base, minlength=len(domains))
    before = np.cumsum(number) - number

    left = _random_subsets(
        _keys(f"{name} {protocol} {SEED} ", rows["user_id"]), size - number, count
    )
    # The n-th item that is left stands behind as many taken ones as have at most n left ones
    # before them; the i-th taken one, at place p, has p - i.
    left_before = taken - (np.arange(len(taken)) - before[taken // base])
    row = np.arange(len(domains))[:, None]
    passed = np.searchsorted(left_before, row * base + left, side="right") - before[:, None]
    return np.where(left >= 0, first[:, None] + left + passed, 0).astype(np.int32)


def not_drawn(rows, catalogue: Catalogue) -> tf.RaggedTensor:
    """What are no negatives: the target, and items of the history that are no candidates."""
    items = rows["items"]
    excluded = items.with_flat_values(tf.gather(catalogue.excluded, items.flat_values))
    return tf.concat([tf.ragged.boolean_mask(items, excluded), rows["target"][:, None]], axis=1)


def _keys(prefix: str, user_ids) -> np.ndarray:
    """A number a user, `[users]` uint64; TensorFlow promises never to change this hash."""
    named = tf.strings.join([prefix, user_ids])
    return tf.strings.to_hash_bucket_fast(named, 2**63 - 1).numpy().astype(np.uint64)


def _random_subsets(keys: np.ndarray, sizes: np.ndarray, count: int) -> np.ndarray:
    """Uniform subsets of `0 .. size - 1` by Floyd's algorithm, for all rows at once.

    Each row takes `count` random numbers, however many of its items have been drawn.

    Args:
        keys: `[rows]` uint64, seed of each row.
        sizes: `[rows]` int64.
        count: numbers in a subset.

    Returns:
        `[rows, count]` int64, ascending; -1 in front where `size` is below `count`.

    References:
        - [Bentley and Floyd, A sample of brilliance](https://doi.org/10.1145/30401.315746)
    """
    chosen = np.full((count, len(keys)), -1)
    for step in range(count):
        last = sizes - count + step
        # A remainder of 64 bits: no number is likelier than another by more than size / 2^64.
        drawn = _random_bits(keys, step) % np.maximum(last + 1, 1).astype(np.uint64)
        drawn = drawn.astype(np.int64)
        again = (chosen[:step] == drawn).any(axis=0)
        chosen[step] = np.where(last < 0, -1, np.where(again, last, drawn))
    return np.sort(chosen.T, axis=1)


def _random_bits(keys: np.ndarray, step: int) -> np.ndarray:
    """The number after `step` others of SplitMix64 (Steele et al., 2014), `[rows]` uint64."""
    x = keys + np.uint64((step + 1) * 0x9E3779B97F4A7C15 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
