"""Seeds of a model's own: what is compared is the mean over each model's seeds."""

import statistics
from types import SimpleNamespace

import pytest

from data_prep import prepare
from tests.support.comparing import (
    METRICS,
    domains_of,
    literal_gain,
    no_cells,
    options,
    refused,
    run,
    scripted_cells,
    strict_json,
    tables_of,
    write_log,
)
from tf_syncrec.comparison.names import parse_name

MODELS = "gru4rec,popularity,bprmf@7,mmoe_single@5+0,mmoe"
SEEDS = {"gru4rec": [0, 1, 2], "bprmf": [7], "mmoe_single": [0, 5], "mmoe": [0, 1, 2]}


def made_up(request, user):
    """A rank that depends on the model, the seed and the user."""
    number = sum(map(ord, request["model"])) + 31 * request["seed"] + 17 * int(user[1:])
    return 1 + number * number % 13


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """A comparison of models with 3, 1 and 2 seeds, ranks made up."""
    directory = tmp_path_factory.mktemp("uneven")
    write_log(directory / "log.tsv")
    prepared = prepare(
        "interactions", path=directory / "log.tsv", data_dir=directory / "data", report=None
    )
    users = domains_of(prepared)
    with scripted_cells(users, rank=made_up) as done:
        root = run(directory, models=MODELS, seeds="2,0,1")
    comparison = strict_json(root / "comparison.json")
    return SimpleNamespace(users=users, root=root, comparison=comparison, done=done)


def gains(users, model, metric, domain=None):
    """Mean over the model's own seeds, `{user: value}`, by a literal loop."""
    return {
        user: statistics.fmean(
            literal_gain(made_up({"model": model, "seed": seed}, user), metric)
            for seed in SEEDS[model]
        )
        for user in users
        if domain in (None, users[user])
    }


def test_each_model_is_trained_with_its_own_seeds(uneven):
    seeds: dict[str, set[int]] = {}
    for _, request in uneven.done:
        seeds.setdefault(request["model"], set()).add(request["seed"])
    assert seeds == {name: set(own) for name, own in SEEDS.items()} | {"popularity": {2}}
    models = uneven.comparison["models"]
    assert {name: model["seeds"] for name, model in models.items()} == SEEDS | {"popularity": []}


def test_means_and_spreads_are_over_the_seeds_of_each_model(uneven):
    for model, own in SEEDS.items():
        test = uneven.comparison["models"][model]["test"]
        for domain, row in [(None, test["overall"]), *test["domains"].items()]:
            members = gains(uneven.users, model, "mrr", domain)
            assert row["users"] == len(members)
            if not members:
                continue
            for metric in METRICS:
                by_seed = [
                    statistics.fmean(
                        literal_gain(made_up({"model": model, "seed": seed}, user), metric)
                        for user in members
                    )
                    for seed in own
                ]
                assert row[metric]["values"] == pytest.approx(by_seed)
                assert row[metric]["mean"] == pytest.approx(statistics.fmean(by_seed))
                if len(own) == 1:
                    assert row[metric]["std"] is None
                else:
                    assert row[metric]["std"] == pytest.approx(statistics.stdev(by_seed))


def test_differences_are_of_means_over_the_seeds_of_each(uneven):
    reference = uneven.comparison["reference"]
    assert reference == "gru4rec"
    for model in set(SEEDS) - {reference}:
        found = uneven.comparison["models"][model]["against_reference"]["ndcg@10"]
        for domain, row in [(None, found["overall"]), *found["domains"].items()]:
            ours, theirs = (
                gains(uneven.users, name, "ndcg@10", domain) for name in (model, reference)
            )
            differences = [ours[user] - theirs[user] for user in ours]
            expected = statistics.fmean(differences) if differences else 0
            assert row["mean"] == pytest.approx(expected, abs=1e-12)
    table = uneven.comparison["negative_transfer"]["mmoe"]
    for name, row in table["domains"].items():
        alone, together = (
            list(gains(uneven.users, model, "ndcg@10", name).values())
            for model in ("mmoe_single", "mmoe")
        )
        if alone:
            assert row["alone"] == pytest.approx(statistics.fmean(alone))
            assert row["all_domains"] == pytest.approx(statistics.fmean(together))
            assert [len(row["by_seed"][key]) for key in ("alone", "all_domains")] == [2, 3]


def test_one_seed_has_no_spread_in_the_table(uneven):
    tables = tables_of((uneven.root / "comparison.md").read_text())
    (table,) = [t for t in tables if t[0][0] == f"{len(uneven.users)} users"]
    for name, seeds, *texts in table[2:]:
        assert seeds == str(len(SEEDS.get(name, [])) or "-")
        assert [" ± " in text for text in texts] == [len(SEEDS.get(name, [])) > 1] * len(METRICS)
        assert "nan" not in " ".join(texts)


def test_a_seed_has_its_directory_whoever_asks_for_it(uneven, tmp_path):
    """The same seeds named in another way: nothing is left to do."""
    with scripted_cells(uneven.users, rank=made_up) as done:
        for models, seeds in (("gru4rec@1+2", "0"), ("bprmf", "7"), ("mmoe@1,mmoe_single", "5,0")):
            more = ("--output_dir", str(uneven.root))
            run(uneven.root.parent, *more, models=models, seeds=seeds)
        assert not done
        run(uneven.root.parent, "--output_dir", str(tmp_path), models=MODELS, seeds="2,0,1")
    assert {"model": "gru4rec", "seed": 2}.items() <= done[0][1].items()


WRONG = ["@", "@x", "@1+1", "@-1", "@0+", "@0,1+", "@0@1", "@1.5"]


@pytest.mark.parametrize("seeds", WRONG)
def test_wrong_seeds_name_the_model(seeds, tmp_path, capsys):
    with no_cells():
        error = refused(options(tmp_path, models=f"bprmf{seeds}"), capsys)
    assert "--models" in error and ("bprmf@" in error or "'1+'" in error), error


def test_seeds_where_there_is_no_chance_and_of_presets(tmp_path, capsys):
    with no_cells():
        assert "popularity@0" in refused(options(tmp_path, models="bprmf,popularity@0"), capsys)
        error = refused(options(tmp_path, models="bprmf@0,popularity,bprmf@1"), capsys)
        assert "each model once" in error
        arguments = options(tmp_path)
        at = arguments.index("--models")
        arguments[at : at + 2] = ["--preset", "main@0"]
        assert "main@0" in refused(arguments, capsys)


def test_the_seeds_are_no_part_of_a_name():
    assert parse_name("recbole:SASRec").text == "recbole:SASRec"
