"""The folder in which answers to everybody come together, part by part."""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep import InputError
from data_prep.files import folder_aside, remove_partial, write_whole, written_whole
from tf_syncrec.recommending.filters import Choice

SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "domain": pa.string(),
        "rank": pa.int32(),
        "item_id": pa.string(),
        "score": pa.float32(),
        "fallback": pa.bool_(),
    }
)
"""Of the answers: k rows a user and domain, best first."""

SUFFIX = ".parts"
"""Of the folder, which stands beside the output until that is whole."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for; the answers are the same if it is.

    Attributes:
        version: of the export, its directory.
        fingerprint: of the export.
        log: what the histories are made of, as a fingerprint knows it.
        domains: where to recommend.
        k: how many in each.
        now: when the answers are wanted: a number in the unit of the log, or ISO 8601; "" is not
            known.
        choice: of what is chosen, its digest; "": of everything.
    """

    version: str
    fingerprint: str
    log: dict[str, Any]
    domains: Sequence[str]
    k: int
    now: str
    choice: str = ""


class Parts:
    """Histories that wait, and answers that are there.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.histories_file = folder / "histories.arrow"
        self.request_file = folder / "request.json"
        self.choice_file = folder / "choice.json"

    def begin(self, request: Request, choice: Choice) -> None:
        """Makes the folder, or goes on in it.

        Args:
            request: what is asked for.
            choice: what is chosen from; the request has its digest.

        Raises:
            InputError: it holds answers to another request.
        """
        wanted = json.loads(json.dumps(dataclasses.asdict(request)))
        begun = {}
        if self.request_file.exists():
            begun = json.loads(self.request_file.read_text())
        if not (begun and self.histories_file.exists()):  # nothing that is worth keeping
            for file in (self.histories_file, *self.folder.glob("part-*.parquet")):
                file.unlink(missing_ok=True)
            begun = {}
        for name in wanted if begun else ():
            value = begun.get(name, "")  # of before there was a choice
            if value != wanted[name] and name != "version":  # which may have been moved
                said = f"{name} = {value!r}, and now it is {wanted[name]!r}"
                of_digests = {
                    "log": "another log",
                    "fingerprint": "another export",
                    "choice": "another candidate set",
                }
                said = of_digests.get(name, said)
                raise InputError(
                    f"--output: {self.folder} holds output that was begun with {said}; delete it "
                    "to start over"
                )
        choice.save(self.choice_file)
        write_whole(self.request_file, json.dumps(wanted, indent=1) + "\n")
        remove_partial(self.folder)

    def request(self) -> Request:
        """What is asked for."""
        return Request(**json.loads(self.request_file.read_text()))

    def choice(self) -> Choice:
        """What is chosen from."""
        return Choice.load(self.choice_file) if self.choice_file.exists() else Choice()

    def histories(self, number: int) -> pa.RecordBatch:
        """The users of a part, see `data_prep.log_histories.SCHEMA`."""
        with pa.OSFile(str(self.histories_file)) as file:
            return pa.ipc.open_file(file).get_batch(number)

    def latest(self) -> float:
        """The time of the last event of all."""
        return max(
            pc.max(self.histories(number)["timestamps"].flatten()).as_py()
            for number in range(len(self.sizes()))
        )

    def sizes(self) -> list[int]:
        """How many users each part has."""
        with pa.memory_map(str(self.histories_file)) as file:
            reader = pa.ipc.open_file(file)
            return [reader.get_batch(n).num_rows for n in range(reader.num_record_batches)]

    def file(self, number: int) -> Path:
        """Where the answers of a part are, once they are there."""
        return self.folder / f"part-{number:05d}.parquet"

    def write(self, number: int, table: pa.Table) -> None:
        """Writes the answers of a part, whole."""
        with written_whole(self.file(number)) as new:
            pq.write_table(table, new, compression="zstd")

    def short_lists(self, count: int) -> tuple[int, int]:
        """How many users have fewer than k answers in a domain, and how many of both there are.

        Args:
            count: of the parts.
        """
        request, users = self.request(), sum(self.sizes())
        full = 0
        for number in range(count):
            ranks = pq.read_table(self.file(number), columns=["rank"])["rank"]
            full += int(np.sum(ranks.to_numpy() == request.k))
        lists = users * len(request.domains)
        return lists - full, lists

    def finish(self, output: Path, count: int) -> None:
        """Makes the output of all parts, and removes the folder.

        Args:
            output: a file, if its name ends with `.parquet`, else a folder that is not there yet.
            count: of the parts.
        """
        with written_whole(output) as new:
            if output.suffix == ".parquet":
                with pq.ParquetWriter(new, SCHEMA, compression="zstd") as writer:
                    for table in self._tables(count):
                        writer.write_table(table)
            else:
                new.mkdir()
                for number in range(count):
                    shutil.copy(self.file(number), new)
        # Aside at once, so that nobody goes on with what is half removed.
        with folder_aside(self.folder.parent, output.name) as aside:
            self.folder.rename(aside / self.folder.name)

    def _tables(self, count: int) -> Iterator[pa.Table]:
        for number in range(count):
            yield pq.read_table(self.file(number))
