"""The items a model can know, laid out contiguously by domain."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FILE_NAME = "items.parquet"
_DOMAINS_KEY, _REPEATS_KEY = b"domains", b"repeats"


@dataclasses.dataclass(frozen=True, eq=False)
class Catalogue:
    """The items that are candidates; index `i` of every array is the item with id `i + 1`.

    These are the items seen in training rows, the trained ones, and the cold ones: those that only
    the file of items knows, if there is one. Id 0 means padding or unknown. Ids of one domain are
    contiguous, so a domain's items are a slice of any item table: `table[offset:offset + size]`,
    of which the first `trained_size` are trained, and the others cold.

    Attributes:
      domains: names, alphabetical; a domain may have no trained item.
      item_ids: `[N]` strings as the source wrote them.
      item_domains: `[N]` int32, index into `domains`, never decreasing.
      counts: `[N]` int64, training rows per item; 0 for a cold one.
      repeats: `[D]` bool, whether people come back to items of a domain: the items of a user's
        history are candidates there, and nowhere else. By default in no domain.
    """

    domains: tuple[str, ...]
    item_ids: np.ndarray
    item_domains: np.ndarray
    counts: np.ndarray
    repeats: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, bool))

    def __post_init__(self) -> None:
        if not self.repeats.size:
            object.__setattr__(self, "repeats", np.zeros(len(self.domains), bool))
        shapes = {self.item_ids.shape, self.item_domains.shape, self.counts.shape}
        if len(shapes) != 1 or self.item_ids.ndim != 1:
            raise ValueError(f"Arrays must share one [N] shape. Received: {sorted(shapes)}")
        if np.any(np.diff(self.item_domains) < 0):
            raise ValueError("Items must be sorted by domain, so that ids are contiguous.")
        if self.repeats.shape != (len(self.domains),):
            raise ValueError(f"repeats must be one a domain. Received: {self.repeats.shape}")

    @property
    def num_items(self) -> int:
        """Number of known items N; valid ids are 1..N."""
        return len(self.item_ids)

    @property
    def num_domains(self) -> int:
        """Number of domains D, with those that have no trained item."""
        return len(self.domains)

    @property
    def sizes(self) -> np.ndarray:
        """`[D]` int64: known items per domain, trained and cold."""
        return np.bincount(self.item_domains, minlength=self.num_domains).astype(np.int64)

    @property
    def trained_sizes(self) -> np.ndarray:
        """`[D]` int64: trained items per domain, of ids `offset` to `offset + trained_size - 1`."""
        trained = self.item_domains[self.counts > 0]
        return np.bincount(trained, minlength=self.num_domains).astype(np.int64)

    @property
    def cold(self) -> np.ndarray:
        """`[N + 1]` bool by id: a known item without training rows."""
        return np.append(False, self.counts == 0)

    @property
    def offsets(self) -> np.ndarray:
        """`[D]` int64: first id of each domain (where it would be, for an empty one)."""
        return 1 + np.cumsum(self.sizes) - self.sizes

    @property
    def rules(self) -> dict[str, str]:
        """`include` or `exclude` of every domain, as `repeats` has it."""
        named = ("include" if again else "exclude" for again in self.repeats)
        return dict(zip(self.domains, named, strict=True))

    @property
    def excluded(self) -> np.ndarray:
        """`[N + 1]` bool by id: an item that is no candidate for a user who had it."""
        return np.append(False, ~self.repeats[self.item_domains])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `item_id, id, domain, count`, one row an item in id order.

        Args:
          path: the Parquet file to write. Domain names, also of domains without items, and
            where people come back are in its schema metadata.
        """
        names = np.array(self.domains, dtype=object)
        table = pa.table(
            {
                "item_id": pa.array(self.item_ids, pa.string()),
                "id": pa.array(np.arange(1, self.num_items + 1, dtype=np.int32)),
                "domain": pa.array(names[self.item_domains], pa.string()),
                "count": pa.array(self.counts, pa.int64()),
            }
        )
        facts = {_DOMAINS_KEY: list(self.domains), _REPEATS_KEY: self.repeats.tolist()}
        metadata = {
            key: json.dumps(value, ensure_ascii=False).encode() for key, value in facts.items()
        }
        pq.write_table(table.replace_schema_metadata(metadata), os.fspath(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Catalogue:
        """Reads what `save` wrote.

        Args:
          path: the Parquet file.

        Returns:
          The catalogue.

        Raises:
          ValueError: the file was not written by `save`.
        """
        table = pq.read_table(Path(path))
        metadata = table.schema.metadata or {}
        if _DOMAINS_KEY not in metadata:
            raise ValueError(f"{path} names no domains: it was not written by Catalogue.save.")
        domains = tuple(json.loads(metadata[_DOMAINS_KEY]))
        index = {name: i for i, name in enumerate(domains)}
        # Encoded first, so that Python sees each domain's name once rather than once an item.
        encoded = table["domain"].combine_chunks().dictionary_encode()
        codes = np.array([index[name] for name in encoded.dictionary.to_pylist()], np.int32)
        return cls(
            domains=domains,
            item_ids=table["item_id"].to_numpy(),
            item_domains=codes[encoded.indices.to_numpy()],
            counts=table["count"].to_numpy(),
            # Earlier versions wrote none.
            repeats=np.array(json.loads(metadata.get(_REPEATS_KEY, b"[]")), bool),
        )
