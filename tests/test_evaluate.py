"""The protocols of the command line: what is printed, what is written, and what is left alone."""

import functools
import json
import shutil

import keras
import pyarrow.parquet as pq
import pytest

from tf_syncrec import evaluate
from tf_syncrec.cli import prepare_data, run_command
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.all_domains import rank_all_domains
from tf_syncrec.evaluation.full_ranking import ModelScorer, PopularityScorer, rank_split
from tf_syncrec.evaluation.sampled import SAMPLED
from tf_syncrec.evaluation.sampled.expected import count_others, expected_metrics
from tf_syncrec.evaluation.sampled.negatives_file import stored_negatives
from tf_syncrec.evaluation.sampled.sampled_ranking import rank_sampled
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.run import Run
from tf_syncrec.training.run_directory import RunDirectory

SETTINGS = {
    "model": {"dim": 4, "experts": 2, "cross_experts": 1, "blocks": 1, "window": 4},
    "evaluate": {"batch_size": 32},
}
SIZES = {"users": 60, "items_per_domain": 90, "interactions_per_user": 8}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A run as far as `evaluate` needs one, with a model that was never trained, and its data."""
    folder = tmp_path_factory.mktemp("evaluate")
    data = {"dataset": "synthetic", "data_dir": str(folder / "data"), "synthetic": SIZES}
    config = Config.model_validate(SETTINGS | {"data": data})
    prepared = prepare_data(config)
    run = RunDirectory(folder / "run")
    keras.utils.set_random_seed(0)
    model = SyNCRec.from_data(config, prepared)
    run.create(config, prepared.catalogue, model)
    model.save_weights(run.checkpoint_file)
    run.write_json(run.metrics_file, {"protocol": {"dataset": prepared.name}})
    return run, prepared, model


@pytest.fixture(autouse=True, scope="module")
def loaded_once():
    """A run is loaded by the first command that needs it: to trace a network takes seconds."""
    load = functools.cache(lambda directory, load=RunDirectory.load: load(RunDirectory(directory)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "load", lambda run: load(run.directory))
        yield


def files(run):
    return {path: path.stat().st_mtime_ns for path in run.directory.rglob("*") if path.is_file()}


def test_full_is_the_default_and_writes_nothing(parts, capsys):
    run, prepared, model = parts
    before = files(run)
    evaluate.main(["--run", str(run.directory)])
    printed = capsys.readouterr().out.splitlines()
    assert not any("sampled" in line for line in printed)
    assert files(run) == before
    batches = evaluation_batches(prepared, "test", 5)
    overall = rank_split(ModelScorer(model), batches, prepared.catalogue).metrics(
        prepared.catalogue.domains
    )["overall"]
    assert printed[-1].split()[5] == f"{overall['ndcg@10']:.4f}"


@pytest.mark.parametrize(
    ("protocol", "split"), [*zip(SAMPLED, ["validation", "test"], strict=True)]
)
def test_a_sampled_protocol_is_labelled_and_kept_apart(parts, capsys, protocol, split):
    run, prepared, model = parts
    names = prepared.catalogue.domains
    before = files(run)
    command = ["--run", str(run.directory), "--split", split, "--protocol", protocol]
    evaluate.main(command)
    label = f"{protocol}_{split}"
    new = {path.name for path in files(run).keys() - before.keys()}
    assert new == {f"metrics_{label}.json", f"negatives_{label}.parquet"}
    assert {path: files(run)[path] for path in before} == before

    found = json.loads((run.directory / f"metrics_{label}.json").read_text())
    negatives_file = run.directory / f"negatives_{label}.parquet"
    negatives = stored_negatives(negatives_file, prepared, split, protocol)
    batches = evaluation_batches(prepared, split, 7)
    for scorer, received in (
        (ModelScorer(model), found[split]),
        (PopularityScorer(prepared.catalogue.counts), found["baselines"]["popularity"][split]),
    ):
        ranks = rank_sampled(scorer, batches, prepared.catalogue, negatives)
        expected = ranks.metrics(names)
        # The order of the users is that of the batches, and rounds sums otherwise.
        assert received["overall"] == pytest.approx(expected["overall"], rel=1e-12)
        assert received["domains"].keys() == expected["domains"].keys()
        for name, metrics in expected["domains"].items():
            assert received["domains"][name] == pytest.approx(metrics, rel=1e-12)
    described = found["protocol"]
    assert described["name"] == protocol and described["dataset"] == prepared.name
    assert described["negatives"] == negatives_file.name
    fewer = sum(len(row) < 100 for row in pq.read_table(negatives_file)["negatives"].to_pylist())
    # 90 items a domain, less than 100.
    assert fewer == described["users_with_fewer_negatives"] == 60 * (protocol == "sampled_domain")

    # Again, with what is stored.
    stored_at = files(run)[negatives_file]
    capsys.readouterr()
    evaluate.main(command)
    again = capsys.readouterr().out
    assert f"{protocol}, {split}: " in again and "not comparable with full ranking" in again
    assert ("60 of 60 users have fewer than 100 negatives" in again) == bool(fewer)
    overall = next(line for line in again.splitlines() if line.startswith("overall"))
    assert overall.split()[5] == f"{found[split]['overall']['ndcg@10']:.4f}"
    assert json.loads((run.directory / f"metrics_{label}.json").read_text()) == found
    assert files(run)[negatives_file] == stored_at


def test_of_another_number_of_negatives(parts, capsys):
    run, prepared, model = parts
    before = files(run)
    command = ["--run", str(run.directory), "--protocol", "sampled_domain"]
    evaluate.main([*command, "--negatives", "20"])
    new = {path.name for path in files(run).keys() - before.keys()}
    label = "sampled_domain_20_test"
    assert new == {f"metrics_{label}.json", f"negatives_{label}.parquet"}
    found = json.loads((run.directory / f"metrics_{label}.json").read_text())
    assert "the target and 20 negatives drawn" in found["protocol"]["candidates"]
    table = pq.read_table(run.directory / f"negatives_{label}.parquet")
    assert {len(row) for row in table["negatives"].to_pylist()} == {20}

    batches, names = evaluation_batches(prepared, "test", 32), prepared.catalogue.domains
    full = rank_split(ModelScorer(model), batches, prepared.catalogue)
    others = count_others(batches, prepared.catalogue)
    assert found["expected"]["test"]["overall"] == pytest.approx(
        expected_metrics(full.ranks, others, 20, full.domains, names)["overall"], rel=1e-9
    )
    mean = found["expected"]["test"]["overall"]["ndcg@10"]
    assert f"on average over all draws {mean:.4f}." in capsys.readouterr().out
    of_python = Run(run.directory).evaluate("test", "sampled_domain", negatives=20)
    assert of_python["overall"] == pytest.approx(found["test"]["overall"], rel=1e-9)


@pytest.mark.parametrize(
    ("wrong", "protocol"),
    [("0", "sampled_domain"), ("-3", "sampled_all"), ("1001", "sampled_all"), ("20", "full")],
)
def test_what_is_no_number_of_negatives_is_refused(parts, capsys, wrong, protocol):
    command = ["--run", str(parts[0].directory), "--protocol", protocol, "--negatives", wrong]
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: evaluate.main(command))
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: --negatives {wrong}: expected 1 to 1000")


def test_all_domains_is_written_beside_the_metrics_of_the_run(parts, capsys):
    run, prepared, model = parts
    before = files(run)
    evaluate.main(["--run", str(run.directory), "--protocol", "all_domains"])
    new = {path.name for path in files(run).keys() - before.keys()}
    assert new == {"metrics_all_domains_test.json"}
    found = json.loads((run.directory / "metrics_all_domains_test.json").read_text())
    assert found["protocol"]["name"] == "all_domains"
    batches = evaluation_batches(prepared, "test", 32)
    ranks = rank_all_domains(ModelScorer(model), batches, prepared.catalogue, model.mixture)
    popular = rank_all_domains(
        PopularityScorer(prepared.catalogue.counts), batches, prepared.catalogue
    )
    names = prepared.catalogue.domains
    others = [found["baselines"][name]["test"] for name in ("uncalibrated", "popularity")]
    received = [found["test"], *others]
    for metrics, of in zip(received, (*ranks, popular[0]), strict=True):
        assert metrics == of.metrics(names)
    printed = capsys.readouterr().out
    overall = next(line for line in printed.splitlines() if line.startswith("overall"))
    assert overall.split()[5] == f"{found['test']['overall']['ndcg@10']:.4f}"
    assert f"NDCG@10 {ranks[1].metrics(names)['overall']['ndcg@10']:.4f}" in printed


@pytest.mark.parametrize("wrong", [("--protocol", "sampled"), ("--split", "train")])
def test_what_is_no_protocol_is_refused(parts, capsys, wrong):
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: evaluate.main(["--run", str(parts[0].directory), *wrong]))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: argument {wrong[0]}") and wrong[1] in error


def test_negatives_of_another_split_are_refused(parts, capsys, tmp_path):
    run, prepared, _ = parts
    shutil.copytree(run.directory, tmp_path / "run")
    file = tmp_path / "run" / "negatives_sampled_all_test.parquet"
    file.unlink(missing_ok=True)
    stored_negatives(file, prepared, "validation", "sampled_all")
    command = ["--run", str(tmp_path / "run"), "--protocol", "sampled_all"]
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: evaluate.main(command))
    assert stop.value.code == 2
    assert f"error: --protocol sampled_all: {file} does not belong" in capsys.readouterr().err


@pytest.fixture(scope="module")
def of_a_log(tmp_path_factory):
    """A run as above, whose data is of a log of one's own: the log, and the run."""
    folder = tmp_path_factory.mktemp("log")
    log = folder / "log.csv"
    rows = [f"u{u},{d}{(u + t) % 5},{d},{t}" for u in range(12) for t in range(8) for d in "ab"]
    log.write_text("\n".join(["user_id,item_id,domain,timestamp", *rows, ""]))
    data = {"dataset": "interactions", "path": str(log), "data_dir": str(folder / "data")}
    config = Config.model_validate(SETTINGS | {"data": data})
    prepared = prepare_data(config)
    run = RunDirectory(folder / "run")
    model = SyNCRec.from_data(config, prepared)
    run.create(config, prepared.catalogue, model)
    model.save_weights(run.checkpoint_file)
    run.write_json(run.metrics_file, {"protocol": {"dataset": prepared.name}})
    return log, run


def refusal(run, capsys):
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: evaluate.main(["--run", str(run.directory)]))
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_the_prepared_data_alone_is_needed(of_a_log, capsys):
    log, run = of_a_log
    evaluate.main(["--run", str(run.directory)])
    first = capsys.readouterr().out
    assert "Reusing" in first
    text = log.read_text()
    for change in (lambda: log.write_text(text + "u1,a1,a,99\n"), log.unlink):
        change()  # grown since; gone
        evaluate.main(["--run", str(run.directory)])
        assert capsys.readouterr().out == first
    log.write_text(text)


def test_without_the_prepared_data_the_log_is_needed_and_is_named(of_a_log, capsys, tmp_path):
    log, run = of_a_log
    text, data = log.read_text(), log.parent / "data"
    shutil.move(data, tmp_path / "data")
    log.unlink()
    error = refusal(run, capsys)
    for part in (f"--run {run.directory}", str(data), f"{log}: no such file", "prepared again"):
        assert part in error
    assert "--path" not in error
    log.write_text(text + "u1,a1,a,99\n")
    assert "its data has changed since the training" in refusal(run, capsys)
    log.write_text(text)
    evaluate.main(["--run", str(run.directory)])  # prepared again, and the same
