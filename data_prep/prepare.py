"""One call from raw data to a dataset that is ready to train on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow_datasets as tfds
from absl import logging

from data_prep import card as data_card
from data_prep.callable_module import let_be_called
from data_prep.catalogue import FILE_NAME, Catalogue
from data_prep.errors import InputError
from data_prep.pipeline.splits import DEFAULT_SHARE, LeaveOneOut
from data_prep.read.quarantine import DEFAULT_SHARE as DEFAULT_BAD_SHARE
from data_prep.store.builders import Amazon, Interactions, Synthetic
from data_prep.store.progress import no_progress_bars
from data_prep.store.sequence_builder import SequenceBuilder

if TYPE_CHECKING:
    import tensorflow as tf

_BUILDERS: dict[str, type[SequenceBuilder]] = {b.name: b for b in (Amazon, Interactions, Synthetic)}
_OPTIONS = {
    "amazon": {"raw_dir", "release", "categories", "base_url"},
    "interactions": {"path", "columns"},
    "synthetic": {"synthetic"},
}
# How a command line calls an option that is not named like the argument.
_CALLED = {"columns": "data.columns", "synthetic": "data.synthetic"}
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
        settings: Any = self.builder.builder_config
        return settings.rule.protocol

    @property
    def data_card(self) -> dict[str, Any]:
        """What is in it and what was dropped, as `data_card.data_card` counts it."""
        return json.loads((self.builder.data_path / data_card.FILE_NAMES[0]).read_text("utf-8"))

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
          target_item_id, domain, target_timestamp`.
        """
        decoders = None
        if split.partition("[")[0] == "train":
            # TFDS wants equal features in all splits, but a training row has no target.
            decoders = tfds.decode.PartialDecoding(dict.fromkeys(_TRAIN_FEATURES, True))
        with _quiet():
            return self.builder.as_dataset(split=split, decoders=decoders)


def prepare(
    dataset: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    raw_dir: str | os.PathLike[str] | None = None,
    release: str | None = None,
    categories: Sequence[str] = (),
    path: str | os.PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
    base_url: str | None = None,
    min_interactions: int = 1,
    min_domains: int = 1,
    min_domain_interactions: int = 1,
    split: str = LeaveOneOut.name,
    validation_share: float = DEFAULT_SHARE,
    test_share: float = DEFAULT_SHARE,
    synthetic: Mapping[str, int] | None = None,
    seed: int = 0,
    max_bad_share: float = DEFAULT_BAD_SHARE,
    engine: str = "duckdb",
    spark_master: str | None = None,
    report: Callable[[str], None] | None = print,
) -> PreparedDataset:
    """Prepares a dataset, or finds it prepared by an earlier call with equal content.

    Args:
      dataset: `amazon`, `interactions` or `synthetic`.
      data_dir: where prepared datasets live, by default TFDS's own place.
      raw_dir: `amazon`: folder with the rating files; without it they are downloaded.
      release: `amazon`: 2014, 2018 or 2023.
      categories: `amazon`: which to use.
      path: `interactions`: file, folder or glob.
      columns: `interactions`: role to column name.
      base_url: `amazon`: folder address of a mirror.
      min_interactions: drop items and users with fewer, repeatedly; 1 keeps all.
      min_domains: likewise users with fewer domains in which they have `min_domain_interactions`.
      min_domain_interactions: see there.
      split: `leave_one_out`, or `global_time`, see `splits`.
      validation_share: `global_time`: part of the interactions before the test period that are
        the validation period.
      test_share: `global_time`: part of the interactions, the latest, that are the test period.
      synthetic: `synthetic`: sizes, see `SyntheticSizes`, and `seed`.
      seed: `synthetic`: seed of the generator; the other datasets hold no chance.
      max_bad_share: part of the rows that may be no interactions; these are set aside, see
        `quarantine`.
      engine: `duckdb`, in this process, or `spark`; the result is the same.
      spark_master: `spark`: master URL, see `spark.connect`.
      report: told one line a step; `None` for silence.

    Returns:
      The dataset.

    Raises:
      InputError: what was given cannot be used.
    """
    if dataset not in _BUILDERS:
        raise InputError(f"--dataset {dataset}: unknown; expected one of {', '.join(_BUILDERS)}.")
    given: dict[str, Any] = {
        "raw_dir": raw_dir,
        "release": release,
        "categories": tuple(categories) or None,
        "base_url": base_url,
        "path": path,
        "columns": dict(columns) if columns else None,
        "synthetic": dict(synthetic) if synthetic else None,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    for name in settings:
        if name not in _OPTIONS[dataset]:
            owner = next(d for d, names in _OPTIONS.items() if name in names)
            raise InputError(
                f"{_CALLED.get(name, '--' + name)}: belongs to --dataset {owner}, not to {dataset}."
            )
    if dataset == "synthetic":
        settings = {"seed": seed} | settings.get("synthetic", {})
    with _quiet():
        try:
            builder = _BUILDERS[dataset](
                data_dir=None if data_dir is None else os.path.expanduser(data_dir),
                min_interactions=min_interactions,
                min_domains=min_domains,
                min_domain_interactions=min_domain_interactions,
                split=split,
                validation_share=validation_share,
                test_share=test_share,
                report=report or (lambda line: None),
                max_bad_share=max_bad_share,
                engine=engine,
                spark_master=spark_master,
                **settings,
            )
            builder.download_and_prepare()
        except OSError as error:
            place = data_dir or "(TFDS's default)"
            raise InputError(
                f"--data_dir {place}: cannot be written to ({error.strerror or error})."
            ) from error
    catalogue = Catalogue.load(builder.data_path / FILE_NAME)
    return PreparedDataset(builder, catalogue, dict(builder.info.metadata))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS's remarks and bars away."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with no_progress_bars():
            yield
    finally:
        logging.set_verbosity(verbosity)


let_be_called(__name__, prepare)
