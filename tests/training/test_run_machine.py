"""Whatever happens to a run directory, nobody is told a wrong number and no training is lost.

A state machine: commands that are killed, stopped or met by a second one at any file event, and
between them files that are lost, damaged or of another run. What must come of it is said by
`RunMachine`, from the bytes on disk and those that were there before, without the product's help.
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import tf_syncrec
from data_prep import InputError
from serving.export import main as export
from tests.support import killed
from tests.support.file_events import Killed, bound_by_permissions, watched
from tests.support.long_runs import examples
from tests.support.tiny_runs import OPTIONS, stand_ins
from tests.test_fit import write_log
from tests.training.test_resume import FORKS, h5_arrays
from tf_syncrec.cli import run_command as command_line
from tf_syncrec.evaluate import main as evaluate
from tf_syncrec.fit import main as fit
from tf_syncrec.report import main as report
from tf_syncrec.utils.stopping import Stopped

READ = ("config.yaml", "items.parquet", "model.json", "checkpoints/best.weights.h5", "metrics.json")
"""Files without which nobody reads a run."""

WRITERS, READERS = ("fit", "resume", "begin or resume"), ("load", "evaluate", "export")
COMMANDS = WRITERS + READERS
Tree = dict[str, bytes | None]


def tree(folder: Path) -> Tree:
    """Bytes of all files, None for folders; without the lock, which stays."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else _content(path)
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def _content(file: Path) -> bytes:
    """Also of one that may not be read: a second command looks with the rights of the first."""
    try:
        return file.read_bytes()
    except PermissionError:
        return b"forbidden"


def result(folder: Path) -> dict[str, Any]:
    """What a run found, without times and exports: equal for equal trainings."""
    found: dict[str, Any] = {}
    for name, content in tree(folder).items():
        file = folder / name
        if content is None or name.startswith(("logs/", "export/")):
            continue
        if name.endswith(".h5"):
            found[name] = h5_arrays(file)
        elif name.endswith(".parquet"):
            table = pq.read_table(file)
            found[name] = table.to_pylist(), table.schema.metadata
        elif name == "files.json":
            found[name] = sorted(json.loads(content))
        elif name.endswith(".json"):
            found[name] = json.loads(content)
        else:
            found[name] = content
    found["metrics.json"].pop("training")
    found["model.json"]["config"].pop("name")  # Keras counts networks by process
    for epoch in found["history.json"]:
        del epoch["seconds"]
    return found


class Outcome(NamedTuple):
    """How a command ended: `done`, `refused`, `stopped` or `killed`; what it gave or said."""

    how: str
    said: Any = None


def run_command(command: str, directory: Path) -> Outcome:
    """A command; whatever is no message to the user is raised."""
    there = ["--output_dir", str(directory)]
    value = None
    try:
        match command:
            case "fit":
                fit([*OPTIONS, *there])
            case "resume":
                fit(["--resume", "--quiet", *there])
            case "begin or resume":
                fit(["--resume", *OPTIONS, *there])
            case "evaluate":
                evaluate(["--run", str(directory), "--protocol", "all_domains"])
                file = directory / "metrics_all_domains_test.json"
                value = json.loads(file.read_text())["test"]
            case "export":
                export(["--run", str(directory)])
                folders = (directory / "export" / "syncrec").glob("[0-9]*")
                value = tree(max(folders, key=lambda folder: int(folder.name)))
            case "load":
                run = tf_syncrec.load(directory)
                value = [
                    run.evaluate("validation"),
                    run.metrics["test"],
                    [weight.numpy().tobytes() for weight in run.model.weights],
                    run.catalogue.domains,
                    run.catalogue.item_ids.tolist(),
                    run.catalogue.counts.tolist(),
                ]
    except InputError as error:
        return Outcome("refused", str(error))
    except (Stopped, KeyboardInterrupt) as error:
        return Outcome("stopped", str(error))
    except Killed:
        return Outcome("killed")
    except PermissionError as error:  # which the command lines say in one line
        return Outcome("refused", str(error))
    return Outcome("done", value)


@pytest.fixture(scope="module", autouse=True)
def world(tmp_path_factory):
    """A run that nothing disturbed, one of another seed, and what commands find in the first."""
    with stand_ins():
        World.root = tmp_path_factory.mktemp("runs")
        World.whole, World.other = World.root / "whole", World.root / "other"
        assert run_command("fit", World.whole).how == "done"
        fit([*OPTIONS, "--seed", "7", "--output_dir", str(World.other)])
        World.result = result(World.whole)
        assert World.result != result(World.other)
        World.answers = {name: run_command(name, World.whole).said for name in READERS}
        assert World.answers != {name: run_command(name, World.other).said for name in READERS}
        yield


class World:
    """What `world` makes."""

    root: Path
    whole: Path
    other: Path
    result: dict[str, Any]
    answers: dict[str, Any]


def flip(file: Path, where: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(where * len(content))] ^= 4
    file.write_bytes(content)


def cut(file: Path, where: float) -> None:
    os.truncate(file, int(where * file.stat().st_size))


def lose(file: Path, where: float) -> None:
    shutil.rmtree(file) if file.is_dir() else file.unlink()


def put_aside(file: Path, where: float) -> None:
    file.rename(file.with_name(file.name + ".bak"))


def make_folder(file: Path, where: float) -> None:
    lose(file, where)
    file.mkdir()


def take_of_another_run(file: Path, where: float) -> None:
    for folder in file.parents:  # the same file there
        theirs = World.other / file.relative_to(folder)
        if file.is_file() and theirs.is_file():
            file.unlink()
            shutil.copyfile(theirs, file)
            return


def forbid(file: Path, where: float) -> None:
    file.chmod(0)


DAMAGES = [flip, cut, lose, put_aside, make_folder, take_of_another_run, forbid]
OF_FOLDERS = [lose, put_aside, forbid]


class RunMachine(RuleBasedStateMachine):
    """One run directory.

    Attributes:
        run: where it is.
        good: what the product left there; what differs from it is damage.
        finished: whether a training has ended there.
    """

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(dir=World.root))
        self.run = self.root / "a run"
        (self.root / "beside.txt").write_text("mine")
        self.good: Tree = {}
        self.finished = False
        self.versions = 0
        self.copies = 0
        self.extra: set[str] = set()

    def teardown(self):
        self._permit()
        shutil.rmtree(self.root)

    # ------------------------------------------------------------------------------- what is there

    def _spoiled(self) -> set[str]:
        """Files that are not as the product left them, those that are gone, and folders."""
        now = self._now()
        return {name for name, content in self.good.items() if now.get(name, b"gone") != content}

    def _now(self) -> Tree:
        self._forbidden = {
            str(path.relative_to(self.run))
            for path in ([*self.run.rglob("*")] if self.run.exists() else [])
            if path.stat().st_mode & 0o700 == 0
        }
        now = tree(self.run) if self.run.exists() else {}
        return {
            name: b"forbidden" if self._is_forbidden(name) else content
            for name, content in now.items()
        }

    def _is_forbidden(self, name: str) -> bool:
        return any(f"{name}/".startswith(f"{folder}/") for folder in self._forbidden)

    def _steps(self) -> list[str]:
        """Checkpoints on disk, whole or not."""
        return sorted(path.name for path in self.run.glob("checkpoints/step-*"))

    def _whole_step(self) -> bool:
        spoiled = self._spoiled()
        return any(
            not any(name.startswith(f"checkpoints/{step}") for name in spoiled)
            and not set(self._files_of(step)) - set(self.good)
            for step in self._steps()
        )

    @staticmethod
    def _files_of(step: str) -> list[str]:
        """What a whole checkpoint has; one that was being removed at a kill lacks some of it."""
        names = ["files.json", "state.json", "variables.h5", "best.weights.h5", "optimizer.h5"]
        return [f"checkpoints/{step}/{name}" for name in names[: 3 if step.endswith("1") else 5]]

    def _permit(self) -> None:
        for path in [self.run, *self.run.rglob("*")] if self.run.exists() else []:
            path.chmod(0o700)

    # ---------------------------------------------------------------------------------- commands

    @initialize(moment=st.integers(1, 260), finished=st.booleans())
    def begin(self, moment, finished):
        """Most things can only happen to a run that is there."""
        self._command("fit", None if finished else moment, "kill")

    @rule(command=st.sampled_from(COMMANDS))
    def command(self, command):
        """Undisturbed."""
        self._command(command, None, None)

    @rule(
        command=st.sampled_from(COMMANDS),
        moment=st.integers(1, 260),
        then=st.sampled_from(["kill", "kill", signal.SIGTERM, signal.SIGINT]),
    )
    def command_that_ends_early(self, command, moment, then):
        self._command(command, moment, then)

    @rule(
        command=st.sampled_from(COMMANDS),
        moment=st.integers(1, 260),
        second=st.sampled_from(COMMANDS),
    )
    def command_that_is_not_alone(self, command, moment, second):
        self._command(command, moment, second)

    def _command(self, command: str, moment: int | None, then: Any) -> None:
        """Runs a command and judges what came of it."""
        before, outside = self._now(), self._outside()
        readable, going_on = self._readable(), self._going_on(command)
        reported = "report.html" not in self._spoiled()
        seconds: list[Outcome] = []
        ended: list[Tree] = []

        def second():
            here = self._now()
            with watched(self.root):  # its events are its own
                seconds.append(run_command(then, self.run))
            if seconds[0].how == "refused":
                assert self._now() == here, f"{then} was refused ({seconds[0].said}) and wrote"
            if then in WRITERS and seconds[0].how == "done":
                ended.append(self._now())

        what = {None: "kill", "kill": "kill"}.get(then, second)
        if isinstance(then, signal.Signals):
            what = lambda: os.kill(os.getpid(), then)  # noqa: E731
        with contextlib.ExitStack() as ends:
            ends.enter_context(bound_by_permissions())
            watch = ends.enter_context(watched(self.root, moment, what))
            # What the system does with a process that does not listen.
            old = signal.signal(signal.SIGTERM, lambda *arguments: watch.kill())
            ends.callback(signal.signal, signal.SIGTERM, old)
            outcome = run_command(command, self.run)
        hypothesis.note(f"{command}: {outcome}, second: {seconds}")
        if moment is not None and watch.seen >= moment:
            hypothesis.event(f"{then} in {command}: {outcome.how}")
        else:
            hypothesis.event(f"{command}: {outcome.how}")
        assert self._outside() == outside, "something outside the run has changed"
        if ended and command in WRITERS:
            assert not self._differences(ended[0]), f"{command} and {then} both wrote the run"
        self._judge(command, outcome, seconds, then, before, readable, going_on, reported)

    def _judge(self, command, outcome, seconds, then, before, readable, going_on, reported):
        now = self._now()
        writers = [
            how
            for name, how in ((command, outcome), *((then, each) for each in seconds))
            if name in WRITERS
        ]
        done = [each for each in writers if each.how == "done"]
        if outcome.how == "refused" and not any(each.how == "done" for each in seconds):
            assert now == before, f"{command} was refused and changed the run: {outcome.said}"
        if command in READERS and outcome.how == "done":
            self._right(command, outcome)
        for each in seconds:
            if then in READERS and each.how == "done":
                self._right(then, each)
        if command in READERS and not seconds:
            if readable == "yes":
                assert outcome.how != "refused", f"{command} of a whole run: {outcome.said}"
            elif readable == "no":
                assert outcome.how != "done", f"{command} of a run that is not there"
            if self.finished and outcome.how == "refused":
                assert self._names_damage(outcome), outcome
        if command in WRITERS and not seconds:
            if going_on == "yes":
                assert outcome.how != "refused", f"{command} could have gone on: {outcome.said}"
            elif going_on == "no":
                assert outcome.how != "done", f"{command} should have been refused"
        if self.finished and outcome.how == "done" and reported:
            written = self._differences(before) if command in WRITERS and not seconds else set()
            assert not written, f"{command} wrote to a finished run: {written}"
        was = self.finished
        if done:
            self.finished = True
        damaged = self._spoiled()
        kept = {name: self.good[name] for name in damaged if before.get(name) == now.get(name)}
        self.good = {
            name: content for name, content in self._now().items() if content != b"forbidden"
        } | kept
        for name in set(self._now()) - set(before):
            if name.startswith("metrics_all_domains"):
                self.extra.add(name)
        if done and not was:
            self._check_end()

    def _right(self, command, outcome) -> None:
        assert outcome.said == World.answers[command], f"{command} gave another answer"

    def _names_damage(self, outcome) -> bool:
        """Whether a refusal says which file it is, and of which run."""
        named = any(Path(name).name in outcome.said for name in self._spoiled())
        return bool(self._forbidden) or (named and str(self.run) in outcome.said)

    def _differences(self, before: Tree) -> set[str]:
        """Files that are not as they were, but for what may go."""
        now = self._now()
        names = {name for name in {*before, *now} if not self._may_go(name)}
        return {name for name in names if before.get(name, b"gone") != now.get(name, b"gone")}

    @staticmethod
    def _may_go(name: str) -> bool:
        """What a run needs no more when it is finished."""
        return ".partial" in name or "checkpoints/step-" in name

    def _readable(self) -> str:
        """Whether a run can be read: yes, no, or maybe."""
        if not self.finished:
            return "maybe"  # its last files may be there; what is read must be right all the same
        spoiled = self._spoiled()
        if not spoiled & {*READ, "files.json", "checkpoints"}:
            return "yes"
        now = self._now()
        gone = [name for name in READ if now.get(name) in (None, b"forbidden")]
        return "no" if gone else "maybe"

    def _going_on(self, command: str) -> str:
        """Whether the training can go on or begin: yes, no, or maybe."""
        now, spoiled = self._now(), self._spoiled()
        there = "config.yaml" in now
        if command == "fit" or (command == "begin or resume" and not there):
            marks = ("config.yaml", "metrics.json")
            taken = [name for name in now if name in marks or name.startswith("checkpoints/")]
            taken = [name for name in taken if not Path(name).name.startswith(".")]
            if "checkpoints" in spoiled or "" in self._forbidden:
                return "maybe"
            return "no" if taken else "yes" if not self._forbidden else "maybe"
        if not there:
            return "no"
        if spoiled & {"config.yaml", "checkpoints", "report.html"} or self._forbidden:
            return "maybe"
        if self.finished:
            return "yes"
        return "yes" if not self._steps() or self._whole_step() else "no"

    def _outside(self) -> Any:
        return {
            str(path): path.stat().st_mtime_ns if path.is_file() else None
            for path in [*self.root.rglob("*"), *World.whole.rglob("*")]
            if self.run not in path.parents and path != self.run
        }

    def _check_end(self) -> None:
        """A training ended here: as it would have without all that happened."""
        names = tree(self.run)
        left = [n for n in names if n.endswith((".partial", ".deleted", ".old")) or "step-" in n]
        left = [name for name in left if not (name.endswith(".bak") or self._is_forbidden(name))]
        assert not left, f"left over: {left}"
        self._permit()
        found = result(self.run)
        for name, value in World.result.items():
            assert found.get(name) == value, f"{name} is another one"
        more = {name for name in found if name not in World.result}
        assert all(name.endswith(".bak") or name in self.extra for name in more), more

    # ------------------------------------------------------------------------------------ damage

    @precondition(lambda self: self.good)
    @rule(
        which=st.integers(0, 1000),
        damage=st.sampled_from(DAMAGES),
        where=st.floats(0, 1, exclude_max=True),
    )
    def damage(self, which, damage, where):
        """Of one file or folder."""
        now = self._now()
        names = [name for name in now if now[name] is not None or damage in OF_FOLDERS]
        names = [name for name in names if now[name] != b"forbidden"]
        if not names:
            return
        name = names[which % len(names)]
        if now[name] == b"" and damage in (flip, cut):
            return
        hypothesis.note(f"{damage.__name__} {name}")
        hypothesis.event(f"{damage.__name__} {Path(name).name}")
        damage(self.run / name, where)

    @rule()
    def mend(self):
        """All damaged files come back as they were, from a copy say."""
        self._permit()
        for name in self._spoiled():
            file = self.run / name
            if file.exists() and (file.is_dir() != (self.good[name] is None)):
                lose(file, 0)
            if self.good[name] is None:
                file.mkdir(parents=True, exist_ok=True)
        for name in self._spoiled():
            content = self.good[name]
            assert content is not None
            (self.run / name).unlink(missing_ok=True)
            (self.run / name).parent.mkdir(parents=True, exist_ok=True)
            (self.run / name).write_bytes(content)

    @precondition(lambda self: self.run.exists())
    @rule(copied=st.booleans(), name=st.sampled_from(["b", "ø 1", "a:b", "c'd", "x" * 60]))
    def move(self, copied, name):
        """To another place; of a copy, the original stays as it is."""
        self._permit()
        self.copies += 1
        target = self.root / f"{self.copies}" / name
        target.parent.mkdir()
        if copied:
            shutil.copytree(self.run, target)
        else:
            self.run.rename(target)
        self.run = target

    @precondition(lambda self: self.run.exists())
    @rule(
        where=st.sampled_from(["", "checkpoints", "export/syncrec"]),
        name=st.sampled_from(["metrics.json", "config.yaml", "step-000000003", "version", "x"]),
    )
    def leave_what_a_kill_leaves(self, where, name):
        folder = self.run / where / f".{name}.abcd_123.partial"
        if folder.parent.is_dir() and not folder.exists():
            folder.mkdir()
            (folder / name).write_text("half")

    @precondition(lambda self: self.run.exists())
    @rule(text=st.sampled_from(["", "process 1 on somewhere", "\0"]))
    def leave_a_lock(self, text):
        (self.run / ".lock").write_text(text)


TestRunMachine = RunMachine.TestCase
TestRunMachine.settings = examples(6, steps=8)


# -------------------------------------------------------------------------------- real processes


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A real run that nothing disturbed, its log and options, and how many events it had."""
    folder = tmp_path_factory.mktemp("real")
    options = [
        *("--dataset", "interactions", "--path", str(write_log(folder / "log.csv", 2, 12, 5))),
        *("--data_dir", str(folder / "data"), "--model", "bprmf", "--epochs", "2", "--resume"),
        *("--set", "model.dim=4", "--set", "train.batch_size=8", "--set", "model.neighbours=2"),
        *("--set", "model.user_neighbours=2"),
        *("--set", "train.checkpoint_steps=1", "--quiet"),
    ]
    for name in ("warm", "run"):  # the first one prepares the data
        assert killed_in_process(options, folder, name, None) == 0, (folder / "log").read_text()
    events = [int(line.split()[0]) for line in (folder / "log").open() if line.endswith("events\n")]
    return folder, options, events[-1]


def killed_in_process(options, folder: Path, name: str, moment: int | None) -> int | None:
    there = folder / name
    arguments = [*options, "--output_dir", str(there)]
    process = FORKS.Process(
        target=killed.fit_killed_at, args=(arguments, folder / "log", there, moment)
    )
    process.start()
    process.join()
    return process.exitcode


def real_result(run: Path) -> dict[str, Any]:
    """`result`, without what tells the time: the report, and seconds."""
    found = result(run)
    del found["report.html"]
    for epoch in found["history.json"]:
        del epoch["validation_seconds"]
    return found


@pytest.mark.slow
@examples(3)
@hypothesis.given(shares=st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_the_command_killed_at_any_event_of_a_file(trained, shares):
    folder, options, events = trained
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder / "killed")
    for share in shares:
        ended = killed_in_process(options, folder, "killed", 1 + int(share * events))
        assert ended in (0, -signal.SIGKILL), (folder / "log").read_text()[-3000:]
    assert killed_in_process(options, folder, "killed", None) == 0, (folder / "log").read_text()
    assert real_result(folder / "killed") == real_result(folder / "run")
    names = [str(path) for path in (folder / "killed").rglob("*")]
    assert not [name for name in names if name.endswith(".partial") or "step-" in name]
    assert os.listdir(folder / "killed" / "export" / "syncrec") == ["1"]


# ------------------------------------------------------------------------- what it has found once


def killed_at(moment: str | int, command: str, directory: Path) -> None:
    with watched(directory, moment):
        assert run_command(command, directory).how == "killed"


@pytest.fixture
def run(tmp_path):
    """Where a run may be."""
    return tmp_path / "run"


@pytest.fixture
def ended(run):
    """A finished run."""
    shutil.copytree(World.whole, run)
    return run


def test_a_finished_run_without_its_report_is_not_trained_again(ended, capsys):
    """It was, and who killed that found other weights beside the old numbers."""
    (ended / "report.html").unlink()
    before = tree(ended)
    assert run_command("resume", ended).how == "done"
    assert tree(ended) == before
    fit(["--resume", "--output_dir", str(ended)])
    assert f"python -m tf_syncrec.report --run {ended}" in capsys.readouterr().out


def test_network_and_items_that_were_lost_are_written_again(run):
    """They were not, and the run that then ended could not be read."""
    killed_at(".test_ranks", "fit", run)
    (run / "model.json").unlink()
    (run / "items.parquet").write_bytes(b"half")
    assert run_command("resume", run).how == "done"
    assert result(run) == World.result


@pytest.mark.parametrize("place", ["", "checkpoints", "export/syncrec"])
def test_what_kills_left_goes_whatever_its_name(run, place):
    killed_at(".report.html", "fit", run)
    (run / place / ".of_old.json.abcdefgh.partial").mkdir()
    assert run_command("resume", run).how == "done"
    assert not list(run.rglob("*.partial"))


def test_a_run_that_another_process_ends_meanwhile_is_left_alone(run):
    """Whoever came for the lock after that began it anew."""
    killed_at(".report.html", "fit", run)
    seen: list = []

    def meanwhile():
        with watched(run):
            seen.append(run_command("resume", run).how)
            seen.append(tree(run))

    with watched(run, ".lock", meanwhile):
        assert run_command("resume", run).how == "done"
    assert seen == ["done", tree(run)]
    assert result(run) == World.result


def test_numbers_do_not_stand_beside_weights_that_they_are_not_of(run):
    """Killed after the numbers, gone on with, and killed before they were written again."""
    killed_at(".report.html", "fit", run)
    assert run_command("load", run) == ("done", World.answers["load"])
    killed_at(".samples.json", "resume", run)
    assert run_command("load", run).how == "refused"
    assert run_command("resume", run).how == "done"
    assert result(run) == World.result


@pytest.mark.parametrize("file", READ[1:])
@pytest.mark.parametrize("damage", [flip, cut, make_folder, take_of_another_run, lose])
def test_a_damaged_run_is_refused_by_name(ended, file, damage):
    whole = (ended / file).read_bytes()
    damage(ended / file, 0.7)
    if (ended / file).is_file() and (ended / file).read_bytes() == whole:
        return  # the same in both runs
    for command in READERS[:2]:
        outcome = run_command(command, ended)
        assert outcome.how == "refused" and Path(file).name in outcome.said
        assert str(ended) in outcome.said


def test_a_manifest_that_is_damaged_is_refused_by_name(ended):
    (ended / "files.json").write_text("{")
    assert "files.json cannot be read" in run_command("load", ended).said


def test_a_run_of_before_without_manifest_is_read(ended):
    (ended / "files.json").unlink()
    assert run_command("load", ended) == ("done", World.answers["load"])
    for file in READ[1:]:
        content = (ended / file).read_bytes()
        (ended / file).write_bytes(b"[")
        outcome = run_command("load", ended)
        assert outcome.how == "refused" and Path(file).name in outcome.said, outcome
        (ended / file).write_bytes(content)


@pytest.mark.parametrize("lines", [0, 1, 20, -1])
def test_settings_that_were_cut_off_begin_no_other_training(run, lines):
    """Each line that is left is valid, and defaults would stand for the others."""
    killed_at(".step-", "fit", run)
    settings = (run / "config.yaml").read_text().splitlines(keepends=True)
    (run / "config.yaml").write_text("".join(settings[:lines]))
    before = tree(run)
    outcome = run_command("resume", run)
    assert outcome.how == "refused" and str(run / "config.yaml") in outcome.said
    assert tree(run) == before


def test_who_may_only_read_reads(ended, capsys):
    for path in (ended, *ended.rglob("*")):
        path.chmod(0o500)
    with bound_by_permissions():
        assert run_command("load", ended) == ("done", World.answers["load"])
        assert run_command("resume", ended).how == "done"
        for main, more in ((evaluate, ["--protocol", "all_domains"]), (export, [])):
            arguments = ["--run", str(ended), *more]
            with pytest.raises(SystemExit) as stop:
                command_line(functools.partial(main, arguments))
            assert stop.value.code == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert str(ended) in line and "Permission denied" in line
    for path in (ended, *ended.rglob("*")):
        path.chmod(0o700)


def test_who_may_only_read_cannot_go_on(run):
    killed_at(".report.html", "fit", run)
    run.chmod(0o500)
    (run / ".lock").chmod(0o400)
    with bound_by_permissions():
        outcome = run_command("resume", run)
    run.chmod(0o700)
    assert outcome.how == "refused" and f"--output_dir {run}: cannot be written to" in outcome.said


def test_a_damaged_export_is_named(ended):
    with pytest.raises(
        InputError, match=r"syncrec/\d cannot be loaded .* python -m serving.export"
    ):
        tf_syncrec.load(ended).recommend([["a"]])


@pytest.mark.parametrize("sealed", [True, False])
def test_a_report_is_not_made_of_damaged_files(ended, sealed):
    (ended / "history.json").write_text("[{")
    if not sealed:
        (ended / "files.json").unlink()
    with pytest.raises(InputError, match=r"history\.json"):
        report(["--run", str(ended)])
