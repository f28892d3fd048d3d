"""Which axes of a network's arrays are of domains, of items, of their attributes or of users."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from tf_syncrec.models.base import MultiDomainModel

Kind = Literal["domains", "items", "users", "attributes"]
Shape = tuple[int, ...]
Origins = Mapping[Kind, np.ndarray]
"""`[n]` int of each kind: which one of those before each one of now is, -1 if it is new."""


class Axis(NamedTuple):
    """An axis whose size is `others + each * n`, n the number of what `kind` says.

    First stand what belongs to none of them, the row of padding or the start token of the cross
    view; then `each` entries of the first of them, then those of the second. Of users, the row of
    those who are unknown stands last.

    Attributes:
        kind: of what.
        others: entries that belong to none.
        each: entries of one.
    """

    kind: Kind
    others: int
    each: int

    def places(self, origins: np.ndarray) -> np.ndarray:
        """Where each entry of an axis stood before.

        Args:
            origins: `[n]` int, which one of those before each one was; -1 if it is new.

        Returns:
            `[others + each * n]` int, -1 where it is new.
        """
        groups = origins[:, None] * self.each + np.arange(self.each)
        groups[origins < 0] = -1
        if self.kind == "users":
            # How many there were the origins do not say; the row is never trained.
            return np.concatenate([groups.ravel(), np.full(self.others, -1)])
        groups[origins >= 0] += self.others
        return np.concatenate([np.arange(self.others), groups.ravel()])


def axes_of(
    model: MultiDomainModel, shapes_of: Callable[[MultiDomainModel], Sequence[Shape]]
) -> list[dict[int, Axis]]:
    """Finds the axes by asking: which grow if there is one domain, item or user more?

    Shapes follow from the constructor's arguments alone, so small networks of the same kind tell;
    a network of one's own has nothing to declare.

    Args:
        model: any network.
        shapes_of: shapes of the arrays in question, such as the weights, of a network.

    Returns:
        Of each array `{axis: what it is}`, without axes that are always of the same size.
    """
    few = 2
    domains = dict.fromkeys(model.domains, few)
    last, another = model.domains[-1], "".join(model.domains) + " and another"
    users = [str(user) for user in range(few)]

    def shapes(
        sizes: dict[str, int], user_ids: list[str], attributes: int = few
    ) -> Sequence[Shape]:
        config = model.get_config() | {"domain_sizes": sizes, "trained_sizes": None}
        if "user_ids" in config:
            config["user_ids"] = user_ids
        if "user_histories" in config:  # which are always as many
            config["user_histories"] = [few, few]
        if config["attributes"]:
            config["attributes"] = config["attributes"] | {"size": attributes}
        return shapes_of(type(model).from_config(config))

    before = shapes(domains, users)
    counts: dict[Kind, int] = {
        "domains": len(domains),
        "items": few * len(domains),
        "users": len(users),
        "attributes": few,
    }
    with_one_more: dict[Kind, Sequence[Shape]] = {
        "domains": shapes(domains | {another: 0}, users),
        "items": shapes(domains | {last: few + 1}, users),
        "users": shapes(domains, [*users, "another"]),
        "attributes": shapes(domains, users, few + 1),
    }
    found: list[dict[int, Axis]] = [{} for _ in before]
    for kind, after in with_one_more.items():
        for array, (small, large) in enumerate(zip(before, after, strict=True)):
            for axis, (size, larger) in enumerate(zip(small, large, strict=True)):
                if each := larger - size:
                    found[array][axis] = Axis(kind, size - each * counts[kind], each)
    return found


def carried(
    old: np.ndarray, new: np.ndarray, axes: Mapping[int, Axis], origins: Origins
) -> np.ndarray:
    """`new` with what `old` knows: entries of which every axis was there before; changed.

    Args:
        old: of the earlier run.
        new: of the same shape but for `axes`.
        axes: of `axes_of`.
        origins: which one of those before each one is.
    """
    places = {axis: found.places(origins[found.kind]) for axis, found in axes.items()}
    if not places:
        new[...] = old
        return new
    to = [
        np.flatnonzero(places[a] >= 0) if a in places else np.arange(n)
        for a, n in enumerate(new.shape)
    ]
    of = [places[a][to[a]] if a in places else rows for a, rows in enumerate(to)]
    new[np.ix_(*to)] = old[np.ix_(*of)]
    return new
