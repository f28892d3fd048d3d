"""The settings of a run as a whole, and how files and `--set` change them."""

import difflib
import functools
import os
import re
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pydantic
import yaml
from pydantic import Field

from data_prep.errors import InputError
from data_prep.files import write_whole
from data_prep.settings import ITEMS_OF_DATASET, DataConfig, Section
from tf_syncrec.schema import (
    EvaluateConfig,
    LossConfig,
    ModelConfig,
    NegativeTransferConfig,
    TrainConfig,
)
from tf_syncrec.utils.nested import flat

_FREE_OF_TRAIN = (
    *("checkpoint_steps", "checkpoint_minutes", "keep_optimizer", "on_nan", "strategy"),
    "log",
)
_FREE = {
    # Where, not what.
    *(f"data.{name}" for name in ("raw_dir", "path", "data_dir", "base_url", "items.path")),
    *(f"train.{name}" for name in _FREE_OF_TRAIN),
}
"""Settings that may change from one part of a run to the next, besides those of `evaluate`."""


OF_OTHERS = ("recbole", "rectools")
"""Sections for libraries of others, which none of our networks reads."""


class Config(Section):
    """A whole run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    negative_transfer: NegativeTransferConfig = NegativeTransferConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    recbole: dict[str, Any] = Field(
        {}, description="settings of RecBole's models in `compare`, by RecBole's names"
    )
    rectools: dict[str, Any] = Field(
        {}, description="settings of RecTools' models in `compare`, by RecTools' names"
    )

    def resolved(self) -> dict[str, Any]:
        """All settings, with paths that hold in any directory."""
        settings = self.model_dump()
        for name in ("raw_dir", "path", "data_dir"):
            if (value := settings["data"][name]) is not None:
                settings["data"][name] = os.path.abspath(os.path.expanduser(value))
        items = settings["data"]["items"]
        if items["path"] not in (None, ITEMS_OF_DATASET):
            items["path"] = os.path.abspath(os.path.expanduser(items["path"]))
        return settings

    def identity(self, dataset: str) -> dict[str, Any]:
        """What a training depends on, as JSON: a checkpoint goes on only where it is the same."""
        return {"dataset": dataset} | self.fixed()

    def fixed(self) -> dict[str, Any]:
        """Settings that may not change from one part of a run to the next, by dotted name."""
        sections = self.model_dump(mode="json", exclude={"evaluate", *OF_OTHERS})
        found = {name: value for name, value in flat(sections) if name not in _FREE}
        if self.data.items.path is None:  # as of runs before there were items
            found = {name: v for name, v in found.items() if not name.startswith("data.items.")}
        if self.model.time_inputs == "none":  # as of runs before there were times
            found = {name: value for name, value in found.items() if name not in ADDED}
        if found["model.name"] == "syncrec":  # what runs of 0.1 are, which do not say so
            del found["model.name"]
        return found

    def save(self, path: Path) -> None:
        """Writes the resolved configuration as YAML."""
        write_whole(path, yaml.safe_dump(self.resolved(), sort_keys=False))


ADDED = {"model.time_inputs": "none", "model.time_dropout": 0.3}
"""Settings that runs and cells of before do not have, and how they were made all the same."""


@functools.cache
def schema() -> dict[str, dict[str, Any]]:
    """What JSON Schema says of each setting, by dotted name: description, default, limits."""
    whole = Config.model_json_schema()

    def below(section: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, found in section["properties"].items():
            if "$ref" in found:
                section = whole["$defs"][found["$ref"].rpartition("/")[2]]
                yield from below(section, f"{prefix}{name}.")
            else:  # of a setting that may be missing, what it is when it is there
                yield prefix + name, found | found.get("anyOf", [{}])[0]

    return dict(below(whole, ""))


def takes(setting: str) -> str:
    """The values of a setting in words: its choices, or its limits."""
    facts = schema()[setting]
    if "enum" in facts:
        return ", ".join(map(str, facts["enum"]))
    words = {
        "minimum": "from",
        "exclusiveMinimum": "above",
        "maximum": "to",
        "exclusiveMaximum": "below",
    }
    return " ".join(f"{word} {facts[key]:g}" for key, word in words.items() if key in facts)


def reference() -> str:
    """docs/settings.md: what all settings are, section by section."""
    lines = [
        "# All settings",
        "",
        "Made from `tf_syncrec/schema.py`, and `data_prep/settings.py` for `data`, by `python -m",
        "tf_syncrec.config`. The defaults are those of an empty file; `configs/amazon.yaml`, the",
        "default for real logs, has some of its own.",
    ]
    section = ""
    for name, facts in schema().items():
        if (found := name.rpartition(".")[0]) != section:
            section = found
            lines += ["", f"## {section}", "", "| setting | default | takes | meaning |"]
            lines.append("| --- | --- | --- | --- |")
        default = yaml.safe_dump(facts["default"], default_flow_style=True).split("\n")[0]
        takes_what = takes(name) or _KINDS.get(facts.get("type", ""), "")
        lines.append(f"| `{name}` | `{default}` | {takes_what} | {facts['description']} |")
    return "\n".join([*lines, ""])


_KINDS = {"boolean": "true, false", "string": "text", "array": "a list", "object": "a mapping"}


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
        raise InputError(
            f"--config {path}: expected 'section: settings', received {_short(settings)}"
        )
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
    folder = next(folder for folder in folders if (folder / "synthetic.yaml").exists())
    return folder / f"{name}.yaml"


def parse_set(assignment: str) -> tuple[str, Any, str]:
    """`"model.dim=32"` -> an override for `load`; the value is read as `parse_value` does."""
    key, separator, text = assignment.partition("=")
    if not separator or not key:
        raise InputError(f"--set takes section.name=value, received {assignment!r}")
    source = f"--set {_one_line(assignment)}"
    return key, parse_value(key, text, source), source


def parse_value(key: str, text: str, source: str) -> Any:
    """A value of the command line, read as YAML, or as it is where the setting takes text.

    So `data.columns.user_id=No` is a column of that name, and no boolean.

    Args:
        key: the setting, by dotted name.
        text: its value.
        source: what an error names.

    Raises:
        InputError: the text is no YAML.
    """
    mapping = schema().get(key.rpartition(".")[0], {})
    # Of a mapping such as `data.columns` each value is what its schema says of all of them.
    facts = schema().get(key) or mapping.get("additionalProperties")
    if isinstance(facts, dict) and facts.get("type") == "string" and "enum" not in facts:
        try:
            value = yaml.load(text, yaml.BaseLoader)
        except yaml.YAMLError:
            return text
        if "anyOf" in facts and value in ("", "null", "~"):  # a setting that may be missing
            return None
        return value if isinstance(value, str) else text
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
        known = list(schema())
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
        raise InputError(f"{source}: unknown setting {_short(key)}{hint}")
    received = "" if error["type"] == "value_error" else f", received {_short(error['input'])}"
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


def _short(value: Any) -> str:
    """A value as an error quotes it: the file may be a log, or small and huge by its aliases."""
    return _QUOTED.repr(value)


_QUOTED = reprlib.Repr()
_QUOTED.maxlevel, _QUOTED.maxstring, _QUOTED.maxother = 2, 80, 80


def _one_line(error) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    print(reference(), end="")
