"""The main job from the outside: files, numbers that agree with each other, and bad input."""

import gzip
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import yaml

import tf_syncrec
from tf_syncrec import evaluate
from tf_syncrec.cli import run_command
from tf_syncrec.fit import main as fit
from tf_syncrec.metrics.gains import rank_metrics
from tf_syncrec.utils.locks import RunLock
from tf_syncrec.utils.version import commit

TINY = [
    *("--set", "model.dim=8", "--set", "model.experts=2", "--set", "model.cross_experts=1"),
    *("--set", "model.blocks=1", "--set", "model.window=8", "--set", "loss.negatives=16"),
    *("--set", "train.batch_size=32", "--set", "loss.mutual_information=true"),
]


def write_log(
    path, num_domains=3, users=80, items=12, seed=0, header="user_id,item_id,domain,timestamp"
):
    """A log in which a user's items tend to follow each other, so that there is much to learn."""
    rng = np.random.default_rng(seed)
    lines = [header]
    for user in range(users):
        item = rng.integers(items)
        for step in range(rng.integers(4, 14)):
            domain = rng.integers(num_domains)
            item = (item + 1) % items
            lines.append(f"u{user},d{domain}_i{item},d{domain},{1000 * user + step}")
    path.write_text("\n".join(lines) + "\n")
    return path


def train(tmp_path, *options, name="run", epochs=2):
    """Runs fit on a small log and returns the run directory."""
    log = tmp_path / "log.csv"
    if not log.exists():
        write_log(log)
    fit(
        [
            *(
                "--dataset",
                "interactions",
                "--path",
                str(log),
                "--data_dir",
                str(tmp_path / "data"),
            ),
            *("--output_dir", str(tmp_path / name), "--epochs", str(epochs), *TINY, *options),
        ]
    )
    return tmp_path / name


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One run that the tests of this file look at."""
    return train(tmp_path_factory.mktemp("fit"))


def test_run_directory_holds_what_the_contract_names(trained):
    for name in ("config.yaml", "metrics.json", "report.html", "test_ranks.parquet"):
        assert (trained / name).stat().st_size > 0
    assert list((trained / "logs").glob("events.out.tfevents.*"))
    assert list((trained / "checkpoints").iterdir())
    assert (trained / "export" / "syncrec" / "1" / "saved_model.pb").exists()
    assert not list(trained.rglob("*partial*"))
    assert yaml.safe_load((trained / "config.yaml").read_text())["model"]["dim"] == 8


def test_metrics_can_be_recomputed_from_the_ranks(trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    ranks = pq.read_table(trained / "test_ranks.parquet").to_pandas()
    assert metrics["test"]["overall"] == pytest.approx(rank_metrics(ranks["rank"]))
    for domain, values in metrics["test"]["domains"].items():
        assert values == pytest.approx(rank_metrics(ranks[ranks["domain"] == domain]["rank"]))
    assert set(metrics["negative_transfer"]) == set(metrics["test"]["domains"])
    relative = [values["lambda"] for values in metrics["negative_transfer"].values()]
    assert sum(relative) == pytest.approx(1.0, abs=1e-5)
    assert set(metrics["view_weights"]) == set(metrics["test"]["domains"])
    for weights in metrics["view_weights"].values():
        assert weights["single"] + weights["cross"] == 2
    assert {"protocol", "validation"} <= set(metrics)


def test_metrics_say_of_which_code_they_are(trained):
    training = json.loads((trained / "metrics.json").read_text())["training"]
    if commit() is None:  # not a checkout
        assert training["commit"] is None
    else:
        assert re.fullmatch("[0-9a-f]{40}(-dirty)?", training["commit"])
    assert training["versions"]["tf_syncrec"] == tf_syncrec.__version__


def test_histories_and_targets_are_those_of_the_log(trained):
    rows = [line.split(",") for line in (trained.parent / "log.csv").read_text().split()[1:]]
    for row in pq.read_table(trained / "test_ranks.parquet").to_pylist():
        sequence = [item for user, item, _, _ in rows if user == row["user_id"]]
        assert row["item_id"] == sequence[-1]
        assert row["domain"] == sequence[-1].split("_")[0]
        # Every item but one that only validation targets have is known.
        assert row["history"] == [i for i in sequence[:-1] if i in row["history"]]
        assert len(row["history"]) >= len(sequence) - 2


def test_served_answers_are_the_ranking_that_was_evaluated(trained):
    model = tf.saved_model.load(str(trained / "export" / "syncrec" / "1"))
    rows = pq.read_table(trained / "test_ranks.parquet").to_pylist()
    length = max(len(row["history"]) for row in rows)
    answer = model.signatures["serving_default"](
        items=tf.constant([row["history"] + [""] * (length - len(row["history"])) for row in rows]),
        domain=tf.constant([row["domain"] for row in rows]),
    )
    places = (answer["items"].numpy() == np.array([[r["item_id"].encode()] for r in rows])).argmax(
        1
    )
    found = 0
    for row, place, items in zip(rows, places, answer["items"].numpy(), strict=True):
        if row["rank"] <= 10 and row["item_id"] not in row["history"]:
            assert items[place].decode() == row["item_id"]
            assert place + 1 == row["rank"]
            found += 1
    assert found > 20
    np.testing.assert_array_equal(answer["known_items"], [len(row["history"]) for row in rows])


def tags_of(run):
    """Names of all that a run logged."""
    return {
        value.tag
        for file in (run / "logs").glob("events.*")
        for record in tf.data.TFRecordDataset(str(file))
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value
    }


def test_tensorboard_shows_losses_lambda_gap_and_validation(trained):
    tags = tags_of(trained)
    assert {
        "training/loss",
        "training/loss_single",
        "training/loss_cross",
        "training/loss_mim",
    } <= tags
    for domain in ("d0", "d1", "d2"):
        for quantity in ("lambda", "gap", "loss_single", "loss_cross", "loss_mim"):
            assert f"{quantity}/{domain}" in tags
        assert f"validation/{domain}/ndcg@10" in tags
    assert {"gates/cross", "gates/single", "_hparams_/session_start_info"} <= tags
    assert {"training/gradient_cross_experts", "training/gradient_single_experts"} <= tags
    assert {"speed/steps_per_second", "speed/input_wait_share", "training step"} <= tags
    assert (trained / "logs" / "projector_config.pbtxt").exists()
    assert not (trained / "logs" / "plugins").exists()  # nobody asked for a profile


def test_evaluate_repeats_the_numbers_of_the_training(trained, capsys):
    metrics = json.loads((trained / "metrics.json").read_text())
    for split in ("test", "validation"):
        evaluate.main(["--run", str(trained), "--split", split])
        overall = capsys.readouterr().out.splitlines()[-1].split()
        assert overall[0] == "overall"
        assert float(overall[5]) == pytest.approx(metrics[split]["overall"]["ndcg@10"], abs=1e-4)


@pytest.mark.slow
def test_no_test_leaves_the_test_split_alone(trained, tmp_path, capsys):
    """Its files are not there, and nobody misses them before somebody asks for test numbers."""
    log = Path(shutil.copy(trained.parent / "log.csv", tmp_path))
    shutil.copytree(trained.parent / "data", tmp_path / "data")
    files = list((tmp_path / "data").rglob("*-test.tfrecord*"))
    assert files
    for file in files:
        file.rename(tmp_path / file.name)
    run = train(tmp_path, "--no_test")

    def check():
        said = capsys.readouterr().out
        assert "Validation users 80;" in said and f"--run {run} --split test" in said
        assert not (run / "test_ranks.parquet").exists() and "ranks:" not in said
        metrics = json.loads((run / "metrics.json").read_text())
        assert "test" not in metrics and set(metrics["baselines"]["popularity"]) == {"validation"}
        assert set(metrics["protocol"]["cold_target_share"]) == {"validation"}
        # All else is as ever.
        expected = json.loads((trained / "metrics.json").read_text())
        assert metrics["validation"] == expected["validation"]
        assert metrics["view_weights"] == expected["view_weights"]
        assert (run / "export" / "syncrec" / "1" / "saved_model.pb").exists()
        rows = [line.split(",") for line in log.read_text().split()[1:]]
        samples = json.loads((run / "samples.json").read_text())
        assert samples
        for sample in samples:
            sequence = [item for user, item, _, _ in rows if user == sample["user_id"]]
            assert sample["target"] == sequence[-2]
        assert "Validation results per domain" in (run / "report.html").read_text()

    check()
    for name in ("report.html", "metrics.json"):  # interrupted when training had ended
        (run / name).unlink()
    fit(["--resume", "--output_dir", str(run)])  # it knows how it was begun
    check()
    with pytest.raises(tf.errors.NotFoundError):
        evaluate.main(["--run", str(run), "--split", "test"])
    for file in files:
        (tmp_path / file.name).rename(file)
    expected = json.loads((trained / "metrics.json").read_text())["test"]
    assert tf_syncrec.load(run).evaluate("test") == expected


@pytest.mark.slow
def test_same_seed_same_run_other_seed_another(trained):
    def history(directory):
        epochs = json.loads((directory / "history.json").read_text())
        return [{k: v for k, v in epoch.items() if not k.endswith("seconds")} for epoch in epochs]

    again = train(trained.parent, name="again")
    other = train(trained.parent, "--seed", "1", name="other")
    assert history(again) == history(trained)
    assert history(other) != history(trained)


@pytest.mark.slow
def test_training_learns(tmp_path):
    """The log is a ring of items: a trained model knows what comes next, popularity does not."""
    write_log(tmp_path / "log.csv", users=300)
    metrics = json.loads(
        (
            train(tmp_path, "--set", "train.learning_rate=0.01", epochs=25) / "metrics.json"
        ).read_text()
    )
    popularity = metrics["baselines"]["popularity"]["test"]["overall"]["ndcg@10"]
    assert metrics["test"]["overall"]["ndcg@10"] > 1.3 * popularity


@pytest.mark.long
def test_fifty_domains(tmp_path):
    write_log(tmp_path / "log.csv", num_domains=50, users=150, items=6)
    metrics = json.loads((train(tmp_path, epochs=1) / "metrics.json").read_text())
    assert len(metrics["test"]["domains"]) == 50


@pytest.mark.slow
def test_interrupted_by_a_loss_that_is_no_number(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: train(tmp_path, "--set", "train.learning_rate=1e30"))
    assert stop.value.code == 1
    assert "train.learning_rate" in capsys.readouterr().err


BAD_LOGS = {
    "missing": (None, ["--path", "log.csv"]),
    "empty": ("", ["log.csv", "empty"]),
    "header only": ("user_id,item_id,domain,timestamp\n", ["log.csv"]),
    "column": ("user_id,item_id,timestamp\nu,i,1\n", ["log.csv", "domain", "data.columns"]),
    "timestamp": (
        "user_id,item_id,domain,timestamp\nu,i,a,1\nu,j,b,noon\nu,k,b,3\n",
        ["log.csv", "3", "noon"],
    ),
    "one domain": ("user_id,item_id,domain,timestamp\nu,i,a,1\nu,j,a,2\nu,k,a,3\n", ["domain"]),
    "short": ("user_id,item_id,domain,timestamp\nu,i,a,1\nu,j,b,2\nv,k,b,3\n", ["3"]),
}


@pytest.mark.parametrize("name", BAD_LOGS)
def test_bad_log(name, tmp_path, capsys):
    content, words = BAD_LOGS[name]
    log = tmp_path / "log.csv"
    if content is not None:
        log.write_text(content)
    refused(tmp_path, capsys, words, "--dataset", "interactions", "--path", str(log))


BAD_OPTIONS = {
    "unknown key": (["--set", "model.dmi=3"], ["model.dmi", "model.dim"]),
    "unknown section": (["--set", "modell.dim=3"], ["modell"]),
    "wrong type": (["--set", "model.dim=wide"], ["model.dim", "wide"]),
    "out of range": (["--set", "model.dropout=2"], ["model.dropout", "2"]),
    "no value": (["--set", "model.dim"], ["--set", "model.dim"]),
    "epochs": (["--epochs", "none"], ["--epochs", "none"]),
    "seed": (["--seed", "-1"], ["--seed", "-1"]),
    "config": (["--config", "nowhere.yaml"], ["--config", "nowhere.yaml"]),
    "path needed": (["--dataset", "interactions"], ["--path"]),
    "not its option": (["--dataset", "synthetic", "--path", "x.csv"], ["--path"]),
    "raw_dir": (["--dataset", "amazon", "--raw_dir", "nowhere"], ["--raw_dir", "nowhere"]),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_option(name, tmp_path, capsys):
    options, words = BAD_OPTIONS[name]
    refused(tmp_path, capsys, words, *options)


def refused(tmp_path, capsys, words, *options):
    """Exit code 2, one line that says these words, and no run directory."""
    output = tmp_path / "run"
    everything = [*options, "--data_dir", str(tmp_path / "data"), "--output_dir", str(output)]
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: fit(everything))
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2
    assert len(error.splitlines()) == 1, error
    assert all(word in error for word in words), error
    assert not output.exists()


def test_directory_that_holds_a_run_is_left_alone(trained, capsys):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: train(trained.parent, name=trained.name))
    assert stop.value.code == 2
    assert "already holds a run" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_what_a_kill_after_the_report_left_goes_when_it_is_resumed(trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    left = [
        trained / "checkpoints" / "step-000000007",
        trained / "checkpoints" / ".step-000000005.old",
        trained / "checkpoints" / ".step-000000009.abcdefgh.partial",
        trained / ".report.html.abcdefgh.partial",
        trained / "export" / "syncrec" / ".version.abcdefgh.partial",
    ]
    for folder in left:
        folder.mkdir()
        (folder / "variables.h5").write_text("")
    lock = RunLock(trained)
    lock.acquire()  # whoever is at the run does so
    fit(["--resume", "--output_dir", str(trained)])
    assert all(folder.exists() for folder in left)
    lock.release()
    fit(["--resume", "--output_dir", str(trained)])
    assert not any(folder.exists() for folder in left)
    after = {path: path.stat().st_mtime_ns for path in trained.rglob("*") if path.is_file()}
    assert {path.name for path in before.keys() ^ after.keys()} <= {".lock"}
    assert all(after[path] == time for path, time in before.items() if path.name != ".lock")


@pytest.mark.slow
def test_as_a_command(tmp_path):
    """`python -m`: gzipped log with columns of its own; what is wrong goes to stderr."""
    log = write_log(tmp_path / "plain.csv", header="who,what,shop,when")
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    columns = {"user_id": "who", "item_id": "what", "domain": "shop", "timestamp": "when"}
    command = [
        *(sys.executable, "-m", "tf_syncrec.fit", "--dataset", "interactions"),
        *("--path", str(packed), "--data_dir", str(tmp_path / "data"), "--epochs", "1", *TINY),
        *("--output_dir", str(tmp_path / "run"), "--set", "model.name=bprmf"),
    ]
    for role, column in columns.items():
        command += ["--set", f"data.columns.{role}={column}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # none of the lines of TensorFlow and others
    assert "overall" in done.stdout and not set(done.stdout) & {"\r", "\x1b", "\b"}
    assert len([line for line in done.stdout.splitlines() if line.startswith("epoch ")]) == 1
    again = subprocess.run([*command, "--quiet"], capture_output=True, text=True, check=False)
    assert again.returncode == 2 and again.stdout == ""
    assert again.stderr.startswith("error: --output_dir") and again.stderr.count("\n") == 1
