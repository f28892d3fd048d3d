"""What all TFDS builders of this package share: settings, features, pipeline, splits, reuse."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath  # type: ignore[import-untyped]
from tensorflow_datasets.core import dataset_builder

from data_prep import card as data_card
from data_prep import catalogue
from data_prep.errors import InputError
from data_prep.files import alone_in, claimed, remove_leftovers
from data_prep.fingerprint import fingerprint
from data_prep.pipeline.k_core import Core
from data_prep.pipeline.splits import TEST, TRAIN, VALIDATION, Split, split_of
from data_prep.read import quarantine
from data_prep.read.items.item_file import ItemFile, locate_items
from data_prep.read.locate import Located, locate
from data_prep.read.quarantine import Quarantine
from data_prep.settings import DataConfig, data_config
from data_prep.store import features


@dataclasses.dataclass(eq=False)
class SequenceConfig(tfds.core.BuilderConfig):
    """Settings as TFDS wants them: with a name, which is a fingerprint of what decides the content.

    Attributes:
      name: the fingerprint, unless given.
      settings: all of them; by default those of `synthetic`.
      located: where the interactions are, where that is known already.
      items: where the file of items is, likewise, if there is one.
      content: what decides the dataset's content, with digests in place of files.
      core: what users and items must have to stay.
      split: which events train and which are targets.
    """

    name: str = ""
    settings: DataConfig = dataclasses.field(default_factory=DataConfig)
    located: Located | None = None
    items: ItemFile | None = None
    content: dict[str, Any] = dataclasses.field(init=False)
    core: Core = dataclasses.field(init=False)
    split: Split = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        of = self.settings
        self.located = self.located or locate(of)
        if self.items is None and not self.name:
            self.items = locate_items(of)
        self.core = Core(of.min_interactions, of.min_domains, of.min_domain_interactions)
        self.split = split_of(of)
        self.content = self.core.content() | self.split.content() | self.located.content()
        if self.items is not None:
            self.content["items"] = self.items.content()
        if of.repeats != "auto":
            self.content["repeats"] = of.repeats
        if of.dataset == "synthetic":
            # Settings of another kind decide nothing. Without `kind` and `harm` a dataset is what
            # it was before there were any, and is found again.
            telco = of.synthetic.kind == "telco"
            unused = {"items_per_domain"} if telco else {"kind"}
            unused |= set() if of.synthetic.harm else {"harm"}
            self.content |= of.synthetic.model_dump(exclude=unused)
        self.name = self.name or fingerprint(self.content)


class SequenceBuilder(  # type: ignore[call-arg]
    dataset_builder.FileReaderBuilder, skip_registration=True
):
    """Base of the builders, each of which is named after a dataset of `DataConfig`."""

    VERSION = tfds.core.Version("1.4.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.0.0": "First version of the pipeline.",
        "1.1.0": "With a data card; what 1.0.0 has prepared is prepared anew.",
        "1.2.0": "Logs of one's own, which are read anew: blanks, types and times mean one thing.",
        "1.3.0": "With a rule for each domain whether what a user had may be recommended again.",
        "1.4.0": "With the basket of each target: what was done at its time in its domain.",
    }
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
        **settings: Any,
    ):
        """Makes a builder.

        Args:
          config: the settings as an object, or the name of one of `BUILDER_CONFIGS`.
          data_dir: where datasets live, by default TFDS's own place.
          version: as TFDS has it.
          report: told one line a step, in place of what TFDS prints.
          **settings: see `prepare`, when there is no `config`.

        Raises:
          InputError: a setting is unknown, missing or cannot be used.
        """
        if config is None:
            config = SequenceConfig(settings=data_config(self.name, **settings))
        elif settings:
            raise InputError(f"{min(settings)}: give either a config or single settings, not both.")
        self._report = report
        # TFDS demands the very object for a name that is listed in the class.
        listed = {known.name: known for known in self.BUILDER_CONFIGS}
        known = config if isinstance(config, str) else listed.get(config.name, config)
        super().__init__(config=known, data_dir=data_dir, version=version)
        self._settings = (self._config() if isinstance(config, str) else config).settings

    def _config(self) -> Any:
        return self.builder_config

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=features.DESCRIPTION.format(
                source=self.SOURCE, split=self._config().split.about
            ),
            features=features.features(),
            disable_shuffling=True,  # Equal inputs give equal bytes; training shuffles anyway.
            homepage="https://doi.org/10.1145/3626772.3657710",
            citation=features.CITATION,
            metadata=tfds.core.MetadataDict(),
        )

    def download_and_prepare(self, **kwargs: Any) -> None:
        """Prepares the dataset unless it is there; leaves nothing behind when that fails.

        Of several processes that want the same dataset one prepares it, and the others take it.
        """
        if self.data_path.exists():
            self._reuse(**kwargs)
            return
        # These datasets exist nowhere but here.
        download = kwargs.setdefault("download_config", tfds.download.DownloadConfig())
        kwargs["download_config"] = download.replace(try_download_gcs=False)
        root, is_new = Path(self.data_dir_root), not Path(self.data_dir_root).exists()
        start = time.perf_counter()
        place = Path(self.data_dir)

        def waiting() -> None:
            self._say(f"Another process is preparing {place}; waiting to reuse its result.")

        with alone_in(place.parent, waiting):
            if self.data_path.exists():
                self._take(**kwargs)
                return
            # TFDS writes into `incomplete.XXXX_1.0.0`; one that a kill left is of no use.
            remove_leftovers(place.parent, f"incomplete.*_{place.name}", young=60.0)
            try:
                super().download_and_prepare(**kwargs)
            except BaseException as error:
                # On a disk without locks somebody else may have been quicker.
                if isinstance(error, OSError) and self.data_path.exists():
                    self._take(**kwargs)
                    return
                _remove_empty(place.parent, root, is_new)
                raise
        self._say(f"Wrote {self.data_dir} ({time.perf_counter() - start:.1f} s in all).")

    def _take(self, **kwargs: Any) -> None:
        """Reuses what another process has prepared since this builder was made."""
        self.info.read_from_directory(self.data_dir)
        self._reuse(**kwargs)

    def _reuse(self, **kwargs: Any) -> None:
        self._check_what_is_there()
        self._say(f"Reusing {self.data_dir}")
        super().download_and_prepare(**kwargs)
        if said := data_card.in_several_domains(self.info.metadata or {}):
            self._say(said)

    def _check_what_is_there(self) -> None:
        folder, share = Path(self.data_dir), self._settings.max_bad_share
        bad = Quarantine(**(self.info.metadata or {}).get("quarantine", {"reasons": {}, "rows": 0}))
        if bad.exceeds(share):
            raise bad.error(share, folder / quarantine.FILE_NAME)
        if not (folder / data_card.FILE_NAMES[0]).exists():
            raise InputError(
                f"{self.data_dir} lacks {data_card.FILE_NAMES[0]}: it is damaged; "
                "delete it to have it prepared anew"
            )

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        """Writes everything into the folder that TFDS renames when all is there."""
        del download_config
        # Imported here: a dataset that is there needs nothing that computes.
        from data_prep.engines.connection import connect

        settings = self._settings
        with (
            claimed(Path(self.data_dir)),
            connect(settings.engine, settings.spark_master) as engine,
        ):
            self._write(engine, Path(dl_manager.download_dir) / self.name)

    def _write(self, engine: Any, downloads: Path) -> None:
        from data_prep.pipeline.sequences import build_sequences
        from data_prep.read.interactions import read_dataset
        from data_prep.read.items.item_table import read_items
        from data_prep.store import item_columns
        from data_prep.store.tfrecords import write_split

        start = time.perf_counter()
        config, content, folder = self._config(), self._config().content, Path(self.data_dir)
        # First, so that what is wrong there is told at once.
        items = None if config.items is None else read_items(config.items, self._say)
        reading = read_dataset(engine, self._settings, config.located, downloads, self._say)
        # Of a dataset that fails nothing is left in its own folder.
        failed = Path(self.data_dir_root) / "quarantine" / f"{self.name}-{config.name}.jsonl"
        bad = quarantine.set_aside(engine, reading, self._settings.max_bad_share, folder, failed)
        if bad.size:
            self._say(f"Set aside {bad.size:,} bad rows, listed in {quarantine.FILE_NAME}.")
        self._say(f"Read {bad.rows:,} rows ({time.perf_counter() - start:.1f} s).")
        dated = (reading.notes or {}).get("dated", 0)
        if 0 < dated < bad.rows - bad.size:
            self._say(
                f"{dated:,} rows have dates, the others numbers, which count as seconds since 1970."
            )
        sequences = build_sequences(
            engine,
            reading.rows,
            config.core,
            self._say,
            config.split,
            held=reading.held,
            ticks=reading.ticks,
            repeats=self._settings.repeats,
            items=items,
        )
        if said := data_card.in_several_domains(sequences.statistics):
            self._say(said)
        known = sequences.catalogue
        known.save(folder / catalogue.FILE_NAME)
        if items is not None:
            item_columns.write(items, known.item_ids, folder)
        self.info.metadata.update(
            domains=list(known.domains),
            domain_sizes=known.sizes.tolist(),
            settings=content,
            quarantine=dataclasses.asdict(bad),
            **sequences.statistics,
        )
        card = data_card.data_card(
            self.info.full_name,
            content,
            config.split.protocol,
            bad,
            sequences,
            reading.notes,
            items,
        )
        data_card.write(card, folder)
        roles = {"train": TRAIN, "validation": VALIDATION, "test": TEST}

        def write(name: str) -> tfds.core.SplitInfo:
            return write_split(
                sequences.rows(roles[name]), self._get_filename_template(split_name=name)
            )

        with ThreadPoolExecutor(len(roles)) as threads:
            self.info.set_splits(tfds.core.SplitDict(list(threads.map(write, roles))))

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


def _remove_empty(config_dir: Path, root: Path, root_is_new: bool) -> None:
    """Removes folders that a failed preparation made and that hold nothing."""
    dataset_dir, downloads = config_dir.parent, root / "downloads"
    with contextlib.suppress(OSError):
        config_dir.rmdir()
    # TFDS notes the default config's name before anything else; alone it means nothing.
    if [p.name for p in dataset_dir.glob("*")] == [".config"]:
        # Its folder alone: another process may be making one beside it.
        shutil.rmtree(dataset_dir / ".config", ignore_errors=True)
    below = sorted(downloads.rglob("*"), reverse=True)
    for folder in [dataset_dir, *below, downloads] + [root] * root_is_new:
        with contextlib.suppress(OSError):
            folder.rmdir()
