"""Graph and weights that are served are of one model."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.fingerprint_pb2 import FingerprintDef

from data_prep import InputError
from serving.saved_model.fingerprint import FILE, check_fingerprint
from serving.server.loaded_version import LoadedVersion
from tests.support.version_folder import make_models, write_model

REQUEST = {"items": np.array([[""]], object), "domain": np.array([""], object)}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Files of two models, of the same names and sizes."""
    return list(make_models(tmp_path_factory.mktemp("models"), 2).values())


def test_a_model_that_is_copied_over_another_is_loaded_when_it_is_whole(tmp_path, models):
    """Whichever of its files are there already."""
    old, new = models
    loaded = {}
    for number in range(2 ** len(new)):
        mixed = {name: (new if number >> bit & 1 else old)[name] for bit, name in enumerate(new)}
        write_model(tmp_path, mixed)
        with contextlib.suppress(InputError, tf.errors.OpError):
            outputs = LoadedVersion(tmp_path).run("serving_default", REQUEST)
            loaded[number] = {name: value.tolist() for name, value in outputs.items()}
    assert loaded == {
        0: {"graph": [11], "version": [11]},
        2 ** len(new) - 1: {"graph": [12], "version": [12]},
    }


def test_what_is_of_two_exports_is_refused(tmp_path, models):
    old, new = models
    for name in old:
        if name.endswith("data-00000-of-00001"):
            continue  # is compared with the index when it is read
        version = tmp_path / name.replace("/", " ")
        write_model(version, old | {name: new[name]})
        with pytest.raises(InputError, match="are of two exports"):
            check_fingerprint(version)


def test_a_fingerprint_that_is_cut_off_anywhere_is_refused(tmp_path, models):
    (model, _) = models
    written = FingerprintDef.FromString(model[FILE])
    written.ClearField("uuid")  # what comes last, and is compared with nothing
    whole = written.SerializeToString()
    for size in range(len(whole)):
        write_model(tmp_path, model | {FILE: whole[:size]})
        with pytest.raises(InputError, match=FILE):
            check_fingerprint(tmp_path)


def test_a_model_without_a_fingerprint_or_with_one_of_another_kind_is_taken_as_it_is(
    tmp_path, models
):
    (model, _) = models
    check_fingerprint(write(tmp_path / "whole", model))
    none = write(tmp_path / "none", model)
    (none / FILE).unlink()
    check_fingerprint(none)
    written = FingerprintDef.FromString(model[FILE])
    written.version.producer += 1
    written.checkpoint_hash += 1
    check_fingerprint(write(tmp_path / "later", model | {FILE: written.SerializeToString()}))


def write(version, files):
    write_model(version, files)
    return version
