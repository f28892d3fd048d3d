"""What is done to a folder of versions and to models.config, and what must hold of a server.

The rules of a state machine. Who inherits says when things happen, and how the server looks.
"""

import contextlib
import io
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.support import version_folder as folder
from tests.support.rest_server import wait_for
from tests.support.version_folder import all_folders, said_by, versions_in, whole

MODELS: dict[int, folder.Files] = {}
"""Made by the test: they take a while."""

BODY = json.dumps({"instances": [{"items": [""], "domain": ""}]}).encode()

NUMBERS = ["0", "1", "2", "3", "4", "7"]
ODD_NAMES = [
    *("007", "03", "00", "9223372036854775807"),
    *("1.bak", "１２", "²", "-3", "+4", " 5", "5 ", "6\n", "1_0", "0x1", "1e3", ".9", "latest"),
    *("9223372036854775808", "99999999999999999999", "9" * 200),
]
"""The first few are versions, the others are none."""

SAYS = range(11, 17)
HERE_OR_ODD = st.sampled_from(NUMBERS * 2 + ODD_NAMES)
WHEN = st.one_of(
    st.tuples(st.just("now"), st.sampled_from([0, 0, 1, 2, 4])),
    st.tuples(st.sampled_from(["meanwhile", "meanwhile", "later"]), st.integers(1, 15)),
)
"""Now, and as many looks afterwards; or at that moment of a look that begins now; or at that moment
of the next look, export or deletion."""

ANY = st.integers(0, 99)
"""Chooses one of what is there then."""

POLICIES = st.one_of(
    st.tuples(st.just("latest"), st.sampled_from([0, 1, 1, 2, 3, 99])),
    st.just(("all",)),
    st.lists(st.sampled_from([0, 1, 2, 3, 4, 7, 5, -1, folder.LARGEST]), max_size=4).map(
        lambda numbers: ("specific", *numbers)
    ),
)
LABELS = st.dictionaries(
    st.sampled_from(["stable", "canary", "é x", "1"]),
    st.sampled_from([0, 1, 2, 3, 7, 55, -1, folder.LARGEST]),
    max_size=3,
)
ORDERS = st.permutations(
    [*folder.MODEL, "fingerprint.pb"],
)


class Folder(RuleBasedStateMachine):
    """What is done to the folder, and what is known of it. `do` says when."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="versions."))
        self.elsewhere = self.root / "elsewhere"
        self.elsewhere.mkdir()
        self.config_file = self.root / "models.config"
        self.ever: dict[int, set[int]] = {}  # what each version has said while it was whole
        self.copies: list = []
        self.away: list[tuple[Path, Path]] = []
        self.server: Any = None
        self.spare = 0
        self.planned: list[list] = []
        self.failing: set[int] = set()  # versions that could not be loaded at the last rest
        self.config_failing = False
        self.rested: dict[int, int] = {}  # what was served then
        self.config: tuple = ("syncrec", ("latest", 1), {})  # as it is in force
        self.written: tuple | None = self.config  # None: broken
        self.names = {"syncrec"}  # that any models.config has given the model
        self.said = io.StringIO()  # by the server, since the last look at its lines

    def lines(self):
        """What the server has said since the last call."""
        text = self.said.getvalue()
        self.said.seek(0)
        self.said.truncate()
        lines = text.splitlines()
        for line in lines:
            assert len(line) < 1000
            note(f"server: {line}")
        return lines

    @initialize(
        link=st.booleans(),
        versions=st.dictionaries(
            st.sampled_from(NUMBERS), st.sampled_from(SAYS), min_size=1, max_size=3
        ),
        policy=POLICIES,
        labels=LABELS,
    )
    def begin(self, link, versions, policy, labels):
        self.base = self.root / "base"
        (self.root / "tree 0").mkdir()
        (self.root / "tree 1").mkdir()
        if link:
            self.base.symlink_to("tree 0")
        else:
            self.base.mkdir()
        self.written = self.config = "syncrec", policy, dict(labels)
        self.config_file.write_text(
            folder.models_config("syncrec", policy, labels, 0), encoding="utf-8"
        )
        for name, says in versions.items():
            self.put(name, says)
        self.look_at_disk()
        self.start_server()

    # -------------------------------------------------------------------------------- helpers

    def do(self, when, action):
        """Something happens to the folder, now or later."""
        raise NotImplementedError

    def start_server(self):
        """If there is something to serve."""
        raise NotImplementedError

    def pause(self):
        """As long as a server may need to see that nothing changes."""
        raise NotImplementedError

    def ask(self, method, path, body=b""):
        """`(status, answer)` of a request."""
        raise NotImplementedError

    def look_at_disk(self):
        """Remembers what is whole at this moment."""
        for number, path in all_folders(self.base):
            if says := said_by(path, MODELS):
                self.ever.setdefault(number, set()).add(says)

    def new_place(self):
        self.spare += 1
        return self.elsewhere / f"spare{self.spare}"

    def put(self, name, says):
        """A whole version, renamed in; replaces what has its name."""
        new = self.new_place()
        folder.write_model(new, MODELS[says])
        old = self.base / name
        if os.path.lexists(old):
            with contextlib.suppress(OSError):
                old.rename(self.new_place())
        with contextlib.suppress(OSError):
            new.rename(old)

    def some(self, which):
        """One of the folders of versions that are there; None if there is none."""
        there = [path for _, path in all_folders(self.base)]
        return there[which % len(there)] if there else None

    # ------------------------------------------------------------------------- on whole versions

    @rule(name=HERE_OR_ODD, says=st.sampled_from(SAYS), when=WHEN)
    def version_is_renamed_in(self, name, says, when):
        self.do(when, lambda: self.put(name, says))

    @rule(name=HERE_OR_ODD, says=st.sampled_from(SAYS), fresh=st.booleans(), when=WHEN)
    def version_is_written(self, name, says, fresh, when):
        def write():
            path = self.base / name
            if fresh or not os.path.isdir(path):
                folder.remove(path)
            with contextlib.suppress(OSError):
                folder.write_model(path, MODELS[says])

        self.do(when, write)

    @rule(which=ANY, how=st.sampled_from(["deleted", "moved", "bak", "spare"]), when=WHEN)
    def version_goes(self, which, how, when):
        def go():
            if (path := self.some(which)) is None:
                return
            if how == "deleted":
                folder.remove(path)
            elif how == "bak":
                folder.remove(path.with_name(path.name + ".bak"))
                path.rename(path.with_name(path.name + ".bak"))
            else:
                place = self.new_place()
                path.rename(place)
                if how == "spare":
                    self.away.append((place, path))

        self.do(when, go)

    @rule(which=ANY, part=st.sampled_from(["variables", "saved_model.pb", "."]), when=WHEN)
    def part_goes_away_for_a_while(self, which, part, when):
        def go():
            if (path := self.some(which)) is None or not os.path.lexists(path / part):
                return
            place = self.new_place()
            target = path if part == "." else path / part
            target.rename(place)
            self.away.append((place, target))

        self.do(when, go)

    @precondition(lambda self: self.away or self.planned)
    @rule(when=WHEN)
    def what_went_away_comes_back(self, when):
        def come():
            if not self.away:
                return
            place, path = self.away.pop()
            with contextlib.suppress(OSError):
                if not os.path.lexists(path):
                    place.rename(path)

        self.do(when, come)

    @rule(one=ANY, other=ANY, when=WHEN)
    def two_versions_swap(self, one, other, when):
        def swap():
            a, b = self.some(one), self.some(other)
            if a is None or b is None or a == b:
                return
            between = self.base / ".swap"
            a.rename(between)
            b.rename(a)
            between.rename(b)

        self.do(when, swap)

    @rule(
        name=st.sampled_from(NUMBERS),
        says=st.sampled_from(SAYS),
        kind=st.sampled_from(["outside", "beside", "variables", "files"]),
        which=ANY,
        when=WHEN,
    )
    def version_is_a_link(self, name, says, kind, which, when):
        def link():
            path = self.base / name
            if kind == "beside":
                there = self.some(which)
                if there is None or there.is_symlink() or there.name == name:
                    return
                where = Path(there.name)
            else:
                where = self.new_place()
                folder.write_model(where, MODELS[says])
            if kind == "variables":
                inner = self.new_place()
                (where / "variables").rename(inner)
                (where / "variables").symlink_to(inner)
            if kind == "files":
                for file in [file for file in where.rglob("*") if file.is_file()]:
                    inner = self.new_place()
                    file.rename(inner)
                    file.symlink_to(inner)
            if not self.base.is_dir():
                return
            if path.is_symlink() or not os.path.exists(path):
                new = self.base / ".link"
                folder.remove(new)
                new.symlink_to(where)
                new.replace(path)
            else:
                folder.remove(path)
                path.symlink_to(where)

        self.do(when, link)

    # ------------------------------------------------------------------------------- half a version

    @rule(
        name=st.sampled_from(NUMBERS),
        says=st.sampled_from(SAYS),
        order=ORDERS,
        style=st.sampled_from(["in place", "beside"]),
    )
    def a_slow_copy_begins(self, name, says, order, style):
        self.copies.append(folder.copying(self.base / name, MODELS[says], order, style))

    @rule(
        which=ANY,
        says=st.sampled_from(SAYS),
        order=ORDERS,
        style=st.sampled_from(["in place", "beside"]),
        every=st.integers(1, 4),
    )
    def a_version_is_copied_over_another_with_pauses(self, which, says, order, style, every):
        if (path := self.some(which)) is None:
            return
        for number, step in enumerate(folder.copying(path, MODELS[says], order, style), 1):
            step()
            self.look_at_disk()
            if number % every == 0:
                self.pause()

    @precondition(lambda self: self.copies)
    @rule(which=ANY, steps=st.integers(1, 6), when=WHEN)
    def a_slow_copy_goes_on(self, which, steps, when):
        copy = self.copies[which % len(self.copies)]

        def go():
            for _ in range(steps):
                if (step := next(copy, None)) is None:
                    self.copies = [other for other in self.copies if other is not copy]
                    break
                step()
                self.look_at_disk()

        self.do(when, go)

    @rule(
        which=ANY,
        file=st.sampled_from([*folder.MODEL, *folder.MODEL, "fingerprint.pb"]),
        how=st.sampled_from(["half", "empty", "gone", "folder", "touched", "same", "linked"]),
        when=WHEN,
    )
    def a_file_is_spoiled_or_touched(self, which, file, how, when):
        def spoil():
            path = self.some(which)
            if path is None or not (path / file).is_file():
                return
            target = path / file
            data = target.read_bytes()
            if how == "half":
                target.write_bytes(data[: len(data) // 2])
            elif how == "empty":
                os.truncate(target, 0)
            elif how == "gone":
                if file != "fingerprint.pb":  # without it nobody sees files of two models
                    target.unlink()
            elif how == "folder":
                target.unlink()
                target.mkdir()
            elif how == "touched":
                os.utime(target, ns=(0, 0))
            elif how == "same":
                target.write_bytes(data)
            else:
                os.link(target, self.new_place())

        self.do(when, spoil)

    @rule(which=ANY, says=st.sampled_from(SAYS), when=WHEN)
    def a_version_is_mended(self, which, says, when):
        def mend():
            if (path := self.some(which)) is None:
                return
            for name in MODELS[says]:
                if (path / name).is_dir():
                    folder.remove(path / name)
            with contextlib.suppress(OSError):
                folder.write_model(path, MODELS[says])

        self.do(when, mend)

    @rule(
        which=ANY,
        what=st.sampled_from(["file", "nowhere", "loop", "up", "folder", "fifo", "bytes", "long"]),
        inner=st.sampled_from(["", "variables"]),
        when=WHEN,
    )
    def something_lies_in_a_version(self, which, what, inner, when):
        def lie():
            if (path := self.some(which)) is not None:
                with contextlib.suppress(OSError):
                    odd_entry(path / inner / f"odd {what}", what)

        self.do(when, lie)

    # --------------------------------------------------------------------------- odd neighbours

    @rule(
        name=HERE_OR_ODD | st.just("next"),
        what=st.sampled_from(["file", "nowhere", "loop", "up", "folder", "fifo", "bytes", "long"]),
        when=WHEN,
    )
    def something_lies_beside(self, name, what, when):
        def lie():
            number = max(versions_in(self.base), default=0) + 1
            with contextlib.suppress(OSError):
                odd_entry(self.base / (str(number) if name == "next" else name), what)

        self.do(when, lie)

    @precondition(lambda self: not self.away)
    @rule(how=st.sampled_from(["gone", "file", "tree 0", "tree 1"]), when=WHEN)
    def the_folder_is_another_one(self, how, when):
        """For a moment it is gone, or a link to it is set to another tree."""

        def change():
            if self.base.is_symlink():
                if how.startswith("tree"):
                    new = self.root / "new link"
                    new.symlink_to(how)
                    new.replace(self.base)
                return
            if how.startswith("tree") or os.path.lexists(self.root / "base away"):
                return
            self.base.rename(self.root / "base away")
            if how == "file":
                self.base.write_text("")

        self.do(when, change)

    @precondition(lambda self: os.path.lexists(self.root / "base away"))
    @rule(when=WHEN)
    def the_folder_comes_back(self, when):
        self.do(when, self.bring_folder_back)

    def bring_folder_back(self):
        away = self.root / "base away"
        if os.path.lexists(away):
            folder.remove(self.base)
            away.rename(self.base)

    # ---------------------------------------------------------------------------- models.config

    @rule(
        name=st.sampled_from(["syncrec"] * 5 + ["other"]),
        policy=POLICIES,
        labels=LABELS,
        style=st.integers(0, 2),
        when=WHEN,
    )
    def config_is_written(self, name, policy, labels, style, when):
        def write():
            self.names.add(name)
            folder.remove(self.config_file)
            self.config_file.write_text(
                folder.models_config(name, policy, labels, style), encoding="utf-8", newline=""
            )
            self.written = name, policy, dict(labels)

        self.do(when, write)

    @rule(how=st.sampled_from(["half", "empty", "gone", "folder", "bytes", *"abcdef"]))
    def config_is_broken(self, how):
        text = folder.models_config("syncrec", ("all",), {"stable": 1}, 0)
        broken = {
            "half": text[: len(text) // 2],
            "a": "model_config_list { config { name: 'a\\377' } }",
            "b": text.replace("value: 1", "value: 99999999999999999999"),
            "c": text.replace("all { }", "all { } latest { }"),
            "d": text.replace("}", "\n"),
            "e": text + text,
            "f": "[" * 5000,
            "empty": "",
        }
        folder.remove(self.config_file)
        self.written = None
        if how == "folder":
            self.config_file.mkdir()
        elif how == "bytes":
            self.config_file.write_bytes(b"\xff\x00" + text.encode())
        elif how != "gone":
            self.config_file.write_text(broken[how])

    # ------------------------------------------------------------------------------ what must hold

    def must_be_served(self, config):
        """`{number: what it says}` of what is whole and wanted."""
        if config is None:
            return {}
        found = versions_in(self.base)
        chosen = folder.wanted(config[1], list(found))
        return {n: says for n in chosen if (says := whole(found[n], MODELS))}

    def predict(self, which=""):
        status, answer = self.ask("POST", f"/v1/models/{self.name}{which}:predict", BODY)
        if status != 200:
            assert status in (400, 404), answer
            return status
        (row,) = answer["predictions"]
        assert row["graph"] == row["version"], f"{which}: half of one model, half of another: {row}"
        return row["version"]

    @property
    def name(self):
        return self.server.api.config.name

    def check_answers(self):
        """`{number: what it says}` of all that is served."""
        served = {}
        for number in self.server.api.versions.loaded:
            says = served[number] = self.predict(f"/versions/{number}")
            assert says in self.ever.get(number, ()), (number, says, self.ever)
            status, answer = self.ask("GET", f"/v1/models/{self.name}/versions/{number}/metadata")
            assert status == 200 and answer["model_spec"]["version"] == str(number)
        assert list(served) == sorted(served)
        assert self.predict() == (served[max(served)] if served else 404)
        labels = self.server.api.config.labels
        for label, number in labels.items():
            assert self.predict(f"/labels/{label}") == served.get(number, 404)
        assert self.predict("/labels/nobody") == 400
        for number in (5, 0, 6):
            assert self.predict(f"/versions/{number:03}") == served.get(number, 404)
        self.check_statuses(served)
        return served

    def check_statuses(self, served):
        status, answer = self.ask("GET", f"/v1/models/{self.name}")
        assert status == (200 if served else 404) or not served
        states = {}
        for entry in answer["model_version_status"] if status == 200 else ():
            number = int(entry["version"])
            states[number] = entry["state"]
            assert entry["state"] in ("AVAILABLE", "END"), entry
            if entry["state"] == "END":
                assert entry["status"]["error_message"], entry
            assert (entry["status"]["error_code"] == "OK") == (
                entry["status"]["error_message"] == ""
            )
        assert {n for n, state in states.items() if state == "AVAILABLE"} == set(served)
        registry = self.server.metrics.registry
        gauges = [sample for family in registry.collect() for sample in family.samples]
        assert {
            int(sample.labels["version"])
            for sample in gauges
            if sample.name == "syncrec_version_served"
        } == set(served)

    def check_marks(self, found, must, may):
        """What is served or labelled is marked; what is wanted and broken may be."""
        inodes = [{found[n].stat().st_ino for n in some if n in found} for some in (must, may)]
        for _, path in all_folders(self.base):
            inode, marked = path.stat().st_ino, folder.marked(path)
            assert not marked or inode in inodes[0] | inodes[1], path
            assert marked or inode not in inodes[0], path
        # Nothing is held for longer than a look.
        wait_for(lambda: folder.open_below(self.root) <= len(must | may))

    def check_rest(self, served, lines):
        """What is served, marked and said when the folder has been at rest for some looks."""
        found = versions_in(self.base)
        config = self.written or self.config
        assert self.server.api.config.name == config[0]
        assert self.server.api.config.labels == config[2]
        chosen = folder.wanted(config[1], list(found))
        must = self.must_be_served(config)
        if must:
            assert set(served) <= set(chosen), (served, chosen)
        for number, says in must.items():
            assert served.get(number) == says, (number, says, served)
        assert set(self.server.api.versions.statuses) <= set(found) | set(served)
        self.check_marks(found, set(served) | set(config[2].values()), set(chosen))
        self.check_lines(lines, chosen, must)

    def check_lines(self, lines, chosen, must):
        """What has become wrong since the last rest was said, and what is served anew."""
        failing = set()
        for number in chosen:
            status = self.server.api.versions.statuses.get(number)
            assert status is not None, f"nothing is known of version {number}"
            if status.status.error_message:
                assert number not in must
                failing.add(number)
        said = {n: f"version {n}: cannot be loaded" for n in failing - self.failing}
        said |= {
            n: f"version {n}: AVAILABLE" for n, says in must.items() if self.rested.get(n) != says
        }
        for number, beginning in said.items():
            assert any(line.startswith(beginning) for line in lines), (number, beginning, lines)
        if (self.written is None) != self.config_failing:
            beginning = "kept the previous config" if self.written is None else "resolved: kept"
            assert any(line.startswith(beginning) for line in lines), (beginning, lines)
        for line in lines:
            assert re.match(r"version \d+: |kept the |resolved: ", line), line
        self.failing, self.config_failing = failing, self.written is None
        self.rested = dict(must)


def odd_entry(path: Path, what: str) -> None:
    """Something that is no version, or no file of one; what is there stays."""
    if os.path.lexists(path):
        return
    if what == "file":
        path.write_text("")
    elif what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "bytes":
        (path.parent / os.fsdecode(b"\xff\xfe")).write_text("")
    else:
        target = {"nowhere": "not there", "loop": path.name, "up": ".", "long": "x" * 300}[what]
        path.symlink_to(target)
