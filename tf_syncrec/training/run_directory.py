"""The run directory: what a training leaves behind, and how to open it again."""

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep import Catalogue, InputError
from data_prep.files import local_path, write_whole, written_whole
from tf_syncrec import config as config_module
from tf_syncrec.config import Config
from tf_syncrec.utils.locks import RunLock

if TYPE_CHECKING:  # so that a directory is looked at before TensorFlow is there
    from tf_syncrec.evaluation.full_ranking import Ranks
    from tf_syncrec.models.base import MultiDomainModel

ROWS_PER_WRITE = 100_000


class RunDirectory:
    """Paths and files of one run directory.

    Args:
        directory: the run directory; it need not exist yet.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self.directory = local_path(directory)
        self.config_file = self.directory / "config.yaml"
        self.catalogue_file = self.directory / "items.parquet"
        self.model_file = self.directory / "model.json"
        self.metrics_file = self.directory / "metrics.json"
        self.history_file = self.directory / "history.json"
        self.samples_file = self.directory / "samples.json"
        self.data_card_file = self.directory / "data_card.json"
        self.ranks_file = self.directory / "test_ranks.parquet"
        self.log_dir = self.directory / "logs"
        self.checkpoint_file = self.directory / "checkpoints" / "best.weights.h5"
        self.export_dir = self.directory / "export" / "syncrec"
        self.report_file = self.directory / "report.html"
        self.lock = RunLock(self.directory)

    @property
    def finished(self) -> bool:
        """Whether the last file of a run is there."""
        return self.report_file.exists()

    @property
    def how_to_go_on(self) -> str:
        """What to do when it was interrupted."""
        if not self.config_file.exists():
            return "training had not begun, so give the same command again"
        directory = shlex.quote(str(self.directory))
        return f"go on with: python -m tf_syncrec.fit --resume --output_dir {directory}"

    def check_free(self) -> None:
        """Raises InputError if a new run cannot be written here."""
        place = self.directory.absolute()
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            raise InputError(f"--output_dir {self.directory}: {place} is a file, not a directory")
        if not os.access(place, os.W_OK):
            raise InputError(f"--output_dir {self.directory}: {place} cannot be written to")
        trained = self.checkpoint_file.parent
        # A run that was killed before `config.yaml` has nothing that is worth keeping.
        for file in (self.metrics_file, self.config_file, *trained.glob("*")):
            if file.exists():
                kind, instead = "a run", ""
                if not self.finished and self.config_file.exists():
                    kind, instead = "an unfinished run", "go on with it by --resume, or "
                elif not self.finished:
                    kind = "what is left of a run without config.yaml"
                raise InputError(
                    f"--output_dir {self.directory}: already holds {kind} ({file.name}); {instead}"
                    "choose another directory or delete it first"
                )

    def create(self, config: Config, catalogue: Catalogue, model: "MultiDomainModel") -> None:
        """Makes the directory with all that is needed to rebuild the model; locks it.

        Raises:
            InputError: it cannot be made, or another process has begun a run there since.
        """
        try:
            self.checkpoint_file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--output_dir {self.directory}: cannot be created ({error.strerror})"
            ) from None
        if not self.lock.held:  # else it is a run that is gone on with
            self.lock.acquire()
            self.check_free()
        catalogue.save(self.catalogue_file)
        import keras

        write_whole(self.model_file, json.dumps(keras.saving.serialize_keras_object(model)))
        config.save(self.config_file)  # last: a run that has it can go on

    def check_finished(self) -> None:
        """Raises InputError if the directory holds no complete run."""
        needed = (self.config_file, self.catalogue_file, self.checkpoint_file, self.metrics_file)
        for file in needed:
            if not file.exists():
                raise InputError(
                    f"--run {self.directory}: not a finished run, {file.name} is missing"
                )

    def load(self) -> tuple[Config, Catalogue, "MultiDomainModel"]:
        """The trained model with the weights of its best epoch.

        Raises:
            InputError: the directory holds no complete run, or one that is damaged.
        """
        self.check_finished()
        import keras

        from tf_syncrec.models.registry import import_networks
        from tf_syncrec.models.syncrec import SyNCRec
        from tf_syncrec.utils.hdf5 import load_weights

        import_networks()

        config = config_module.load(self.config_file)
        catalogue = Catalogue.load(self.catalogue_file)
        if self.model_file.exists():
            model = keras.saving.deserialize_keras_object(json.loads(self.model_file.read_text()))
        else:  # a run of version 0.1
            sizes = dict(zip(catalogue.domains, catalogue.sizes, strict=True))
            model = SyNCRec.from_settings(config, sizes)
        try:
            load_weights(model, self.checkpoint_file, later=model.mixture.weights)
        except ValueError as error:
            raise InputError(f"--run {self.directory}: its weights do not fit: {error}") from error
        return config, catalogue, model

    def write_json(self, file: Path, value: Any) -> None:
        """Writes plain JSON whole or not at all; a NaN is an error, not a value."""
        write_whole(file, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def write_ranks(self, ranks: "Ranks", catalogue: Catalogue) -> None:
        """Writes `test_ranks.parquet`, one row a user, so that every number can be recomputed."""
        names = np.array(catalogue.domains, dtype=object)
        starts = np.concatenate([[0], np.cumsum(ranks.history_lengths)])
        schema = pa.schema(
            [
                ("user_id", pa.string()),
                ("domain", pa.string()),
                ("item_id", pa.string()),
                ("rank", pa.float64()),
                ("history", pa.list_(pa.string())),
            ]
        )
        with written_whole(self.ranks_file) as new, pq.ParquetWriter(new, schema) as writer:
            for start in range(0, len(ranks.ranks), ROWS_PER_WRITE):
                rows = slice(start, min(start + ROWS_PER_WRITE, len(ranks.ranks)))
                first, last = starts[rows.start], starts[rows.stop]
                items = catalogue.item_ids[ranks.history_items[first:last] - 1]
                history = pa.ListArray.from_arrays(
                    pa.array(starts[rows.start : rows.stop + 1] - first, pa.int32()),
                    pa.array(items, pa.string()),
                )
                columns = [
                    pa.array(ranks.user_ids[rows], pa.binary()).cast(pa.string()),
                    pa.array(names[ranks.domains[rows]], pa.string()),
                    pa.array(ranks.target_ids[rows], pa.binary()).cast(pa.string()),
                    pa.array(ranks.ranks[rows], pa.float64()),
                    history,
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
