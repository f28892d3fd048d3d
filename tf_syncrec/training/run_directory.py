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
from data_prep.files import local_path, remove_partial, write_whole, written_whole
from tf_syncrec import config as config_module
from tf_syncrec.config import Config
from tf_syncrec.data.item_encoder import ItemEncoder
from tf_syncrec.training import manifest
from tf_syncrec.utils.locks import RunLock

if TYPE_CHECKING:  # so that a directory is looked at before TensorFlow is there
    from tf_syncrec.evaluation.full_ranking import Ranks
    from tf_syncrec.models.base import MultiDomainModel

ROWS_PER_WRITE = 100_000
_LOST = "put it back from a copy of the run, or train again in another directory"


def network_json(model: "MultiDomainModel") -> str:
    """A network that is not compiled, as `model.json` has it."""
    import keras

    return json.dumps(keras.saving.serialize_keras_object(model))


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
        self.item_encoder_file = self.directory / "item_encoder.npz"
        self.metrics_file = self.directory / "metrics.json"
        self.history_file = self.directory / "history.json"
        self.samples_file = self.directory / "samples.json"
        self.new_items_file = self.directory / "new_items.json"
        self.titles_file = self.directory / "titles.parquet"
        self.data_card_file = self.directory / "data_card.json"
        self.ranks_file = self.directory / "test_ranks.parquet"
        self.log_dir = self.directory / "logs"
        self.checkpoint_file = self.directory / "checkpoints" / "best.weights.h5"
        self.optimizer_file = self.directory / "checkpoints" / "optimizer.h5"
        self.export_dir = self.directory / "export" / "syncrec"
        self.report_file = self.directory / "report.html"
        self.manifest_file = self.directory / manifest.NAME
        self.tuning_dir = self.directory / "tuning"
        self.tuning_file = self.directory / "tuning.json"
        self.first_config_file = self.tuning_dir / "config.yaml"
        self.lock = RunLock(self.directory)

    @property
    def finished(self) -> bool:
        """Whether a training has ended here; `report.html` may have been deleted since."""
        if self.report_file.exists():
            return True
        needed = self.manifest_file, self.checkpoint_file, self.metrics_file
        ended = all(file.exists() for file in needed)
        return ended and not any(self.checkpoint_file.parent.glob("step-*"))

    @property
    def known_titles(self) -> Path | None:
        """The file of titles, if the run was trained with a file of items that has some."""
        return self.titles_file if self.titles_file.exists() else None

    @property
    def tuned(self) -> bool:
        """Whether its settings are, or will be, the best of several trials."""
        return self.first_config_file.exists()

    @property
    def begun_file(self) -> Path:
        """The settings that it was begun with: of a run that is tuned, those of its first trial."""
        return self.first_config_file if self.tuned else self.config_file

    @property
    def resume_hint(self) -> str:
        """What to do when it was interrupted."""
        if not self.begun_file.exists():
            return "training had not begun, so run the same command again"
        directory = shlex.quote(str(self.directory))
        return f"resume with: python -m tf_syncrec.fit --resume --output_dir {directory}"

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
        for file in (self.metrics_file, self.begun_file, *trained.glob("*")):
            if file.exists():
                kind, instead = "a run", ""
                if not self.finished and self.begun_file.exists():
                    kind, instead = "an unfinished run", "resume it with --resume, or "
                elif not self.finished:
                    kind = "remains of a run without config.yaml"
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
        if model.item_encoder is not None:
            model.item_encoder.save(self.item_encoder_file)
        self.describe(config, catalogue, network_json(model))

    def describe(self, config: Config, catalogue: Catalogue, network: str) -> None:
        """Writes all that is needed to rebuild the model; from here on the run is unfinished.

        Also where a training goes on: what it is evaluated by later may be lost or damaged.

        Args:
            config: of the run.
            catalogue: of its data.
            network: of `network_json`.
        """
        self.metrics_file.unlink(missing_ok=True)  # of weights that are not there any more
        self.manifest_file.unlink(missing_ok=True)
        with written_whole(self.catalogue_file) as new:
            catalogue.save(new)
        write_whole(self.model_file, network)
        config.save(self.config_file)  # last: a run that has it can go on

    def seal(self) -> None:
        """Writes down what the files are that others read, once all of them are there."""
        written = (
            *(self.catalogue_file, self.model_file, self.checkpoint_file, self.metrics_file),
            self.item_encoder_file,
            *(self.history_file, self.samples_file, self.data_card_file, self.ranks_file),
            *(self.tuning_file, self.titles_file, self.optimizer_file, self.new_items_file),
        )
        manifest.seal(self.directory, [file for file in written if file.exists()])

    def check_whole(self, *files: Path) -> None:
        """Raises InputError if a file is not what was written; of all files, where none is named.

        Runs of before 0.3 do not say what was.
        """
        if not self.manifest_file.exists():
            return
        if found := manifest.damage(self.directory, files):
            raise InputError(f"--run {self.directory}: {found}; {_LOST}")

    def remove_partial(self) -> None:
        """Removes what killed processes were writing here, whatever it was to be."""
        for folder in (self.directory, self.checkpoint_file.parent, self.export_dir):
            remove_partial(folder)

    def check_finished(self, option: str = "--run") -> None:
        """Raises InputError, which names an option, if the directory holds no complete run."""
        needed = (self.config_file, self.catalogue_file, self.checkpoint_file, self.metrics_file)
        for file in needed:
            if not file.is_file():
                raise InputError(
                    f"{option} {self.directory}: not a finished run, {file.name} is missing"
                )

    def load(self) -> tuple[Config, Catalogue, "MultiDomainModel"]:
        """The trained model with the weights of its best epoch.

        Raises:
            InputError: the directory holds no complete run, or one that is damaged.
        """
        self.check_finished()
        self.check_whole(self.catalogue_file, self.model_file, self.checkpoint_file)
        import keras

        from tf_syncrec.models.registry import import_networks
        from tf_syncrec.models.syncrec import SyNCRec
        from tf_syncrec.utils.hdf5 import load_weights

        import_networks()

        config, catalogue = self.load_config(), self.load_catalogue()
        if self.model_file.exists():
            network = self.read_json(self.model_file)
            try:
                model = keras.saving.deserialize_keras_object(network)
            except Exception as error:  # whatever a network makes of what it does not expect
                raise self._unreadable(self.model_file, error) from error
        else:  # a run of version 0.1
            sizes = dict(zip(catalogue.domains, catalogue.sizes, strict=True))
            model = SyNCRec.from_settings(config, sizes)
        try:
            load_weights(model, self.checkpoint_file, later=model.mixture.weights)
        except ValueError as error:
            raise InputError(f"--run {self.directory}: its weights do not fit: {error}") from error
        if self.item_encoder_file.exists():
            try:
                model.item_encoder = ItemEncoder.load(self.item_encoder_file)
            except (OSError, ValueError, KeyError) as error:
                raise self._unreadable(self.item_encoder_file, error) from error
        return config, catalogue, model

    def load_config(self) -> Config:
        """The settings of the run.

        Raises:
            InputError: `config.yaml` cannot be read, or is not all of it.
        """
        if not self.config_file.is_file():
            raise InputError(f"--run {self.directory}: config.yaml is missing; {_LOST}")
        return config_module.load(self.config_file)

    def load_catalogue(self) -> Catalogue:
        """The items of the run; InputError where they cannot be read."""
        try:
            return Catalogue.load(self.catalogue_file)
        except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
            raise self._unreadable(self.catalogue_file, error) from error

    def read_json(self, file: Path) -> Any:
        """What `write_json` wrote; InputError where it cannot be read."""
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self._unreadable(file, error) from error

    def _unreadable(self, file: Path, error: Exception) -> InputError:
        said = " ".join(str(error).split())[:200]
        return InputError(f"--run {self.directory}: {file.name} cannot be read ({said}); {_LOST}")

    def write_json(self, file: Path, value: Any) -> None:
        """Writes plain JSON whole or not at all; a NaN is an error, not a value."""
        write_whole(file, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def write_titles(self, titles: pa.Table) -> None:
        """Writes `titles.parquet`, `item_id, title`: what reports and recommendations show."""
        with written_whole(self.titles_file) as new:
            pq.write_table(titles, new)

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
                ("timestamp", pa.float64()),
                ("history_timestamps", pa.list_(pa.float64())),
                *((f"rank_{name}", pa.float64()) for name in ranks.beside),
            ]
        )
        with written_whole(self.ranks_file) as new, pq.ParquetWriter(new, schema) as writer:
            for start in range(0, len(ranks.ranks), ROWS_PER_WRITE):
                rows = slice(start, min(start + ROWS_PER_WRITE, len(ranks.ranks)))
                first, last = starts[rows.start], starts[rows.stop]
                items = catalogue.item_ids[ranks.history_items[first:last] - 1]
                places = pa.array(starts[rows.start : rows.stop + 1] - first, pa.int32())
                times = pa.array(ranks.history_times[first:last], pa.float64())
                columns = [
                    pa.array(ranks.user_ids[rows], pa.binary()).cast(pa.string()),
                    pa.array(names[ranks.domains[rows]], pa.string()),
                    pa.array(ranks.target_ids[rows], pa.binary()).cast(pa.string()),
                    pa.array(ranks.ranks[rows], pa.float64()),
                    pa.ListArray.from_arrays(places, pa.array(items, pa.string())),
                    pa.array(ranks.target_times[rows], pa.float64()),
                    pa.ListArray.from_arrays(places, times),
                    *(pa.array(other[rows], pa.float64()) for other in ranks.beside.values()),
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
