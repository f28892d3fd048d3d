"""Settings of data: what there is to set, its type, its limits, and what it does.

This is the one place that says so. The section `data` of a configuration file is a `DataConfig`;
command lines, `prepare` and the TFDS builders make one too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from data_prep.errors import InputError
from data_prep.files import local_path

# YAML reads 2018 as a number.
_Year = Annotated[
    Literal["2014", "2018", "2023"],
    pydantic.BeforeValidator(lambda year: str(year) if isinstance(year, int) else year),
]

_LocalPath = Annotated[str, pydantic.AfterValidator(lambda path: local_path(path) and path)]


class Section(pydantic.BaseModel):
    """Settings that belong together; unknown names and numbers that are none are refused."""

    model_config = pydantic.ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


def setting(default: Any, description: str, **limits: Any) -> Any:
    """A field; its description is what `--help` and docs/settings.md say of it."""
    return Field(default, description=description, **limits)


TELCO_LENGTH = 120
"""Of `interactions_per_user`: with fewer, most users would have no purchase, 1 event in 184."""


class SyntheticConfig(Section):
    """What the synthetic dataset has, and how much, see `data_prep.read.datasets`."""

    kind: Literal["shared_taste", "telco"] = setting(
        "shared_taste",
        "shared_taste: three domains with shared preferences, and one with negative transfer; "
        "telco: apps, calls, navigation, coupons and purchases, with repeat consumption",
    )
    users: int = setting(3000, "number of users", ge=1)
    items_per_domain: int = setting(
        250,
        "of kind shared_taste; telco has numbers of its own, which grow with `users`",
        ge=4,
    )
    interactions_per_user: int = setting(
        24, f"mean length of a sequence; {TELCO_LENGTH} of kind telco unless given", ge=3
    )
    seed: int = setting(0, "seed of the data; `train.seed` is that of the training", ge=0)
    harm: list[Annotated[float, Field(ge=0, le=1)]] = setting(
        [],
        "of kind shared_taste, instead of `books`, `films`, `music` and `contrary`, one domain per "
        "value: the share of it that is like `contrary` (negative transfer); the rest is like "
        "`books`",
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _length(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("kind") == "telco":
            return {"interactions_per_user": TELCO_LENGTH, **given}
        return given

    @pydantic.field_validator("harm")
    @classmethod
    def _domains(cls, harm: list[float]) -> list[float]:
        if len(harm) == 1 or len(set(harm)) < len(harm):
            raise ValueError("expected two values or more, each once: they name the domains")
        return harm


ITEMS_OF_DATASET = "auto"
"""Of `data.items.path`: what the dataset itself knows of its items."""

ItemKind = Literal["category", "tokens", "text", "number", "vector", "path", "title", "ignore"]


class ItemsConfig(Section):
    """What is known of items: docs/items.md."""

    path: _LocalPath | None = setting(
        None,
        "CSV, TSV or Parquet file with `item_id` and any other columns; auto: that of "
        "complete_journey or synthetic",
        min_length=1,
    )
    columns: dict[str, ItemKind] = setting(
        {},
        "kind of a column, where it is inferred wrongly: category, tokens, text, number, vector, "
        "path, title or ignore",
    )
    text_tokens: int = setting(
        2**15, "vocabulary of a text column: its most frequent words and word pairs", ge=1
    )
    max_tokens: int = setting(32, "attributes used per item, those of the largest weight", ge=1)


class DataConfig(Section):
    """Which interactions, and how they become sequences."""

    dataset: Literal["synthetic", "amazon", "complete_journey", "interactions"] = setting(
        "synthetic",
        "synthetic: generated; amazon: public rating files; complete_journey: a grocer's baskets, "
        "from a package; interactions: your own log",
    )
    raw_dir: _LocalPath | None = setting(
        None, "amazon: folder of rating files; by default they are downloaded", min_length=1
    )
    release: _Year | None = setting(
        None, "amazon: year of the release; by default inferred from the files"
    )
    categories: list[str] = setting([], "amazon: categories, i.e. domains, to use")
    path: _LocalPath | None = setting(
        None, "interactions: CSV, TSV or Parquet file, folder or glob", min_length=1
    )
    columns: dict[str, str] = setting(
        {},
        "interactions: names of the columns that differ from user_id, item_id, domain, timestamp",
    )
    base_url: str | None = setting(None, "amazon: base URL of a mirror to download from")
    data_dir: _LocalPath | None = setting(
        None,
        "where prepared datasets are kept, by default $TFDS_DATA_DIR or ~/tensorflow_datasets",
        min_length=1,
    )
    min_interactions: int = setting(
        1,
        "k-core: drop users and items with fewer interactions (global_time: in the training "
        "period), repeatedly",
        ge=1,
    )
    min_domains: int = setting(
        1, "drop users who have fewer domains with `min_domain_interactions` in each", ge=1
    )
    min_domain_interactions: int = setting(1, "see `min_domains`", ge=1)
    split: Literal["leave_one_out", "global_time"] = setting(
        "leave_one_out", "how training, validation and test are split: docs/splits.md"
    )
    validation_share: float = setting(
        0.1, "global_time: share of the interactions, those before the test period", gt=0, lt=1
    )
    test_share: float = setting(
        0.1, "global_time: share of the interactions, the latest", gt=0, lt=1
    )
    repeats: Literal["auto", "exclude", "include"] = setting(
        "auto",
        "whether items that the user had are candidates (repeat consumption): auto: in domains "
        "with repeats; exclude: in none; include: in all",
    )
    max_bad_share: float = setting(
        0.01,
        "largest share of unusable rows, which are set aside; more stop the run",
        ge=0,
        le=1,
    )
    engine: Literal["duckdb", "spark"] = setting(
        "duckdb",
        "engine that prepares the data: duckdb, in this process, or spark; the result is the same",
    )
    spark_master: str | None = setting(
        None, "spark: URL of its master, by default that of Spark's own settings", min_length=1
    )
    items: ItemsConfig = ItemsConfig()
    synthetic: SyntheticConfig = SyntheticConfig()

    def check(self) -> None:
        """Raises `InputError` where settings do not fit one another."""
        for name, dataset in _OF_DATASET.items():
            if getattr(self, name) != type(self).model_fields[name].default:
                _belongs(name, dataset, self.dataset)
        if self.dataset == "interactions" and self.path is None:
            raise InputError("--path is missing: the dataset 'interactions' reads a log of yours.")
        for category in self.categories:
            if not re.fullmatch(r"\w+", category):
                raise InputError(
                    f"--categories {category!r}: expected names as the release writes them, "
                    "separated by commas, such as Books,Toys_and_Games."
                )
        if self.raw_dir is not None and self.base_url is not None:
            raise InputError("--base_url: has no use with --raw_dir; give one of them.")
        if self.spark_master is not None and self.engine != "spark":
            raise InputError(
                f"data.spark_master={self.spark_master}: belongs to --engine spark, not to "
                f"{self.engine}."
            )
        self._check_items()
        for name in ("items_per_domain", "harm"):
            value = getattr(made := self.synthetic, name)
            if made.kind == "telco" and value != SyntheticConfig.model_fields[name].default:
                raise InputError(
                    f"data.synthetic.{name}={value}: belongs to data.synthetic.kind=shared_taste, "
                    f"not to {made.kind}."
                )
        if self.split == "global_time":
            if self.validation_share + self.test_share >= 1:
                raise InputError(
                    f"data.split={self.split} with data.validation_share={self.validation_share} "
                    f"and data.test_share={self.test_share}: they leave nothing to train on; lower "
                    "them."
                )
            return
        for name in ("validation_share", "test_share"):
            if (share := getattr(self, name)) != type(self).model_fields[name].default:
                raise InputError(
                    f"data.{name}={share}: belongs to data.split=global_time, not to {self.split}."
                )

    def _check_items(self) -> None:
        of = self.items
        if of.path is None and of.columns:
            name, kind = next(iter(of.columns.items()))
            raise InputError(
                f"data.items.columns.{name}={kind}: belongs to --items FILE, which is not given."
            )
        if of.path != ITEMS_OF_DATASET:
            return
        made = self.dataset == "synthetic" and self.synthetic.kind == "shared_taste"
        if self.dataset != "complete_journey" and not made:
            telco = " of kind telco" if self.dataset == "synthetic" else ""
            raise InputError(
                f"--items {of.path}: --dataset {self.dataset}{telco} knows nothing of its items; "
                "give a file."
            )


_OF_DATASET = {
    **dict.fromkeys(("raw_dir", "release", "categories", "base_url"), "amazon"),
    **dict.fromkeys(("path", "columns"), "interactions"),
}
# What an error calls `--name`, and not `data.name`.
_OPTIONS = ("dataset", "raw_dir", "release", "categories", "path", "base_url", "engine")


def data_config(dataset: str | DataConfig, **settings: Any) -> DataConfig:
    """Makes settings of what a Python call gives.

    Args:
      dataset: its name, or all settings.
      **settings: those of `DataConfig`, where `dataset` is a name; also of `SyntheticConfig`.
        `None` leaves the default, paths may be objects. A number must not come as text.

    Returns:
      Settings that fit one another.

    Raises:
      InputError: a setting is unknown, of a wrong type or out of range, or has no use here.
    """
    given = {name: _plain(value) for name, value in settings.items() if value is not None}
    if isinstance(dataset, DataConfig):
        if given:
            raise InputError(f"{min(given)}: give all settings in one object or each, not both.")
        config = dataset
    else:
        generator = {
            name: given.pop(name) for name in SyntheticConfig.model_fields if name in given
        }
        if dataset == "synthetic":
            given["synthetic"] = generator | given.get("synthetic", {})
        elif given.get("synthetic") or generator.keys() - {"seed"}:  # Only chance has a seed.
            _belongs("synthetic", "synthetic", dataset)
        try:
            config = DataConfig.model_validate({"dataset": dataset, **given}, strict=True)
        except pydantic.ValidationError as errors:
            raise _refused(errors) from None
    config.check()
    return config


def _plain(value: Any) -> Any:
    """A value as YAML would have it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _refused(errors: pydantic.ValidationError) -> InputError:
    error = errors.errors()[0]
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return InputError(f"data.{name}: there is no such setting.")
    problem = error["msg"].removeprefix("Value error, ")
    if error["type"] == "literal_error":
        expected = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        problem = f"unknown; expected one of {expected}."
    return InputError(f"{_called(name, error['input'])}: {problem}")


def _called(name: str, value: Any) -> str:
    return f"--{name} {value}" if name in _OPTIONS else f"data.{name}={value}"


def _belongs(name: str, dataset: str, other: str) -> None:
    if dataset != other:
        called = f"--{name}" if name in _OPTIONS else f"data.{name}"
        raise InputError(f"{called}: belongs to --dataset {dataset}, not to {other}.")
