"""The local server as a process of its own, for the scripts that measure it."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def local_server(export_dir: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Starts it on a free port and yields its URL and process id; ends it afterwards."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.local_server"),
            *("--export_dir", str(export_dir), "--port", "0"),
            *options,
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if " at http://" in line:
                url = line.split(" at ")[1].split()[0]
                break
        else:
            raise RuntimeError(f"the server did not start: exit code {process.wait()}")
        # What it goes on to say must not fill the pipe.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


def resident_mib(pid: int) -> float:
    """Memory of a process, from /proc."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
