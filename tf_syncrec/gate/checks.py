"""One thing that was looked at in two data cards."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        what: in words.
        kind: how the values are to be read: `count`, `share`, `time` (seconds since 1970),
            `seconds`, `factor` or `text`.
        current: value of the current log; None where there is nothing to compare with.
        candidate: value of the candidate's.
        limit: in words.
        moved: whether it is beyond the limit.
        domain: where; "" is the whole log.
    """

    what: str
    kind: str
    current: float | str | None
    candidate: float | str | None
    limit: str
    moved: bool
    domain: str = ""
