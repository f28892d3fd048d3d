"""Sets of models by the question that they answer together: `compare --preset NAME`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from data_prep.errors import InputError
from tf_syncrec.comparison.libraries.bridge import NoLibrary
from tf_syncrec.comparison.libraries.library import LIBRARIES, RECBOLE
from tf_syncrec.comparison.names import BY_PAIR, parse_name
from tf_syncrec.comparison.plan import Plan, check_library
from tf_syncrec.config import Config
from tf_syncrec.models.registry import ABLATIONS, FULL, PUBLISHED, PUBLISHED_LOSSES


class Preset(NamedTuple):
    """Models that answer a question.

    Attributes:
        question: for `--help`.
        models: as `--models` takes them.
        reference: what the others are measured against.
        seeds: of `--seeds`, where it is not given.
        options: values of other settings, where they are not given.
    """

    question: str
    models: tuple[str, ...]
    reference: str | None
    seeds: str = "0,1,2"
    options: Mapping[str, int] = {}


def _by_pair(*names: str) -> tuple[str, ...]:
    """Models that were made for two domains, as the paper's footnote 2 has them."""
    return tuple(f"{name}_{BY_PAIR}" for name in names)


def _recbole(*names: str) -> tuple[str, ...]:
    return tuple(RECBOLE.prefix + name for name in names)


TABLE_2 = (
    *("bprmf", *_recbole("GCMC")),
    *("gru4rec", "sasrec", *_recbole("BERT4Rec", "S3Rec"), "carca"),
    *_recbole("NextItNet", "SINE", "STAMP", "TransRec", "LightSANs", "NARM"),
    *(*_by_pair("bitgcf", "dtcdr", "cmf", "clfm", "deepapf"), "cat_art"),
    *(*_by_pair("mifn", "pi_net", "man", "c2dsr"), "mmoe", "cgrec"),
)
"""The 25 systems of the paper's Tables 2 and 3, in their order: GR, SR, CDR, CDSR."""

READ_ATTRIBUTES = (*_recbole(*RECBOLE.with_attributes), "carca")
"""Those that know items by their attributes."""

LATER = ("abxi", *_by_pair("tri_cdr"), "esasrec", *_recbole("FDSA"))
"""What the tables have not, and is asked for: later systems, and one of the paper's section 2."""

AS_PUBLISHED = tuple(
    name.base + PUBLISHED + name.text.removeprefix(name.base)
    for name in map(parse_name, (*TABLE_2, *LATER))
    if name.base in PUBLISHED_LOSSES
)
"""Those of both that we have with another loss as well, which tells loss from architecture."""

SINGLE_DOMAIN = "cgrec_single"
"""What the paper's Table 4 holds the others against: a domain-specific model."""

REHEARSED = (
    "syncrec",
    FULL,
    *TABLE_2,
    *LATER,
    SINGLE_DOMAIN,
    "sasrec_single",
    "item_knn",
    "user_knn",
    "popularity",
)
PAPER = (*REHEARSED, *AS_PUBLISHED)

PRESETS = {
    "negative_transfer": Preset(
        "which of my domains are hurt?",
        ("syncrec", "syncrec_single", "sasrec_cross", "sasrec_single"),
        "sasrec_single",
    ),
    "ablation": Preset("the paper's Table 5", (FULL, *ABLATIONS.values()), FULL),
    "main": Preset(
        "the usual baselines",
        (
            *("syncrec", "sasrec_cross", "sasrec_single", "gru4rec", "bprmf", "mmoe", "cgrec"),
            *("item_knn", "user_knn", "popularity"),
        ),
        "syncrec",
    ),
    "paper": Preset("the paper's Tables 2 and 4, hours", PAPER, "syncrec", "0"),
    "paper_quick": Preset(
        "a rehearsal of these, two epochs",
        REHEARSED,
        "syncrec",
        "0",
        {"train.epochs": 2, "recbole.epochs": 2, "recbole.S3Rec.pretrain_epochs": 2},
    ),
}


def missing_here(plan: Plan, config: Config) -> dict[str, str]:
    """Models of a preset that this machine or this dataset has nothing for, and why.

    A preset is chosen by its question, and not for each of its models: so what cannot be had is
    left out, and said, where `--models` refuses it.

    Args:
        plan: of the preset.
        config: what all models share.

    Raises:
        InputError: of `check_library`, where the library is there.
    """
    found = {}
    if config.data.items.path is None:
        found = {
            model.text: "knows items by their attributes; give a file of them by --items"
            for model in plan
            if model.base.removesuffix(PUBLISHED) in READ_ATTRIBUTES
        }
    rest = {model: seeds for model, seeds in plan.items() if model.text not in found}
    for library in LIBRARIES:
        try:
            check_library(library, rest, config)
        except NoLibrary as error:
            theirs = [model.text for model in rest if model.library == library]
            found |= dict.fromkeys(theirs, str(error))
    return found


def missing_in(plan: Plan, domains: Sequence[str]) -> dict[str, str]:
    """Models of a preset that need more domains than there are, and why."""
    return {
        model.text: f"needs two domains, the data has {', '.join(domains)}"
        for model in plan
        if not model.places(domains)
    }


def leave_out(plan: Plan, reference: str, missing: Mapping[str, str]) -> Plan:
    """The rest of a plan.

    Raises:
        InputError: what the others are measured against is missing.
    """
    if reference in missing:
        raise InputError(f"--reference {reference}: {missing[reference]}")
    return {model: seeds for model, seeds in plan.items() if model.text not in missing}


def by_reason(missing: Mapping[str, str]) -> dict[str, list[str]]:
    """The models of each reason, in their order."""
    found: dict[str, list[str]] = {}
    for model, why in missing.items():
        found.setdefault(why, []).append(model)
    return found
