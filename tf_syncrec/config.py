"""Every setting of a run, its type and its limits, and how files and `--set` change them."""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml
from pydantic import Field

from data_prep.errors import InputError
from data_prep.files import write_whole
from tf_syncrec.utils.tables import flat

# YAML reads 2018 as a number.
_Year = Annotated[
    Literal["2014", "2018", "2023"],
    pydantic.BeforeValidator(lambda year: str(year) if isinstance(year, int) else year),
]


LOSSES = ("bpr_sigmoid", "bpr", "bce", "gbce", "sampled_softmax")
GATES = ("sequence", "causal")
STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")
"""Names of what TensorFlow is needed for; a test compares them with what there is."""


def _loss(name: str) -> str:
    """Looked up when it is asked for, so that a loss of one's own can be added before."""
    if name in LOSSES:
        return name
    from tf_syncrec.losses.functions import LOSSES as known

    if name not in known:
        raise ValueError(f"expected one of {', '.join(known)}, received {name!r}")
    return name


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class SyntheticConfig(_Section):
    """How much the synthetic dataset has, see `data_prep.read.synthetic`."""

    users: int = Field(3000, ge=1)
    items_per_domain: int = Field(250, ge=4)
    interactions_per_user: int = Field(24, ge=3)
    seed: int = Field(0, ge=0)  # of the data; train.seed is that of the training


class DataConfig(_Section):
    """Which interactions, and how they become sequences."""

    dataset: Literal["synthetic", "amazon", "interactions"] = "synthetic"
    raw_dir: str | None = Field(None, min_length=1)
    release: _Year | None = None
    categories: list[str] = []
    path: str | None = Field(None, min_length=1)
    columns: dict[str, str] = {}
    base_url: str | None = None
    data_dir: str | None = Field(None, min_length=1)
    min_interactions: int = Field(1, ge=1)
    min_domains: int = Field(1, ge=1)  # users stay who have as many domains with as many
    min_domain_interactions: int = Field(1, ge=1)  # interactions in each
    split: Literal["leave_one_out", "global_time"] = "leave_one_out"
    validation_share: float = Field(0.1, gt=0, lt=1)  # of the interactions, for global_time
    test_share: float = Field(0.1, gt=0, lt=1)  # likewise; the latest
    max_bad_share: float = Field(0.01, ge=0, le=1)  # of the rows; more that are bad stop the run
    engine: Literal["duckdb", "spark"] = "duckdb"  # what prepares; the result is the same
    spark_master: str | None = Field(None, min_length=1)  # by default what Spark is set up with
    synthetic: SyntheticConfig = SyntheticConfig()


class ModelConfig(_Section):
    """The network (paper 4.1-4.2)."""

    name: str = Field("syncrec", min_length=1)  # of `models.registry.NETWORKS`
    window: int = Field(50, ge=2)  # T
    dim: int = Field(64, ge=1)  # r
    experts: int = Field(5, ge=2)  # K
    cross_experts: int = Field(3, ge=1)  # j
    blocks: int = Field(2, ge=1)
    heads: int = Field(1, ge=1)
    ff_dim: int | None = Field(None, ge=1)  # r when not given
    dropout: float = Field(0.2, ge=0, lt=1)
    style: Literal["pre_norm", "paper"] = "pre_norm"
    gate: Literal[GATES] = "causal"  # type: ignore[valid-type]
    asymmetric: bool = True
    # How item vectors begin; cooccurrence: from what stands close together in training sequences.
    item_init: Literal["random", "cooccurrence"] = "random"
    similarity: Literal["cosine", "dot"] = "cosine"
    temperature: float = Field(0.1, gt=0)
    # blend: both views, weighed on validation; sum: both alike.
    score: Literal["blend", "sum", "cross", "single"] = "blend"
    # Votes of each history item for so many items that the same users had; 0: none.
    neighbours: int = Field(0, ge=0)

    @pydantic.model_validator(mode="after")
    def _consistent(self):
        if self.cross_experts >= self.experts:
            raise ValueError(
                f"cross_experts (j = {self.cross_experts}) must be below experts "
                f"(K = {self.experts})"
            )
        if self.dim % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide dim ({self.dim})")
        return self


class LossConfig(_Section):
    """What is minimised (paper 4.3-4.5)."""

    name: Annotated[str, pydantic.AfterValidator(_loss)] = "sampled_softmax"
    negatives: int = Field(256, ge=1)
    shared_negatives: bool = True
    eta: float = Field(0.9, ge=0, le=1)  # η, Eq. 18
    mutual_information: bool = True
    rho: Literal["sigmoid", "bilinear"] = "sigmoid"
    contrast: Literal["all", "others"] = "all"  # who is in the normaliser of Eq. 16
    # mean: over targets, and over users and their domains; sum: over a user's (Eq. 8, 9, 18).
    reduction: Literal["mean", "sum"] = "mean"


class NegativeTransferConfig(_Section):
    """λ (paper 4.3.3)."""

    enabled: bool = True
    alpha: float = Field(1.0, gt=0)
    beta: float = Field(1.0, gt=0)
    delta: float = Field(1.0, gt=0)
    trainable_rates: bool = False
    gap: Literal["mean", "sum"] = "mean"
    scaled: bool = True  # weights of |D| λ, where Eq. 12 has λ


class TrainConfig(_Section):
    """How it is minimised."""

    seed: int = Field(0, ge=0)
    epochs: int = Field(100, ge=1)
    min_steps: int = Field(0, ge=0)  # little data gets more epochs, until there are as many
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    # mixed_bfloat16: activations of half the size, for devices that have units for them.
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    # rowwise_adam: of the item vectors, a step moves those alone that its batch has read.
    optimizer: Literal["adam", "rowwise_adam"] = "rowwise_adam"
    # cosine: rises for a while, then falls to a hundredth at the last step.
    schedule: Literal["constant", "cosine"] = "constant"
    # Epochs without improvement that a constant rate goes on for; a cosine is followed to its end.
    patience: int = Field(5, ge=1)
    # Of a long history, train on all windows of T items or on the last one alone.
    windows: Literal["all", "last"] = "all"
    # Steps between checkpoints of a run, besides the one at the end of each epoch; 0: no others.
    checkpoint_steps: int = Field(0, ge=0)
    checkpoint_minutes: float = Field(0.0, ge=0)  # the same in time
    # A step whose loss or gradient is no number: end the run, or go on as if it had not been made.
    on_nan: Literal["stop", "skip"] = "stop"
    # mirrored: a batch is shared out to all GPUs; multi_worker: to those of all workers; auto: to
    # as many as there are.
    strategy: Literal[STRATEGIES] = "auto"  # type: ignore[valid-type]


class EvaluateConfig(_Section):
    """Full ranking and the served answer."""

    batch_size: int = Field(256, ge=1)
    top_k: int = Field(10, ge=1)  # answers of the exported `serving_default`
    max_k: int = Field(100, ge=1)  # the most that `with_options` may ask for
    keep_versions: int = Field(5, ge=1)  # exported versions that stay; older ones are deleted


_FREE = {
    *(f"data.{name}" for name in ("raw_dir", "path", "data_dir", "base_url")),  # where, not what
    *(f"train.{name}" for name in ("checkpoint_steps", "checkpoint_minutes", "on_nan", "strategy")),
}
"""Settings that may change from one part of a run to the next, besides those of `evaluate`."""


class Config(_Section):
    """A whole run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    negative_transfer: NegativeTransferConfig = NegativeTransferConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    recbole: dict[str, Any] = {}  # settings of RecBole's models in `compare`, by RecBole's names

    def resolved(self) -> dict[str, Any]:
        """All settings, with paths that hold in any directory."""
        settings = self.model_dump()
        for name in ("raw_dir", "path", "data_dir"):
            if (value := settings["data"][name]) is not None:
                settings["data"][name] = os.path.abspath(os.path.expanduser(value))
        return settings

    def identity(self, dataset: str) -> dict[str, Any]:
        """What a training depends on, as JSON: a checkpoint goes on only where it is the same."""
        return {"dataset": dataset} | self.fixed()

    def fixed(self) -> dict[str, Any]:
        """Settings that may not change from one part of a run to the next, by dotted name."""
        sections = self.model_dump(mode="json", exclude={"evaluate", "recbole"})
        return {name: value for name, value in flat(sections) if name not in _FREE}

    def save(self, path: Path) -> None:
        """Writes the resolved configuration as YAML."""
        write_whole(path, yaml.safe_dump(self.resolved(), sort_keys=False))


def load(path: Path, overrides: Iterable[tuple[str, Any, str]] = ()) -> Config:
    """Reads a YAML file and applies overrides.

    Args:
        path: the configuration file.
        overrides: `(key, value, source)`, e.g. `("model.dim", 32, "--set model.dim=32")`; the
            source is what an error message names.

    Raises:
        InputError: the file cannot be read, or a key or value is not a valid setting.
    """
    try:
        settings = yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError:
        raise InputError(f"--config {path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--config {path}: cannot be read ({error})") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: 2018-99-99, which looks like a date
        raise InputError(f"--config {path}: not valid YAML: {_one_line(error)}") from None
    if not isinstance(settings, dict):
        raise InputError(f"--config {path}: expected 'section: settings', received {settings!r}")
    sources = {}
    for key, value, source in overrides:
        _put(settings, key, value, source)
        sources[key] = source
    return _validate(settings, f"--config {path}", sources)


def shipped(name: str) -> Path:
    """Path of a configuration that comes with the project, e.g. `"amazon"`."""
    package = Path(__file__).parent
    # Beside the package in a clone, inside it when installed.
    folders = (package.parent / "configs", package / "configs")
    return next((f for folder in folders if (f := folder / f"{name}.yaml").exists()), folders[0])


def parse_set(assignment: str) -> tuple[str, Any, str]:
    """`"model.dim=32"` -> an override for `load`; the value is read as YAML."""
    key, separator, text = assignment.partition("=")
    if not separator or not key:
        raise InputError(f"--set takes section.name=value, received {assignment!r}")
    source = f"--set {_one_line(assignment)}"
    return key, parse_value(text, source), source


def parse_value(text: str, source: str) -> Any:
    """A value of the command line, read as YAML; an error names the source."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{source}: {_one_line(error)}") from None


def _put(settings, key, value, source):
    """Sets a dotted key; the parent of a new key must be a section or a mapping."""
    *parents, name = key.split(".")
    node = settings
    for parent in parents:
        if node.get(parent) is None:
            node[parent] = {}
        node = node[parent]
        if not isinstance(node, dict):
            raise InputError(f"{source}: {parent!r} is a setting, not a section of settings")
    node[name] = value


def _validate(settings, origin, sources=None) -> Config:
    try:
        return Config.model_validate(settings)
    except pydantic.ValidationError as errors:
        error = errors.errors()[0]
    key = ".".join(str(part) for part in error["loc"])
    source = _culprit(key, error["msg"], sources or {}) or origin
    if error["type"] == "extra_forbidden":
        known = _keys(Config)
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
        raise InputError(f"{source}: unknown setting {key!r}{hint}")
    received = "" if error["type"] == "value_error" else f", received {error['input']!r}"
    raise InputError(f"{source}: {key}: {error['msg'].removeprefix('Value error, ')}{received}")


def _culprit(key, message, sources) -> str | None:
    """The override to blame for an error at a key."""
    # An override of data.columns.x is to blame for an error at data.columns, and the reverse.
    related = {
        name: source
        for name, source in sources.items()
        if f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}.")
    }
    # An error of a section names the settings that do not agree; the last one given broke it.
    named = [
        source
        for name, source in related.items()
        if name == key or re.search(rf"\b{re.escape(name.rpartition('.')[2])}\b", message)
    ]
    return (named or list(related.values()) or [None])[-1]


def _keys(section, prefix=""):
    keys = []
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Section):
            keys += _keys(field.annotation, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def _one_line(error) -> str:
    return " ".join(str(error).split())
