"""Benchmark sets as their authors distribute them, and as logs that `fit` reads."""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep import InputError
from data_prep.files import written_whole


class Row(NamedTuple):
    """One interaction."""

    user: str
    item: str
    domain: str
    time: int


class PublishedSet:
    """Files of somebody else's that make one log.

    Attributes:
        name: of the set, and of its log.
        table: whose published numbers stand beside it, a key of `numbers.yaml`.
        negatives: N of the published protocol; None: all items of the domain.
    """

    name: str
    table: str
    negatives: int | None = None

    def rows(self, folder: Path) -> Iterator[Row]:
        """All interactions, each user's in order.

        Args:
            folder: with the sets.

        Raises:
            InputError: a file is missing, or a line is not of its form.
        """
        raise NotImplementedError

    def items_of(self, folder: Path) -> Counter[str]:
        """How many items each domain has, those that no row has among them."""
        return Counter(dict({(row.item, row.domain) for row in self.rows(folder)}).values())

    def write_log(self, folder: Path, log: Path) -> None:
        """Writes the log, unless it is there."""
        if not log.exists():
            with written_whole(log) as new, new.open("w", newline="") as file:
                writer = csv.writer(file, delimiter="\t", lineterminator="\n")
                writer.writerow(["user_id", "item_id", "domain", "timestamp"])
                writer.writerows(self.rows(folder))

    def others(self, folder: Path) -> dict[str, dict[str, int]]:
        """From how many items the published protocol draws negatives, by user and domain.

        All items of the domain of a target, trained or not, that the user does not have.
        """
        sizes = self.items_of(folder)
        had: dict[str, Counter[str]] = {}
        for row in self.rows(folder):
            had.setdefault(row.user, Counter())[row.domain] += 1  # no set has an item twice
        return {
            user: {domain: sizes[domain] - own for domain, own in of_domains.items()}
            for user, of_domains in had.items()
        }


class S3Rec(PublishedSet):
    """Beauty, Sports and Toys of S3-Rec (CIKM 2020): three domains that share no users.

    `s3rec/DOMAIN.txt`: a user a line, `user item item ...`, oldest first; ids count from 1 in each
    file. The order is all that is known of time.
    """

    name = table = "s3rec"
    domains = ("Beauty", "Sports_and_Outdoors", "Toys_and_Games")

    def rows(self, folder):
        for domain in self.domains:
            for user, *items in _lines(folder / "s3rec" / f"{domain}.txt"):
                for place, item in enumerate(items):
                    yield Row(f"{domain}-{user}", f"{domain}-{item}", domain, place)


class ABXI(PublishedSet):
    """A pair of domains of ABXI (WWW 2025), whose users are all in both.

    `abxi/PAIR/PAIR_50_preprocessed.txt`: a user a line, `user item|time item|time ...`, at most 50,
    Unix times of whole days; `abxi/PAIR/map_item_50.txt`: `{asin: [item, 0 or 1]}`. 31 % of the
    steps are of one day with the step before, and there the file has the items in the order of
    their ids: a pattern that a network can learn.

    Args:
        pair: name of the folder.
        domains: what 0 and 1 are.
        by_file: whether the order of the file is kept, as in the published numbers; else the times
            are, so that items of one day have an order that says nothing.
    """

    table, negatives = "abxi", 999

    def __init__(self, pair: str, domains: tuple[str, str], by_file: bool):
        self.pair, self.domains, self.by_file = pair, domains, by_file
        self.name = f"abxi-{pair}" if by_file else f"abxi-{pair}-ties-by-hash"

    def _domains(self, folder: Path) -> dict[str, str]:
        file = folder / "abxi" / self.pair / "map_item_50.txt"
        try:
            ids = json.loads(_read(file))
            return {str(item): self.domains[domain] for item, domain in ids.values()}
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            raise InputError(
                f"{file}: expected {{asin: [item, 0 or 1]}}, as JSON: {error}"
            ) from None

    def items_of(self, folder):
        return Counter(self._domains(folder).values())

    def rows(self, folder):
        domains = self._domains(folder)
        file = folder / "abxi" / self.pair / f"{self.pair}_50_preprocessed.txt"
        for number, (user, *events) in enumerate(_lines(file), 1):
            for place, event in enumerate(events):
                item, _, time = event.partition("|")
                if item not in domains or not time.isdigit():
                    raise InputError(
                        f"{file}, line {number}: expected item|time, of an item that "
                        f"map_item_50.txt has, received {event!r}"
                    )
                yield Row(user, item, domains[item], place if self.by_file else int(time))


PAIRS = {"afk": ("Food", "Kitchen"), "abe": ("Beauty", "Electronics")}
SETS: dict[str, tuple[PublishedSet, ...]] = {
    "s3rec": (S3Rec(),),
    "abxi": tuple(
        ABXI(pair, names, by_file) for by_file in (True, False) for pair, names in PAIRS.items()
    ),
}
"""What can be asked for, and the logs that it is."""


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is no text"
        raise InputError(
            f"--data: {file} cannot be read: {said}; docs/published.md says where to get it"
        ) from None


def _lines(file: Path) -> Iterator[list[str]]:
    """The words of each line that has any."""
    for number, line in enumerate(_read(file).splitlines(), 1):
        words = line.split()
        if len(words) == 1:
            raise InputError(f"{file}, line {number}: expected a user and items, received {line!r}")
        if words:
            yield words
