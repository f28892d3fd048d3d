"""Libraries of others whose models can be compared, each in an environment of its own."""

import os
from pathlib import Path
from typing import NamedTuple


class Library(NamedTuple):
    """A library that needs other versions of what we need, and never runs in our process.

    Attributes:
        key: before the colon of its models' names; also of its settings in the configuration, of
            `make KEY`, which makes the environment, and of the folder in a cell.
        title: what it calls itself.
        models: those that are supported and tried, as it calls them.
        with_attributes: those of them that need to know what items are.
        window: its name for how many interactions of a history are read.
        patience: its name for how many validations may pass without a better one.
    """

    key: str
    title: str
    models: tuple[str, ...]
    with_attributes: tuple[str, ...]
    window: str
    patience: str

    @property
    def prefix(self) -> str:
        """Of the names of its models."""
        return f"{self.key}:"

    @property
    def variable(self) -> str:
        """The environment variable that may name its interpreter."""
        return f"{self.key.upper()}_PYTHON"

    @property
    def interpreter(self) -> str | os.PathLike[str]:
        """That of the environment with it: what the variable names, or the default."""
        return os.environ.get(self.variable, Path(f".venv-{self.key}/bin/python"))

    @property
    def worker(self) -> Path:
        """The script that trains there."""
        return Path(__file__).with_name(f"{self.key}_worker.py")


RECBOLE = Library(
    "recbole",
    "RecBole",
    (
        *("SASRec", "GRU4Rec", "BERT4Rec", "LightSANs", "NARM", "STAMP"),
        *("NextItNet", "SINE", "TransRec", "GCMC", "S3Rec", "FDSA"),
    ),
    ("S3Rec", "FDSA"),
    window="MAX_ITEM_LIST_LENGTH",
    patience="stopping_step",
)
RECTOOLS = Library(
    "rectools",
    "RecTools",
    ("SASRec", "eSASRec"),
    (),
    window="session_max_len",
    patience="patience",
)
LIBRARIES = RECBOLE, RECTOOLS


def library_of(base: str) -> Library | None:
    """Of a model's name without suffixes; None: it is one of ours."""
    return next((each for each in LIBRARIES if base.startswith(each.prefix)), None)
