"""Which variant a user gets, today and tomorrow: a split by a hash, which nobody has to store."""

import hashlib
import math
from collections.abc import Iterable, Mapping

from serving.client.rows import text


class Split:
    """Gives every user a label, for good: the same on every machine and in every process.

    Each label draws a number for the user, u = SHA-256 of salt, label and id, as a part of 1, and
    the label with the least -ln(u) / weight has the user: of exponential clocks the first (weighted
    rendezvous hashing). So a label has its share of the users. Where one weight grows, or a label
    is new, users move to that label alone, and none between the others: whoever saw `canary` goes
    on seeing it while it grows from 1 % to 50 %.

    Args:
        weights: of each label, from 0; a label's share is its weight by the sum of all.
        salt: names the experiment. Another salt is another split, which knows nothing of this one:
            take a new one for a new experiment, lest the users of the last one's variant be all of
            this one's.

    Raises:
        ValueError: there is no label, a weight is no number from 0, or all are 0.
    """

    def __init__(self, weights: Mapping[str, float], salt: str):
        for label, weight in weights.items():
            if not label or not 0 <= weight < math.inf:
                raise ValueError(
                    f"weights: expected labels with numbers from 0, received {label!r}: {weight!r}"
                )
        if not sum(weights.values()):
            raise ValueError(f"weights: expected one above 0, received {dict(weights)!r}")
        self._weights = {label: weight for label, weight in weights.items() if weight}
        self._salt = salt

    def label(self, user_id: str | int) -> str:
        """The label of a user; an id that is a whole number is its decimal digits.

        Raises:
            TypeError: the id is neither.
        """
        user = text(user_id, "user_id")
        times = {label: self._clock(label, user) / w for label, w in self._weights.items()}
        return min(times, key=lambda label: (times[label], label))

    def labels(self, user_ids: Iterable[str | int]) -> list[str]:
        """The label of each user, for `Client.recommend`."""
        return [self.label(user_id) for user_id in user_ids]

    def _clock(self, label: str, user: str) -> float:
        """A number from 0, exponentially distributed."""
        # The lengths keep ("a", "bc") and ("ab", "c") apart.
        parts = (part.encode() for part in (self._salt, label, user))
        key = b"".join(b"%d:%s" % (len(part), part) for part in parts)
        drawn = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 11
        return -math.log((drawn + 0.5) / 2**53)
