"""Presets: what they name exists, what cannot be had is left out, and said."""

import pytest

from data_prep import InputError, prepare
from tests.support.comparing import (
    by_seed,
    domains_of,
    literal_mean,
    options,
    read_cells,
    refused,
    scripted_cells,
    strict_json,
    tables_of,
    write_log,
)
from tf_syncrec import compare
from tf_syncrec.comparison import plan as planning
from tf_syncrec.comparison.libraries.library import RECBOLE
from tf_syncrec.comparison.plan import read_plan
from tf_syncrec.comparison.presets import (
    PRESETS,
    SINGLE_DOMAIN,
    TABLE_2,
    leave_out,
    missing_here,
    missing_in,
)
from tf_syncrec.config import Config, load, shipped
from tf_syncrec.models.registry import PUBLISHED, PUBLISHED_LOSSES


@pytest.fixture
def no_recbole(monkeypatch):
    monkeypatch.setenv("RECBOLE_PYTHON", "/not/there/python")


@pytest.mark.parametrize("name", PRESETS)
def test_every_name_of_a_preset_is_known(name):
    preset = PRESETS[name]
    plan, reference = read_plan(",".join(preset.models), preset.seeds, preset.reference)
    assert [model.text for model in plan] == list(preset.models)
    assert reference == preset.reference
    load(shipped("amazon"), [(key, value, name) for key, value in preset.options.items()])


def plan_of(name):
    preset = PRESETS[name]
    return read_plan(",".join(preset.models), preset.seeds, preset.reference)[0]


def test_all_systems_of_the_papers_tables_are_there():
    """Tables 2 and 3 have 25 rows; those made for two domains are trained on pairs (footnote 2)."""
    known = {text.removeprefix(RECBOLE.prefix).lower() for text in TABLE_2}
    single = "bprmf gcmc gru4rec sasrec bert4rec s3rec carca nextitnet sine stamp transrec"
    pairs = ["bitgcf", "dtcdr", "cmf", "clfm", "deepapf", "mifn", "pi_net", "man", "c2dsr"]
    rows = [
        *f"{single} lightsans narm cat_art mmoe cgrec".split(),
        *map("{}_by_pair".format, pairs),
    ]
    assert known == set(rows) and len(rows) == len(TABLE_2) == 25
    assert set(TABLE_2) < set(PRESETS["paper_quick"].models) < set(PRESETS["paper"].models)


def test_each_network_with_a_published_loss_is_there_with_it_as_well():
    models = PRESETS["paper"].models
    for name in PUBLISHED_LOSSES:
        (plain,) = {name, f"{name}_by_pair"} & set(models)
        assert plain.replace(name, name + PUBLISHED) in models


def config_with(items):
    return Config.model_validate({"data": {"items": {"path": items}}})


@pytest.mark.parametrize("items", [None, "items.csv"])
def test_what_cannot_be_had_is_left_out_and_the_reason_is_given(items, no_recbole):
    plan = plan_of("paper")
    missing = missing_here(plan, config_with(items))
    of_recbole = {model.text for model in plan if model.base.startswith(RECBOLE.prefix)}
    assert set(missing) == of_recbole | (set() if items else {"carca", "carca_published_loss"})
    left = leave_out(plan, "syncrec", missing)
    assert [model for model in plan if model.text not in missing] == list(left)
    assert "make recbole" in missing["recbole:SINE"]
    if not items:
        assert "--items" in missing["carca"] and "--items" in missing["recbole:S3Rec"]
    with pytest.raises(InputError, match=r"--reference recbole:NARM: /not/there/python"):
        leave_out(plan, "recbole:NARM", missing)


def test_pairs_are_left_out_where_there_is_one_domain():
    plan = plan_of("paper")
    missing = missing_in(plan, ["books"])
    assert set(missing) == {model.text for model in plan if model.by_pair} and missing
    assert missing["cmf_by_pair"] == "needs two domains, the data has books"
    assert missing_in(plan, ["books", "films"]) == {}


def test_all_of_it_runs_where_all_is_there(tmp_path, monkeypatch):
    there = tmp_path / "python"
    there.write_text("#!/bin/sh\nexit 0\n")
    there.chmod(0o755)
    monkeypatch.setenv("RECBOLE_PYTHON", str(there))
    assert missing_here(plan_of("paper_quick"), config_with("items.csv")) == {}


def test_nobody_looks_for_recbole_where_it_has_no_part(monkeypatch):
    monkeypatch.setattr(planning, "check_interpreter", None)
    assert missing_here(plan_of("main"), config_with(None)) == {}


def test_a_model_that_is_asked_for_by_name_is_not_left_out(tmp_path, no_recbole, capsys):
    write_log(tmp_path / "log.tsv")
    error = refused(options(tmp_path, models="popularity,recbole:STAMP"), capsys)
    assert "/not/there/python" in error and "make recbole" in error


SOME_OF_IT = PRESETS["paper_quick"]._replace(
    models=("syncrec", "mmoe", "pi_net_by_pair", SINGLE_DOMAIN, "recbole:NARM", "popularity")
)
"""All of it would take a minute to draw."""


def test_the_rehearsal_of_the_papers_tables(tmp_path, no_recbole, monkeypatch, capsys):
    """With ranks that are made up: one seed, two epochs, and Table 4 follows from the ranks."""
    monkeypatch.setitem(PRESETS, "paper_quick", SOME_OF_IT)
    path, root = write_log(tmp_path / "log.tsv"), tmp_path / "rehearsal"
    data = ("--path", str(path), "--data_dir", str(tmp_path / "data"))
    users = domains_of(prepare("interactions", path=path, data_dir=data[-1], report=None))

    def rank(request, user):
        return 1 + (len(request["model"]) + sum(map(ord, user))) % 9

    with scripted_cells(users, rank=rank) as done:
        compare.main(
            [
                "--dataset",
                "interactions",
                *data,
                "--preset",
                "paper_quick",
                "--output_dir",
                str(root),
            ]
        )
    assert {request["seed"] for _, request in done} == {0}
    assert epochs_of(done) == {2}
    assert "leaves out recbole:NARM: /not/there/python" in capsys.readouterr().out
    page = (root / "comparison.md").read_text()
    assert "left out: `recbole:NARM`" in page and "epochs of a network: at most 2\n" in page
    assert "of RecBole: S3Rec.pretrain_epochs = 2" in page

    comparison, cells = strict_json(root / "comparison.json"), read_cells(root)
    expected = {}
    for model in ("syncrec", "mmoe", SINGLE_DOMAIN):
        rows = by_seed(cells, model)[0]
        for domain in comparison["domains"]:
            own = [row for row in rows if row["domain"] == domain]
            expected[model, domain] = literal_mean(own, "hr@5")
    text = (root / "comparison.md").read_text().split("Table 4 of the paper")[1]
    table = {name: changes for name, *changes in tables_of(text)[0]}
    assert not {"popularity", "item_knn", SINGLE_DOMAIN, "sasrec_single"} & set(table)
    for model in ("syncrec", "mmoe"):
        for domain, change in zip(comparison["domains"], table[model], strict=True):
            of_alone = expected[SINGLE_DOMAIN, domain]
            assert change == (f"{expected[model, domain] / of_alone - 1:+.1%}" if of_alone else "-")
    assert any(change not in ("-", "+0.0%") for change in table["syncrec"])


def test_what_is_given_wins_over_the_preset(tmp_path, monkeypatch):
    """And RecBole is asked once whether it is there and knows its settings."""
    models = ("syncrec", "bprmf", "recbole:NARM")
    monkeypatch.setitem(PRESETS, "paper_quick", SOME_OF_IT._replace(models=models))
    there, asked = tmp_path / "python", tmp_path / "asked"
    there.write_text(f'#!/bin/sh\necho "$4" >> {asked}\n')
    there.chmod(0o755)
    monkeypatch.setenv("RECBOLE_PYTHON", str(there))
    path, root = write_log(tmp_path / "log.tsv"), tmp_path / "rehearsal"
    data = ("--path", str(path), "--data_dir", str(tmp_path / "data"))
    users = domains_of(prepare("interactions", path=path, data_dir=data[-1], report=None))
    given = ["--preset", "paper_quick", "--epochs", "3", "--seeds", "4", "--reference", "bprmf"]
    given += ["--set", "recbole.NARM.n_layers=1"]
    with scripted_cells(users) as done:
        compare.main(["--dataset", "interactions", *data, *given, "--output_dir", str(root)])
    assert epochs_of(done) == {3} and {request["seed"] for _, request in done} == {4}
    assert strict_json(root / "comparison.json")["reference"] == "bprmf"
    assert asked.read_text() == '{"NARM": ["epochs", "n_layers"]}\n'
    (of_recbole,) = [request for _, request in done if request["model"] == "recbole:NARM"]
    assert of_recbole["config"]["recbole"] == {"epochs": 2, "n_layers": 1}


def epochs_of(done):
    """Of what is trained."""
    return {
        request["config"]["train"]["epochs"]
        for _, request in done
        if request["model"] != "popularity" and not request["model"].startswith(RECBOLE.prefix)
    }
