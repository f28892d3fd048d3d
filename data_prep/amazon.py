"""The public Amazon review releases: where they are and how their rating files look."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import InputError
from data_prep.sources import Source, head, split_line

# The categories of the paper.
CATEGORIES = (
    "Books",
    "Clothing_Shoes_and_Jewelry",
    "Sports_and_Outdoors",
    "Toys_and_Games",
    "Video_Games",
)
# The paper cites 2014, but the sample its authors published runs to October 2018.
DEFAULT_RELEASE = "2018"


@dataclasses.dataclass(frozen=True)
class Release:
    """One release's rating files.

    Attributes:
      base_url: folder of the files; addresses move, so every command takes another one.
      file_name: of one category, with `{category}`.
      columns: names in file order (our own where the files have no header).
      header: whether the first line holds `columns`.
    """

    base_url: str
    file_name: str
    columns: tuple[str, ...]
    header: bool

    def url(self, category: str, base_url: str | None = None) -> str:
        """Returns the address of a category's file."""
        folder = (base_url or self.base_url).rstrip("/")
        return f"{folder}/{self.file_name.format(category=category)}"


RELEASES = {
    "2014": Release(
        "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles",
        "ratings_{category}.csv",
        ("user", "item", "rating", "timestamp"),
        header=False,
    ),
    "2018": Release(
        "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/categoryFilesSmall",
        "{category}.csv",
        ("item", "user", "rating", "timestamp"),  # Item first!
        header=False,
    ),
    "2023": Release(
        "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/benchmark/0core/rating_only",
        "{category}.csv.gz",
        ("user_id", "parent_asin", "rating", "timestamp"),
        header=True,
    ),
}
_ROLE_OF = {"user": "user_id", "item": "item_id", "parent_asin": "item_id"}


def check_release(release: str) -> str:
    """Returns `release` where it is known, and raises `InputError` where it is not."""
    if release not in RELEASES:
        raise InputError(f"--release {release}: unknown; expected one of {', '.join(RELEASES)}.")
    return release


def check_categories(categories: Sequence[str]) -> tuple[str, ...]:
    """Returns categories that can be part of an address, sorted, and raises for others."""
    for name in categories:
        if not re.fullmatch(r"\w+", name):
            raise InputError(
                f"--categories {name!r}: expected names as the release writes them, separated by "
                "commas, such as Books,Toys_and_Games."
            )
    return tuple(sorted(set(categories)))


def source(path: Path, release: str, category: str, label: str | None = None) -> Source:
    """Describes one rating file; its domain is the category.

    Args:
      path: the file, plain or gzip.
      release: key of `RELEASES`.
      category: name of the category.
      label: how to call the file in a message, by default its path.

    Returns:
      The source.

    Raises:
      InputError: the file is empty or not of the release's shape.
    """
    label = label or str(path)
    lines, gzipped = head(path, label)
    found = _shape(lines[0], path.name, label)
    # A header is proof; without one, only the file's name tells 2014 from 2018.
    if RELEASES[release].header != RELEASES[found].header:
        raise InputError(
            f"{label}: has the shape of release {found}, not {release}; pass --release {found}."
        )
    if RELEASES[release].header and len(lines) < 2:
        raise InputError(f"{label}: has a header line and no rows; expected interactions.")
    columns = RELEASES[release].columns
    mapping = tuple((_ROLE_OF.get(c, c), i) for i, c in enumerate(columns) if c != "rating")
    return Source(
        path,
        label,
        columns,
        mapping,
        domain=category,
        header=RELEASES[release].header,
        gzipped=gzipped,
    )


def local_sources(
    raw_dir: str | os.PathLike[str], release: str | None = None, categories: Sequence[str] = ()
) -> tuple[str, list[Source]]:
    """Recognises the rating files in a folder.

    Args:
      raw_dir: folder with `*.csv` or `*.csv.gz`, one file a category, all of one release.
      release: what the user says it is, `None` to recognise it.
      categories: which to read, empty for all that are found.

    Returns:
      The release and one source a category, sorted.

    Raises:
      InputError: nothing usable is there, or it contradicts `release` or `categories`.
    """
    if release is not None:
        check_release(release)
    folder = Path(raw_dir).expanduser()
    if not folder.is_dir():
        raise InputError(f"--raw_dir {raw_dir}: no such folder.")
    files: dict[str, Path] = {}
    releases: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.name.lower().endswith((".csv", ".csv.gz"))):
        found = _shape(head(path, str(path))[0][0], path.name, str(path))
        category = re.sub(r"\.csv(\.gz)?$", "", path.name, flags=re.IGNORECASE)
        category = category.removeprefix("ratings_") if found == "2014" else category
        if categories and category not in categories:
            continue
        if category in files:
            raise InputError(f"{path}: is category {category}, as {files[category]}; remove one.")
        files[category] = path
        releases.setdefault(found, path)
    if missing := sorted(set(categories) - set(files)):
        names = ", ".join(sorted(_category_names(folder))) or "none"
        raise InputError(
            f"--categories {missing[0]}: --raw_dir {raw_dir} has no such file; found: {names}."
        )
    if not files:
        raise InputError(
            f"--raw_dir {raw_dir}: has no rating file; expected one .csv or .csv.gz a category."
        )
    if release is not None and set(releases) != {release}:
        other, path = next((r, p) for r, p in releases.items() if r != release)
        raise InputError(
            f"--release {release}: {path} has the shape and name of release {other}; pass "
            f"--release {other}, or name the files as {RELEASES[release].file_name} if it is wrong."
        )
    if len(releases) > 1:
        (a, first), (b, second) = list(releases.items())[:2]
        raise InputError(
            f"--raw_dir {raw_dir}: mixes releases ({first.name} is {a}, {second.name} is {b}); "
            "put each into a folder of its own."
        )
    (found,) = releases
    return found, [source(path, found, category) for category, path in sorted(files.items())]


def _category_names(folder: Path) -> set[str]:
    names = (re.match(r"(?:ratings_)?(.+?)\.csv(?:\.gz)?$", p.name) for p in folder.iterdir())
    return {match.group(1) for match in names if match}


def _shape(line: str, name: str, label: str) -> str:
    """Names the release that a first line and a file name point to."""
    fields = split_line(line, ",")
    if tuple(fields) == RELEASES["2023"].columns:
        return "2023"
    if len(fields) != 4 or not re.fullmatch(r"\s*[\d.eE+-]+\s*", fields[3]):
        raise InputError(
            f"{label}: line 1 is not of an Amazon rating file ({line[:60]!r}); expected four "
            "fields that end in a timestamp. For a log of your own use --dataset interactions."
        )
    return "2014" if name.startswith("ratings_") else "2018"
