"""A folder of versions read literally, and what people and programs do to one.

Nothing here is of the program that is tested: it is what a state machine compares it with.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

LARGEST = 2**63 - 1
"""Versions are int64 for TensorFlow Serving."""

MODEL = (
    "saved_model.pb",
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
)
"""Files without which there is no model. The fingerprint and the rest may be missing."""

Files = dict[str, bytes]


class SaysTwice(tf.Module):
    """A model that says a number by its weights, and once more by its graph."""

    def __init__(self, number):
        super().__init__()
        self._weights = tf.Variable(number, trainable=False)
        self._graph = number

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.string, name="items"),
            tf.TensorSpec([None], tf.string, name="domain"),
        ]
    )
    def serving_default(self, items, domain):
        rows = [tf.shape(domain)[0]]
        return {"version": tf.fill(rows, self._weights), "graph": tf.fill(rows, self._graph)}


def make_models(folder: Path, count: int) -> dict[int, Files]:
    """Tiny models by what they say; all have files of the same names and sizes."""
    models = {}
    for says in range(11, 11 + count):
        version = folder / str(says)
        model = SaysTwice(says)
        signatures = {"serving_default": model.serving_default}
        tf.saved_model.save(model, str(version), signatures=signatures)
        models[says] = {
            str(file.relative_to(version)): file.read_bytes()
            for file in sorted(version.rglob("*"))
            if file.is_file()
        }
    return models


# ------------------------------------------------------------------------------ what there is


def number_of(name: str) -> int | None:
    """The version that a folder of that name is."""
    if not name or any(letter not in "0123456789" for letter in name) or int(name) > LARGEST:
        return None
    return int(name)


def versions_in(base: Path) -> dict[int, Path]:
    """Versions by number; of 7 and 007 the shortest name counts."""
    found: dict[int, Path] = {}
    for name in os.listdir(base) if os.path.isdir(base) else []:
        number = number_of(name)
        if number is None or not os.path.isdir(base / name):
            continue
        if number not in found or len(name) < len(found[number].name):
            found[number] = base / name
    return dict(sorted(found.items()))


def all_folders(base: Path) -> list[tuple[int, Path]]:
    """The same with every name of a number."""
    names = sorted(os.listdir(base)) if os.path.isdir(base) else []
    numbered = [(number_of(name), base / name) for name in names]
    return [(n, path) for n, path in numbered if n is not None and os.path.isdir(path)]


def said_by(version: Path, models: dict[int, Files], names=MODEL) -> int | None:
    """What a version says, if its files are those of one model."""
    try:
        found = {name: (version / name).read_bytes() for name in names}
    except OSError:
        return None
    for says, files in models.items():
        if all(files[name] == data for name, data in found.items()):
            return says
    return None


def whole(version: Path, models: dict[int, Files]) -> int | None:
    """The same, with nothing missing; more files may lie beside."""
    return said_by(version, models, tuple(next(iter(models.values()))))


def wanted(policy: tuple, numbers: list[int]) -> list[int]:
    """Which versions TensorFlow Serving would serve."""
    kind, *what = policy
    if kind == "all":
        return sorted(numbers)
    if kind == "specific":
        return sorted(number for number in set(what) if number in numbers)
    count = what[0] or 1
    return sorted(sorted(numbers, reverse=True)[:count])


def marked(folder: Path) -> bool:
    """Whether somebody holds a lock on it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def open_below(root: Path) -> int:
    """How many files and folders below are open in this process."""
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(root))
        except OSError:  # that of the list itself
            continue
    return count


# ------------------------------------------------------------------------------ what is done


def remove(path: Path) -> None:
    """Whatever it is."""
    if os.path.isdir(path) and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        path.unlink()


def write_model(folder: Path, files: Files) -> None:
    """In one go, over what is there."""
    for step in copying(folder, files, list(files), "in place"):
        step()


def copying(folder: Path, files: Files, order: list[str], style: str) -> Iterator[Callable]:
    """Steps that copy a model in, file by file, each in two halves.

    Args:
        folder: of the version.
        files: of the model.
        order: their names as they come.
        style: "in place" writes into each file, "beside" renames each, as rsync does.
    """

    def half(name, share):
        target = folder / name
        if style == "beside":
            target = target.with_name(f".{target.name}.Xa91")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            data = files[name]
            target.write_bytes(data[: int(len(data) * share)])
            if style == "beside" and share == 1:
                target.rename(folder / name)
        except OSError:  # somebody has put something else there
            return

    for name in order:
        yield lambda name=name: half(name, 0.5)
        yield lambda name=name: half(name, 1)


def models_config(name: str, policy: tuple, labels: dict[str, int], style: int) -> str:
    """Text of a models.config; styles differ in how, not in what they say."""
    kind, *what = policy
    inner = {
        "all": "all { }",
        "specific": "specific { " + " ".join(f"versions: {n}" for n in what) + " }",
        "latest": f"latest {{ num_versions: {what[0]} }}" if what else "",
    }[kind]
    lines = [
        "# which versions",
        "model_config_list {",
        "  config {",
        f'    name: "{name}"',
        '    base_path: "/models/elsewhere"',
        '    model_platform: "tensorflow"',
        f"    model_version_policy {{ {inner} }}",
        *(
            f'    version_labels {{ key: "{label}" value: {number} }}'
            for label, number in labels.items()
        ),
        "  }",
        "}",
    ]
    if style == 1:
        lines = [line.replace("{", ": {") if "{" in line else line for line in lines]
    return ("\r\n" if style == 2 else "\n").join(lines)
