"""Finds the files that settings mean, before anything heavy is imported, or fetches them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_prep.fingerprint import file_digest, fingerprint
from data_prep.read.datasets import amazon, complete_journey
from data_prep.read.sources import Source, user_sources
from data_prep.settings import DataConfig


@dataclasses.dataclass(frozen=True)
class Located:
    """Where the interactions are.

    Attributes:
      sources: files that are here, with their shapes.
      release: of `amazon`: key of `amazon.RELEASES`.
      urls: of what has to be downloaded, by category.
      rules: numbers of our own that decide which rows of the files stay, by name.
    """

    sources: tuple[Source, ...] = ()
    release: str | None = None
    urls: tuple[tuple[str, str], ...] = ()
    rules: tuple[tuple[str, int], ...] = ()

    def content(self) -> dict[str, Any]:
        """What a fingerprint needs to know: not where files lie, nor how they are called."""
        if self.release is None:
            files = [
                [file_digest(s.path), *(s.columns[i] for _, i in s.mapping)] for s in self.sources
            ]
            return ({"files": sorted(files)} if files else {}) | dict(self.rules)
        if self.sources:
            categories = [[s.domain, file_digest(s.path)] for s in self.sources]
            return {"release": self.release, "files": categories}
        # What a download holds is only known after it.
        return {"release": self.release, "urls": [url for _, url in self.urls]}


def locate(settings: DataConfig) -> Located:
    """Looks at files and their first lines.

    Args:
      settings: that fit one another, see `DataConfig.check`.

    Raises:
      InputError: there is no such file or package, or it has not the shape that is needed.
    """
    if settings.dataset == "interactions":
        assert settings.path is not None
        return Located(tuple(user_sources(settings.path, settings.columns)))
    if settings.dataset == "synthetic":
        return Located()
    if settings.dataset == "complete_journey":
        smallest = complete_journey.MIN_DEPARTMENT_ROWS
        return Located(complete_journey.local_sources(), rules=(("min_department_rows", smallest),))
    if settings.raw_dir is not None:
        release, sources = amazon.local_sources(
            settings.raw_dir, settings.release, settings.categories
        )
        return Located(tuple(sources), release)
    release = settings.release or amazon.DEFAULT_RELEASE
    return Located((), release, amazon.addresses(release, settings.categories, settings.base_url))


def fetched(
    settings: DataConfig, located: Located, downloads: Path, report: Callable[[str], None]
) -> Sequence[Source]:
    """Downloads what is not here yet.

    Args:
      settings: of the dataset.
      located: what `locate` found.
      downloads: folder for all downloads of this dataset.
      report: told one line a step.

    Returns:
      The sources, which are here now.

    Raises:
      InputError: a file cannot be fetched.
    """
    if located.release is None or located.sources:
        return located.sources
    from data_prep.read.download import download  # The web is seldom asked.

    shape, folder = amazon.RELEASES[located.release], downloads / located.release
    checksums = shape.checksums
    if settings.base_url is not None:  # A mirror may hold other files.
        checksums, folder = {}, folder / fingerprint({"base_url": settings.base_url})
    sources = []
    for category, url in located.urls:
        path = folder / shape.file_name.format(category=category)
        download(url, path, checksums.get(category), report)
        sources.append(amazon.source(path, located.release, category, label=url))
    return sources
