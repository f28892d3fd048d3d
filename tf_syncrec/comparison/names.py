"""The models that can be compared, as the command line names them."""

from typing import NamedTuple

from data_prep.errors import InputError
from tf_syncrec.comparison.recbole.models import MODELS as RECBOLE_MODELS
from tf_syncrec.models.registry import NETWORKS, Network

RECBOLE = "recbole:"
SCORERS = {
    "popularity": "number of training interactions",
    "recent_popularity": "the same with exponential decay; half-life fitted on validation",
    "personal": "items of the user by frequency and recency, then popularity; fitted on validation",
    "item_knn": "item-kNN, cosine, tuned on validation",
    "content_knn": "content-based item-kNN, by attributes of the items file",
}


class ModelName(NamedTuple):
    """A model as the command line names it.

    `NAME` and `NAME_cross` are trained on the merged sequences, `NAME_single` is one model a
    domain, trained on that domain alone.

    Attributes:
        text: as it was given.
        base: without the suffix.
        single: whether it is one model a domain.
    """

    text: str
    base: str
    single: bool

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
        if self.base.startswith(RECBOLE):
            return f"{self.base.removeprefix(RECBOLE)} of RecBole, merged sequences"
        text = self.network.about if self.network else SCORERS[self.base]
        if self.network:
            text += ", one model per domain" if self.single else ", merged sequences"
        return text


def about_models() -> list[tuple[str, str]]:
    """Names that `parse_name` takes, and one line about each."""
    return [
        *SCORERS.items(),
        *((name, network.about) for name, network in NETWORKS.items()),
        (f"{RECBOLE}NAME", "a model of RecBole, in an environment of its own"),
        ("NAME_single", "of a network: one model per domain, trained on that domain alone"),
    ]


def parse_name(text: str) -> ModelName:
    """A name of the command line.

    Raises:
        InputError: there is no such model.
    """
    if text in SCORERS:
        return ModelName(text, text, single=False)
    if text.startswith(RECBOLE):
        if text.removeprefix(RECBOLE) in RECBOLE_MODELS:
            return ModelName(text, text, single=False)
        known = ", ".join(RECBOLE + name for name in RECBOLE_MODELS)
        raise InputError(f"--models: unknown model {text!r}; of RecBole there are {known}")
    single = text.endswith("_single")
    base = text.removesuffix("_single" if single else "_cross")
    if base not in NETWORKS:
        raise InputError(
            f"--models: unknown model {text!r}; known: {', '.join([*SCORERS, *NETWORKS])}, the "
            f"latter also with _single (a model a domain), and {RECBOLE}NAME"
        )
    return ModelName(text, base, single)
