"""SyNCRec: cooperative single- and cross-domain sequential recommendation (SIGIR 2024).

Importing this changes nothing in the process, unless that is a command of ours, and loads nothing;
a name is imported when it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tf_syncrec import command_start

if TYPE_CHECKING:
    from data_prep import InputError, prepare
    from tf_syncrec.config import Config
    from tf_syncrec.data.batches import datasets
    from tf_syncrec.fit import fit
    from tf_syncrec.models.baselines.bprmf import BPRMF
    from tf_syncrec.models.baselines.esasrec import ESASRec
    from tf_syncrec.models.baselines.gru4rec import GRU4Rec
    from tf_syncrec.models.baselines.item_knn import ItemKNN
    from tf_syncrec.models.baselines.sasrec import SASRec
    from tf_syncrec.models.cross_domain.abxi import ABXI
    from tf_syncrec.models.cross_domain.cgrec import CGRec
    from tf_syncrec.models.cross_domain.mmoe import MMoE
    from tf_syncrec.models.cross_domain.pi_net import PiNet
    from tf_syncrec.models.cross_domain.two_domains.c2dsr import C2DSR
    from tf_syncrec.models.cross_domain.two_domains.man import MAN
    from tf_syncrec.models.cross_domain.two_domains.mifn import MIFN
    from tf_syncrec.models.cross_domain.two_domains.tri_cdr import TriCDR
    from tf_syncrec.models.cross_domain.users.bitgcf import BiTGCF
    from tf_syncrec.models.cross_domain.users.cat_art import CATART
    from tf_syncrec.models.cross_domain.users.clfm import CLFM
    from tf_syncrec.models.cross_domain.users.cmf import CMF
    from tf_syncrec.models.cross_domain.users.deepapf import DeepAPF
    from tf_syncrec.models.cross_domain.users.dtcdr import DTCDR
    from tf_syncrec.models.syncrec import SyNCRec
    from tf_syncrec.run import Run, load, load_model

__version__ = "0.2.0"

if command_start.started_as_command():
    command_start.begin()

_PLACES = {
    "ABXI": "tf_syncrec.models.cross_domain.abxi",
    "BiTGCF": "tf_syncrec.models.cross_domain.users.bitgcf",
    "BPRMF": "tf_syncrec.models.baselines.bprmf",
    "CATART": "tf_syncrec.models.cross_domain.users.cat_art",
    "C2DSR": "tf_syncrec.models.cross_domain.two_domains.c2dsr",
    "CGRec": "tf_syncrec.models.cross_domain.cgrec",
    "CLFM": "tf_syncrec.models.cross_domain.users.clfm",
    "CMF": "tf_syncrec.models.cross_domain.users.cmf",
    "Config": "tf_syncrec.config",
    "DeepAPF": "tf_syncrec.models.cross_domain.users.deepapf",
    "DTCDR": "tf_syncrec.models.cross_domain.users.dtcdr",
    "ESASRec": "tf_syncrec.models.baselines.esasrec",
    "GRU4Rec": "tf_syncrec.models.baselines.gru4rec",
    "InputError": "data_prep",
    "ItemKNN": "tf_syncrec.models.baselines.item_knn",
    "MAN": "tf_syncrec.models.cross_domain.two_domains.man",
    "MIFN": "tf_syncrec.models.cross_domain.two_domains.mifn",
    "MMoE": "tf_syncrec.models.cross_domain.mmoe",
    "PiNet": "tf_syncrec.models.cross_domain.pi_net",
    "Run": "tf_syncrec.run",
    "SASRec": "tf_syncrec.models.baselines.sasrec",
    "SyNCRec": "tf_syncrec.models.syncrec",
    "TriCDR": "tf_syncrec.models.cross_domain.two_domains.tri_cdr",
    "datasets": "tf_syncrec.data.batches",
    "load": "tf_syncrec.run",
    "load_model": "tf_syncrec.run",
    "prepare": "data_prep",
}
"""Public names, and the modules that have them; `fit` is the module of that name."""

__all__ = [
    "ABXI",
    "BPRMF",
    "C2DSR",
    "CATART",
    "CLFM",
    "CMF",
    "DTCDR",
    "MAN",
    "MIFN",
    "BiTGCF",
    "CGRec",
    "Config",
    "DeepAPF",
    "ESASRec",
    "GRU4Rec",
    "InputError",
    "ItemKNN",
    "MMoE",
    "PiNet",
    "Run",
    "SASRec",
    "SyNCRec",
    "TriCDR",
    "datasets",
    "fit",
    "load",
    "load_model",
    "prepare",
]


def __getattr__(name: str) -> Any:
    if name == "fit":  # the module, which can be called
        return importlib.import_module("tf_syncrec.fit")
    if name not in _PLACES:
        raise AttributeError(f"module 'tf_syncrec' has no attribute {name!r}")
    if _PLACES[name] not in ("data_prep", "tf_syncrec.config"):
        from tf_syncrec.utils.keras_setup import check_keras

        check_keras()
    value = globals()[name] = getattr(importlib.import_module(_PLACES[name]), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
