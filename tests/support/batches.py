"""Training batches, taken apart by hand."""

import numpy as np


def windows_of(items, window, overlap=True):
    """What a user's items are cut into: T targets each, the latest together, oldest window last."""
    items, windows = list(items), []
    while items:
        start = max(len(items) - window, 0)
        windows.append(tuple(items[max(start - overlap, 0) :]))
        items = items[:start]
    return windows


def sequences_of(batch, window):
    """Sequences of a batch of `train_batches`, checked against what the layout promises."""
    items = np.asarray(batch["items"])
    assert items.dtype == np.int32 and items.shape[1] <= window + 1
    if "segments" not in batch:
        for row in items:
            length = np.count_nonzero(row)
            assert length and (row[len(row) - length :] > 0).all(), "not padded on the left"
        return [tuple(row[row > 0].tolist()) for row in items]
    segments = np.asarray(batch["segments"])
    np.testing.assert_array_equal(segments >= 0, items > 0)
    sequences = {}
    for row, names in zip(items, segments, strict=True):
        for name in set(names[names >= 0].tolist()):
            (columns,) = np.nonzero(names == name)
            assert (np.diff(columns) == 1).all(), "a sequence has a gap"
            assert name not in sequences, "a sequence is in two rows"
            # Only the item before T targets may stand in the first column.
            assert columns[0] > 0 or len(columns) == window + 1
            sequences[name] = tuple(row[columns].tolist())
    assert sorted(sequences) == list(range(len(sequences)))
    return [sequences[name] for name in sorted(sequences)]
