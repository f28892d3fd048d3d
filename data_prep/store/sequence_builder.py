"""What all TFDS builders of this package share: features, pipeline, splits and reuse."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath  # type: ignore[import-untyped]
from tensorflow_datasets.core import dataset_builder

from data_prep import card as data_card
from data_prep import catalogue
from data_prep.engines.base import Engine
from data_prep.engines.connection import check_engine, connect
from data_prep.errors import InputError
from data_prep.files import claimed, remove_leftovers
from data_prep.pipeline.k_core import Core
from data_prep.pipeline.sequences import build_sequences
from data_prep.pipeline.splits import (
    DEFAULT_SHARE,
    TEST,
    TRAIN,
    VALIDATION,
    LeaveOneOut,
    Split,
    split_of,
)
from data_prep.read import quarantine
from data_prep.read.interactions import Reading
from data_prep.read.quarantine import Quarantine
from data_prep.store.fingerprint import fingerprint
from data_prep.store.tfrecords import write_split

_CITATION = """
@inproceedings{park2024pacer,
  title = {Pacer and Runner: Cooperative Learning Framework between Single- and Cross-Domain
           Sequential Recommendation},
  author = {Park, Chung and Kim, Taesan and Yoon, Hyungjun and Hong, Junui and Yu, Yelim and
            Cho, Mincheol and Choi, Minsung and Choo, Jaegul},
  booktitle = {Proceedings of the 47th International ACM SIGIR Conference on Research and
               Development in Information Retrieval},
  year = {2024},
  doi = {10.1145/3626772.3657710}
}
"""
_DESCRIPTION = """
{source} One row a user: what the user did in several domains (services, shop categories), merged
into one sequence, oldest first. {split} Items have ids 1..N,
contiguous by domain, made from training rows alone; 0 stands for unknown. `items.parquet` beside
the records lists them; `info.metadata` has the domains, the settings and counts.
"""


@dataclasses.dataclass(eq=False)
class SequenceConfig(tfds.core.BuilderConfig):
    """Everything that decides a dataset's content; its name is a fingerprint of that.

    Attributes:
      name: the fingerprint, unless given.
      min_interactions: see `Core`; 1 keeps all.
      min_domains: see `Core`.
      min_domain_interactions: see `Core`.
      split: one of `splits.SPLITS`.
      validation_share: of the interactions, for the split `global_time`.
      test_share: of the interactions, for the split `global_time`.
      core: what users and items must have to stay.
      rule: the split itself.
    """

    name: str = ""
    min_interactions: int = 1
    min_domains: int = 1
    min_domain_interactions: int = 1
    split: str = LeaveOneOut.name
    validation_share: float = DEFAULT_SHARE
    test_share: float = DEFAULT_SHARE
    core: Core = dataclasses.field(init=False)
    rule: Split = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.core = Core(self.min_interactions, self.min_domains, self.min_domain_interactions)
        self.rule = split_of(self.split, self.validation_share, self.test_share)
        if not self.name:
            self.name = fingerprint(self.content())

    def content(self) -> dict[str, Any]:
        """Returns the settings as JSON values, with digests in place of files."""
        return self.core.content() | self.rule.content()


class SequenceBuilder(  # type: ignore[call-arg]
    dataset_builder.FileReaderBuilder, skip_registration=True
):
    """Base of the builders: a subclass says where the interactions come from."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.0.0": "First version of the pipeline.",
        "1.1.0": "With a data card; what 1.0.0 has prepared is prepared anew.",
    }
    CONFIG: ClassVar[type[SequenceConfig]] = SequenceConfig
    SOURCE: ClassVar[str] = ""
    # TFDS 4.9.10 finds this by itself with `importlib_resources`, which it does not require.
    code_path = epath.Path(__file__)

    def __init__(
        self,
        *,
        config: SequenceConfig | str | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        version: Any = None,
        report: Callable[[str], None] | None = None,
        max_bad_share: float = quarantine.DEFAULT_SHARE,
        engine: str = "duckdb",
        spark_master: str | None = None,
        **settings: Any,
    ):
        """Makes a builder.

        Args:
          config: the settings as an object, or the name of one of `BUILDER_CONFIGS`.
          data_dir: where datasets live, by default TFDS's own place.
          version: as TFDS has it.
          report: told one line a step, in place of what TFDS prints.
          max_bad_share: part of the rows that may be no interactions; these are set aside.
          engine: what computes, one of `connection.ENGINES`; the result is the same.
          spark_master: master URL of the engine `spark`.
          **settings: fields of the builder's config class, when there is no `config`.

        Raises:
          InputError: a setting is unknown, missing or cannot be used.
        """
        number = isinstance(max_bad_share, (int, float)) and not isinstance(max_bad_share, bool)
        if not (number and 0 <= max_bad_share <= 1):
            raise InputError(f"data.max_bad_share={max_bad_share}: expected a number from 0 to 1.")
        check_engine(engine, spark_master)
        self._report = report
        self._max_bad_share = max_bad_share
        self._computed_by: dict[str, Any] = {"engine": engine, "master": spark_master}
        self._engine: Engine | None = None
        super().__init__(config=self._config(config, settings), data_dir=data_dir, version=version)

    @classmethod
    def _config(cls, config: SequenceConfig | str | None, settings: dict[str, Any]) -> Any:
        if config is None:
            known = [f.name for f in dataclasses.fields(cls.CONFIG)]
            if unknown := sorted(set(settings) - set(known)):
                raise InputError(f"{unknown[0]}: the dataset '{cls.name}' has no such setting.")
            config = cls.CONFIG(**settings)
        elif settings:
            raise InputError(f"{min(settings)}: give either a config or single settings, not both.")
        if isinstance(config, str):
            return config
        # TFDS demands the very object for a name that is listed in the class.
        return next((c for c in cls.BUILDER_CONFIGS if c.name == config.name), config)

    @abc.abstractmethod
    def _interactions(self, engine: Engine, dl_manager: tfds.download.DownloadManager) -> Reading:
        """Returns the rows, as tables of the engine."""

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION.format(source=self.SOURCE, split=self._settings().rule.about),
            features=tfds.features.FeaturesDict(
                {
                    "user_id": tfds.features.Text(doc="The user, as the source names it."),
                    "items": _array(np.int32, (None,), "Ids of the history, oldest first."),
                    "timestamps": _array(np.float64, (None,), "When, in the source's unit."),
                    "target": tfds.features.Scalar(
                        np.int32, doc="Id of the item to predict; 0 when it never trains."
                    ),
                    "target_item_id": tfds.features.Text(
                        doc="The item to predict, as the source names it; empty in `train`."
                    ),
                    "domain": tfds.features.Scalar(
                        np.int32, doc="Index of the target's domain; -1 in `train`."
                    ),
                    "target_timestamp": _array(np.float64, (), "When; 0 in `train`."),
                }
            ),
            disable_shuffling=True,  # Equal inputs give equal bytes; training shuffles anyway.
            homepage="https://doi.org/10.1145/3626772.3657710",
            citation=_CITATION,
            metadata=tfds.core.MetadataDict(),
        )

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Prepares the dataset unless it is there; leaves nothing behind when that fails."""
        if self.data_path.exists():
            if bad := (self.info.metadata or {}).get("quarantine"):
                self._accept(Quarantine(**bad))
            if not (self.data_path / data_card.FILE_NAMES[0]).exists():
                raise InputError(
                    f"{self.data_dir} lacks {data_card.FILE_NAMES[0]}: it is damaged; "
                    "delete it to have it prepared anew"
                )
            self._say(f"Reusing {self.data_dir}")
            super().download_and_prepare(**kwargs)
            return
        # These datasets exist nowhere but here.
        download = kwargs.setdefault("download_config", tfds.download.DownloadConfig())
        kwargs["download_config"] = download.replace(try_download_gcs=False)
        root, is_new = Path(self.data_dir_root), not Path(self.data_dir_root).exists()
        start = time.perf_counter()
        # TFDS writes into `incomplete.XXXX_1.0.0`; one that a kill left is of no use.
        place = Path(self.data_dir)
        remove_leftovers(place.parent, f"incomplete.*_{place.name}", young=60.0)
        try:
            with connect(**self._computed_by) as self._engine:
                super().download_and_prepare(**kwargs)
        except BaseException:
            _remove_empty(Path(self.data_dir).parent, root, is_new)
            raise
        finally:
            self._engine = None
        self._say(f"Wrote {self.data_dir} ({time.perf_counter() - start:.1f} s in all).")

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        del download_config
        engine = self._engine
        assert engine is not None, "Only download_and_prepare may call this."
        # The folder that is renamed when all is there.
        with claimed(Path(self.data_dir)):
            self._write(engine, dl_manager)

    def _write(self, engine: Engine, dl_manager: Any) -> None:
        start = time.perf_counter()
        reading = self._interactions(engine, dl_manager)
        bad = self._set_aside(engine, reading)
        self._say(f"Read {bad.rows:,} rows ({time.perf_counter() - start:.1f} s).")
        settings, content = self._settings(), self._settings().content()
        sequences = build_sequences(
            engine, reading.rows, settings.core, self._say, settings.rule, held=reading.held
        )
        known = sequences.catalogue
        known.save(os.path.join(self.data_dir, catalogue.FILE_NAME))
        self.info.metadata.update(
            domains=list(known.domains),
            domain_sizes=known.sizes.tolist(),
            settings=content,
            quarantine=dataclasses.asdict(bad),
            **sequences.statistics,
        )
        card = data_card.data_card(
            self.info.full_name, content, settings.rule.protocol, bad, sequences
        )
        data_card.write(card, Path(self.data_dir))
        roles = {"train": TRAIN, "validation": VALIDATION, "test": TEST}

        def write(name: str) -> tfds.core.SplitInfo:
            return write_split(
                sequences.rows(roles[name]), self._get_filename_template(split_name=name)
            )

        with ThreadPoolExecutor(len(roles)) as threads:
            self.info.set_splits(tfds.core.SplitDict(list(threads.map(write, roles))))

    def _set_aside(self, engine: Engine, reading: Reading) -> Quarantine:
        """Lists the rows that cannot be used; raises where they are too many."""
        bad = quarantine.inspect(engine, reading)
        if bad.exceeds(self._max_bad_share):
            # Not in the dataset's own folder: of a dataset that fails nothing is left.
            quarantine.write(engine, reading, self._quarantine_of_failed(), stopped=True)
            raise bad.error(self._max_bad_share, self._quarantine_of_failed())
        if bad.size:
            quarantine.write(engine, reading, Path(self.data_dir) / quarantine.FILE_NAME)
            self._say(f"Set aside {bad.size:,} bad rows, listed in {quarantine.FILE_NAME}.")
        if bad.size == bad.rows:
            raise InputError(f"{', '.join(reading.labels) or 'The log'}: has no usable rows.")
        return bad

    def _accept(self, bad: Quarantine) -> None:
        """Raises where a dataset that is there has more bad rows than are allowed now."""
        if bad.exceeds(self._max_bad_share):
            raise bad.error(self._max_bad_share, Path(self.data_dir) / quarantine.FILE_NAME)

    def _quarantine_of_failed(self) -> Path:
        name = f"{self.name}-{self._settings().name}.jsonl"
        return Path(self.data_dir_root) / "quarantine" / name

    def _settings(self) -> Any:
        return self.builder_config

    def _say(self, line: str) -> None:
        if self._report is not None:
            self._report(line)

    # TFDS's banners name the size of the download, which it does not know; whoever passed a
    # `report` is told better.
    def _log_download_bytes(self) -> None:
        if self._report is None:
            super()._log_download_bytes()

    def _log_download_done(self) -> None:
        if self._report is None:
            super()._log_download_done()


def _array(dtype: Any, shape: tuple[int | None, ...], doc: str) -> tfds.features.Tensor:
    # As bytes: TFRecord examples know no float64 (a time in seconds would be rounded to minutes),
    # and one string is also several times quicker to encode than a list of numbers.
    encoding = tfds.features.Encoding.BYTES
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding=encoding, doc=doc)


def _remove_empty(config_dir: Path, root: Path, root_is_new: bool) -> None:
    """Removes folders that a failed preparation made and that hold nothing."""
    dataset_dir = config_dir.parent
    with contextlib.suppress(OSError):
        config_dir.rmdir()
    with contextlib.suppress(OSError):
        # TFDS notes the default config's name before anything else; alone it means nothing.
        if [p.name for p in dataset_dir.iterdir()] == [".config"]:
            shutil.rmtree(dataset_dir)
    with contextlib.suppress(OSError):
        dataset_dir.rmdir()
    downloads = root / "downloads"
    for folder in sorted(downloads.rglob("*"), reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()
    for folder in [downloads] + [root] * root_is_new:
        with contextlib.suppress(OSError):
            folder.rmdir()
