"""Whether the files of a SavedModel are of one export, by the fingerprint that TensorFlow adds."""

from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.fingerprint_pb2 import FingerprintDef

# TensorFlow shows what it has written, but not how to compute it again.
from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

from data_prep import InputError

FILE = "fingerprint.pb"


def check_fingerprint(version: Path) -> None:
    """Tells a graph and weights of one model from those of two.

    They load as well together, which is half of one model and half of another: that is what lies
    there while a new model is copied over an old one, file by file. Whether the weights are what
    `variables.index` says is seen when they are read.

    Args:
        version: directory of the SavedModel; one without a fingerprint is taken as it is.

    Raises:
        InputError: they are of two, or the fingerprint is cut off.
    """
    try:
        written = FingerprintDef.FromString((version / FILE).read_bytes())
    except FileNotFoundError:
        return
    except DecodeError:
        written = FingerprintDef()
    if not written.HasField("version"):
        raise InputError(f"{FILE} is cut off")
    found = FingerprintDef.FromString(fingerprinting.CreateFingerprintDef(str(version)))
    if found.version.producer != written.version.producer:
        return  # of a TensorFlow that computes it otherwise
    for what, of in (
        ("saved_model.pb", "saved_model_checksum"),
        ("variables", "checkpoint_hash"),
    ):
        if getattr(found, of) != getattr(written, of):
            raise InputError(f"{what} and {FILE} are of two exports")
