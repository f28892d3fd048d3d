"""What the runner says of a mutant, on a tree of two files."""

import json
import subprocess
import sys

from tests.mutants.run import ROOT

# In a process of its own: the runner forks, which one that computes with TensorFlow should not.
PROGRAM = """
import json, pathlib, sys
from tests.mutants.run import Mutant, try_out
tree = pathlib.Path(sys.argv[1])
for text, mutated in json.loads(sys.argv[2]):
    mutant = Mutant("name", "thing.py", text, mutated, ("test_thing.py",))
    print(json.dumps(try_out(mutant, tree)))
"""
SOURCE = "def double(x):\n    return 2 * x\n\n\ndef unused(x):\n    return x\n"
TEST = "from thing import double\n\ndef test_two():\n    assert double(1) == 2\n"


def test_a_mutant_is_killed_survives_or_cannot_be_tried(tmp_path):
    (tmp_path / "thing.py").write_text(SOURCE)
    (tmp_path / "test_thing.py").write_text(TEST)
    changes = [
        ("2 * x", "3 * x"),
        ("    return x\n", "    return 1\n"),  # which nobody calls
        ("2 * x", "1 + x"),  # of which the test cannot know; and the first one is gone
        ("4 * x", "5 * x"),
        ("x", "y"),  # stands there more than once
        ("return 2 * x", "return ("),  # is no Python
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps(changes)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    outcomes, details = zip(*map(json.loads, done.stdout.splitlines()), strict=True)
    assert outcomes == (
        *("killed", "survived", "survived"),
        *("text not found", "text not found", "error"),
    )
    assert details[0] == "test_thing.py::test_two"
    assert "SyntaxError" in details[5]
    assert (tmp_path / "thing.py").read_text() == SOURCE
