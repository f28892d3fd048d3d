"""The models that can be compared, by name."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from data_prep import InputError
from tf_syncrec.comparison.recbole.bridge import MODELS as RECBOLE_MODELS
from tf_syncrec.config import Config
from tf_syncrec.data.batches import Sequences
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.models.bprmf import BPRMF
from tf_syncrec.models.cgrec import CGRec
from tf_syncrec.models.gru4rec import GRU4Rec
from tf_syncrec.models.mmoe import MMoE
from tf_syncrec.models.sasrec import SASRec
from tf_syncrec.models.syncrec import SyNCRec

RECBOLE = "recbole:"


class Network(NamedTuple):
    """A network that our training script trains.

    Attributes:
        about: one line for tables and `--help`.
        build: makes it.
        settings: what it changes in the configuration, `{"section.name": value}`.
    """

    about: str
    build: Callable[[Config, Sequences], MultiDomainModel]
    settings: dict[str, Any]


def _network(kind, about, settings=None) -> Network:
    return Network(
        about, lambda config, prepared: kind(config, prepared.catalogue.sizes), settings or {}
    )


def _bprmf(config: Config, prepared: Sequences) -> BPRMF:
    users = [
        ids
        for batch in prepared.as_dataset("train").map(lambda row: row["user_id"]).batch(65536)
        for ids in batch.numpy()
    ]
    return BPRMF(config, prepared.catalogue.sizes, np.array(users, object))


PARTS = {
    "negative_transfer.enabled": "loss correction: λ = 1/|D|",
    "loss.mutual_information": "the mutual-information loss",
    "model.asymmetric": "the asymmetric stop-gradient",
}
"""What the paper's Table 5 takes away: the setting of each, and what is missing without it."""


def _without(part: str) -> Network:
    """SyNCRec with all parts of the paper but one, whatever the configuration leaves out."""
    settings = {name: name != part for name in PARTS}
    return _network(SyNCRec, f"SyNCRec, all parts of the paper without {PARTS[part]}", settings)


NETWORKS = {
    "syncrec": _network(SyNCRec, "SyNCRec"),
    "syncrec_full": _network(
        SyNCRec, "SyNCRec, all parts of the paper", dict.fromkeys(PARTS, True)
    ),
    "syncrec_without_lc_ntg": _without("negative_transfer.enabled"),
    "syncrec_without_sc_mim": _without("loss.mutual_information"),
    "syncrec_without_acmoe": _without("model.asymmetric"),
    "sasrec": _network(SASRec, "SASRec, one Transformer"),
    "gru4rec": _network(GRU4Rec, "GRU4Rec, a recurrent network"),
    "mmoe": _network(MMoE, "MMoE of Transformers: no asymmetry, no λ, no second view"),
    "cgrec": _network(CGRec, "MMoE with loss weights from Shapley values of the domains"),
    "bprmf": Network("BPRMF, matrix factorisation", _bprmf, {}),
}
SCORERS = {
    "popularity": "number of training interactions",
    "item_knn": "item-kNN, cosine, tuned on validation",
}
FULL = "syncrec_full"
"""What the variants of the paper's Table 5 are measured against."""
ABLATIONS = {
    "(A) w/o LC-NTG": "syncrec_without_lc_ntg",
    "(B) w/o SC-MIM": "syncrec_without_sc_mim",
    "(C) w/o ACMoE": "syncrec_without_acmoe",
}
"""The variants of the paper's Table 5."""


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
            text += ", a model a domain" if self.single else ", merged sequences"
        return text


def about_models() -> list[tuple[str, str]]:
    """Names that `parse_name` takes, and one line about each."""
    return [
        *SCORERS.items(),
        *((name, network.about) for name, network in NETWORKS.items()),
        (f"{RECBOLE}NAME", "a model of RecBole, in an environment of its own"),
        ("NAME_single", "of a network: one model a domain, trained on that domain alone"),
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
