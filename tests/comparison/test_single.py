"""Single-domain models meet their own domain and nothing else."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep import prepare
from tests.support.comparing import (
    ODD,
    QUIET,
    by_seed,
    cells_here,
    read_cells,
    run,
    strict_json,
    write_log,
)
from tf_syncrec.cli import prepare_data
from tf_syncrec.comparison import worker as cell
from tf_syncrec.comparison.cells import Cell
from tf_syncrec.comparison.names import parse_name
from tf_syncrec.config import Config
from tf_syncrec.data.batches import train_batches


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """As `compared`, but with others of the items of ODD, and a look at all that the cells read.

    Returns `(cells, [(who reads, domains of the items read)])`.
    """
    directory, met = tmp_path_factory.mktemp("changed"), []
    write_log(directory / "log.tsv", other_items=5)
    with cells_here() as patch:

        def watch(name, note):
            function = getattr(cell, name)

            def watched(*args, **kwargs):
                met.append((name, *note(*args)))
                return function(*args, **kwargs)

            patch.setattr(cell, name, watched)

        def of_training(model, config, prepared, validation, *_):
            batches = train_batches(prepared, model.window, 16, 0, model.batch_layout)
            return [batches, validation], prepared.catalogue.item_ids

        watch("train", of_training)
        watch("rank_split", lambda scorer, batches, catalogue: ([batches], catalogue.item_ids))
        root = run(directory, models="bprmf_single,bprmf_cross", seeds="1")
    catalogue = prepare(
        "interactions", path=directory / "log.tsv", data_dir=directory / "data", report=None
    ).catalogue
    domain_of = dict(zip(catalogue.item_ids, catalogue.item_domains, strict=True))
    read = []
    for name, datasets, item_ids in met:
        batches = [batch["items"].numpy().ravel() for data in datasets for batch in data]
        if not batches:  # QUIET has no targets: popularity stands in, and ranks nobody
            continue
        items = np.unique(np.concatenate(batches))
        names = item_ids[items[items > 0] - 1]  # each domain's items are numbered from 1
        read.append((name, {catalogue.domains[domain_of[item]] for item in names}))
    return read_cells(root), read


@pytest.mark.slow
def test_a_single_domain_model_meets_no_item_of_another_domain(changed):
    # Training, ranking validation, ranking test: of each domain alone, then of all together.
    calls = ("train", "rank_split", "rank_split")
    seen = ({ODD}, {"plain"}, {ODD, QUIET, "plain"})
    assert changed[1] == [(name, domains) for domains in seen for name in calls]


@pytest.mark.long
def test_what_happens_in_other_domains_does_not_change_a_single_domain_model(compared, changed):
    """The same items of `plain`, with others of the other domain in between."""

    def ranks(cells, model):
        rows = by_seed(cells, model)[1]
        return {row["user_id"]: row["rank"] for row in rows if row["domain"] == "plain"}

    alone = ranks(changed[0], "bprmf_single")
    assert len(set(alone.values())) > 5
    assert alone == ranks(compared.cells, "bprmf_single")
    assert ranks(changed[0], "bprmf_cross") != ranks(compared.cells, "bprmf_cross")


RARE = {
    # domains of everybody's sequence, and how many test targets are of `rare`
    "no test targets": ("rare rare a rare a", 0),
    "no validation targets": ("rare rare a a rare", 12),
    "no trained items": ("a b a a rare", 12),
    "none but in training": ("rare rare a a b", 0),
}


@pytest.mark.parametrize("name", RARE)
def test_a_domain_of_which_nothing_can_be_learnt_alone(name, tmp_path, capsys):
    """Popularity stands in, which is said, in place of a crash."""
    sequence, targets = RARE[name]
    lines = ["user_id,item_id,domain,timestamp"]
    for user in range(12):
        for step, domain in enumerate(sequence.split()):
            lines.append(f"u{user},{domain}{(user + step) % 6},{domain},{step}")
    (tmp_path / "log.tsv").write_text("\n".join(lines) + "\n")
    settings = {"dataset": "interactions", "path": str(tmp_path / "log.tsv")}
    config = Config.model_validate({"data": settings | {"data_dir": str(tmp_path / "data")}})
    prepared = prepare_data(config)
    one = Cell(parse_name("sasrec_single"), 0, "rare")
    directory = one.directory(tmp_path)
    directory.mkdir(parents=True)
    request = one.request(config, prepared.name)
    (directory / "cell.json").write_text(json.dumps(request))
    cell.run_cell(directory)
    assert "popularity stands in" in capsys.readouterr().out
    rows = pq.read_table(directory / "ranks.parquet").to_pylist()
    assert len(rows) == targets and {row["domain"] for row in rows} <= {"rare"}
    if name == "no trained items":
        assert all(row["cold"] and row["rank"] > 10 for row in rows)
    strict_json(directory / "result.json")
