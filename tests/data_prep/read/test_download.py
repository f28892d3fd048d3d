"""Downloads from a server on this machine: whole, broken off, gone on with, changed, gone."""

import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from data_prep import InputError
from data_prep.read.download import download

CONTENT = bytes(range(256)) * 40_000  # 10 MB


class Server(http.server.ThreadingHTTPServer):
    """Serves one file; `cuts` are the numbers of bytes after which the next answers end."""

    daemon_threads = True
    content, tag, ranges, pause = CONTENT, '"one"', True, 0.0

    def __init__(self):
        self.requests: list[str | None] = []
        self.cuts: list[int] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/Books.csv"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append(wanted)
        if not self.path.endswith("Books.csv"):
            self.send_error(404)
            return
        start = 0
        if wanted and server.ranges and self.headers.get("If-Range") == server.tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("ETag", server.tag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.cuts:
            body = body[: server.cuts.pop(0)]
        for place in range(0, len(body), 1 << 18):
            time.sleep(server.pause)
            try:
                self.wfile.write(body[place : place + (1 << 18)])
            except OSError:
                return
        if len(body) < len(server.content) - start:
            self.close_connection = True
            self.connection.shutdown(2)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("data_prep.read.download._WAIT", 0.01)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_is_downloaded_once(tmp_path, server):
    path = tmp_path / "new" / "Books.csv"
    digest = hashlib.sha256(CONTENT).hexdigest()
    download(server.url, path, f"sha256:{digest}")
    assert path.read_bytes() == CONTENT and list(path.parent.iterdir()) == [path]
    download(server.url, path)
    assert server.requests == [None]


def test_a_broken_connection_is_gone_on_with(tmp_path, server):
    path = tmp_path / "Books.csv"
    said: list[str] = []
    server.cuts = [3_000_000, 0, 100_000, 0]
    download(server.url, path, report=said.append)
    assert path.read_bytes() == CONTENT
    places = [int(wanted[6:-1]) for wanted in server.requests[1:]]
    assert places == sorted(places) and places[0] > 0 and len(places) == 4
    assert sum("trying again" in line for line in said) == 4


@pytest.mark.parametrize("change", ["version", "no_ranges"])
def test_parts_of_two_versions_are_never_joined(tmp_path, server, change):
    path = tmp_path / "Books.csv"
    server.cuts = [1_000_000, 0, 0, 0, 0]
    with pytest.raises(InputError, match="resumes the download"):
        download(server.url, path)
    assert not path.exists() and (tmp_path / "Books.csv.partial").stat().st_size > 0
    if change == "version":
        server.tag, server.content = '"two"', CONTENT[::-1]
    else:
        server.ranges = False
    download(server.url, path)
    assert server.requests[-1] is not None  # It asked for the rest, and got everything.
    assert path.read_bytes() == server.content and list(tmp_path.iterdir()) == [path]


def test_a_wrong_checksum_leaves_nothing(tmp_path, server):
    path = tmp_path / "Books.csv"
    with pytest.raises(InputError, match=r"md5 .*, expected 0+; .*--raw_dir"):
        download(server.url, path, "md5:" + "0" * 32)
    assert not list(tmp_path.iterdir())


def test_a_dead_link_and_a_dead_server(tmp_path, server):
    with pytest.raises(InputError, match=r"404.*put Gone\.csv into a folder yourself.*--raw_dir"):
        download(server.url.replace("Books", "Gone"), tmp_path / "sub" / "Gone.csv")
    assert len(server.requests) == 1, "a file that is not there is not asked for again"
    with pytest.raises(InputError, match="--raw_dir"):
        download("http://127.0.0.1:9/Books.csv", tmp_path / "sub" / "Books.csv")
    assert not list(tmp_path.iterdir())


def test_a_kill_leaves_no_file_that_looks_whole(tmp_path, server):
    path = tmp_path / "Books.csv"
    server.pause = 0.05
    code = "import sys, pathlib; from data_prep.read.download import download; "
    code += "download(sys.argv[1], pathlib.Path(sys.argv[2]))"
    process = subprocess.Popen([sys.executable, "-c", code, server.url, str(path)])
    partial = tmp_path / "Books.csv.partial"
    deadline = time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size > 1 << 20):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not path.exists() and 0 < (got := partial.stat().st_size) < len(CONTENT)
    server.pause = 0
    download(server.url, path)
    assert path.read_bytes() == CONTENT and server.requests[-1] == f"bytes={got}-"
