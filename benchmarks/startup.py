"""What a command costs before it works: CPU seconds and memory of `--help` and of mistakes.

python -m benchmarks.startup
"""

import os
import subprocess
import sys

COMMANDS = {
    "tf_syncrec.fit": [
        *("--help", "--version", "--dataset synthetik", "--set model.dimm=3"),
        *("--config nowhere", "--dataset interactions --path /nowhere.csv"),
    ],
    "tf_syncrec.evaluate": ["--help", "--run /nowhere"],
    "tf_syncrec.compare": ["--help", "--models syncrek", "--preset main --grid model.dimm=3,4"],
    "tf_syncrec.report": ["--help", "--run /nowhere"],
    "serving.export": ["--help", "--run /nowhere"],
    "serving.local_server": ["--help", "--export_dir /nowhere"],
}
"""Options that end at once, by module."""


def cost(arguments: list[str]) -> tuple[float, float]:
    """CPU seconds and the most memory, MB, of a process that Python runs."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0  # it is waited for
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    print(f"{'CPU s':>6} {'MB':>5}")
    rows = [["-c", f"import {name}"] for name in ("sys", "tf_syncrec", "tf_syncrec.layers")]
    rows += [["-m", module, *text.split()] for module, texts in COMMANDS.items() for text in texts]
    for arguments in rows:
        cost(arguments)  # the first time, files are read from the disk
        seconds, megabytes = min(cost(arguments) for _ in range(3))
        print(f"{seconds:6.2f} {megabytes:5.0f}  {' '.join(arguments[1:])}", flush=True)


if __name__ == "__main__":
    main()
