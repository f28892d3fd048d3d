"""A real TensorFlow Serving with our configuration files, where there is one on the PATH."""

import contextlib
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from serving.client import Client, ServingError
from tests.support.exporting import DOMAINS, random_histories
from tests.support.rest_server import PATIENCE, wait_for

BINARY = shutil.which("tensorflow_model_server") or ""
FOLDER = Path(__file__).parents[2] / "serving" / "deploy"

pytestmark = pytest.mark.skipif(not BINARY, reason="no tensorflow_model_server on the PATH")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@contextlib.contextmanager
def tensorflow_serving(served, folder, *flags):
    """Yields its URL; models.config with the path of the export in place of the container's."""
    config = folder / "models.config"
    text = (FOLDER / "models.config").read_text(encoding="utf-8")
    config.write_text(text.replace("/models/syncrec", str(served.base)), encoding="utf-8")
    port = free_port()
    with open(folder / "log.txt", "w+") as log:
        process = subprocess.Popen(
            [
                BINARY,
                f"--port={free_port()}",
                f"--rest_api_port={port}",
                f"--model_config_file={config}",
                "--allow_version_labels_for_unavailable_models=true",
                f"--monitoring_config_file={FOLDER / 'monitoring.config'}",
                *flags,
            ],
            stdout=log,
            stderr=log,
        )
        url = f"http://127.0.0.1:{port}"

        def ready():
            assert process.poll() is None, (folder / "log.txt").read_text()[-3000:]
            with contextlib.suppress(requests.ConnectionError):
                return "AVAILABLE" in requests.get(f"{url}/v1/models/syncrec", timeout=5).text
            return False

        try:
            wait_for(ready)
            yield url
        finally:
            process.terminate()
            process.wait(60)


BATCHING = "--enable_batching", f"--batching_parameters_file={FOLDER / 'batching.config'}"


@pytest.mark.parametrize("flags", [(), BATCHING], ids=["plain", "batching"])
def test_it_answers_as_the_local_server_does(rest, tmp_path, flags):
    histories = [*random_histories(rest.served, 20, seed=51), [], ["unknown"]]
    domains = [[*DOMAINS, ""][i % 5] for i in range(len(histories))]
    local = Client(rest.url, timeout=PATIENCE)
    with tensorflow_serving(rest.served, tmp_path, *flags) as url:
        more: list[dict] = [{}, {"k": 5, "exclude_seen": False}]
        named: list[dict] = [{"batch_size": 7}, {"label": "stable"}, {"version": 1}]
        for theirs in (Client(url, **options) for options in named):
            for options in more:
                mine = local.recommend(histories, domains, **options)
                answers = theirs.recommend(histories, domains, **options)
                for answer, expected in zip(answers, mine, strict=True):
                    assert answer.items == expected.items
                    assert answer.domains == expected.domains
                    assert answer.scores == pytest.approx(expected.scores, abs=1e-3)
                    assert answer.known_items == expected.known_items
                    assert answer.fallback == expected.fallback
        for path in ("", "/metadata", "/labels/stable", "/versions/1"):
            shown = [
                requests.get(f"{base}/v1/models/syncrec{path}", timeout=10).json()
                for base in (url, rest.url)
                # The local server of the tests runs without a models.config.
                if base == url or "labels" not in path
            ]
            assert all(set(answer) == set(shown[0]) for answer in shown)
        with pytest.raises(ServingError, match="unknown domain; known: audio") as error:
            Client(url).recommend([[]], "film")
        assert error.value.status == 400
        assert requests.get(f"{url}/metrics", timeout=10).status_code == 200


def test_refusals_have_the_same_status(rest, tmp_path):
    good = {"instances": [{"items": [""], "domain": ""}]}
    with tensorflow_serving(rest.served, tmp_path) as url:
        requests_: list[tuple[str, Any]] = [
            ("", good),
            ("/versions/7", good),
            ("/labels/nope", good),
            ("", {}),
            ("", {"instances": []}),
            ("", {"instances": [{"items": [""]}]}),
            ("", {"instances": [{"items": [5], "domain": ""}]}),
            ("", {"signature_name": "nope"} | good),
            ("", {"inputs": {"items": [[""]]}}),
        ]
        for path, body in requests_:
            statuses = [
                requests.post(
                    f"{base}/v1/models/syncrec{path}:predict", json=body, timeout=10
                ).status_code
                for base in (url, rest.url)
            ]
            assert statuses[0] == statuses[1], (path, body, statuses)
