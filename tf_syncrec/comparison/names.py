"""The models that can be compared, as the command line names them."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from data_prep.errors import InputError
from tf_syncrec.comparison.libraries.library import LIBRARIES, Library, library_of
from tf_syncrec.models.registry import NETWORKS, Network

MERGED, SINGLE, BY_PAIR = "cross", "single", "by_pair"
SCOPES = {
    MERGED: "merged sequences",
    SINGLE: "one model per domain",
    BY_PAIR: "one model for each two domains",
}
"""What a training has of the domains, by the suffix of a name."""

Place = str | tuple[str, str] | None
"""The domains of one training: one, two, or all of them."""


def domains_in(place: Place) -> tuple[str, ...]:
    """The domains of one training; none where it is all of them."""
    return (place,) if isinstance(place, str) else tuple(place or ())


SCORERS = {
    "popularity": "number of training interactions",
    "recent_popularity": "the same with exponential decay; half-life fitted on validation",
    "personal": "items of the user by frequency and recency, then popularity; fitted on validation",
    "item_knn": "item-kNN, cosine, tuned on validation",
    "user_knn": "session-based kNN over users, tuned on validation",
    "content_knn": "content-based item-kNN, by attributes of the items file",
}


class ModelName(NamedTuple):
    """A model as the command line names it.

    `NAME` and `NAME_cross` are trained on the merged sequences; `NAME_single` is one model a
    domain, trained on that domain alone; `NAME_by_pair` is one model for each two domains, trained
    on these, and every domain has the mean of those that it is in (the paper's footnote 2).

    Attributes:
        text: as it was given.
        base: without the suffix.
        scope: what each of its trainings has, one of `SCOPES`.
    """

    text: str
    base: str
    scope: str = MERGED

    @property
    def single(self) -> bool:
        """Whether it is one model a domain."""
        return self.scope == SINGLE

    @property
    def by_pair(self) -> bool:
        """Whether it is one model for each two domains."""
        return self.scope == BY_PAIR

    @property
    def several_domains(self) -> bool:
        """Whether it is trained, and on more than one domain."""
        return self.seeded and not self.single

    def places(self, domains: Sequence[str]) -> list[Place]:
        """What it is trained on, of the domains of a dataset, a training each."""
        if self.single:
            return list(domains)
        return list(combinations(domains, 2)) if self.by_pair else [None]

    @property
    def library(self) -> Library | None:
        """Whose model it is; None: one of ours."""
        return library_of(self.base)

    @property
    def in_library(self) -> str:
        """What that library calls it."""
        return self.base.partition(":")[2]

    @property
    def network(self) -> Network | None:
        """How it is trained; None for what our training script does not train."""
        return NETWORKS.get(self.base)

    @property
    def seeded(self) -> bool:
        """Whether chance has a part in it."""
        return self.base not in SCORERS

    @property
    def about(self) -> str:
        """One line about it."""
        if self.library:
            return f"{self.in_library} of {self.library.title}, merged sequences"
        text = self.network.about if self.network else SCORERS[self.base]
        if self.network:
            text += f", {SCOPES[self.scope]}"
        return text


def about_models() -> list[tuple[str, str]]:
    """Names that `parse_name` takes, and one line about each."""
    return [
        *SCORERS.items(),
        *((name, network.about) for name, network in NETWORKS.items()),
        *(
            (f"{library.prefix}NAME", f"a model of {library.title}, in an environment of its own")
            for library in LIBRARIES
        ),
        ("NAME_single", "of a network: one model per domain, trained on that domain alone"),
        ("NAME_by_pair", "of a network: one model for each two domains, and their mean"),
    ]


def parse_name(text: str) -> ModelName:
    """A name of the command line.

    Raises:
        InputError: there is no such model.
    """
    if text in SCORERS:
        return ModelName(text, text)
    if library := library_of(text):
        known = [library.prefix + name for name in library.models]
        if text in known:
            return ModelName(text, text)
        raise InputError(
            f"--models: unknown model {text!r}; of {library.title} there are {', '.join(known)}"
        )
    scope = next((scope for scope in SCOPES if text.endswith(f"_{scope}")), MERGED)
    base = text.removesuffix(f"_{scope}")
    if base not in NETWORKS:
        raise InputError(
            f"--models: unknown model {text!r}; known: {', '.join([*SCORERS, *NETWORKS])}, the "
            f"latter also with _single (a model a domain) and _by_pair (one for each two domains), "
            f"and {', '.join(library.prefix + 'NAME' for library in LIBRARIES)}"
        )
    return ModelName(text, base, scope)
