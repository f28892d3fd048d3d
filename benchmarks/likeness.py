r"""What lists of the most alike items cost: seconds of a core, and memory beyond what is compared.

    OMP_NUM_THREADS=1 python -m benchmarks.likeness --items 100000
    OMP_NUM_THREADS=1 python -m benchmarks.likeness --items 40000 --vectors 128

Attributes are made up: a brand, a category, a bin of a price and ten words of an item, with long
tails, so that the commonest words have as many pairs of items as are looked at.
"""

import argparse
import time

import numpy as np
import scipy.sparse as sparse

from tf_syncrec.data.item_similarity import like_items
from tf_syncrec.training.loop import peak_memory_mb

WORDS, TEN = 20_000, 10


def made_up(items: int, rng: np.random.Generator) -> sparse.csr_array:
    """Attributes of items, `[items + 1, attributes]`, of norm 1 or nearly so."""
    brands, categories = max(items // 20, 1), 300
    parts = [
        np.minimum(rng.zipf(1.3, items), brands) - 1,
        brands + np.minimum(rng.zipf(1.3, items), categories) - 1,
        brands + categories + rng.integers(0, TEN, items),
    ]
    first = brands + categories + TEN
    parts += [first + np.minimum(rng.zipf(1.15, items), WORDS) - 1 for _ in range(TEN)]
    ids = np.stack(parts, axis=1)
    rows = np.repeat(np.arange(1, items + 1), ids.shape[1])
    weights = np.full(ids.size, ids.shape[1] ** -0.5, np.float32)
    shape = (items + 1, first + WORDS)
    matrix = sparse.csr_array((weights, (rows, ids.ravel())), shape=shape)
    matrix.sum_duplicates()
    return matrix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000, help="items (100000)")
    parser.add_argument("--vectors", type=int, default=0, help="width of ready-made vectors (0)")
    parser.add_argument("--count", type=int, default=50, help="length of a list (50)")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    attributes, vectors = made_up(options.items, rng), None
    if options.vectors:
        vectors = rng.normal(size=(options.items + 1, options.vectors)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    listed = np.append(False, np.ones(options.items, bool))
    before, start = peak_memory_mb(), time.process_time()
    lists = like_items((attributes, vectors), options.count, listed)
    seconds, size = time.process_time() - start, sum(part.nbytes for part in lists) / 2**20
    print(
        f"{options.items:,} items: {seconds:.0f} s of CPUs; {peak_memory_mb() - before:,.0f} MiB, "
        f"of which the lists are {size:,.0f}"
    )


if __name__ == "__main__":
    main()
