"""SIGKILL at any moment of a preparation leaves the old dataset or the new one."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep import prepare

SIZES = {"users": 60, "items_per_domain": 20, "interactions_per_user": 12}
# Kills its own process when a function is called for the n-th time.
PROGRAM = """
import importlib, json, os, signal, sys
from data_prep import prepare
place, name, number, data_dir, sizes = sys.argv[1:]
module = importlib.import_module(place)
owner, _, attribute = name.rpartition(".")
owner = getattr(module, owner) if owner else module
function, calls = getattr(owner, attribute), []
def kill(*args, **kwargs):
    calls.append(1)
    if len(calls) == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*args, **kwargs)
setattr(owner, attribute, kill)
prepare("synthetic", synthetic=json.loads(sizes), data_dir=data_dir, seed=1, report=None)
"""


def digests(prepared):
    own = ("dataset_info.json", "features.json")
    files = [p for p in Path(prepared.builder.data_dir).iterdir() if p.name not in own]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "whole"),
    [
        (("data_prep.store.tfrecords", "_records", "2"), False),
        (("shutil", "rmtree", "1"), False),  # DuckDB's folder, before TFDS renames its own.
        (("data_prep.catalogue", "Catalogue.load", "1"), True),
    ],
    ids=["shards", "written", "after"],
)
def test_a_kill_leaves_the_old_dataset_or_the_new(tmp_path, moment, whole):
    options: dict = {"synthetic": SIZES, "report": None}
    old = prepare("synthetic", data_dir=tmp_path / "data", **options)
    before = digests(old)
    command = [sys.executable, "-c", PROGRAM, *moment, str(tmp_path / "data"), json.dumps(SIZES)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert digests(prepare("synthetic", data_dir=tmp_path / "data", **options)) == before
    clean = prepare("synthetic", data_dir=tmp_path / "clean", seed=1, **options)
    found = tmp_path / "data" / Path(clean.builder.data_dir).relative_to(tmp_path / "clean")
    assert found.exists() == whole
    if not found.exists():
        for folder in found.parent.iterdir():
            os.utime(folder, (0, 0))
    new = prepare("synthetic", data_dir=tmp_path / "data", seed=1, **options)
    assert Path(new.builder.data_dir) == found and digests(new) == digests(clean)
    assert list(found.parent.iterdir()) == [found], "what the killed process left is gone"
