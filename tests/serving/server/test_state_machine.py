"""Whatever is done to a folder of versions, the server serves what is whole and wanted, in the end.

`Looks` looks at the folder as the server's watcher does, but when it likes, and other things happen
in the midst of a look, of an export or of a deletion: at one of the moments where the program asks
the disk for something. `Serves` is a server that polls and is asked all the time, with exports
in processes of their own.
"""

import contextlib
import gc
import os
import shutil
import subprocess
import sys
import threading
import time
from unittest import mock
from urllib.parse import quote

import pytest
import requests
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from tensorflow.python.saved_model import loader_impl

from data_prep import InputError
from serving.saved_model import version_folders as folders_module
from serving.saved_model.in_use import Marks
from serving.server import versions as versions_module
from serving.server import watcher as watcher_module
from serving.server.model_config import read_model_config
from serving.server.predict_json import RestError
from serving.server.web import make_server
from tests.support import version_folder as folder
from tests.support.folder_machine import ANY, BODY, MODELS, SAYS, Folder
from tests.support.long_runs import examples
from tests.support.rest_server import running, wait_for
from tests.support.version_folder import all_folders, versions_in, whole


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory):
    MODELS.update(folder.make_models(tmp_path_factory.mktemp("models"), len(SAYS)))
    gc.collect()
    gc.freeze()  # TensorFlow's own: the server collects whenever it has loaded something
    yield
    gc.unfreeze()


class Looks(Folder):
    """The server's watcher looks when the machine says so, and things happen meanwhile."""

    def __init__(self):
        super().__init__()
        self.busy = False
        self.fired = False
        self.sure: dict[int, int] = {}
        self.lines_before: list[str] = []
        self.served: dict[int, tuple] = {}
        self.patches = contextlib.ExitStack()
        self.patch(versions_module, "list_versions")
        self.patch(versions_module, "contents")
        self.patch(versions_module, "LoadedVersion")
        self.patch(watcher_module, "read_model_config")
        self.patch(folders_module, "list_versions")
        self.patch(folders_module, "unused")
        self.patch(folders_module, "folder_aside")
        self.patch(folders_module, "flush")
        self.patch(Marks, "hold")
        self.patch(loader_impl.SavedModelLoader, "restore_variables")
        self.patches.enter_context(contextlib.redirect_stdout(self.said))

    def do(self, when, action):
        kind, number = when
        if kind == "now" or self.server is None:
            action()
            self.look_at_disk()
            for _ in range(number if self.server is not None and kind == "now" else 0):
                self.look()
        else:
            self.planned.append([number, action])
            if kind == "meanwhile":
                self.look()

    def patch(self, where, name):
        """Its call is a moment, before and after."""
        real = getattr(where, name)

        def with_moments(*args, **kwargs):
            self.moment()
            answer = real(*args, **kwargs)
            self.moment()
            return answer

        self.patches.enter_context(mock.patch.object(where, name, with_moments))

    def moment(self):
        if not self.busy:
            return
        due = []
        for plan in self.planned:
            plan[0] -= 1
            if plan[0] == 0:
                due.append(plan)
        self.planned = [plan for plan in self.planned if plan[0] > 0]
        for _, action in due:
            self.fired = True
            self.busy = False
            try:
                action()
                self.look_at_disk()
            finally:
                self.busy = True

    def with_moments(self, action):
        """Does something that other things may happen in; what is left happens afterwards."""
        self.busy, self.fired = True, False
        try:
            return action()
        finally:
            self.busy = False
            for _, action in self.planned:
                self.fired = True
                action()
            self.planned = []
            self.look_at_disk()

    # --------------------------------------------------------------------------------- the server

    def start_server(self):
        must = self.must_be_served(self.written)
        quiet = not self.planned

        def start():
            config = read_model_config(self.config_file)
            return make_server(self.base, config, self.config_file)

        written = self.written
        self.lines_before += self.lines()
        try:
            self.server, self.watcher = self.with_moments(start)
        except InputError as error:
            assert "\n" not in str(error).strip()
            if quiet:
                assert written is None or not must, str(error)
                name = "--model_config_file" if written is None else "--export_dir"
                assert name in str(error)
            assert not any(folder.marked(path) for _, path in all_folders(self.base))
            self.server = None
            return
        self.config = written or self.config
        self.failing, self.rested, self.config_failing = set(), {}, False
        self.after_look()

    @precondition(lambda self: self.server is None)
    @rule()
    def server_starts(self):
        self.start_server()

    @precondition(lambda self: self.server is not None)
    @rule()
    def server_stops(self):
        self.server.close()
        self.server = None
        self.sure = {}
        assert not any(folder.marked(path) for _, path in all_folders(self.base))

    @precondition(lambda self: self.server is not None)
    @rule(times=st.integers(1, 3))
    def looks(self, times):
        for _ in range(times):
            self.look()

    @precondition(lambda self: self.server is not None)
    @rule()
    def a_minute_passes(self):
        with mock.patch.object(versions_module, "AGAIN", 0.0):
            self.look()

    def pause(self):
        if self.server is not None:
            self.look()
            self.look()

    def look(self):
        before = self.served
        self.with_moments(self.watcher.look)
        assert self.server.api.versions.loaded or not before
        self.after_look()

    def after_look(self):
        api = self.server.api.config
        if self.written and (api.name, api.labels) == (self.written[0], self.written[2]):
            self.config = self.written
        self.lines_before += self.lines()
        self.served = self.check_answers()
        if not self.fired:
            known = set(versions_in(self.base)) | set(self.served)
            assert set(self.server.api.versions.statuses) <= known
        labels = self.config[2].values()
        now = {
            n: path.stat().st_ino
            for n, path in versions_in(self.base).items()
            if n in self.served or n in labels
        }
        if self.fired:
            now = {n: inode for n, inode in now.items() if self.sure.get(n) == inode}
        self.sure = now

    def ask(self, method, path, body=b""):
        """`(status, answer)`; what is no refusal is a 500."""
        try:
            return 200, self.server.api.answer(method, path, body)
        except RestError as error:
            assert error.status < 500, str(error)
            return error.status, str(error)

    @rule()
    def comes_to_rest(self):
        """A few looks, and everything is as the folder says; then nothing is said any more."""
        self.bring_folder_back()
        self.with_moments(lambda: None)
        if self.server is None:
            self.start_server()
            if self.server is None:
                return
        for _ in range(4):
            self.look()
        lines, self.lines_before = self.lines_before, []
        self.check_rest(self.served, lines)
        for _ in range(2):
            self.look()
        assert self.lines_before == [], "said again, and nothing has changed"
        with mock.patch.object(versions_module, "AGAIN", 0.0):
            self.look()
        assert not [line for line in self.lines_before if "AVAILABLE" not in line]
        self.lines_before = []

    # ------------------------------------------------------------------------- export and delete

    @rule(says=st.sampled_from(SAYS), looks=st.booleans())
    def export(self, says, looks):
        before = max(versions_in(self.base), default=0)
        free = before + 1
        while os.path.lexists(self.base / str(free)):
            free += 1
        quiet = not self.planned
        others = self.others()

        def write(place):
            self.moment()
            folder.write_model(place, MODELS[says])
            self.moment()

        if looks and self.server is not None:
            self.planned.append([1 + says % 7, self.watcher.look])
        try:
            version = self.with_moments(lambda: folders_module.add_version(self.base, write))
        except InputError:
            assert free > folder.LARGEST or not quiet
            return
        except OSError:
            assert not quiet or not self.base.is_dir()
            return
        finally:
            self.after_look_meanwhile()
        if quiet:
            assert whole(version, MODELS) == says
            assert folder.number_of(version.name) == free
            assert self.others() == others

    def after_look_meanwhile(self):
        if self.server is not None:
            self.fired = True
            self.after_look()

    def others(self):
        """Names that are no versions', and nobody's who exports."""
        names = os.listdir(self.base) if self.base.is_dir() else []
        return {name for name in names if folder.number_of(name) is None}

    @rule(
        keep=st.integers(1, 3),
        labelled=st.lists(st.sampled_from([0, 1, 2, 3, 7]), max_size=2),
        looks=st.booleans(),
        other=st.booleans(),
    )
    def delete_old(self, keep, labelled, looks, other):
        if not self.base.is_dir():
            return
        found = versions_in(self.base)
        quiet = not self.planned
        others = self.others()
        newest = sorted(found, reverse=True)[:keep]
        stay = {n: whole(found[n], MODELS) for n in {*newest, *(n for n in labelled if n in found)}}
        used = {}
        if self.server is not None:
            for n, inode in self.sure.items():
                labels = self.config[2].values(), self.server.api.config.labels.values()
                loaded = n in self.server.api.versions.loaded
                in_use = loaded or all(n in some for some in labels)
                if in_use and n in found and found[n].stat().st_ino == inode:
                    used[n] = inode
        if quiet and looks and self.server is not None:
            self.planned.append([1 + keep * 2, self.watcher.look])
        if quiet and other:
            self.planned.append(
                [2 + keep * 3, lambda: folders_module.delete_old(self.base, keep, labelled)]
            )
        old = self.with_moments(lambda: folders_module.delete_old(self.base, keep, labelled))
        self.after_look_meanwhile()
        if not quiet:
            return
        assert self.others() == others
        for n, says in stay.items():
            assert whole(found[n], MODELS) == says, f"version {n} was to stay"
        for n, inode in used.items():
            if looks and not (n in self.served or n in self.config[2].values()):
                continue  # no longer
            assert found[n].stat().st_ino == inode, f"version {n} is in use"
        targets = {path.resolve() for n, path in found.items() if n in stay}
        for n in set(found) - set(stay) - set(used):
            if found[n].resolve() not in targets:
                assert not os.path.lexists(found[n]) or n in old, n
        assert set(old) <= set(found) - set(stay)

    @precondition(lambda self: self.server is not None)
    @rule(keep=st.integers(1, 2), moment=st.integers(1, 15))
    def delete_old_in_the_midst_of_a_look(self, keep, moment):
        gone: set[int] = set()

        def delete():
            before = versions_in(self.base)
            folders_module.delete_old(self.base, keep, ())
            gone.update(set(before) - set(versions_in(self.base)))

        loaded = self.server.api.versions.loaded
        self.planned.append([moment, delete])
        self.look()
        now = self.server.api.versions.loaded
        for n in gone - set(versions_in(self.base)):
            assert now.get(n) is loaded.get(n), f"version {n} was being loaded"

    @precondition(lambda self: self.server is not None)
    @rule(
        which=ANY,
        part=st.sampled_from(["variables", "saved_model.pb", "."]),
        moment=st.integers(1, 12),
        moments=st.integers(1, 6),
    )
    def a_part_is_away_in_the_midst_of_a_look(self, which, part, moment, moments):
        place = self.new_place()
        moved = []

        def go():
            path = self.some(which)
            if path is not None and os.path.lexists(path / part):
                moved.append(path if part == "." else path / part)
                moved[0].rename(place)

        def come():
            with contextlib.suppress(OSError):
                if moved and not os.path.lexists(moved[0]):
                    place.rename(moved[0])

        self.planned += [[moment, go], [moment + moments, come]]
        self.look()

    @invariant()
    def nothing_is_lost(self):
        if self.server is not None:
            assert self.server.api.versions.loaded

    def teardown(self):
        try:
            if self.server is not None:
                self.server.close()
        finally:
            self.patches.close()
            shutil.rmtree(self.root, ignore_errors=True)


EXPORT = """
import sys, time
from pathlib import Path
from serving.saved_model.version_folders import add_version, delete_old
from tests.support.version_folder import write_model

base, model, keep = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
files = {str(f.relative_to(model)): f.read_bytes() for f in model.rglob("*") if f.is_file()}

def write(folder):
    write_model(folder, files)
    print("written", flush=True)
    time.sleep(0.05)

for _ in range(2):
    add_version(base, write)
    delete_old(base, keep, ())
"""
"""A process that exports twice."""


class Serves(Folder):
    """A server that polls, and clients that ask it all the time."""

    def __init__(self):
        super().__init__()
        self.running = contextlib.ExitStack()
        self.running.enter_context(contextlib.redirect_stdout(self.said))
        self.server_running = contextlib.ExitStack()
        self.wrong: list[str] = []
        self.answers: list[tuple[str, int]] = []
        self.refused: list[str] = []

    def do(self, when, action):
        action()
        self.look_at_disk()
        time.sleep(0.01 * when[1])

    def pause(self):
        time.sleep(0.12)

    @rule(seconds=st.sampled_from([0.03, 0.06, 0.2]))
    def time_passes(self, seconds):
        time.sleep(seconds)

    # --------------------------------------------------------------------------------- the server

    @precondition(lambda self: self.server is None)
    @rule()
    def start_server(self):
        config = self.written or ("syncrec", ("latest", 1), {})
        try:
            rest = self.server_running.enter_context(
                running(self.base, config_file=self.config_file)
            )
        except InputError as error:
            assert "--export_dir" in str(error)
            assert not self.must_be_served(config), str(error)
            return
        self.server, self.url, self.port, self.config = rest.server, rest.url, rest.port, config
        self.failing, self.rested, self.config_failing = set(), {}, False
        self.stopped = threading.Event()
        for path in ("", "/versions/1", "/labels/stable"):
            thread = threading.Thread(target=self.client, args=(path,))
            thread.start()
            self.server_running.callback(thread.join, 30)
        self.server_running.callback(self.stopped.set)

    @precondition(lambda self: self.server is not None)
    @rule()
    def server_stops(self):
        self.server_running.close()
        self.server = None
        self.check_clients()
        assert not any(folder.marked(path) for _, path in all_folders(self.base))

    def client(self, which):
        """Asks until it is stopped; what nobody may be told goes to `wrong`."""
        with requests.Session() as session:
            while not self.stopped.is_set():
                url = f"{self.url}/v1/models/syncrec"
                try:
                    reply = session.post(f"{url}{which}:predict", data=BODY, timeout=30)
                    if reply.status_code == 200:
                        (row,) = reply.json()["predictions"]
                        self.answers.append((which, row["version"]))
                        if row["graph"] != row["version"]:
                            self.wrong.append(f"{which} half and half: {row}")
                    elif reply.status_code >= 500:
                        self.wrong.append(f"{which}: {reply.status_code} {reply.text}")
                    elif not which:
                        self.refused.append(reply.text)
                    reply = session.get(url, timeout=30)
                    if reply.status_code != 200:
                        self.refused.append(reply.text)
                except requests.RequestException as error:
                    self.wrong.append(f"{which}: {error!r}")
                time.sleep(0.01)

    def check_clients(self):
        assert self.wrong == []
        assert self.refused == [] or len(self.names) > 1
        answers, self.answers = self.answers, []
        anything = set().union(*self.ever.values())
        for which, says in answers:
            number = int(which.rpartition("/")[2]) if "versions" in which else None
            possible = anything if number is None else self.ever.get(number, ())
            assert says in possible, (which, says)

    def ask(self, method, path, body=b""):
        reply = requests.request(
            method, f"http://127.0.0.1:{self.port}{quote(path)}", data=body or None, timeout=30
        )
        assert reply.status_code < 500, reply.text
        answer = reply.json()
        return reply.status_code, answer if reply.status_code == 200 else answer["error"]

    @rule()
    def comes_to_rest(self):
        """After some polls everything is as the folder says; then nothing is said any more."""
        self.bring_folder_back()
        self.look_at_disk()
        if self.server is None:
            self.start_server()
            if self.server is None:
                return
        wait_for(self.is_as_it_should_be, 60)
        self.polls(4)
        lines = self.lines()
        self.check_rest(self.check_answers(), lines)
        self.polls(3)
        assert self.lines() == [], "said again, and nothing has changed"
        self.check_clients()

    def is_as_it_should_be(self):
        config = self.written or self.config
        if (self.server.api.config.name, self.server.api.config.labels) != (config[0], config[2]):
            return False
        self.config = config
        must = self.must_be_served(config)
        chosen = folder.wanted(config[1], list(versions_in(self.base)))
        loaded = set(self.server.api.versions.loaded)
        if not set(must) <= loaded or (must and not loaded <= set(chosen)):
            return False
        return all(self.predict(f"/versions/{n}") == says for n, says in must.items())

    def polls(self, count):
        """Waits for as many looks."""
        looks: list[int] = []
        real = versions_module.list_versions

        def counted(base):
            looks.append(1)
            return real(base)

        with mock.patch.object(versions_module, "list_versions", counted):
            wait_for(lambda: len(looks) > count)

    # ------------------------------------------------------------------------------------ exports

    @precondition(lambda self: self.base.is_dir())
    @rule(
        says=st.lists(st.sampled_from(SAYS), min_size=1, max_size=2),
        keep=st.integers(1, 3),
        killed=st.booleans(),
    )
    def processes_export(self, says, keep, killed):
        """Some at a time, of which one is killed before its first version is there."""
        before = versions_in(self.base)
        if max(before, default=0) > folder.LARGEST - 9:
            return
        places = []
        for one in says:
            places.append(self.new_place())
            folder.write_model(places[-1], MODELS[one])
        for number in range(max(before, default=0) + 1, max(before, default=0) + 9):
            self.ever.setdefault(number, set()).update(says)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", EXPORT, self.base, place, str(keep)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
            for place in places
        ]
        if killed:
            assert processes[0].stdout is not None
            assert processes[0].stdout.readline() == "written\n"
            processes[0].kill()
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert (killed and process is processes[0]) or process.returncode == 0, errors
        after = versions_in(self.base)
        made = set(after) - set(before)
        assert all(whole(after[n], MODELS) in says for n in made)
        expected = 2 * (len(says) - killed)
        assert len(made) >= min(keep, expected)
        self.look_at_disk()

    @rule(keep=st.integers(1, 3))
    def delete_old(self, keep):
        self.comes_to_rest()
        if self.server is None:
            return
        before = versions_in(self.base)
        labels = self.server.api.config.labels.values()
        used = {
            n: path.stat().st_ino
            for n, path in before.items()
            if n in self.server.api.versions.loaded or n in labels
        }
        folders_module.delete_old(self.base, keep, ())
        for n, inode in used.items():
            assert before[n].stat().st_ino == inode, f"version {n} is in use"
        self.look_at_disk()

    def teardown(self):
        try:
            self.server_running.close()
            self.check_clients()
        finally:
            self.running.close()
            shutil.rmtree(self.root, ignore_errors=True)


def test_a_folder_that_is_looked_at():
    run_state_machine_as_test(Looks, settings=examples(8, 15))


@pytest.mark.slow
def test_a_folder_that_is_served():
    run_state_machine_as_test(Serves, settings=examples(2, 6))
