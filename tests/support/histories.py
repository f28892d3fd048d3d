"""What a split holds, user by user, for tests."""

import itertools

from data_prep.pipeline.splits import TRAIN


def histories(sequences, role):
    """User to events `(item_id, id, timestamp, domain_index)`, oldest first, in stored order."""
    found = {}
    names, domains = sequences.catalogue.item_ids, sequences.catalogue.item_domains
    for rows in sequences.rows(role):
        users, starts = rows.user_ids.to_pylist(), itertools.pairwise(rows.starts.tolist())
        targets = zip(
            rows.target_item_ids.to_pylist(),
            rows.targets.tolist(),
            rows.target_timestamps.tolist(),
            rows.domains.tolist(),
            strict=True,
        )
        for user, (begin, end), target in zip(users, starts, targets, strict=True):
            assert user not in found
            ids, times = rows.ids[begin:end], rows.timestamps[begin:end].tolist()
            assert ids.all(), "only known items are in a history"
            items = [
                (names[i - 1], int(i), t, int(domains[i - 1]))
                for i, t in zip(ids, times, strict=True)
            ]
            if role == TRAIN:
                assert target == ("", 0, 0.0, -1)
            found[user] = items if role == TRAIN else [*items, target]
    return found
