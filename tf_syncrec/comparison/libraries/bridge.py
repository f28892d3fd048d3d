"""Models of other libraries, trained in environments of their own and ranked by our protocol.

The libraries need other versions of numpy and torch, so they never run in this process: this module
writes the training rows and the histories into a folder, runs a worker there (`worker_files` lists
the files) and reads back the scores of all items of each target's domain.
"""

from __future__ import annotations

import collections
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from data_prep import Catalogue, InputError
from tf_syncrec.comparison.libraries.atomic_items import write_items
from tf_syncrec.comparison.libraries.library import Library
from tf_syncrec.data.item_attributes import load

if TYPE_CHECKING:
    from tf_syncrec.data.batches import Sequences

SPLITS = ("validation", "test")
_UNUSABLE = 2  # the worker's exit status when result.json has the reason
_USERS_AT_ONCE = 4096
_LINES_SHOWN = 20


class NoLibrary(InputError):
    """An interpreter is missing, does not start, or has no working library."""

    def __init__(self, library: Library, python: str | os.PathLike[str], why: str):
        super().__init__(
            f"{os.fspath(python)}: cannot run {library.title} ({why}); make its environment with "
            f"`make {library.key}`, or name an interpreter that has "
            f"requirements-{library.key}.txt installed."
        )


class StoredScorer:
    """Scores that a worker stored, as `full_ranking.rank_split` wants them.

    Args:
        folder: of `train_elsewhere`.
        split: `validation` or `test`.
        catalogue: of the dataset that the folder was made from.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str, catalogue: Catalogue):
        self._path = Path(folder) / "scores"
        self._split = split
        rows = pq.read_table(Path(folder) / f"{split}_rows.parquet")
        self._users = rows["user_id"].combine_chunks()
        self._rows = rows["row"].to_numpy()
        self._item_domains = catalogue.item_domains
        self._offsets = catalogue.offsets

    def refresh(self) -> None:
        """What is stored does not change."""

    def queries(self, batch) -> np.ndarray:
        """Rows in the score file of the batch's domain, `[batch]` int64.

        Raises:
            ValueError: a user of the batch is not in the split.
        """
        wanted = pa.array(np.asarray(batch["user_id"]).tolist(), pa.binary())
        index = pc.index_in(wanted, value_set=self._users)
        if index.null_count:
            missing = wanted.filter(index.is_null())[0].as_py()
            raise ValueError(f"no scores of user {missing!r} in {self._path} for {self._split}")
        return self._rows[index.to_numpy()]

    def scores(self, queries: np.ndarray, offset: int, size: int) -> np.ndarray:
        """Scores `[rows, size]` float32 of items `offset .. offset + size - 1` of one domain."""
        domain = self._item_domains[offset - 1]
        first = offset - self._offsets[domain]
        stored = np.load(self._path / f"{self._split}_{domain}.npy", mmap_mode="r")
        return np.asarray(stored[np.asarray(queries), first : first + size])


def train_elsewhere(
    library: Library,
    model_name: str,
    prepared: Sequences,
    directory: str | os.PathLike[str],
    python: str | os.PathLike[str],
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> tuple[dict[str, StoredScorer], dict[str, Any]]:
    """Trains a model of a library on exactly our training rows, selected on validation NDCG@10.

    Args:
        library: whose model it is.
        model_name: one of `library.models`.
        prepared: the dataset.
        directory: what is exchanged, and `worker.log`, go here; an earlier exchange is replaced.
        python: the interpreter of the environment with the library.
        settings: those of the library that replace the model's defaults, e.g. of RecBole `epochs`,
            `train_batch_size`, `stopping_step`, `learning_rate`, `MAX_ITEM_LIST_LENGTH`.
        seed: of everything that the library draws.
        report: told each line of progress.

    Returns:
        `({"validation": scorer, "test": scorer}, info)`; info has `epochs`, `best_epoch` (from 1),
        `seconds_per_epoch` (training alone), `parameters`, `peak_memory_mb`, `settings` (all that
        the library used), `versions`, and more.

    Raises:
        InputError: an unknown model or setting, or an interpreter that has no working library.
        RuntimeError: the training failed; the message has the end of its output.
    """
    if model_name not in library.models:
        raise InputError(
            f"{library.title} model {model_name!r}: unknown; expected one of "
            f"{', '.join(library.models)}."
        )
    check_items(library, [model_name], getattr(prepared, "item_columns", None) is not None)
    check_interpreter(library, python)
    folder = Path(directory).resolve()
    write_exchange(library, folder, prepared, model_name, dict(settings or {}), seed)
    info = _run_worker(library, folder, python, report)
    scorers = {split: StoredScorer(folder, split, prepared.catalogue) for split in SPLITS}
    return scorers, info


def settings_of(library: Library, model_name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one model: those for all, and over them those under its own name.

    Args:
        library: whose model it is.
        model_name: the library's name of it.
        settings: e.g. `{"train_batch_size": 256, "GCMC": {"train_batch_size": 16384}}`.

    Raises:
        InputError: a model's name has something else than settings.
    """
    for name in library.models:
        if not isinstance(own := settings.get(name, {}), Mapping):
            raise InputError(
                f"{library.key}.{name}: expected settings of that model, received {own!r}."
            )
    shared = {key: value for key, value in settings.items() if key not in library.models}
    return shared | dict(settings.get(model_name, {}))


def check_items(library: Library, names: Iterable[str], known: bool) -> None:
    """Refuses models that need to know what items are, where nobody says it.

    Args:
        library: whose models they are.
        names: the library's names of them.
        known: whether there is a file of items.

    Raises:
        InputError: one of them needs it.
    """
    for name in names:
        if name in library.with_attributes and not known:
            raise InputError(
                f"--models {library.prefix}{name}: needs to know what items are; give a file of "
                "them by --items"
            )


def check_interpreter(
    library: Library,
    python: str | os.PathLike[str],
    settings: Mapping[str, Iterable[str]] | None = None,
) -> None:
    """Says early and clearly when a library cannot run, or does not know a setting.

    Args:
        library: which.
        python: path of the interpreter, or a name on the PATH.
        settings: by the library's name of a model, the names of settings that it shall get.

    Raises:
        NoLibrary: the interpreter is missing, does not start, or has no such library.
        InputError: one of the models has no such setting.
    """
    asked = json.dumps({model: list(names) for model, names in (settings or {}).items()})
    command = [os.fspath(python), "-I", os.fspath(library.worker), "--check", asked]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoLibrary(library, python, error.strerror or str(error)) from error
    if done.returncode == _UNUSABLE and done.stdout:
        raise InputError(f"{library.title}: {done.stdout.strip()}.")
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        why = lines[-1] if lines else f"exit status {done.returncode}"
        raise NoLibrary(library, python, why)


def write_exchange(
    library: Library,
    folder: Path,
    prepared: Sequences,
    model_name: str,
    settings: dict,
    seed: int,
) -> None:
    """Writes what the worker reads, see there, and `SPLIT_rows.parquet`.

    The latter has a row a user of the split: `user_id` (raw), `domain` (index), and `row`, where
    the user's scores are in the file of that domain. Test targets are not written anywhere.

    Args:
        library: for whom.
        folder: made, or emptied of an earlier exchange.
        prepared: the dataset.
        model_name: the library's name of the model.
        settings: the library's.
        seed: for the library.
    """
    for stale in ("interactions", "scores", "scratch"):
        shutil.rmtree(folder / stale, ignore_errors=True)
    (folder / "result.json").unlink(missing_ok=True)
    (folder / "interactions").mkdir(parents=True)
    (folder / "scratch").mkdir()

    train = _columns(prepared, "train")
    users = pa.array(train["user_id"].tolist(), pa.binary())
    lengths = np.diff(train["ends"], prepend=0)
    user_of = np.repeat(np.arange(1, len(users) + 1), lengths)
    # RecBole holds times in single precision, which rounds epoch seconds to minutes. Positions are
    # exact, and keep our order where times tie.
    position = np.arange(len(user_of)) - np.repeat(train["ends"] - lengths, lengths)
    rows = pa.table([user_of, train["items"], position], names=["user", "item", "position"])
    with open(folder / "interactions" / "interactions.inter", "wb") as stream:
        stream.write(b"user_id:token\titem_id:token\ttimestamp:float\n")
        options = pa.csv.WriteOptions(include_header=False, delimiter="\t")
        pa.csv.write_csv(rows, stream, options)

    sizes = prepared.catalogue.sizes
    for split in SPLITS:
        columns: dict[str, Any] = _columns(prepared, split)
        names = pa.array(columns.pop("user_id").tolist(), pa.binary())
        # A user without training rows becomes 0, which is nobody to the library.
        index = pc.index_in(names, value_set=users).fill_null(-1)
        if split == "test":
            del columns["target"]
        domains = columns["domain"]
        np.savez(folder / f"{split}.npz", user=index.to_numpy() + 1, **columns)
        row = np.zeros(len(names), np.int64)
        for domain in range(len(sizes)):
            mine = np.flatnonzero(domains == domain)
            row[mine] = np.arange(len(mine))
        table = pa.table([names, domains, row], names=["user_id", "domain", "row"])
        pq.write_table(table, folder / f"{split}_rows.parquet")

    request = {
        "model": model_name,
        "settings": settings,
        "seed": seed,
        "sizes": sizes.tolist(),
        "repeats": prepared.catalogue.repeats.tolist(),
        "untrained": (np.flatnonzero(prepared.catalogue.counts == 0) + 1).tolist(),
        "attributes": _write_attributes(folder, prepared)
        if model_name in library.with_attributes
        else {},
        "users": len(users),
        "interactions": len(user_of),
    }
    (folder / "request.json").write_text(json.dumps(request, indent=1))


def _write_attributes(folder: Path, prepared: Sequences) -> dict[str, Any]:
    """Writes what items are; returns what RecBole's models are to take of it, by setting."""
    attributes = load(prepared)
    assert attributes is not None  # or it would have been refused
    path = folder / "interactions" / "interactions.item"
    fields, together = write_items(path, attributes, prepared.catalogue.counts > 0)
    if not fields:
        raise InputError("RecBole: no two items of the file have an attribute in common.")
    return {"selected_features": fields, "item_attribute": together}


def _columns(prepared: Sequences, split: str) -> dict[str, np.ndarray]:
    """Columns of a split in its order; histories end to end as `items` with `ends`."""
    names = ["user_id", "items"] + ([] if split == "train" else ["domain", "target"])
    dataset = prepared.as_dataset(split).map(lambda row: {name: row[name] for name in names})
    parts: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    for batch in dataset.ragged_batch(_USERS_AT_ONCE):
        parts["items"].append(batch["items"].values.numpy())
        parts["ends"].append(batch["items"].row_lengths().numpy())
        for name in set(names) - {"items"}:
            parts[name].append(batch[name].numpy())
    columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return columns | {"ends": np.cumsum(columns["ends"])}


def _run_worker(
    library: Library, folder: Path, python: str | os.PathLike[str], report: Callable[[str], None]
) -> dict[str, Any]:
    # A path is made absolute, as the worker runs elsewhere; a bare name is looked up on the PATH.
    command = shutil.which(os.fspath(python)) or os.fspath(python)
    # Not resolved: the interpreter of an environment is a link, and its place says which packages.
    command = os.path.abspath(command)
    latest: collections.deque[str] = collections.deque(maxlen=_LINES_SHOWN)
    with (
        open(folder / "worker.log", "w", encoding="utf-8") as log,
        subprocess.Popen(
            [command, "-I", os.fspath(library.worker), os.fspath(folder)],
            cwd=folder / "scratch",  # RecBole and Lightning leave files where they run
            stdin=subprocess.PIPE,  # it ends when this process does, however that ends
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as worker,
    ):
        try:
            for line in worker.stdout or ():
                log.write(line)
                log.flush()
                latest.append(line.rstrip())
                report(line.rstrip())
        except BaseException:
            worker.kill()
            raise
    shutil.rmtree(folder / "scratch", ignore_errors=True)
    result_file = folder / "result.json"
    result = json.loads(result_file.read_text()) if result_file.exists() else {}
    if worker.returncode == _UNUSABLE and "error" in result:
        if "cannot be imported" in result["error"]:
            raise NoLibrary(library, python, result["error"])
        raise InputError(f"{library.title}: {result['error']}.")
    if worker.returncode or not result:
        raise RuntimeError(
            f"{library.title} failed with exit status {worker.returncode}; the end of "
            f"{folder / 'worker.log'}:\n" + "\n".join(latest)
        )
    return result
