"""Breaks the program on purpose, one place at a time, and asks whether a test notices.

`python -m tests.mutants.run` applies each mutant of `list.toml` to a copy of the tree and runs the
tests that are named beside it. What was found is kept in `build/mutants`, a file a mutant, until
the mutant, its source or its tests change: a run that was stopped goes on, and several may run at
once, each with a share of the list. Where all are tried `docs/mutants.md` is written.
"""

import argparse
import gc
import hashlib
import importlib
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("list.toml")
PAGE = ROOT / "docs" / "mutants.md"
FOUND = ROOT / "build" / "mutants"
MOST_SECONDS = 1800
"""Of a mutant; tests that hang say nothing."""
PRELOADED = ("tensorflow", "keras", "scipy.stats", "ibis", "pyarrow.parquet", "hypothesis")
"""What tests import, and nothing of ours: it takes longer than most tests."""
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "runs", "raw", "data_cache")


@dataclass(frozen=True)
class Mutant:
    """A change that some test must notice.

    Attributes:
        name: what is wrong then.
        file: of the source, from the root.
        text: what stands there, once.
        mutated: what stands there then.
        tests: files of tests, or single tests, in the order in which they are run.
        excused: why no test can notice; empty where one has to.
    """

    name: str
    file: str
    text: str
    mutated: str
    tests: tuple[str, ...]
    excused: str = ""

    def key(self, tree: Path = ROOT) -> str:
        """Changes with what the outcome depends on most: the mutant, its source and its tests."""
        files = [self.file, *dict.fromkeys(test.partition("::")[0] for test in self.tests)]
        parts = [json.dumps(asdict(self)), *((tree / file).read_text() for file in files)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def result_file(self) -> Path:
        """Where the outcome is kept."""
        return FOUND / (re.sub(r"\W+", "-", self.name) + ".json")

    def result(self) -> dict[str, Any] | None:
        """The outcome, `{"key", "outcome", "by", "seconds"}`; None if there is none of today."""
        if not self.result_file.exists():
            return None
        found = json.loads(self.result_file.read_text())
        return found if found["key"] == self.key() else None


def mutants() -> list[Mutant]:
    """All of the list."""
    rows = tomllib.loads(LIST.read_text())["mutant"]
    return [Mutant(**row | {"tests": tuple(row["tests"])}) for row in rows]


def pytest(tree: Path, tests: Sequence[str], *options: str) -> tuple[int | None, str]:
    """Runs tests of a tree in a fork of this process, to which TensorFlow is no news.

    Of whole files the fast ones; a test that is named is run however long it takes.

    Returns:
        Exit code, None after too long a time, and what was said.
    """
    fast = [] if all("::" in test for test in tests) else ["-m", "not slow"]
    command = ["-q", "-p", "no:cacheprovider", *fast, *options, *tests]
    with tempfile.TemporaryFile("w+") as said:
        fork = multiprocessing.get_context("fork")
        child = fork.Process(target=_run_pytest, args=(tree, command, said.fileno()))
        child.start()
        child.join(MOST_SECONDS)
        code = child.exitcode
        child.kill()
        said.seek(0)
        return code, said.read()


def _run_pytest(tree: Path, command: list[str], said: int) -> None:
    for stream in (1, 2):
        os.dup2(said, stream)
    os.chdir(tree)
    # Nothing of the tree that is not broken; and of a source that changes twice in a second, the
    # bytecode of the first would pass for that of the second.
    sys.path[:] = [str(tree), *(folder for folder in sys.path if Path(folder).resolve() != ROOT)]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # no test needs any
    sys.exit(importlib.import_module("pytest").main(command))


def try_out(mutant: Mutant, tree: Path) -> tuple[str, str]:
    """Outcome, and what noticed it or is wrong with it; the tree is as before afterwards."""
    file = tree / mutant.file
    source = file.read_text()
    if source.count(mutant.text) != 1:
        return "text not found", f"{source.count(mutant.text)} times in {mutant.file}"
    file.write_text(source.replace(mutant.text, mutant.mutated))
    try:
        code, said = pytest(tree, mutant.tests, "-x")
    finally:
        file.write_text(source)
    noticed = re.search(r"^(?:FAILED|ERROR) (\S+::.+?)(?: - |$)", said, re.MULTILINE)
    if code == 1 and noticed:
        return "killed", noticed[1]
    if code == 0:
        return "survived", ""
    return "error", f"pytest ended with {code}: {said[-500:]}"


def run(some: Sequence[Mutant]) -> bool:
    """Tries out what has no outcome yet, and whether the tests that noticed pass without; if so."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as in `conftest.py`
    for module in PRELOADED:
        importlib.import_module(module)
    gc.freeze()  # forks collect only what is theirs
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        noticed = set()
        for number, mutant in enumerate(some, 1):
            found = mutant.result()
            if found is None:
                start = time.perf_counter()
                outcome, by = try_out(mutant, tree)
                seconds = round(time.perf_counter() - start)
                found = {"key": mutant.key(tree), "outcome": outcome, "by": by, "seconds": seconds}
                FOUND.mkdir(parents=True, exist_ok=True)
                mutant.result_file.write_text(json.dumps(found))
                noticed |= {by} if outcome == "killed" else set()
            print(
                f"[{number:3}/{len(some)}] {found['outcome']:9} {found['seconds']:4} s  "
                f"{mutant.name}: {found['by']}",
                flush=True,
            )
        if not noticed:
            return True
        print(f"Whether the {len(noticed)} tests that noticed pass without mutants ...", flush=True)
        code, said = pytest(tree, sorted(noticed))
        print("They do." if code == 0 else f"pytest ended with {code}: {said}")
        return code == 0


def page(some: Sequence[Mutant]) -> str:
    """`docs/mutants.md`, of mutants that have an outcome."""
    rows, excused = [], []
    for mutant in some:
        found = mutant.result()
        assert found is not None
        by = f"`{found['by']}`" if found["outcome"] == "killed" else found["outcome"]
        if mutant.excused and found["outcome"] == "survived":
            excused.append(f"- **{mutant.name}** (`{mutant.file}`): {mutant.excused}")
            by = "excused"
        by = re.sub(r"tests/[\w/]*/", "", by).replace("|", r"\|")
        rows.append(f"| {mutant.name} | `{mutant.file}` | {by} |")
    outcomes = [row.rpartition(" | ")[2] for row in rows]
    killed = sum(outcome.startswith("`") for outcome in outcomes)
    lines = [
        "# Mutants",
        "",
        "What if a line were wrong: would a test notice? `make mutants` breaks the program in the "
        "places below, one at a time in a copy",
        "of the tree, and runs the tests beside them ([why a list](decisions/mutants-by-hand.md)). "
        "The list is `tests/mutants/list.toml`; this page is",
        "written by `python -m tests.mutants.run`.",
        "",
        f"Tried {len(rows)}, killed {killed}, excused {len(excused)}, "
        f"survived {len(rows) - killed - len(excused)}.",
        "",
        "| what is wrong then | file | noticed by |",
        "| --- | --- | --- |",
        *rows,
        *(["", "No test can notice:", "", *excused] if excused else []),
    ]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the list, or a part of it; 1 where a mutant survives or cannot be tried."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.mutants.run")
    parser.add_argument("--only", metavar="NAME", help="the mutants with this in their name")
    parser.add_argument(
        "--share", metavar="I/N", default="1/1", help="every N-th mutant, from the I-th on"
    )
    args = parser.parse_args(argv)
    first, of = (int(number) for number in args.share.split("/"))
    listed = mutants()
    some = [each for each in listed if not args.only or args.only in each.name][first - 1 :: of]
    if not some:
        parser.error(f"--only {args.only}: no mutant has such a name")
    passing = run(some)
    results = [mutant.result() for mutant in listed]
    if all(results):
        PAGE.write_text(page(listed))
        print(f"Wrote {PAGE}")
    bad = []
    for mutant in some:
        outcome = (mutant.result() or {"outcome": "changed on the way"})["outcome"]
        if outcome != "killed" and not (outcome == "survived" and mutant.excused):
            bad.append(f"{mutant.name}: {outcome}")
            print(bad[-1])
    return int(bool(bad) or not passing)


if __name__ == "__main__":
    sys.exit(main())
