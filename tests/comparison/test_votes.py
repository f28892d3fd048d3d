"""Votes of neighbours count other things alone than merged: verdicts are of what was learned."""

import contextlib
import io
import json
import statistics
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from data_prep import prepare
from tests.support.comparing import (
    ODD,
    by_seed,
    cells_here,
    domains_of,
    literal_mean,
    no_cells,
    options,
    plant_cell,
    read_cells,
    refused,
    run,
    strict_json,
    tables_of,
    write_log,
)
from tf_syncrec import compare
from tf_syncrec.cli import prepare_data
from tf_syncrec.comparison.cells import Cell
from tf_syncrec.comparison.names import parse_name
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.models.registry import network_of
from tf_syncrec.utils.hdf5 import load_weights

UNTRAINED = [
    *("--set", "train.learning_rate=1e-9", "--set", "model.item_init=random"),
    *("--set", "model.neighbours=20"),
]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """Networks that learned nothing, merged and alone, on a log whose domains tell of each other.

    Cells of seed 0 are trials first, of which they go on; the merged one has another seed.
    """
    directory, said = tmp_path_factory.mktemp("untrained"), io.StringIO()
    write_log(directory / "log.tsv", users=240, items=40)
    with cells_here(), contextlib.redirect_stdout(said):
        more = (*UNTRAINED, "--grid", "train.patience=6")
        root = run(directory, *more, models="bprmf@0+1,bprmf_single")
    return SimpleNamespace(
        root=root,
        comparison=strict_json(root / "comparison.json"),
        cells=read_cells(root),
        said=said.getvalue(),
    )


@pytest.mark.slow
def test_untrained_networks_are_neither_hurt_nor_helped(untrained):
    """Though votes alone make the merged one much better, by the rule of the verdicts certainly."""
    comparison = untrained.comparison
    own, voting = (
        comparison[key]["bprmf"] for key in ("negative_transfer", "negative_transfer_with_votes")
    )
    for name in (ODD, "plain"):
        assert own["domains"][name]["verdict"] == "no clear difference"
        row = voting["domains"][name]
        assert row["difference"]["mean"] > 0.1 and row["difference"]["p_holm"] < 0.01
        assert min(row["by_seed"]["all_domains"]) > max(row["by_seed"]["alone"])
    assert "verdict" not in json.dumps(voting)
    for verdict in ("hurt", "helped"):
        assert f"bprmf, {verdict} by the other domains: none for certain" in untrained.said
    assert "by the network's score alone" in untrained.said


@pytest.mark.slow
def test_both_tables_follow_from_the_ranks_of_the_cells(untrained):
    for domain in (None, ODD, "plain"):
        tables = [
            untrained.comparison[key]["bprmf"]
            for key in ("negative_transfer", "negative_transfer_with_votes")
        ]
        own, voting = (t["domains"][domain] if domain else t["overall"] for t in tables)
        for model, key in (("bprmf_single", "alone"), ("bprmf", "all_domains")):
            seeds = [
                [row for row in rows if domain in (None, row["domain"])]
                for rows in by_seed(untrained.cells, model).values()
            ]
            shipped = [literal_mean(rows, "ndcg@10") for rows in seeds]
            network = [
                literal_mean([row | {"rank": row["rank_without_votes"]} for row in rows], "ndcg@10")
                for rows in seeds
            ]
            assert own["by_seed"][key] == pytest.approx(network)
            assert voting["by_seed"][key] == pytest.approx(shipped)
            added = statistics.fmean(shipped) - statistics.fmean(network)
            assert voting["votes"][key] == pytest.approx(added) and added > 0.1
    table = pq.read_table(untrained.root / "ranks.parquet").to_pydict()
    for seed, rows in by_seed(untrained.cells, "bprmf").items():
        rows = sorted(rows, key=lambda row: row["user_id"])
        assert table[f"bprmf/seed{seed}"] == [row["rank"] for row in rows]
        without = [row["rank_without_votes"] for row in rows]
        assert table[f"bprmf/seed{seed}/without_votes"] == without


@pytest.mark.slow
def test_a_cell_ranks_by_its_network_with_votes_and_without(untrained):
    """Whether it goes on from a trial (seed 0) or not."""
    asked = [(r, rows) for r, rows, _ in untrained.cells if r["model"] == "bprmf"]
    assert len(asked) == 2
    for request, rows in asked:
        config = Config.model_validate(request["config"])
        prepared = prepare_data(config)
        model = network_of("bprmf").build(config, prepared)
        cell = Cell(parse_name("bprmf"), request["seed"], None, (("train.patience", 6),))
        load_weights(model, cell.directory(untrained.root) / "best.weights.h5")
        batches = evaluation_batches(prepared, "test", 64)
        for column, votes in (("rank", True), ("rank_without_votes", False)):
            ranks = rank_split(ModelScorer(model, votes), batches, prepared.catalogue)
            found = dict(zip(ranks.user_ids, ranks.ranks, strict=True))
            assert {row["user_id"]: row[column] for row in rows} == {
                user.decode(): rank for user, rank in found.items()
            }


@pytest.mark.slow
def test_the_report_says_which_is_which(untrained):
    text = (untrained.root / "comparison.md").read_text()
    own, voting = (t for t in tables_of(text) if t[0][1:3] == ["users", "alone"])
    assert own[0][-1] == "other domains" and "votes add" not in " ".join(own[0])
    assert voting[0][-2:] == ["votes add, alone", "votes add, all domains"]
    comparison = untrained.comparison
    for table, key in ((own, "negative_transfer"), (voting, "negative_transfer_with_votes")):
        for row in table[2:-1]:
            expected = comparison[key]["bprmf"]["domains"][row[0].replace("\\", "")]
            assert row[2:4] == [f"{expected[k]:.4f}" for k in ("alone", "all_domains")]
    for row in voting[2:-1]:
        added = comparison["negative_transfer_with_votes"]["bprmf"]["domains"][
            row[0].replace("\\", "")
        ]["votes"]
        assert row[-2:] == [f"{added[k]:+.4f}" for k in ("alone", "all_domains")]
    for file in ("comparison.md", "report.html"):
        assert "without the terms fitted after training" in (untrained.root / file).read_text()


def test_verdicts_are_of_the_ranks_without_votes_where_there_are_any(tmp_path, capsys):
    """Planted ranks; a domain that popularity stands in for has no votes, and none is missed."""
    write_log(tmp_path / "log.tsv", users=120)
    prepared = prepare(
        "interactions", path=tmp_path / "log.tsv", data_dir=tmp_path / "data", report=None
    )
    users, root = domains_of(prepared), tmp_path / "comparison"
    # With votes all domains are the better for it, without them `plain` is the worse.
    planted = {"rank": (9, 1), "without": (2, 8)}
    for name in ("sasrec", "sasrec_single"):
        for part in prepared.catalogue.domains if name.endswith("_single") else [None]:
            own = [user for user in users if part in (None, users[user])]
            place = part is None
            ranks = [planted["rank"][place]] * len(own)
            without = [planted["without"][place] if users[u] == "plain" else 4 for u in own]
            both = (without,) if part == ODD else (ranks, without)  # there popularity stands in
            plant_cell(root, name, 0, part, own, [users[u] for u in own], *both)
    with no_cells():
        compare.main(options(tmp_path, *UNTRAINED, models="sasrec,sasrec_single"))
    comparison = strict_json(root / "comparison.json")
    own = comparison["negative_transfer"]["sasrec"]["domains"]
    assert (own["plain"]["verdict"], own[ODD]["verdict"]) == ("hurt", "no clear difference")
    assert own[ODD]["difference"]["mean"] == 0
    voting = comparison["negative_transfer_with_votes"]["sasrec"]["domains"]
    assert voting["plain"]["difference"]["low"] > 0
    assert voting[ODD]["votes"]["alone"] == 0 < voting[ODD]["votes"]["all_domains"]
    assert "sasrec, hurt by the other domains: plain" in capsys.readouterr().out


def test_only_cells_that_neighbours_vote_for_are_asked_for_ranks_without(tmp_path, capsys):
    """Cells of before cannot answer, and are refused; all others stay what they were."""

    def asked(model, *settings):
        config = Config.model_validate({"model": {"neighbours": 20}})
        return Cell(parse_name(model), 0, None, settings).request(config, "data")

    assert "ranks" in asked("sasrec")
    for request in (asked("item_knn"), asked("sasrec", ("model.neighbours", 0))):
        assert "ranks" not in request

    write_log(tmp_path / "log.tsv")
    file = tmp_path / "comparison" / "cells" / "sasrec" / "seed0" / "cell.json"
    file.parent.mkdir(parents=True)
    before = asked("sasrec")
    del before["ranks"]
    file.write_text(json.dumps(before))
    with no_cells():
        error = refused(options(tmp_path, *UNTRAINED, models="sasrec"), capsys)
    assert str(file.parent) in error


@pytest.mark.long
def test_untrained_networks_on_the_planted_data(tmp_path):
    """`contrary` misleads votes too: counting alone says that it is hurt and the others helped."""
    settings = ("dim=16", "blocks=1", "window=8", "item_init=random", "neighbours=50")
    root = tmp_path / "comparison"
    with cells_here():
        compare.main(
            [
                *("--dataset", "synthetic", "--data_dir", str(tmp_path / "data")),
                *("--models", "sasrec,sasrec_single", "--seeds", "0", "--epochs", "1"),
                *("--output_dir", str(root), "--set", "train.learning_rate=1e-9"),
                *(word for text in settings for word in ("--set", f"model.{text}")),
            ]
        )
    comparison = strict_json(root / "comparison.json")
    rows = comparison["negative_transfer"]["sasrec"]["domains"]
    assert {row["verdict"] for row in rows.values()} == {"no clear difference"}
    voting = comparison["negative_transfer_with_votes"]["sasrec"]["domains"]
    for name, row in voting.items():
        assert row["difference"]["p_holm"] < 0.01
        assert (row["difference"]["mean"] < 0) == (name == "contrary")
