"""What runs a night: cron, Kubernetes and Airflow give it options that it has."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import yaml

from tf_syncrec.gate.__main__ import HELD_BACK

NIGHTLY = Path(__file__).parents[2] / "examples" / "nightly"


@pytest.fixture(scope="module")
def options():
    """Of night.py, as its own help has them."""
    text = (NIGHTLY / "night.py").read_text()
    return set(re.findall(r'add_argument\(\s*"(--\w+)"', text))


def given(words):
    return {word for word in words if word.startswith("--")}


def test_cron(options):
    lines = [
        line
        for line in (NIGHTLY / "crontab").read_text().splitlines()
        if line and line[0] != "#" and "=" not in line.split()[0]
    ]
    assert len(lines) == 2
    for line in lines:
        *when, command = line.split(maxsplit=5)
        assert all(re.fullmatch(r"[\d,*/-]+", field) for field in when)
        words = shlex.split(command)
        assert words[-5] == "examples/nightly/night.py"
        assert given(words) == {"--logs", "--work"} <= options


def test_kubernetes(options):
    job = yaml.safe_load((NIGHTLY / "cronjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    of_job = job["spec"]["jobTemplate"]["spec"]
    pod = of_job["template"]["spec"]
    (container,) = pod["containers"]
    assert given(container["command"]) == {"--logs", "--work"} <= options
    paths = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert paths == {word for word in container["command"] if word.startswith("/")}
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    # What is held back is not tried again; whatever else went wrong is.
    (rule, _) = of_job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and rule["onExitCodes"]["values"] == [HELD_BACK]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert pod["restartPolicy"] == "Never" and of_job["backoffLimit"] > 0


def test_airflow(options, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite://")  # nowhere
    pytest.importorskip("airflow", reason="Airflow is not installed")
    spec = importlib.util.spec_from_file_location("dag", NIGHTLY / "airflow_dag.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    log, night = module.dag.topological_sort()
    assert (log.task_id, night.task_id) == ("log_of_the_day", "night")
    assert night.skip_on_exit_code == [HELD_BACK] and night.retries > 0
    words = night.bash_command.split()
    assert given(words) == {"--logs", "--work"} <= options
