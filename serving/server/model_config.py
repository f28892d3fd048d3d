"""Reads TensorFlow Serving's `models.config`: which versions are served, and their labels."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config.file_system_storage_path_source_pb2 import (
    FileSystemStoragePathSourceConfig,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from data_prep import InputError

_POLICY = FileSystemStoragePathSourceConfig.ServableVersionPolicy


@dataclass(frozen=True)
class ModelConfig:
    """What a server has to know of the one model it serves; by default as TF Serving has it.

    Attributes:
        name: what requests call it.
        labels: `{label: version}`.
        policy: which versions are served.
    """

    name: str = "syncrec"
    labels: dict[str, int] = field(default_factory=dict)
    policy: Any = field(default_factory=_POLICY)

    def wanted(self, numbers: list[int]) -> Iterable[int]:
        """Those of the versions on disk, ascending, that the policy serves."""
        if self.policy.HasField("all"):
            return numbers
        if self.policy.HasField("specific"):
            return [number for number in numbers if number in self.policy.specific.versions]
        return numbers[-(self.policy.latest.num_versions or 1) :]


def read_model_config(file: Path) -> ModelConfig:
    """Reads a file with one model; its `base_path` is that of a container and is passed over.

    Raises:
        InputError: the file cannot be read, or is not a ModelServerConfig with one model.
    """
    try:
        config = text_format.Parse(file.read_text(encoding="utf-8"), ModelServerConfig())
    except OSError as error:
        raise InputError(f"--model_config_file {file}: cannot be read ({error.strerror})") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        # It quotes the line, however long that is.
        what = " ".join(str(error).split())[:300]
        raise InputError(f"--model_config_file {file}: not a ModelServerConfig: {what}") from None
    models = config.model_config_list.config
    if len(models) != 1 or not models[0].name:
        raise InputError(
            f"--model_config_file {file}: needs one model with a name, received {len(models)} "
            f"models: {[model.name for model in models]}"
        )
    return ModelConfig(
        models[0].name, dict(models[0].version_labels), models[0].model_version_policy
    )
