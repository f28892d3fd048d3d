"""Cells: their order, their directories, and what they are asked for."""

import itertools
import json
from pathlib import Path

import pytest

from data_prep import InputError
from tf_syncrec.comparison.cells import Cell, cells_of
from tf_syncrec.comparison.jobs import check_same
from tf_syncrec.comparison.names import parse_name
from tf_syncrec.config import ADDED, Config
from tf_syncrec.models.registry import ABLATIONS, FULL, PARTS
from tf_syncrec.utils.nested import flat


def test_cells_are_made_seed_by_seed_and_have_directories_of_their_own():
    """A comparison that is stopped has whole seeds; any name of a domain can be a directory."""
    plan = {
        parse_name("bprmf_single"): (4, 2),
        parse_name("item_knn"): (4,),
        parse_name("recbole:SASRec"): (2, 4, 7),
        parse_name("bprmf_by_pair"): (4,),
    }
    domains = ["a/b", "..", "", "A", "a"]
    cells = cells_of(plan, domains)
    assert [c.seed for c in cells] == [4] * 6 + [2] + [4] * 10 + [2] * 5 + [4] + [7]
    assert len(set(cells)) == len(cells)
    changed = [
        c._replace(settings=settings)
        for c in cells
        for settings in [
            (("model.dim", 8),),
            (("model.dim", 16),),
            (("model.dim", 8), ("model.gate", "causal")),
            (("model.ff_dim", None),),
        ]
    ]
    directories = [c.directory(Path("root")) for c in [*cells, *changed]]
    assert len({str(directory).lower() for directory in directories}) == 5 * len(cells)
    assert all(d.resolve().is_relative_to(Path("root").resolve()) for d in directories)
    # None is within another, so that one can be deleted by itself.
    for one, other in itertools.permutations(directories, 2):
        assert not one.is_relative_to(other)


def test_what_makes_a_network_what_it_is_wins_over_its_settings():
    settings = (("model.dim", 8), ("negative_transfer.enabled", True))
    one = Cell(parse_name("syncrec_without_lc_ntg"), 3, None, settings)
    config = one.request(Config(), "data")["config"]
    assert config["model"]["dim"] == 8 and config["train"]["seed"] == 3
    assert config["negative_transfer"]["enabled"] is False


@pytest.mark.parametrize("left_out", [(), tuple(PARTS)])
def test_variants_lack_one_part_whatever_the_configuration_leaves_out(left_out):
    settings: dict[str, dict] = {}
    for section, name in (part.split(".") for part in left_out):
        settings.setdefault(section, {})[name] = False
    config = Config.model_validate(settings)

    def missing(text):
        asked = dict(flat(Cell(parse_name(text), 0, None, ()).request(config, "data")["config"]))
        return {part for part in PARTS if not asked[part]}

    assert missing("syncrec") == set(left_out)
    assert missing(FULL) == set()
    of_variants = [missing(text) for text in ABLATIONS.values()]
    assert all(len(parts) == 1 for parts in of_variants)
    assert set.union(*of_variants) == set(PARTS)


def test_a_cell_is_asked_for_nothing_that_its_model_does_not_read():
    """So that a change of the network leaves the baselines that are none of it as computed."""
    changed = Config.model_validate(
        {
            "data": {"min_interactions": 3},
            "model": {"window": 9, "dim": 16},
            "loss": {"eta": 0.5},
            "train": {"patience": 2, "learning_rate": 0.1},
            "recbole": {"epochs": 7, "NARM": {"epochs": 8}},
        }
    )

    def asked(model, config=changed):
        return Cell(parse_name(model), 3, None).request(config, "data")["config"]

    ours = asked("sasrec_cross")
    shared = Config.model_validate(ours).model_dump()
    assert shared == changed.model_dump() | {"recbole": {}, "train": ours["train"]}
    assert ours["train"] == changed.train.model_dump() | {"seed": 3}
    for model in ("item_knn", "popularity"):
        assert asked(model) == asked(model, Config(data=changed.data))
    for model, epochs in (("recbole:NARM", 8), ("recbole:GCMC", 7)):
        config = Config(data=changed.data, recbole={"epochs": epochs})
        config.model.window, config.train.patience = 9, 2
        assert asked(model) == asked(model, config)
        assert asked(model)["recbole"] == {"epochs": epochs}


def test_settings_are_chosen_for_a_model_and_a_domain():
    plan = {parse_name("bprmf_single"): (0, 1), parse_name("bprmf"): (5,)}
    single, merged = plan
    changed = (("model.dim", 8),)
    cells = cells_of(plan, ["a", "b"], {(single, "b"): changed, (merged, None): ()})
    assert [(c.model, c.domain) for c in cells if c.settings] == 2 * [(single, "b")]
    assert [c.seed for c in cells if c.settings] == [0, 1]


def test_a_cell_of_before_a_setting_was_there_is_one_with_its_default(tmp_path):
    cell = cells_of({parse_name("sasrec"): (0,)}, ["books", "films"])[0]
    request = cell.request(Config(), "data")
    before = json.loads(json.dumps(request))
    for name in ADDED:
        section, key = name.split(".")
        del before["config"][section][key]
    (tmp_path / "cell.json").write_text(json.dumps(before))
    check_same(tmp_path, request)
    request["config"]["model"]["time_inputs"] = "auto"
    with pytest.raises(InputError, match=r"model\.time_inputs = None, now it is 'auto'"):
        check_same(tmp_path, request)
