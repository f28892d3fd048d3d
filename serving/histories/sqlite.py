"""Histories in an SQLite file: nothing to install, one machine, any number of processes of it."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from serving.histories.store import KEEP, SAMPLE, Event, Histories, StoreError, tie

_TABLES = """
CREATE TABLE IF NOT EXISTS events (
    user_id TEXT NOT NULL, timestamp REAL NOT NULL, tie BLOB NOT NULL, item_id TEXT NOT NULL,
    PRIMARY KEY (user_id, timestamp, tie, item_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
_LATEST_FIRST = "WHERE user_id = ? ORDER BY timestamp DESC, tie DESC, item_id DESC LIMIT ?"
_TRIM = f"""
DELETE FROM events WHERE user_id = ? AND (timestamp, tie, item_id) <=
    (SELECT timestamp, tie, item_id FROM events {_LATEST_FIRST} OFFSET ?)
"""


class SQLiteHistories(Histories):
    """Histories in a file, made where it is not there.

    Readers never wait for writers (write-ahead log), and writers wait for one another. What was
    recorded survives the end of the process; the last moments before a power cut may be lost. Open
    it in the process that uses it: SQLite's connections do not survive a fork.

    Args:
        path: the file, on a disk of this machine; `-wal` and `-shm` stand beside it.
        keep: events of a user that are kept.
        timeout: seconds that a writer waits for the others.

    Raises:
        StoreError: it cannot be opened, or is something else.
    """

    def __init__(self, path: str | os.PathLike[str], keep: int = KEEP, timeout: float = 1.0):
        super().__init__(keep)
        self._path = Path(path).expanduser().absolute()
        self._timeout = timeout
        # Connections that nobody uses: not one a thread, as threads may be of one question each.
        self._idle: list[sqlite3.Connection] = []
        with self._connection() as connection:
            connection.executescript(_TABLES)

    def close(self) -> None:
        """See base class."""
        while self._idle:
            self._idle.pop().close()

    def mark(self, name: str) -> int:
        """See base class."""
        with self._connection() as connection:
            found = connection.execute("SELECT value FROM marks WHERE name = ?", [name]).fetchone()
        return found[0] if found else 0

    def set_mark(self, name: str, value: int) -> None:
        """See base class."""
        with self._connection() as connection:
            if value:
                connection.execute("REPLACE INTO marks VALUES (?, ?)", [name, value])
            else:
                connection.execute("DELETE FROM marks WHERE name = ?", [name])

    def _add(self, of_users: dict[str, set[Event]]) -> None:
        rows = [
            (user, event.timestamp, tie(user, event.item_id), event.item_id)
            for user, events in of_users.items()
            for event in events
        ]
        rows.sort()  # neighbours in the file are written together
        trims = [(user, user, 1, self.keep) for user in of_users]
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?)", rows)
            connection.executemany(_TRIM, trims)
            connection.execute("COMMIT")

    def _latest(self, user_id: str, n: int) -> list[Event]:
        with self._connection() as connection:
            rows = connection.execute(
                f"SELECT item_id, timestamp FROM events {_LATEST_FIRST}", [user_id, n]
            ).fetchall()
        return [Event(*row) for row in reversed(rows)]

    def some_times(self) -> list[float]:
        """See base class."""
        with self._connection() as connection:
            rows = connection.execute("SELECT timestamp FROM events LIMIT ?", [SAMPLE]).fetchall()
        return [row[0] for row in rows]

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """One that is this thread's for the moment; after an error it is not used again."""
        connection = None
        try:
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            yield connection
        except BaseException as error:
            if connection is not None:
                connection.close()  # and with it a transaction that is open
            if isinstance(error, sqlite3.Error):
                raise StoreError(f"{self._path}: {error}") from error
            raise
        self._idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, self._timeout, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection
