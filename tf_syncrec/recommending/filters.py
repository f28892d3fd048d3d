"""What an answer to everybody is chosen from: items allowed or denied, at most n of a kind."""

import dataclasses
import json
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow.compute as pc

from data_prep import InputError
from data_prep.files import write_whole
from data_prep.read.tables import read_texts, table_source
from tf_syncrec.recommending.served_model import Answers


@dataclasses.dataclass(frozen=True)
class Choice:
    """What may be answered.

    Attributes:
        allow: item ids that may; none: all.
        deny: item ids that may not.
        kinds: `{item id: kind}`, such as its brand; others are of no kind and never too many.
        at_most: answers of one kind to a user in a domain; 0: any number.
        candidates: so many best items are looked at for it.
    """

    allow: list[str] = dataclasses.field(default_factory=list)
    deny: list[str] = dataclasses.field(default_factory=list)
    kinds: dict[str, str] = dataclasses.field(default_factory=dict)
    at_most: int = 0
    candidates: int = 0

    @classmethod
    def read(
        cls,
        allow: Path | None,
        deny: Path | None,
        items: Path | None,
        at_most: str | None,
        candidates: int,
    ) -> Self:
        """The choice that a command line describes.

        Args:
            allow: `--allow`, a file with the column `item_id`.
            deny: `--deny`, likewise.
            items: `--items`, what is known of items.
            at_most: `--at_most COLUMN=N`, a column of it.
            candidates: `--candidates`.

        Raises:
            InputError: a file or its columns are not there, or options that do not belong together.
        """
        kinds, most = {}, 0
        if (items is None) != (at_most is None):
            given, other = ("--items", "--at_most") if items else ("--at_most", "--items")
            raise InputError(f"{given} needs {other}: FILE and COLUMN=N go together")
        if items is not None and at_most is not None:
            column, _, number = at_most.partition("=")
            if not column or not number.isdecimal() or int(number) < 1:
                raise InputError(f"--at_most {at_most}: expected COLUMN=N, e.g. brand=2")
            most = int(number)
            rows = _columns(items, ["item_id", column], "--items")
            kinds = {item: kind for item, kind in rows if kind}
        allowed, denied = (
            [item for (item,) in _columns(file, ["item_id"], option) if item] if file else []
            for file, option in ((allow, "--allow"), (deny, "--deny"))
        )
        if allow is not None and not allowed:
            raise InputError(f"--allow {allow}: has no item, so that nobody would get anything")
        return cls(allowed, denied, kinds, most, candidates if most else 0)

    @classmethod
    def load(cls, file: Path) -> Self:
        """What `save` wrote."""
        return cls(**json.loads(file.read_text(encoding="utf-8")))

    def save(self, file: Path) -> None:
        """Writes it for other processes."""
        write_whole(file, json.dumps(dataclasses.asdict(self), ensure_ascii=False))

    @property
    def filters(self) -> tuple[list[str], list[str]] | None:
        """What the model is asked with; None where everything may be answered."""
        return (self.allow, self.deny) if self.allow or self.deny else None

    def asked(self, k: int) -> int:
        """How many items the model is asked for, so that k are left."""
        return max(k, self.candidates)

    def of(self, answers: Answers, k: int) -> Answers:
        """The best k answers to each user in each domain, at most `at_most` of a kind.

        Args:
            answers: user by user, domain by domain, best first.
            k: how many.
        """
        if not self.at_most:
            return answers
        numbers: dict[str, int] = {}
        names = [self.kinds.get(item.decode()) for item in answers.items]
        kinds = np.array([numbers.setdefault(n, len(numbers)) if n else -1 for n in names], int)
        # A list begins where the rank is 1; of each kind, the n-th of a list is its n-th place.
        lists = np.cumsum(answers.ranks == 1)
        order = np.lexsort((answers.ranks, kinds, lists))
        begins = np.diff(lists[order], prepend=-1).astype(bool)
        begins |= np.diff(kinds[order], prepend=-2).astype(bool)
        kept = np.zeros(len(kinds), bool)
        kept[order] = _since(begins) < self.at_most
        kept |= kinds < 0
        left = Answers(*(column[kept] for column in answers))
        ranks = 1 + _since(np.diff(lists[kept], prepend=-1).astype(bool))
        return Answers(*(column[ranks <= k] for column in left._replace(ranks=ranks)))


def _since(begins: np.ndarray) -> np.ndarray:
    """`[n]` int: how many places ago the latest true one was."""
    places = np.arange(len(begins))
    return places - np.maximum.accumulate(np.where(begins, places, 0))


def _columns(file: Path, names: list[str], option: str) -> list[tuple[str, ...]]:
    """Columns of a CSV, TSV or Parquet file as text, without blanks at the ends."""
    table = read_texts(table_source(file, f"{option} {file}", names), names)
    return list(zip(*(pc.fill_null(table[name], "").to_pylist() for name in names), strict=True))
