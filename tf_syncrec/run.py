"""A run from Python: its model and numbers, recommendations, evaluation."""

import functools
import importlib
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from data_prep import Catalogue, PreparedDataset
from data_prep.errors import InputError
from data_prep.files import local_path
from data_prep.read.frames import arrow_table, is_frame
from serving.saved_model.version_folders import newest_version
from tf_syncrec import cli
from tf_syncrec.config import Config
from tf_syncrec.data.histories import Histories, Timestamps, times_of, users_of
from tf_syncrec.evaluation import ALL_DOMAINS, NEXT_BASKET, TIMED
from tf_syncrec.evaluation.evaluate_split import evaluate_split
from tf_syncrec.evaluation.sampled import MOST_NEGATIVES, NEGATIVES, SAMPLED, label_of
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.models.registry import import_networks
from tf_syncrec.recommending.served_model import ServedModel
from tf_syncrec.reporting.titles import read_titles
from tf_syncrec.training.run_directory import RunDirectory

if TYPE_CHECKING:
    import pandas as pd

USERS_AT_ONCE = 256
"""Histories that are answered together."""

COLUMNS = ("user_id", "domain", "rank", "item_id", "score", "fallback")
"""Of what `recommend` gives."""


class Run(RunDirectory):
    """A run on disk, and what can be done with it.

    Args:
        directory: the run directory.
    """

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r})"

    @functools.cached_property
    def config(self) -> Config:
        """All settings of the run."""
        self.check_finished()
        return self.load_config()

    @functools.cached_property
    def catalogue(self) -> Catalogue:
        """The items that the model knows."""
        self.check_finished()
        self.check_whole(self.catalogue_file)
        return self.load_catalogue()

    @functools.cached_property
    def model(self) -> MultiDomainModel:
        """The network with the weights of its best epoch, an ordinary Keras model."""
        return self.load()[2]

    @property
    def metrics(self) -> dict[str, Any]:
        """What `metrics.json` holds."""
        self.check_whole(self.metrics_file)
        return self.read_json(self.metrics_file)

    def data(self, report: Callable[[str], None] | None = None) -> PreparedDataset:
        """What it was trained on; of its log nothing is needed, unless it is prepared again.

        Args:
            report: told one line a step; None for silence.

        Raises:
            InputError: it is gone, and the log is gone too or has changed since.
        """
        trained_on = self.metrics["protocol"]["dataset"]
        if found := cli.find_data(self.config, trained_on, report):
            return found
        try:
            prepared = cli.prepare_data(self.config, report)
        except InputError as error:
            place = self.config.data.data_dir
            where = local_path(place).absolute() if place else "TFDS's default place"
            reason = str(error).removesuffix(" Check --path.")  # which evaluate does not have
            raise InputError(
                f"--run {self.directory}: the data that it was trained on, {trained_on}, is not in "
                f"{where}, and cannot be prepared again: {reason}"
            ) from None
        if prepared.name != trained_on:
            raise InputError(
                f"--run {self.directory}: its data has changed since the training: that was "
                f"{trained_on}, this is {prepared.name}"
            )
        return prepared

    def evaluate(
        self, split: str = "test", protocol: str = "full", negatives: int = NEGATIVES
    ) -> dict[str, Any]:
        """Ranks every target of a split; nothing is written but drawn negatives.

        Args:
            split: `"validation"` or `"test"`.
            protocol: `"full"`: against all items of the target's domain; `"all_domains"`: of every
                domain; `"with_times"` and `"at_request_time"`: as full, by requests that tell when
                interactions were, and also when they are asked; `"next_basket"`: all that a user
                did at the target's time; `"sampled_domain"` and `"sampled_all"`: against some, to
                stand beside published tables.
            negatives: of a sampled protocol, how many are drawn for each target.

        Returns:
            `{"overall": R, "domains": {domain: R}}`, as in `metrics.json`; of next baskets R is
            that of `evaluation.next_basket.BasketRanks`.
        """
        return self.evaluate_split(split, protocol, negatives=negatives)[split]

    def evaluate_split(
        self,
        split: str,
        protocol: str,
        report: Callable[[str], None] | None = None,
        negatives: int = NEGATIVES,
    ) -> dict[str, Any]:
        """The same with what stands beside it, see `evaluation.evaluate_split`."""
        protocols = ("full", ALL_DOMAINS, *TIMED, NEXT_BASKET, *SAMPLED)
        if protocol not in protocols or split not in ("validation", "test"):
            raise InputError(
                "expected the split validation or test and the protocol "
                f"{' or '.join(protocols)}, received {split!r} and {protocol!r}"
            )
        if not 1 <= negatives <= MOST_NEGATIVES:
            raise InputError(f"negatives: expected 1 to {MOST_NEGATIVES}, received {negatives}")
        file = self.negatives_file(split, protocol, negatives) if protocol in SAMPLED else None
        return evaluate_split(
            self.model, self.config, self.data(report), split, protocol, file, negatives
        )

    def negatives_file(self, split: str, protocol: str, count: int = NEGATIVES) -> Path:
        """Where the negatives of a sampled protocol are kept."""
        return self.directory / f"negatives_{label_of(protocol, count)}_{split}.parquet"

    @functools.cached_property
    def served(self) -> ServedModel:
        """The newest export, in this process.

        Raises:
            InputError: there is none, or it cannot be loaded.
        """
        again = f"python -m serving.export --run {self.directory}"
        try:
            newest = newest_version(self.export_dir)
            return ServedModel(newest, f"delete it and write another by {again}")
        except InputError as error:
            raise InputError(f"--run {self.directory}: {error}") from error

    def recommend(
        self,
        histories: "Histories | pd.DataFrame",
        domain: str | Sequence[str] | None = None,
        k: int = 10,
        exclude_seen: bool | None = None,
        timestamps: "Timestamps | None" = None,
        now: float | Sequence[float] | None = None,
        allow: Collection[str] | None = None,
        deny: Collection[str] = (),
    ) -> "pd.DataFrame":
        """What to recommend next, as the served model answers.

        Args:
            histories: raw item ids of each user, oldest first: `{user_id: [item_id, ...]}`, a
                sequence of such lists (users are then called 0, 1, ...), or a frame (of pandas,
                Polars, PyArrow or DuckDB) with the columns `user_id` and `item_id`, rows oldest
                first. Unknown ids are passed over. A column `timestamp` of a frame stands for
                `timestamps`.
            domain: where to recommend: one, several (k items in each), or None: the k likeliest of
                all domains, whose scores are log-probabilities.
            k: how many, from 1 to `evaluate.max_k`.
            exclude_seen: whether items of the history may not come back; None: as each domain has
                it (`data.repeats`).
            timestamps: when the items were, shaped as `histories`, in the unit of the log (seconds
                since 1970, or milli-, micro- or nanoseconds). It matters where people come back to
                what they had, and of a run with `model.time_inputs`; others take no notice.
            now: when the answers are wanted, for all users or for each, likewise.
            allow: item ids that may be recommended; None: all.
            deny: item ids that may not.

        Returns:
            Columns `user_id, domain, rank, item_id, score, fallback`, best first; `fallback` is
            True where nothing of the history is known and popularity answered. Of a run that knows
            titles of items also `title`, "" where one has none.

        Raises:
            InputError: there is no such domain, k is out of range, a history is no list, or times
                do not belong to the items.
        """
        import pandas as pd

        if is_frame(histories) and not isinstance(histories, pd.DataFrame):
            histories = arrow_table(histories, "histories").to_pandas()
        users = users_of(histories)
        times = times_of(users, histories, timestamps, now)
        wanted = [domain] if isinstance(domain, str) else list(domain or [""])
        if len(set(wanted)) < len(wanted):
            raise InputError(f"domain: a domain is asked for twice, received {wanted}")
        unknown = [name for name in wanted if name and name not in self.catalogue.domains]
        if unknown:
            known = ", ".join(self.catalogue.domains)
            raise InputError(f"domain: expected one of {known}, received {unknown[0]!r}")
        most = self.config.evaluate.max_k
        if not isinstance(k, int | np.integer) or isinstance(k, bool) or not 1 <= k <= most:
            raise InputError(f"k: expected 1 to {most} (evaluate.max_k), received {k!r}")
        allowed, denied = _ids("allow", () if allow is None else allow), _ids("deny", deny)
        if allow is not None and not allowed:
            raise InputError("allow: expected item ids, received none; nothing would be left")
        filters = (allowed, denied) if allowed or denied else None
        names, rows = list(users), list(users.values())
        parts = []
        for start in range(0, len(names), USERS_AT_ONCE):
            some = slice(start, start + USERS_AT_ONCE)
            for name in wanted:
                told = times and (times[0][some], times[1][some])
                asked = names[some], rows[some], name, int(k), exclude_seen, told, filters
                parts.append(self._answer(*asked))
        if not parts:
            return pd.DataFrame(columns=COLUMNS)
        found = pd.concat(parts, ignore_index=True)
        if self._titles is not None:
            found["title"] = found["item_id"].map(self._titles).fillna("")
        return found

    @functools.cached_property
    def _titles(self) -> dict[str, str] | None:
        """Titles of all items that have one; None where the run knows none."""
        return None if self.known_titles is None else read_titles(self.known_titles)

    def _answer(
        self, names, rows, domain: str, k: int, exclude_seen: bool | None, told, filters
    ) -> "pd.DataFrame":
        """Answers for some users in one domain, or in all of them together."""
        import pandas as pd

        found = self.served.in_domain(names, rows, domain, k, exclude_seen, told, filters)
        columns = (
            np.array(names, object)[found.users],
            _text(found.domains),
            found.ranks,
            _text(found.items),
            found.scores,
            found.fallback,
        )
        return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def load(directory: str | os.PathLike[str]) -> Run:
    """Opens a finished run.

    Raises:
        InputError: the directory holds none, or one that is damaged.
    """
    run = Run(directory)
    assert run.model is not None  # loaded now, so that a damaged one is told here
    return run


def load_model(file: str | os.PathLike[str]) -> MultiDomainModel:
    """A network that was saved by `model.save("model.keras")`, compiled as it was."""
    import_networks()
    importlib.import_module("tf_syncrec.training.optimizers")  # so that Keras knows ours
    return keras.models.load_model(file)


def _ids(name: str, ids: Collection[Any]) -> list[str]:
    """Item ids as text, without empty ones."""
    if isinstance(ids, str | bytes):
        raise InputError(f"{name}: expected a list of item ids, received {ids!r}")
    return [text for item in ids if (text := str(item))]


def _text(values: np.ndarray) -> np.ndarray:
    return np.array([value.decode() for value in values], object)
