"""The nights that are due: check the log, train on, judge, serve, answer everybody.

    python examples/nightly/night.py --logs logs --work work

`logs` has a file a day, named by its date: `2024-05-01.csv` (.tsv, .jsonl, .parquet; .gz). Other
files are passed over. The night of a day trains on the days before it, and the day itself judges
what was trained, as nobody has learned from it yet; the next night does. What a night leaves in
`work` is there for whoever serves: `served/syncrec`, from which TensorFlow Serving and
`python -m serving.local_server --export_dir work/served/syncrec` take a new version by themselves,
and `recs.parquet`.

Each step that is done is noted in `work/nights/DAY/night.json`: after a kill, the same command goes
on. A log that is held back is left out of this night and of all later ones, until somebody has
looked at it and says `--accept DAY`. A log that comes after the night of a later day is learned
from in the next night, without one of its own.

Exit code 0: all is done. 3: all is done, and something was held back. Any other: give the command
again.
"""

import argparse
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tf_syncrec
from data_prep import InputError
from data_prep.files import write_whole
from tf_syncrec import recommend
from tf_syncrec.cli import run_command
from tf_syncrec.gate.__main__ import HELD_BACK
from tf_syncrec.gate.__main__ import main as gate
from tf_syncrec.utils.locks import RunLock

LOG = re.compile(r"(\d{4}-\d\d-\d\d)\.(csv|tsv|jsonl|parquet)(\.gz)?")
"""Name of the log of a day."""

AFRESH_EVERY = 28
"""Nights after which a training begins anew (docs/nightly.md says why)."""

KEPT = 7
"""Nights whose runs and prepared logs stay, and versions that can be served again."""

LEAST_DAILY_ROWS, MOST_MORE = 0.5, 1.0
"""Limits of the gate: rows a day, as part of the usual ones; and by how much a log may have grown,
on top of the days that have come to it."""


class Night:
    """The night of a day: its steps, each of which is done once.

    Args:
        work: folder of everything but the logs.
        logs: `{day: file}`, oldest first.
        day: which.
    """

    def __init__(self, work: Path, logs: dict[str, Path], day: str):
        self.work, self.logs, self.day = work, logs, day
        self.folder = work / "nights" / day
        self.run_dir = self.folder / "run"

    @property
    def notes(self) -> dict[str, Any]:
        """What is done: `{step: what came of it}`."""
        return _read(self.folder / "night.json")

    def note(self, **steps: Any) -> None:
        """Notes that steps are done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / "night.json", json.dumps(self.notes | steps, indent=1) + "\n")

    @property
    def held(self) -> bool:
        """Whether its log or its run was held back."""
        return "held" in (self.notes.get("check"), self.notes.get("judge"))

    def once(self, step: str, do: Callable[[], Any]) -> Any:
        """What a step gave, which is done if it was not done before."""
        if step not in self.notes:
            print(f"{self.day}: {step} ...", flush=True)
            begun = time.time()
            result = do()
            self.note(**{step: result, f"{step} seconds": round(time.time() - begun, 1)})
        return self.notes[step]

    def links(self, name: str, days: Sequence[str]) -> Path:
        """A folder with the logs of some days, as one log."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for day in days:
            (folder / self.logs[day].name).symlink_to(self.logs[day].absolute())
        return folder

    def do(self, before: list[str], settings: dict[str, Any]) -> None:
        """Does what is left of the night.

        Args:
            before: earlier days whose logs may be learned from; those of when the night began.
            settings: of a training that begins anew.
        """
        # What is accepted meanwhile counts from the next night on, or a kill could not be mended.
        if "before" not in self.notes:
            self.note(before=before)
        before = self.notes["before"]
        log, whole = self.links("log", before), self.links("whole", [*before, self.day])
        if self.once("check", lambda: self.check(whole, [*before, self.day])) != "held":
            self.once("fit", lambda: self.fit(log, settings))
            if self.once("judge", lambda: self.judge(before)) != "held":
                self.once("serve", lambda: self.serve(before))
            log = whole
        self.once("answer", lambda: self.answer(log))
        self.note(finished=True)

    @property
    def current(self) -> dict[str, Any]:
        """What is served: `run`, `day`, `version`, `nights`, and the days it has `learned`."""
        return _read(self.work / "current.json")

    def check(self, whole: Path, days: Sequence[str]) -> str:
        """Whether the log of the day may be learned from, before a training is spent on it."""
        return self.passes("check", days, "--candidate_data", whole)

    def judge(self, days: Sequence[str]) -> str:
        """Whether the day is foretold as well as by the run that is served."""
        test = self.logs[self.day]
        return self.passes("judge", days, "--candidate", self.run_dir, "--test", test, "--unseen")

    def passes(self, step: str, days: Sequence[str], *options: Any) -> str:
        """What the gate says of a candidate that knows some days."""
        if not self.current:
            return "first"
        learned = self.current["learned"]
        since = [day for day in self.logs if learned[-1] < day <= days[-1]]
        # Days that were held back have no rows, and a log grows by the days that come to it.
        there = LEAST_DAILY_ROWS * len([d for d in since if d in days]) / max(len(since), 1)
        more = MOST_MORE + max(len(days) - len(learned), 0) / len(learned)
        words = [*options, "--current", self.current["run"], "--daily_rows", there, "--more", more]
        try:
            gate([str(word) for word in (*words, "--output", self.folder / f"{step}.json")])
        except SystemExit as ended:
            if ended.code != HELD_BACK:
                raise
            return "held"
        except InputError as error:  # a log that cannot be read, or rows that judge nothing
            print(f"HELD BACK  {error}", file=sys.stderr)
            return "held"
        return "passed"

    def fit(self, log: Path, settings: dict[str, Any]) -> str:
        """Goes on from the run that is served, or begins anew."""
        options: dict[str, Any] = {"output_dir": self.run_dir, "resume": True}
        options["data_dir"] = self.work / "data"
        if self.current and self.current["nights"] % AFRESH_EVERY:
            try:
                tf_syncrec.fit(init_from=self.current["run"], path=log, **options)
                return "went on"
            except InputError as error:  # another network, or the run is gone
                print(f"{error}\nBeginning anew.", file=sys.stderr)
                shutil.rmtree(self.run_dir, ignore_errors=True)
        tf_syncrec.fit(dataset="interactions", path=log, **settings, **options)
        return "anew"

    def serve(self, days: Sequence[str]) -> int:
        """Puts the export where the server looks, whole, under the next number."""
        if self.current.get("day") == self.day:  # killed after it was done, and before it was noted
            return self.current["version"]
        served = self.work / "served" / "syncrec"
        served.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(each.name) for each in served.glob("[0-9]*")), default=0)
        aside = self.work / "version.partial"
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(self.run_dir / "export" / "syncrec" / "1", aside)
        aside.rename(served / str(number))
        now = {
            "run": str(self.run_dir.absolute()),
            "day": self.day,
            "version": number,
            "nights": self.current.get("nights", 0) + 1,
            "learned": days,
        }
        write_whole(self.work / "current.json", json.dumps(now) + "\n")
        return number

    def answer(self, log: Path) -> str:
        """Answers to everybody by what is served now."""
        output = self.work / "recs.parquet"
        options = {"--run": self.current["run"], "--input": log, "--output": output}
        recommend.main([str(word) for option in options.items() for word in option])
        return str(output)


def logs_in(folder: Path) -> dict[str, Path]:
    """The logs of the days, oldest first."""
    found: dict[str, Path] = {}
    if not folder.is_dir():
        raise InputError(f"--logs {folder}: no such folder")
    for file in sorted(folder.iterdir()):
        if match := LOG.fullmatch(file.name):
            if other := found.get(match[1]):
                raise InputError(f"--logs {folder}: two logs of a day, {other.name}, {file.name}")
            found[match[1]] = file
    return found


def tidy(work: Path, nights: list[Night], current: dict[str, Any]) -> None:
    """Removes what only nights of long ago need."""
    old, new = nights[:-KEPT], nights[-KEPT:]
    for night in old:
        for name in ("run", "log", "whole"):
            if str((night.folder / name).absolute()) != current.get("run"):
                shutil.rmtree(night.folder / name, ignore_errors=True)
    versions = sorted((work / "served" / "syncrec").glob("[0-9]*"), key=lambda each: int(each.name))
    for version in versions[:-KEPT]:
        shutil.rmtree(version)
    if old and new:
        begun = (new[0].folder / "night.json").stat().st_mtime
        for prepared in (work / "data" / "interactions").glob("*"):
            if prepared.stat().st_mtime < begun:
                shutil.rmtree(prepared)


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}


def main() -> None:
    """Runs the command line; SystemExit with `HELD_BACK` where something was held back."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--logs", type=Path, required=True, help="a log a day, named by its date")
    parser.add_argument("--work", type=Path, required=True, help="runs, exports, answers")
    parser.add_argument("--accept", metavar="DAY", help="learn from a log that was held back")
    parser.add_argument("--config", help="settings of a training that begins anew")
    args = parser.parse_args()
    settings = {"config": args.config} if args.config else {}
    args.work.mkdir(parents=True, exist_ok=True)
    lock = RunLock(args.work)
    if holder := lock.take():
        raise InputError(f"--work {args.work}: {holder} is at work there")
    try:
        logs = logs_in(args.logs)
        nights = [Night(args.work, logs, day) for day in logs]
        if args.accept:
            asked = [night for night in nights if night.day == args.accept]
            if not asked or asked[0].notes.get("check") != "held":
                raise InputError(f"--accept {args.accept}: no log of that day was held back")
            asked[0].note(check="accepted")
        run_nights(nights, settings)
        tidy(args.work, nights, _read(args.work / "current.json"))
        untold = [night for night in nights if night.held and not night.notes.get("told")]
        for night in untold:
            night.note(told=True)
    finally:
        lock.release()
    if untold:
        print(f"Held back: {', '.join(night.day for night in untold)}", file=sys.stderr)
        sys.exit(HELD_BACK)


def run_nights(nights: list[Night], settings: dict[str, Any]) -> None:
    """Does the nights that are due, oldest first."""
    done = [night.day for night in nights if night.notes.get("finished")]
    served = bool(nights) and bool(nights[0].current)
    for number, night in enumerate(nights):
        if night.notes.get("finished"):
            continue
        begun = "before" in night.notes
        late = bool(done) and night.day < done[-1]
        # Where nothing is served yet, all days but the last are one log to begin with.
        to_begin_with = not served and number < len(nights) - 1
        if not begun and (late or to_begin_with or number == 0):
            night.note(check="late" if late else "first", finished=True)
            continue
        before = [each.day for each in nights[:number] if each.notes.get("check") != "held"]
        night.do(before, settings)


if __name__ == "__main__":
    run_command(main)
