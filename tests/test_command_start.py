"""A command in the first second: what shadows our packages, who reads, and who interrupts."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tf_syncrec
from data_prep import InputError, prepare
from tf_syncrec.training.run_directory import RunDirectory

ROOT = Path(__file__).parent.parent
COMMANDS = ("tf_syncrec.fit", "tf_syncrec.evaluate", "serving.export", "serving.local_server")


def start(command, *options, cwd=ROOT, stdout=subprocess.PIPE, **environment):
    """A command in a folder of the user's."""
    return subprocess.Popen(
        [sys.executable, "-m", command, *options],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        cwd=cwd,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        # As on a terminal, also where the tests run in the background, where it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("shadow", ["data_prep.py", "serving.py", "serving/__init__.py", "serving"])
def test_what_shadows_a_package_is_named(tmp_path, shadow):
    file = tmp_path / shadow
    if "." in file.name:
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
    else:
        file.mkdir()  # a namespace package, which comes after ours
    with start("tf_syncrec.fit", "--help", cwd=tmp_path) as process:
        out, err = process.communicate(timeout=60)
    if file.is_dir():
        assert process.returncode == 0 and out.startswith("usage: ")
        return
    assert process.returncode == 2 and out == ""
    assert err.startswith(f"error: {file} is found in place of {ROOT / file.stem}") or (
        err.startswith(f"error: {file} is found in place of {ROOT / file.parent.name}")
    )
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_who_has_gone_is_no_error(command):
    """As in `... --version | true`, which has ended before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    with start(command, "--version", stdout=writing) as process:
        os.close(writing)
        err = process.stderr.read()
    assert (process.wait(60), err) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("after", [0.1, 0.3, 0.6, 1.0, 2.0])
def test_an_interrupt_is_no_traceback(after, tmp_path):
    """At any moment: while modules are imported, and while TensorFlow is."""
    options = ("--dataset", "synthetic", "--output_dir", str(tmp_path / "run"))
    with start("tf_syncrec.fit", *options, TFDS_DATA_DIR=str(tmp_path / "data")) as process:
        while "python" not in Path(f"/proc/{process.pid}/cmdline").read_text():
            time.sleep(0.01)  # not yet the program
        time.sleep(after)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)


def test_a_terminal_that_cannot_show_a_name_loses_nothing():
    script = "from tf_syncrec.utils.terminal import say; say('🛒: 0.5')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "\\U0001f6d2: 0.5\n")


@pytest.mark.parametrize("address", ["gs://bucket/x", "s3://bucket/x", "file:///x", "gs:/bucket/x"])
@pytest.mark.parametrize(
    ("main", "options"),
    [
        ("fit", ("--output_dir",)),
        ("fit", ("--data_dir",)),
        ("fit", ("--titles",)),
        ("fit", ("--config",)),
        ("fit", ("--dataset", "interactions", "--path")),
        ("fit", ("--dataset", "amazon", "--raw_dir")),
        ("compare", ("--output_dir",)),
        ("evaluate", ("--run",)),
        ("report", ("--run", "x", "--comparison")),
        ("serving.export", ("--run", "x", "--export_dir")),
        ("serving.local_server", ("--export_dir",)),
    ],
)
def test_an_address_is_refused_before_anything_is_made(
    main, options, address, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(main if "." in main else f"tf_syncrec.{main}")
    with pytest.raises(InputError) as caught:
        module.main([*options, address])
    assert options[-1] in str(caught.value) and f"{address}: is an address" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_address_is_refused_in_python_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (
        lambda: tf_syncrec.load("gs://bucket/run"),
        lambda: tf_syncrec.fit(dataset="synthetic", output_dir="gs://bucket/run", verbose=False),
        lambda: prepare("synthetic", data_dir="gs://bucket/data", report=None),
    ):
        with pytest.raises(InputError, match=r"gs://bucket/\w+: is an address"):
            call()
    assert not list(tmp_path.iterdir())


def test_a_name_with_a_colon_is_a_name(tmp_path, monkeypatch):
    """PyArrow reads `exp:1/x` as an address, unless a file of that name is there already."""
    monkeypatch.chdir(tmp_path)
    Path("log:1.csv").write_text(
        "user_id,item_id,domain,timestamp\n"
        + "".join(
            f"u{user},i{step},{'ab'[step % 2]},{step}\n" for user in range(5) for step in range(4)
        )
    )
    prepared = prepare("interactions", path="log:1.csv", data_dir="data:1", report=None)
    assert len(prepared.catalogue.domains) == 2 and Path("data:1").is_dir()
    catalogue_file = RunDirectory("run:1").catalogue_file
    catalogue_file.parent.mkdir()
    prepared.catalogue.save(catalogue_file)
    assert Path("run:1/items.parquet").exists()
