"""Imports change nothing in the process, and commands load nothing before they know their task."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import data_prep
import tf_syncrec
from tf_syncrec.utils.keras_setup import check_keras
from tf_syncrec.utils.parallel import available_cores
from tf_syncrec.utils.version import version_line

ROOT = Path(__file__).parent.parent
COMMANDS = ("fit", "evaluate", "compare", "report")
MODULES = (*(f"tf_syncrec.{name}" for name in COMMANDS), "serving.export", "serving.local_server")
HEAVY = {"tensorflow", "keras", "tf_keras", "ibis", "duckdb", "matplotlib", "tensorflow_datasets"}
SETTINGS_OF_KERAS = ("KERAS_BACKEND", "KERAS_HOME", "TF_CPP_MIN_LOG_LEVEL", "TF_USE_LEGACY_KERAS")
SETTINGS_OF_THREADS = ("TF_NUM_INTRAOP_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """A process of its own, in which nothing is set or loaded yet."""
    settings = SETTINGS_OF_KERAS + SETTINGS_OF_THREADS
    clean = {key: value for key, value in os.environ.items() if key not in settings}
    return subprocess.run(
        [sys.executable, *arguments],
        env=clean | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def result_of(script: str, *arguments: str, **environment: str):
    """What a script prints last, as JSON; it must end well and say nothing of its own."""
    done = python("-c", script, *arguments, **environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


# ------------------------------------------------------------------------------------- commands

COMMANDS_BY_FORKING = """
import json, os, runpy, sys

import tf_syncrec.config  # what all of them begin with

answers = os.fdopen(os.dup(1), "w")
for descriptor in (1, 2):
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
for line in sys.stdin:
    if os.fork():
        os.wait()
        continue
    module, sys.argv[1:] = json.loads(line)
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    print(json.dumps({"code": code, "loaded": sorted(sys.modules)}), file=answers, flush=True)
    os._exit(0)
"""
"""Runs commands that are asked for one a line, each in a copy of a process that has only begun:
a tenth of the time of a new process."""


@pytest.fixture(scope="module")
def loaded_by():
    """`loaded_by(module, *options)`: its exit code, and what of `HEAVY` it has imported."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS_BY_FORKING],
        env={key: value for key, value in os.environ.items() if key not in SETTINGS_OF_KERAS},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as commands:
        given, said = commands.stdin, commands.stdout
        assert given is not None and said is not None

        def ask(module, *options):
            print(json.dumps([module, options]), file=given, flush=True)
            found = json.loads(said.readline())
            return found["code"] or 0, HEAVY & set(found["loaded"])

        yield ask
        given.close()


@pytest.mark.parametrize("module", MODULES)
def test_help_loads_nothing_heavy(module, loaded_by):
    assert loaded_by(module, "--help") == (0, set())


MISTAKES: dict[str, list[tuple[str, ...]]] = {
    "a word that is none": [
        ("tf_syncrec.fit", "--dataset", "synthetik"),
        ("tf_syncrec.evaluate", "--run", "x", "--split", "tset"),
        ("tf_syncrec.compare", "--models", "syncrek"),
        ("serving.export", "--run", "x", "--index", "scan"),
        ("serving.local_server", "--export_dir", "x", "--port", "http"),
    ],
    "no such option": [(module, "--epoch", "3") for module in MODULES],
    "no such setting": [
        ("tf_syncrec.fit", "--set", "model.dimm=3"),
        ("tf_syncrec.compare", "--preset", "main", "--set", "model.dimm=3"),
        ("tf_syncrec.compare", "--preset", "main", "--grid", "model.dimm=3,4"),
    ],
    "no such file": [
        ("tf_syncrec.fit", "--config", "nowhere"),
        ("tf_syncrec.fit", "--dataset", "interactions", "--path", "/nowhere.csv"),
        ("tf_syncrec.fit", "--dataset", "amazon", "--raw_dir", "/nowhere"),
        ("tf_syncrec.fit", "--resume", "--output_dir", "/nowhere"),
        ("tf_syncrec.evaluate", "--run", "/nowhere"),
        ("tf_syncrec.compare", "--preset", "main", "--dataset", "amazon", "--raw_dir", "/nowhere"),
        ("tf_syncrec.report", "--run", "/nowhere"),
        ("serving.export", "--run", "/nowhere"),
        ("serving.local_server", "--export_dir", "/nowhere"),
        ("serving.local_server", "--export_dir", ".", "--model_config_file", "/nowhere"),
    ],
}


@pytest.mark.parametrize("command", [*itertools.chain(*MISTAKES.values())], ids=" ".join)
def test_a_mistake_is_told_before_anything_heavy_is_loaded(command, loaded_by):
    assert loaded_by(*command) == (2, set())


@pytest.mark.parametrize("module", MODULES)
def test_every_command_says_its_version(module):
    done = python("-m", module, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == version_line() + "\n"


THREADS_OF_NUMPY = """
import json, os, sys

sys.orig_argv = ["python", "-m", "tf_syncrec.fit"]
import tf_syncrec, numpy

numpy.ones([512, 512]) @ numpy.ones([512, 512])
print(json.dumps([os.environ["OPENBLAS_NUM_THREADS"], len(os.listdir("/proc/self/task"))]))
"""


def test_numpy_has_one_thread_in_a_command_unless_the_user_says_otherwise():
    assert result_of(THREADS_OF_NUMPY) == ["1", 1]
    said = result_of(THREADS_OF_NUMPY, OPENBLAS_NUM_THREADS="3")
    assert said == ["3", min(available_cores(), 3)]


THREADS_OF_AN_OPERATION = """
import json

from tf_syncrec.cli import load_tensorflow
from tf_syncrec.utils import parallel

load_tensorflow(side_by_side=False)
from tensorflow.config import threading

found = [threading.get_intra_op_parallelism_threads()]
for set_before, cores in ((0, 1), (0, 2), (0, 3), (0, 8), (5, 8)):
    threading.set_intra_op_parallelism_threads(set_before)
    parallel.available_cores = lambda: cores
    load_tensorflow()
    found.append(threading.get_intra_op_parallelism_threads())
print(json.dumps(found))
"""


def test_an_operation_has_half_of_the_cores_unless_the_user_says_otherwise():
    assert result_of(THREADS_OF_AN_OPERATION) == [0, 1, 1, 1, 4, 5]
    said = result_of(THREADS_OF_AN_OPERATION, TF_NUM_INTRAOP_THREADS="3")
    assert said == [0, 0, 0, 0, 0, 5]  # TensorFlow reads that itself


# -------------------------------------------------------------------------------------- imports

CHANGES = """
import json, logging, os, sys

def state():
    return [dict(os.environ), os.fstat(2).st_ino, os.listdir("/proc/self/fd"), logging.root.level]

before, loaded = state(), set(sys.modules)
__import__(sys.argv[1])
print(json.dumps({"same": state() == before, "loaded": sorted(set(sys.modules) - loaded)}))
"""


@pytest.mark.parametrize("package", ["tf_syncrec", "data_prep", "serving"])
def test_importing_a_package_changes_nothing_and_loads_nothing(package):
    found = result_of(CHANGES, package)
    assert found["same"]
    assert {name.partition(".")[0] for name in found["loaded"]} <= {package} | set(
        sys.stdlib_module_names
    )


@pytest.fixture(scope="module")
def networks():
    """A process that has imported the networks, where TensorFlow may say all that it has to."""
    return python("-c", CHANGES, "tf_syncrec.models.syncrec", TF_CPP_MIN_LOG_LEVEL="0")


@pytest.mark.slow
def test_the_networks_load_nothing_that_prepares_data(networks):
    loaded = set(json.loads(networks.stdout.splitlines()[-1])["loaded"])
    assert "tf_syncrec.layers" in loaded
    assert not {"tensorflow_datasets", "ibis", "duckdb"} & loaded


def test_tensorflow_may_be_asked_to_speak(networks):
    """In commands it is quiet otherwise, which `test_fit.test_as_a_command` sees."""
    assert networks.stderr != ""  # what it has to say depends on the machine


def test_the_names_of_models_load_no_network():
    assert not HEAVY & set(result_of(CHANGES, "tf_syncrec.comparison.names")["loaded"])


def test_public_names_are_there_when_they_are_asked_for():
    for package in (tf_syncrec, data_prep):
        assert set(package.__all__) <= set(dir(package))
        for name in package.__all__:
            assert callable(getattr(package, name)), name
        with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
            package.nonsense  # noqa: B018
    assert tf_syncrec.SyNCRec.__module__ == "tf_syncrec.models.syncrec"


def test_prepare_is_the_function_whatever_was_imported_before():
    script = "import json, {first}; from data_prep import prepare; print(json.dumps({shown}))"
    for first in ("data_prep", "data_prep.preparation"):
        shown = "[callable(prepare), *__import__('inspect').signature(prepare).parameters][:2]"
        assert result_of(script.format(first=first, shown=shown)) == [True, "dataset"]


def test_a_callable_module_is_a_module_still(tmp_path):
    """As `tf_syncrec.fit(...)`, `python -m tf_syncrec.fit` and `fit.main()` shall be."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "fit.py").write_text(
        "from tf_syncrec.utils.callable_module import make_module_callable\n"
        "def main(): return 'main'\n"
        "def fit(dim=1): return dim\n"
        "make_module_callable(__name__, fit)\n"
        "if __name__ == '__main__': print('[\"command\"]')\n"
    )
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    script = (
        "import json, package.fit\n"
        "from package import fit\n"
        "from package.fit import main, fit as f\n"
        "print(json.dumps([fit(dim=2), fit.main(), main(), f(3), fit is package.fit]))"
    )
    assert result_of(script, **path) == [2, "main", "main", 3, True]
    assert json.loads(python("-m", "package.fit", **path).stdout) == ["command"]


# ------------------------------------------------------------------------- TensorFlow and Keras


KERAS_OTHERWISE = {
    "backend of the environment": ({"KERAS_BACKEND": "jax"}, {}, "'jax' (KERAS_BACKEND=jax)"),
    "backend of keras.json": ({}, {"backend": "torch"}, "'torch' ("),
    "the environment has precedence": (
        {"KERAS_BACKEND": "numpy"},
        {"backend": "tensorflow"},
        "'numpy'",
    ),
    "number format": ({}, {"floatx": "float64"}, "floatx 'float64'"),
    "half the number format": ({}, {"floatx": "float16"}, "floatx 'float16'"),
}


@pytest.mark.parametrize("case", KERAS_OTHERWISE)
def test_keras_that_is_set_up_otherwise_is_refused_in_one_sentence(tmp_path, case):
    environment, file, words = KERAS_OTHERWISE[case]
    (tmp_path / "keras.json").write_text(json.dumps(file))
    environment = environment | {"KERAS_HOME": str(tmp_path)}
    done = python("-m", "tf_syncrec.fit", "--output_dir", str(tmp_path / "run"), **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: tf_syncrec ") and done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not (tmp_path / "run").exists()
    for use in ("import tf_syncrec; tf_syncrec.SyNCRec", "import tf_syncrec.layers"):
        library = python("-c", use, **environment).stderr.splitlines()[-1]
        assert library == done.stderr.strip().replace("error", "ImportError")


def test_keras_that_was_set_up_otherwise_in_the_process_is_refused():
    check_keras()
    keras.config.set_floatx("float64")
    try:
        with pytest.raises(ImportError, match=r"floatx 'float64' \(keras\.config, set earlier"):
            check_keras()
    finally:
        keras.config.set_floatx("float32")


@pytest.mark.slow
def test_keras_reads_its_file_as_we_do(tmp_path):
    """We look into the file so as not to load Keras, which has the last word."""
    (tmp_path / "keras.json").write_text('{"backend": "jax", "floatx": "float16"}')
    home = {"KERAS_HOME": str(tmp_path)}
    script = (
        "import json, keras; print(json.dumps([keras.config.backend(), keras.config.floatx()]))"
    )
    assert result_of(script, **home, KERAS_BACKEND="tensorflow") == ["tensorflow", "float16"]
    assert "keras/src/backend/jax" in python("-c", script, **home, KERAS_BACKEND="").stderr


INDEX = """
import json, os, sys
exec(sys.argv[1])
import tensorflow as tf
from serving.saved_model.search.index import BruteForce, ItemIndex
import keras, tf_keras
scores, items = ItemIndex(tf.eye(12), [4, 8])(tf.eye(12)[7:8], 1, 2)
print(json.dumps({
    "best": int(items[0, 0]),
    "keras 2": issubclass(BruteForce, tf_keras.Model),
    "tf.keras": tf.keras.Model is (tf_keras if sys.argv[2:] else keras).Model,
    "environment": os.environ.get("TF_USE_LEGACY_KERAS"),
}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("before", ["pass", "import tensorflow as tf; tf.keras.Model"])
def test_the_index_finds_its_keras_and_leaves_tensorflows_as_it_was(before):
    assert result_of(INDEX, before) == {
        "best": 8,
        "keras 2": True,
        "tf.keras": True,
        "environment": None,
    }


@pytest.mark.slow
def test_the_index_works_where_legacy_keras_was_asked_for():
    found = result_of(INDEX, "pass", "legacy", TF_USE_LEGACY_KERAS="1")
    assert found == {"best": 8, "keras 2": True, "tf.keras": True, "environment": "1"}
