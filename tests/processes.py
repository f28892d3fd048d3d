"""Scripts in processes of their own, since TensorFlow fixes its devices once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def last_line(script: str) -> Any:
    """What the last line that a Python script prints says as JSON; it sees no GPU."""
    root = Path(__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])
