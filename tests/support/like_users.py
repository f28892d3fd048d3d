"""What like users say, one user after the other."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from tf_syncrec.layers.score_terms.user_neighbours import CLOSE, DECAY


def literal_votes_of_users(
    rows: Sequence[tuple[Sequence[int], Sequence[float]]],
    history: Sequence[int],
    count: int,
    weight: float,
    backward: float,
    holders: int = 500,
    latest: int = 50,
) -> dict[int, float]:
    """Votes by item, in the words of `layers.UserNeighbours`.

    Args:
        rows: items and times of each training user.
        history: as far as it is compared, oldest first; 0 is none.
        count: users who vote.
        weight: of their votes.
        backward: of what they had before the last shared item.
        holders: the latest users of an item who are looked at.
        latest: the latest interactions of a user that have votes.
    """
    rarity = {
        item: np.log(1 + len(rows) / sum(item in items for items, _ in rows))
        for item in {item for items, _ in rows for item in items}
    }
    ages: dict[int, int] = {}
    history = [item for item in history if item]
    for age, item in enumerate(reversed(history)):
        ages.setdefault(item, age)
    own = {item: DECAY**age * rarity[item] for item, age in ages.items() if item in rarity}
    norm = np.sqrt(sum(value**2 for value in own.values()))

    def looked_at(item):
        """The latest users of an item: of equal times those with the earlier rows."""
        when = [
            (-max(time for one, time in zip(items, times, strict=True) if one == item), user)
            for user, (items, times) in enumerate(rows)
            if item in items
        ]
        return {user for _, user in sorted(when)[:holders]}

    similarities: dict[int, float] = defaultdict(float)
    for item, value in own.items():
        for user in looked_at(item):
            theirs = {other: rarity[other] for other in rows[user][0]}
            length = np.sqrt(sum(other**2 for other in theirs.values()))
            similarities[user] += value / norm * rarity[item] / length
    votes: dict[int, float] = defaultdict(float)
    best = sorted(similarities, key=lambda user: -similarities[user])[:count]
    for user in best:
        items = rows[user][0][-latest:]
        shared = [place for place, item in enumerate(items) if item in history]
        if not shared:
            continue
        for place, item in enumerate(items):
            later = place - shared[-1]
            how = CLOSE ** (later - 1) if later > 0 else backward * CLOSE**-later
            votes[item] += weight * similarities[user] * how
    return votes
