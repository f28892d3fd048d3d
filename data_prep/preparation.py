"""One call from raw data to a dataset that is ready to train on.

What is heavy is imported after settings and files have been looked at: a mistake is told at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.files import local_path
from data_prep.read.frames import is_frame, path_of
from data_prep.read.items.item_file import locate_items
from data_prep.read.locate import locate
from data_prep.settings import DataConfig, data_config

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    from data_prep.catalogue import Catalogue
    from data_prep.store.item_columns import ItemColumns
    from data_prep.store.sequence_builder import SequenceBuilder, SequenceConfig

_TRAIN_FEATURES = ("user_id", "items", "timestamps")


@dataclasses.dataclass(frozen=True)
class PreparedDataset:
    """A dataset on disk.

    Attributes:
      builder: the TFDS builder.
      catalogue: the known items.
      metadata: domains, counts and settings, as `builder.info.metadata` has them.
    """

    builder: tfds.core.DatasetBuilder
    catalogue: Catalogue
    metadata: dict[str, Any]

    @property
    def name(self) -> str:
        """Builder, fingerprint of content and settings, and version: `amazon/0123abcd/1.0.0`."""
        return self.builder.info.full_name

    @property
    def split_protocol(self) -> str:
        """Which interactions train and which are targets, in words."""
        config: Any = self.builder.builder_config
        return config.split.protocol

    @property
    def data_card(self) -> dict[str, Any]:
        """What is in it and what was dropped, as `card.data_card` counts it."""
        from data_prep.card import FILE_NAMES

        return json.loads((self.builder.data_path / FILE_NAMES[0]).read_text("utf-8"))

    @property
    def settings(self) -> DataConfig:
        """What it was prepared with."""
        config: Any = self.builder.builder_config
        return config.settings

    @property
    def item_columns(self) -> ItemColumns | None:
        """What the file of items says of each known item; None where none was given."""
        from data_prep.store import item_columns

        return item_columns.read(Path(self.builder.data_path))

    def damage(self) -> str | None:
        """What is wrong with the files on disk; None if all can be read. Reads all of them."""
        import tensorflow as tf

        for name, split in self.builder.info.splits.items():
            for file, length in zip(split.filepaths, split.shard_lengths, strict=True):
                try:
                    found = sum(1 for _ in tf.data.TFRecordDataset(os.fspath(file)))
                except tf.errors.NotFoundError:
                    return f"{file} ({name}) is missing"
                except tf.errors.OpError as error:
                    reason = (error.message or "cannot be read").partition(" [Op:")[0]
                    return f"{file} ({name}) is damaged: {reason.rpartition('}} ')[2]}"
                if found != length:
                    return f"{file} ({name}) has {found} records of {length}"
        return None

    def as_dataset(self, split: str) -> tf.data.Dataset:
        """Reads a split in its fixed order.

        Args:
          split: `train`, `validation` or `test`, or a part of one, such as `train[:10%]`.

        Returns:
          Rows of `user_id, items, timestamps`; for `validation` and `test` also `target,
          target_item_id, domain, target_timestamp, basket`.
        """
        import tensorflow_datasets as tfds

        decoders = None
        if split.partition("[")[0] == "train":
            # TFDS wants equal features in all splits, but a training row has no target.
            decoders = tfds.decode.PartialDecoding(dict.fromkeys(_TRAIN_FEATURES, True))
        with _quiet():
            return self.builder.as_dataset(split=split, decoders=decoders)


def prepare(
    dataset: str | DataConfig,
    *,
    report: Callable[[str], None] | None = print,
    **settings: Any,
) -> PreparedDataset:
    """Prepares a dataset, or finds it prepared by an earlier call with equal content.

    For example `prepare("interactions", path="log.csv", min_interactions=5)`, or `path=frame`: a
    frame of pandas, Polars, PyArrow or DuckDB is taken where a path is, for `items` too.

    Args:
      dataset: `amazon`, `complete_journey`, `interactions` or `synthetic`, or all settings in one
        object.
      report: told one line a step; `None` for silence.
      **settings: those of `data_prep.settings.DataConfig`, each a keyword, and `seed` for
        `synthetic`.

    Returns:
      The dataset.

    Raises:
      InputError: what was given cannot be used.
    """
    config = data_config(dataset, **_with_files(settings))
    located, items = locate(config), locate_items(config)

    from data_prep.store.sequence_builder import SequenceConfig

    with _quiet():
        try:
            found = SequenceConfig(settings=config, located=located, items=items)
            builder = _builder(found, report)
            builder.download_and_prepare()
        except OSError as error:
            place = config.data_dir or "(TFDS's default)"
            raise InputError(
                f"--data_dir {place}: cannot be written to ({error.strerror or error})."
            ) from error
    return _prepared_by(builder)


def _with_files(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with files in place of frames."""
    found, place = dict(settings), settings.get("data_dir")
    if is_frame(found.get("path")):
        found["path"] = path_of(found["path"], "path", place)
    items = found.get("items")
    if is_frame(items) or isinstance(items, str | os.PathLike):
        items = {"path": items}
    if isinstance(items, Mapping) and items.get("path") is not None:
        found["items"] = {**items, "path": path_of(items["path"], "items", place)}
    return found


def find_prepared(
    settings: DataConfig, name: str, report: Callable[[str], None] | None = None
) -> PreparedDataset | None:
    """A dataset that was prepared before; what it was made of need not be there any more.

    Args:
      settings: that it was prepared with.
      name: its `PreparedDataset.name`.
      report: told one line; `None` for silence.

    Returns:
      The dataset, or None where `data_dir` has none of that name.

    Raises:
      InputError: it is there, and damaged.
    """
    from data_prep.read.locate import Located
    from data_prep.store.sequence_builder import SequenceConfig

    fingerprint = name.split("/")[1]
    config = SequenceConfig(name=fingerprint, settings=settings, located=Located())
    with _quiet():
        builder = _builder(config, report)
        if builder.info.full_name != name or not builder.data_path.exists():
            return None
        builder.download_and_prepare()  # looks whether it is whole
    return _prepared_by(builder)


def _builder(config: SequenceConfig, report: Callable[[str], None] | None) -> SequenceBuilder:
    from data_prep.builders import BUILDERS

    place = config.settings.data_dir
    return BUILDERS[config.settings.dataset](
        config=config,
        data_dir=None if place is None else local_path(place),
        report=report or (lambda line: None),
    )


def _prepared_by(builder: SequenceBuilder) -> PreparedDataset:
    from data_prep.catalogue import FILE_NAME, Catalogue

    catalogue = Catalogue.load(builder.data_path / FILE_NAME)
    return PreparedDataset(builder, catalogue, dict(builder.info.metadata))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS's remarks and bars away."""
    import tensorflow_datasets as tfds
    from absl import logging
    from tensorflow_datasets.core.utils import tqdm_utils

    verbosity = logging.get_verbosity()
    bars = getattr(tqdm_utils, "_active", True)  # TFDS has a setter and no getter.
    logging.set_verbosity(logging.ERROR)
    tfds.display_progress_bar(False)
    try:
        yield
    finally:
        tfds.display_progress_bar(bars)
        logging.set_verbosity(verbosity)
