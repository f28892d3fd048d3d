"""Later rows as questions: what a user did before a moment, and what he did next in each domain."""

import dataclasses
import datetime
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep import InputError
from data_prep.log_histories import write_histories
from data_prep.pipeline.times import per_second
from data_prep.settings import DataConfig


@dataclasses.dataclass(frozen=True)
class Questions:
    """Users with later rows: what is told of them, and what is asked for.

    Attributes:
        since: the moment, in the unit of the log.
        users: `[users]` ids.
        histories: `[users]` item ids of each, oldest first, all from before the moment; empty for a
            user who is new.
        times: `[users]` when these were.
        domains: names.
        askers: `[targets]` index of the user.
        target_domains: `[targets]` index of the domain.
        targets: `[targets]` item ids.
        later_items: distinct items of all later rows of these users.
        later_domains: `[later items]` index of the domain.
        later_rows: `[later items]` rows of each.
        passed_over: rows of the log with the later rows that are from before the moment.
    """

    since: float
    users: list[str]
    histories: list[list[str]]
    times: list[list[float]]
    domains: tuple[str, ...]
    askers: np.ndarray
    target_domains: np.ndarray
    targets: np.ndarray
    later_items: np.ndarray
    later_domains: np.ndarray
    later_rows: np.ndarray
    passed_over: int = 0


def read_questions(
    test: DataConfig,
    past: DataConfig,
    since: float | datetime.datetime | None,
    most_users: int,
    report: Callable[[str], None] = print,
    after: float | None = None,
) -> Questions:
    """Reads both logs.

    The target of a user in a domain is his first row there from the moment on. All that he did
    before the moment is his history, in every domain the same: as a batch of answers that is made
    at that moment knows him.

    Args:
        test: the log with the later rows.
        past: the log with the histories; its rows from the moment on are not looked at.
        since: the moment, in the unit of the log or as a date; None: the first row of `test`.
        most_users: where there are more, so many of them, drawn by a hash of their ids.
        report: told one line a step.
        after: in place of `since`: the moment is the first row of `test` later than this, in
            seconds.

    Raises:
        InputError: a log cannot be read, has no row from the moment on, or the two have times of
            different units.
    """
    with tempfile.TemporaryDirectory(prefix="gate-") as folder:
        file = Path(folder) / "later.arrow"
        write_histories(test, file, report, with_domains=True)
        first = min(_bound(batch, pc.min) for batch in _batches(file))
        if isinstance(since, datetime.datetime):
            since = since.timestamp() * per_second(first)
        if after is not None:
            since, asked = _first_after(file, after)
        else:
            since = first if since is None else since
            asked = f"from {since:.15g} on"
        later = _Later(since, most_users)
        passed_over = 0
        for batch in _batches(file):
            later.add(batch)
            earlier = pc.sum(pc.less(batch["timestamps"].flatten(), since)).as_py()
            passed_over += earlier or 0
        if not later.users:
            raise InputError(
                f"--test {test.path}: has no row {asked}; its rows are of "
                f"{first:.15g} to {max(_bound(batch, pc.max) for batch in _batches(file)):.15g}"
            )
        file = Path(folder) / "histories.arrow"
        write_histories(past, file, report)
        histories, times = _past(file, later.users, since)
    return dataclasses.replace(later.questions(histories, times), passed_over=passed_over)


def _first_after(file: Path, seconds: float) -> tuple[float, str]:
    """The first row after a time, infinite if there is none, and what was looked for, in words."""
    some = next(batch for batch in _batches(file) if batch.num_rows)
    # One wrong row does not decide the unit.
    unit = per_second(float(np.median(some["timestamps"].flatten().to_numpy())))
    first = np.inf
    for batch in _batches(file):
        times = batch["timestamps"].flatten().to_numpy()
        first = min(first, float(times[times / unit > seconds].min(initial=np.inf)))
    return first, f"after {seconds * unit:.15g}, the end of the training data"


class _Later:
    """Collects later rows, users in the order in which they come: that of a hash."""

    def __init__(self, since: float, most_users: int):
        self._since, self._most = since, most_users
        self.users: dict[str, int] = {}
        self._targets: list[tuple[int, str, str]] = []
        self._rows: dict[tuple[str, str], int] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        columns = (
            batch[name].to_pylist() for name in ("user_id", "items", "timestamps", "domains")
        )
        for user, items, times, domains in zip(*columns, strict=True):
            start = np.searchsorted(times, self._since)
            if start == len(items):
                continue
            if len(self.users) == self._most:
                return
            index = self.users.setdefault(user, len(self.users))
            seen = set()
            for item, domain in zip(items[start:], domains[start:], strict=True):
                if domain not in seen:
                    seen.add(domain)
                    self._targets.append((index, domain, item))
                self._rows[domain, item] = self._rows.get((domain, item), 0) + 1

    def questions(self, histories: list[list[str]], times: list[list[float]]) -> Questions:
        names = tuple(sorted({domain for domain, _ in self._rows}))
        index = {name: place for place, name in enumerate(names)}
        askers, domains, items = zip(*self._targets, strict=True)
        return Questions(
            since=self._since,
            users=list(self.users),
            histories=histories,
            times=times,
            domains=names,
            askers=np.array(askers),
            target_domains=np.array([index[name] for name in domains]),
            targets=np.array(items, object),
            later_items=np.array([item for _, item in self._rows], object),
            later_domains=np.array([index[name] for name, _ in self._rows]),
            later_rows=np.array(list(self._rows.values())),
        )


def _past(
    file: Path, users: dict[str, int], since: float
) -> tuple[list[list[str]], list[list[float]]]:
    """What each of the users did before a moment."""
    histories: list[list[str]] = [[] for _ in users]
    times: list[list[float]] = [[] for _ in users]
    wanted = pa.array(list(users), pa.string())
    newest = -np.inf
    for batch in _batches(file):
        newest = max(newest, _bound(batch, pc.max))
        some = batch.filter(pc.is_in(batch["user_id"], wanted))
        columns = (some[name].to_pylist() for name in ("user_id", "items", "timestamps"))
        for user, items, when in zip(*columns, strict=True):
            end = int(np.searchsorted(when, since))
            histories[users[user]], times[users[user]] = items[:end], when[:end]
    if per_second(newest) != per_second(since):
        raise InputError(
            f"--test: its times are of another unit than those of the histories: {since:.15g} and "
            f"{newest:.15g}"
        )
    return histories, times


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(file)) as handle, pa.ipc.open_file(handle) as reader:
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)


def _bound(batch: pa.RecordBatch, of: Callable) -> float:
    return of(batch["timestamps"].flatten()).as_py()
