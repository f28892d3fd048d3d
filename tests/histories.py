"""What a split holds, user by user, for tests."""

import itertools

COLUMNS = ("item_id", "id", "timestamp", "domain_index")


def histories(sequences, role, batch_rows=200_000):
    """User to events `(item_id, id, timestamp, domain_index)`, oldest first, in stored order."""
    found = {}
    for table, starts in sequences.batches(role, batch_rows):
        users = table["user_id"].to_pylist()
        rows = list(zip(*(table[name].to_pylist() for name in COLUMNS), strict=True))
        for begin, end in itertools.pairwise(starts):
            assert users[begin] not in found and len(set(users[begin:end])) == 1
            found[users[begin]] = rows[begin:end]
    return found
