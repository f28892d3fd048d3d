"""All nights that are due: check the log, train on, judge, serve, answer everybody.

    python examples/nightly/night.py --logs logs --work work

`logs` has a file a day, named by its date: `2024-05-01.csv`. The night of a day trains on the days
before it, and the day itself judges what was trained, as nobody has learned from it yet; the next
night does. What a night leaves in `work` is there for whoever serves: `served/syncrec`, from which
TensorFlow Serving and `python -m serving.local_server --export_dir work/served/syncrec` take a new
version by themselves, and `recs.parquet`.

Each step that is done is noted in `work/nights/DAY/night.json`: after a kill, the same command goes
on. A log that is held back is left out of this night and of all later ones, until somebody has
looked at it and says `--accept DAY`.

Exit code 0: all is done. 3: all is done, and something was held back. Any other: give the command
again.
"""

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tf_syncrec
from tf_syncrec import recommend
from tf_syncrec.gate.__main__ import HELD_BACK
from tf_syncrec.gate.__main__ import main as gate

AFRESH_EVERY = 28
"""Nights after which a training begins anew (docs/nights.md says why)."""

LEAST_DAILY_ROWS = 0.5
"""Of the usual ones; with fewer, a log is held back."""


class Night:
    """The night of a day: its steps, each of which is done once.

    Args:
        logs: folder of the daily logs.
        work: folder of everything else.
        day: name of a log, without its suffix.
    """

    def __init__(self, logs: Path, work: Path, day: str):
        self.logs, self.work, self.day = logs, work, day
        self.folder = work / "nights" / day
        self.run_dir = self.folder / "run"

    @property
    def notes(self) -> dict[str, Any]:
        """What is done: `{step: what came of it}`."""
        file = self.folder / "night.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def note(self, **steps: Any) -> None:
        """Notes that steps are done."""
        _write(self.folder / "night.json", json.dumps(self.notes | steps, indent=1) + "\n")

    def once(self, step: str, do: Callable[[], Any]) -> Any:
        """What a step gave, which is done if it was not done before."""
        if step not in self.notes:
            print(f"{self.day}: {step} ...", flush=True)
            begun = time.time()
            result = do()
            self.note(**{step: result, f"{step} seconds": round(time.time() - begun, 1)})
        return self.notes[step]

    def accepted(self) -> list[str]:
        """Earlier days whose logs may be learned from."""
        days = [day for day in days_of(self.logs) if day < self.day]
        return [
            day for day in days if Night(self.logs, self.work, day).notes.get("check") != "held"
        ]

    def links(self, name: str, days: Sequence[str]) -> Path:
        """A folder with the logs of some days, as one log."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for day in days:
            file = log_of(self.logs, day)
            (folder / file.name).symlink_to(file.absolute())
        return folder

    def do(self, settings: dict[str, Any]) -> bool:
        """Does what is left of the night; returns whether something was held back."""
        current = _read(self.work / "current.json")
        before = self.accepted()
        if not before:  # the first day of all: there is nothing to learn from yet
            self.note(check="first", finished=True)
            return False
        log, whole = self.links("log", before), self.links("whole", [*before, self.day])
        check = self.once("check", lambda: self.check(whole, current))
        verdict = check
        if check != "held":
            self.once("fit", lambda: self.fit(log, current, settings))
            verdict = self.once("judge", lambda: self.judge(current))
            if verdict != "held":
                self.once("serve", self.serve)
        answered = whole if check != "held" else log
        self.once("answer", lambda: self.answer(answered))
        self.note(finished=True)
        return verdict == "held"

    def check(self, whole: Path, current: dict[str, Any]) -> str:
        """Whether the log of the day may be learned from, before a training is spent on it."""
        if not current:
            return "first"
        return _passes(
            *("--candidate_data", whole, "--current", current["run"]),
            *("--daily_rows", self.daily_rows(current, self.day)),
            *("--output", self.folder / "check.json"),
        )

    def daily_rows(self, current: dict[str, Any], last: str) -> float:
        """The gate's limit of rows a day: days that were held back have none.

        Args:
            current: what is served.
            last: the newest day that is compared.
        """
        days = [day for day in days_of(self.logs) if current["learned"] < day <= last]
        there = [day for day in days if day in (*self.accepted(), last)]
        return LEAST_DAILY_ROWS * len(there) / max(len(days), 1)

    def fit(self, log: Path, current: dict[str, Any], settings: dict[str, Any]) -> str:
        """Goes on from the run that is served, or begins anew."""
        options: dict[str, Any] = {
            "output_dir": self.run_dir,
            "data_dir": self.work / "data",
            "resume": True,
        }
        nights = current.get("nights", 0)
        if current and nights % AFRESH_EVERY:
            tf_syncrec.fit(init_from=current["run"], path=log, **options)
        else:
            tf_syncrec.fit(dataset="interactions", path=log, **settings, **options)
        return str(self.run_dir)

    def judge(self, current: dict[str, Any]) -> str:
        """Whether the day is foretold as well as by the run that is served."""
        if not current:
            return "first"
        return _passes(
            *("--candidate", self.run_dir, "--current", current["run"]),
            *("--daily_rows", self.daily_rows(current, self.accepted()[-1])),
            *("--test", log_of(self.logs, self.day), "--output", self.folder / "judge.json"),
        )

    def serve(self) -> int:
        """Puts the export where the server looks, whole, under the next number."""
        current = _read(self.work / "current.json")
        if current.get("day") == self.day:  # killed after it was done, and before it was noted
            return current["version"]
        served = self.work / "served" / "syncrec"
        served.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(each.name) for each in served.glob("[0-9]*")), default=0)
        aside = self.work / "version.partial"
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(self.run_dir / "export" / "syncrec" / "1", aside)
        aside.rename(served / str(number))
        nights = current.get("nights", 0) + 1
        now = {"run": str(self.run_dir), "day": self.day, "version": number, "nights": nights}
        now["learned"] = self.accepted()[-1]
        _write(self.work / "current.json", json.dumps(now) + "\n")
        return number

    def answer(self, log: Path) -> str:
        """Answers to everybody by what is served now."""
        served, output = self.work / "served" / "syncrec", self.work / "recs.parquet"
        options = {"--export_dir": served, "--input": log, "--output": output}
        recommend.main([str(word) for option in options.items() for word in option])
        return str(output)


def days_of(logs: Path) -> list[str]:
    """Names of the daily logs, oldest first."""
    return sorted(file.name.split(".")[0] for file in logs.iterdir() if file.name[0] != ".")


def log_of(logs: Path, day: str) -> Path:
    """The log of a day."""
    (file,) = logs.glob(f"{day}.*")
    return file


def _passes(*options: Any) -> str:
    """What the gate says."""
    try:
        gate([str(option) for option in options])
    except SystemExit as ended:
        if ended.code != HELD_BACK:
            raise
        return "held"
    return "passed"


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.partial")
    new.write_text(text)
    os.replace(new, file)


@contextlib.contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keeps a second command from beginning while a night is long."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"{work}: another process is at work there")
        yield


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--logs", type=Path, required=True, help="a log a day, named by its date")
    parser.add_argument("--work", type=Path, required=True, help="runs, exports, answers")
    parser.add_argument("--accept", metavar="DAY", help="learn from a log that was held back")
    parser.add_argument("--config", help="settings of a training that begins anew")
    args = parser.parse_args()
    settings = {"config": args.config} if args.config else {}
    held = []
    with _alone(args.work):
        for day in days_of(args.logs):
            night = Night(args.logs, args.work, day)
            if day == args.accept:
                night.note(check="accepted")
            if not night.notes.get("finished") and night.do(settings):
                held.append(day)
    if held:
        print(f"Held back: {', '.join(held)}", file=sys.stderr)
        sys.exit(HELD_BACK)


if __name__ == "__main__":
    main()
