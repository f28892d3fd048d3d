"""The TFDS builders, one a source: `amazon`, `interactions`, `synthetic`."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from data_prep.engines.base import Engine
from data_prep.errors import InputError
from data_prep.read import amazon
from data_prep.read.download import download
from data_prep.read.interactions import Reading, read_interactions, user_sources
from data_prep.read.sources import Source
from data_prep.read.synthetic import SyntheticSizes, generate
from data_prep.store.fingerprint import file_digest, fingerprint
from data_prep.store.sequence_builder import SequenceBuilder, SequenceConfig


@dataclasses.dataclass(eq=False)
class InteractionsConfig(SequenceConfig):
    """Settings of `interactions`.

    Attributes:
      path: the log: file, folder or glob of CSV, TSV or Parquet.
      columns: role (`user_id, item_id, domain, timestamp`) to column name, where they differ.
    """

    path: str | os.PathLike[str] | None = None
    columns: dict[str, str] | None = None
    sources: list[Source] = dataclasses.field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if self.path is None:
            raise InputError("--path is missing: the dataset 'interactions' reads a log of yours.")
        self.sources = user_sources(self.path, self.columns)
        super().__post_init__()

    def content(self) -> dict[str, Any]:
        """See base class. Where the files lie does not matter, nor how they are called."""
        files = sorted(
            [file_digest(s.path), *(s.columns[i] for _, i in s.mapping)] for s in self.sources
        )
        return super().content() | {"files": files}


class Interactions(SequenceBuilder):
    """A user's own log."""

    CONFIG = InteractionsConfig
    SOURCE = "A log of your own: rows of user, item, domain and timestamp."

    def _interactions(self, engine: Engine, dl_manager: tfds.download.DownloadManager) -> Reading:
        del dl_manager
        return read_interactions(engine, self._settings().sources)


@dataclasses.dataclass(eq=False)
class AmazonConfig(SequenceConfig):
    """Settings of `amazon`.

    Attributes:
      release: key of `amazon.RELEASES`; by default recognised in `raw_dir`, and
        `amazon.DEFAULT_RELEASE` for a download.
      categories: by default all of `raw_dir`, and the paper's for a download.
      raw_dir: folder with the files; `None` downloads them.
      base_url: folder address to download from, in place of the release's own.
    """

    release: str | None = None
    categories: tuple[str, ...] = ()
    raw_dir: str | os.PathLike[str] | None = None
    base_url: str | None = None
    sources: list[Source] = dataclasses.field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.categories = amazon.check_categories(self.categories)
        self.release = None if self.release is None else amazon.check_release(str(self.release))
        if self.raw_dir is not None:
            if self.base_url is not None:
                raise InputError("--base_url: has no use with --raw_dir; give one of them.")
            self.release, self.sources = amazon.local_sources(
                self.raw_dir, self.release, self.categories
            )
        else:
            self.release = self.release or amazon.DEFAULT_RELEASE
            self.categories = self.categories or amazon.CATEGORIES
            if len(self.categories) < 2:  # before gigabytes are fetched in vain
                raise InputError(
                    f"--categories {self.categories[0]}: that is one domain, and two or more are "
                    "needed."
                )
        super().__post_init__()

    def content(self) -> dict[str, Any]:
        """See base class. What a download holds is only known after it, so its address counts."""
        content = super().content() | {"release": self.release}
        if self.sources:
            return content | {"files": [[s.domain, file_digest(s.path)] for s in self.sources]}
        return content | {"urls": list(self.urls().values())}

    def urls(self) -> dict[str, str]:
        """Returns category to address."""
        release = amazon.RELEASES[str(self.release)]
        return {c: release.url(c, self.base_url) for c in self.categories}


class Amazon(SequenceBuilder):
    """The public Amazon review releases; a category is a domain."""

    CONFIG = AmazonConfig
    SOURCE = "Who rated what and when on Amazon, by category of product."
    BUILDER_CONFIGS: ClassVar[list[SequenceConfig]] = [AmazonConfig()]

    def _interactions(self, engine: Engine, dl_manager: tfds.download.DownloadManager) -> Reading:
        settings = self._settings()
        folder = Path(dl_manager.download_dir) / self.name / settings.release
        return read_interactions(engine, settings.sources or self._download(folder))

    def _download(self, folder: Path) -> list[Source]:
        settings, sources = self._settings(), []
        release = amazon.RELEASES[settings.release]
        for category, url in settings.urls().items():
            path = folder / release.file_name.format(category=category)
            if settings.base_url is not None:  # A mirror may hold other files.
                path = folder / fingerprint({"base_url": settings.base_url}) / path.name
            checksum = release.checksums.get(category) if settings.base_url is None else None
            download(url, path, checksum, self._say)
            sources.append(amazon.source(path, settings.release, category, label=url))
        return sources


@dataclasses.dataclass(eq=False)
class SyntheticConfig(SequenceConfig):
    """Settings of `synthetic`; the sizes are those of `SyntheticSizes`.

    Attributes:
      seed: of the generator.
      users: number of users.
      items_per_domain: number of items in each domain.
      interactions_per_user: mean length of a sequence.
    """

    seed: int = 0
    users: int = SyntheticSizes.users
    items_per_domain: int = SyntheticSizes.items_per_domain
    interactions_per_user: int = SyntheticSizes.interactions_per_user

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise InputError(f"--seed {self.seed}: expected a whole number of 0 or more.")
        self.sizes()
        super().__post_init__()

    def sizes(self) -> SyntheticSizes:
        """Returns the sizes, checked."""
        return SyntheticSizes(self.users, self.items_per_domain, self.interactions_per_user)

    def content(self) -> dict[str, Any]:
        """See base class."""
        return super().content() | {"seed": self.seed} | dataclasses.asdict(self.sizes())


class Synthetic(SequenceBuilder):
    """Generated interactions with planted structure; see `data_prep.read.synthetic`."""

    CONFIG = SyntheticConfig
    SOURCE = "Generated interactions with planted structure: three domains help one another."
    BUILDER_CONFIGS: ClassVar[list[SequenceConfig]] = [SyntheticConfig()]

    def _interactions(self, engine: Engine, dl_manager: tfds.download.DownloadManager) -> Reading:
        del dl_manager
        settings = self._settings()
        return Reading(engine.table(generate(settings.sizes(), settings.seed)))
