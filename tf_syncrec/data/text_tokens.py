"""Words and word pairs of texts as 64-bit numbers, the same in every process and release.

A word is a run of letters, marks, digits and underscores of any script; capitals do not count
(`str.casefold`, after NFKC), so that the same word is the same number however it was typed. A pair
is of two words beside each other. Scripts that put no blanks between words have long ones.
"""

import dataclasses
import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_BETWEEN = r"[^\p{L}\p{M}\p{N}_]+"


@dataclasses.dataclass(frozen=True)
class Occurrences:
    """What was found in the cells of a column, one after the other.

    Attributes:
        rows: `[n]` int, the cell.
        keys: `[n]` uint64, what was found: equal things have equal keys.
        words: texts by code.
        codes: `[n, 2]` int, the words that a thing is of; -1: of one alone.
    """

    rows: np.ndarray
    keys: np.ndarray
    words: pa.Array
    codes: np.ndarray

    def at(self, which: np.ndarray) -> "Occurrences":
        """Those of a selection, `[n]` bool."""
        return Occurrences(self.rows[which], self.keys[which], self.words, self.codes[which])

    def names(self, places: np.ndarray) -> list[str]:
        """What was found at some places, to read."""
        found = []
        for first, second in self.codes[places].tolist():
            name = self.words[first].as_py()
            found.append(name if second < 0 else f"{name} {self.words[second].as_py()}")
        return found


def stable_hashes(texts: list[str]) -> np.ndarray:
    """`[n]` uint64: the first bytes of BLAKE2b of UTF-8, unlike Python's `hash`, which changes."""
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def words_and_pairs(texts: pa.Array) -> Occurrences:
    """Finds them.

    Args:
        texts: `[rows]` strings, or null.
    """
    lists = pc.split_pattern_regex(pc.utf8_normalize(texts, form="NFKC"), _BETWEEN)
    parts = lists.flatten()
    kept = pc.greater(pc.binary_length(parts), 0)  # There are empty ones at the ends of a text.
    rows = pc.list_parent_indices(lists).filter(kept).to_numpy()
    encoded = parts.filter(kept).dictionary_encode()
    # Python's own rule, on each different word once.
    folded = pa.array([word.casefold() for word in encoded.dictionary.to_pylist()], pa.string())
    unique = folded.dictionary_encode()
    codes = unique.indices.to_numpy()[encoded.indices.to_numpy()]
    hashes = stable_hashes(unique.dictionary.to_pylist())[codes]
    second = np.flatnonzero(rows[1:] == rows[:-1]) + 1
    keys = np.concatenate([hashes, pair_keys(hashes[second - 1], hashes[second])])
    both = np.full((len(keys), 2), -1, np.int32)
    both[:, 0] = np.concatenate([codes, codes[second - 1]])
    both[len(codes) :, 1] = codes[second]
    return Occurrences(np.concatenate([rows, rows[second]]), keys, unique.dictionary, both)


def pair_keys(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The key of two words in their order: that of the first is stirred (SplitMix64), then mixed.

    Args:
        first: `[n]` uint64.
        second: likewise.
    """
    stirred = first + np.uint64(0x9E3779B97F4A7C15)
    stirred = (stirred ^ (stirred >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    stirred = (stirred ^ (stirred >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (stirred ^ (stirred >> np.uint64(31))) + second
