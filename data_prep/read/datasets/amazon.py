"""The public Amazon review releases: where they are and how their rating files look."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.errors import InputError
from data_prep.files import local_path
from data_prep.read.sources import Source, head, split_record

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
      checksums: category to `sha256:...` or `md5:...`. The releases publish none; these are quoted
        by public loaders. Of 2023 two sums of one file are in use, so none is here.
    """

    base_url: str
    file_name: str
    columns: tuple[str, ...]
    header: bool
    checksums: Mapping[str, str] = dataclasses.field(default_factory=dict)

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
        checksums={
            "Books": "sha256:87d923ddac2aacf40c1d0e0e056dbf4bf69c9c7d41852c6b434e781e759c0707"
        },
    ),
    "2018": Release(
        "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/categoryFilesSmall",
        "{category}.csv",
        ("item", "user", "rating", "timestamp"),  # Item first!
        header=False,
        checksums={"Sports_and_Outdoors": "md5:1ed3d6c7a89f3c78fa260b2419753785"},
    ),
    "2023": Release(
        "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/benchmark/0core/rating_only",
        "{category}.csv.gz",
        ("user_id", "parent_asin", "rating", "timestamp"),
        header=True,
    ),
}
_ROLE_OF = {
    **{"user": "user_id", "item": "item_id", "parent_asin": "item_id"},
    **{"reviewerID": "user_id", "asin": "item_id", "unixReviewTime": "timestamp"},
}
# The 5-core files of 2014 (`reviews_Books_5.json.gz`), and of 2018 without `reviews_`: a JSON
# object a line, with the text of the review.
_REVIEW_KEYS = ("reviewerID", "asin", "unixReviewTime")
_LOOKED_AT = 20  # Lines of a file.
_SUFFIX = re.compile(r"\.(?:csv|json|jsonl)(?:\.gz)?$", re.IGNORECASE)
_JSON_SUFFIX = re.compile(r"\.jsonl?(?:\.gz)?$", re.IGNORECASE)


def addresses(
    release: str, categories: Sequence[str] = (), base_url: str | None = None
) -> tuple[tuple[str, str], ...]:
    """Says where files are that have to be downloaded.

    Args:
      release: key of `RELEASES`.
      categories: which; by default the paper's.
      base_url: folder address of a mirror.

    Returns:
      Category and address, in pairs.

    Raises:
      InputError: one category is not enough, and gigabytes would be fetched in vain.
    """
    wanted = sorted(set(categories)) or CATEGORIES
    if len(wanted) < 2:
        raise InputError(
            f"--categories {wanted[0]}: that is one domain, and two or more are needed."
        )
    return tuple((category, RELEASES[release].url(category, base_url)) for category in wanted)


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
    lines, gzipped = head(path, label, _LOOKED_AT)
    found = _shape(lines, path.name, label)
    shape = RELEASES[release]
    if _is_object(lines[0]):
        mapping = tuple((_ROLE_OF[key], i) for i, key in enumerate(_REVIEW_KEYS))
        return Source(
            path, label, _REVIEW_KEYS, mapping, domain=category, gzipped=gzipped, json=True
        )
    # A header is proof; without one, only the file's name tells 2014 from 2018.
    if shape.header != RELEASES[found].header:
        raise InputError(
            f"{label}: has the shape of release {found}, not {release}; pass --release {found}."
        )
    if shape.header and len(lines) < 2:
        raise InputError(f"{label}: has a header line and no rows; expected interactions.")
    mapping = tuple((_ROLE_OF.get(c, c), i) for i, c in enumerate(shape.columns) if c != "rating")
    return Source(
        path,
        label,
        shape.columns,
        mapping,
        domain=category,
        header=shape.header,
        gzipped=gzipped,
    )


def local_sources(
    raw_dir: str | os.PathLike[str], release: str | None = None, categories: Sequence[str] = ()
) -> tuple[str, list[Source]]:
    """Recognises the rating files in a folder.

    Args:
      raw_dir: folder with `*.csv` or `*.json` (also `.gz`), one file a category, of one release.
      release: what the user says it is, `None` to recognise it.
      categories: which to read, empty for all that are found.

    Returns:
      The release and one source a category, sorted.

    Raises:
      InputError: nothing usable is there, or it contradicts `release` or `categories`.
    """
    folder = local_path(raw_dir)
    if not folder.is_dir():
        raise InputError(f"--raw_dir {raw_dir}: no such folder.")
    files: dict[str, Path] = {}
    releases: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if _SUFFIX.search(p.name)):
        found = _shape(head(path, str(path), _LOOKED_AT)[0], path.name, str(path))
        category = _category(path.name)
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
            f"--raw_dir {raw_dir}: has no rating file; expected one .csv, .csv.gz or "
            ".json.gz a category."
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
    return {_category(p.name) for p in folder.iterdir() if _SUFFIX.search(p.name)}


def _category(name: str) -> str:
    stem = _SUFFIX.sub("", name)
    if _JSON_SUFFIX.search(name):
        return stem.removeprefix("reviews_").removesuffix("_5")
    return stem.removeprefix("ratings_")


def _is_object(line: str) -> bool:
    return line.lstrip().startswith("{")


def _shape(lines: list[str], name: str, label: str) -> str:
    """Names the release that the first lines and a file name point to."""
    if _is_object(lines[0]):
        if not any(all(f'"{key}"' in line for key in _REVIEW_KEYS) for line in lines):
            raise InputError(
                f"{label}: line 1 is no Amazon review ({lines[0][:60]!r}); expected a JSON object "
                f"with {', '.join(_REVIEW_KEYS)}."
            )
        return "2014" if name.startswith("reviews_") else "2018"
    if tuple(split_record(lines[:1], ",", label)[0]) == RELEASES["2023"].columns:
        return "2023"
    # Not the first line alone: it may be a bad one. But a header is none of ours.
    rating = re.compile(r"([^,]*,){3}\s*[\d.eE+-]+\s*")
    names = all(field.strip().isidentifier() for field in lines[0].split(","))
    if names or not any(map(rating.fullmatch, lines)):
        raise InputError(
            f"{label}: line 1 is not of an Amazon rating file ({lines[0][:60]!r}); expected four "
            "fields that end in a timestamp. For a log of your own use --dataset interactions."
        )
    return "2014" if name.startswith("ratings_") else "2018"
