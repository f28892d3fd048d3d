"""The grid tries what `--set` would set, and says what is wrong as `--set` says it."""

import argparse
import itertools
import json

import pytest

from data_prep import InputError
from tf_syncrec.cli import add_data_options, config_from
from tf_syncrec.comparison.cells import Cell
from tf_syncrec.comparison.grid_search import choose, read_grid, validation_metric
from tf_syncrec.comparison.names import parse_name
from tf_syncrec.config import Config


def arguments(*more):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_data_options(parser)
    return parser.parse_args(more)


def grid_of(*assignments, given=()):
    args = arguments(*given)
    return read_grid(assignments, lambda more: config_from(args, more))


def test_every_point_is_what_set_would_make_of_it():
    """Also spelt in other ways, and where only values together are allowed."""
    axes = {
        "model.experts": ["3", "0x6"],
        "train.learning_rate": ["1e-3", ".003", "3.0"],
        "negative_transfer.enabled": ["yes", "false"],
        "model.ff_dim": ["", "64"],
        "loss.name": ["bce", "sampled_softmax"],
    }
    given = ("--set", "model.cross_experts=2", "--set", "train.patience=7")
    names, points = grid_of(*(f"{k}={','.join(v)}" for k, v in axes.items()), given=given)
    assert names == list(axes)
    base = config_from(arguments(*given))
    combinations = list(itertools.product(*axes.values()))
    assert len(points) == len(set(points)) == len(combinations) == 48
    for point, texts in zip(points, combinations, strict=True):
        sets = [f"{name}={text}" for name, text in zip(axes, texts, strict=True)]
        wanted = config_from(arguments(*given, *(x for text in sets for x in ("--set", text))))
        settings = Cell(parse_name("sasrec"), 0, None, point).request(base, "data")["config"]
        assert Config.model_validate(settings) == wanted


def test_a_setting_has_the_same_place_in_every_grid_and_without_one():
    _, narrow = grid_of("model.dim=16,32")
    _, wide = grid_of("model.window=36,20", "model.dim=32,16,8")
    assert grid_of() == ([], [])
    # 32 and 36 are what synthetic.yaml says.
    assert narrow == [(("model.dim", 16),), ()]
    assert set(narrow) < set(wide) and len(wide) == 6
    reordered = grid_of("model.dim=8,16,32", "model.window=20,36")[1]
    assert set(reordered) == set(wide) and reordered != wide


WRONG = {
    "model.dmi=8,16": ["unknown setting 'model.dmi'", "did you mean 'model.dim'"],
    "model.dim=8,wide": ["model.dim", "integer", "received 'wide'"],
    "model.dim=8,": ["model.dim", "received None"],
    "model.dim=8,0": ["model.dim", "received 0"],
    "model.gate=causal,both": ["model.gate", "received 'both'"],
    "model.cross_experts=1,4": ["cross_experts (j = 4)", "experts (K = 4)"],
    "model.dim=8,[16": ["--grid"],
    "model=8,16": ["model", "received"],
    "model.dim=8,16,0x8": ["given twice"],
    "train.seed=0,1": ["--seeds"],
    "data.min_interactions=1,5": ["model, loss, negative_transfer, train"],
    "evaluate.top_k=5,10": ["model, loss, negative_transfer, train"],
    "recbole.epochs=5,10": ["RecBole's models are not tuned"],
    "model.dim": ["section.name=value,value"],
    "=3": ["section.name=value,value"],
    "model.dim.x=3,4": ["model.dim"],
}


@pytest.mark.parametrize("assignment", WRONG)
def test_what_is_wrong_names_the_option(assignment):
    with pytest.raises(InputError) as error:
        grid_of("loss.eta=0.1,0.2", assignment)
    message = str(error.value)
    assert message.splitlines() == [message] and assignment in message
    assert message.startswith(("--grid takes section.name", f"--grid {assignment}: "))
    assert [part for part in WRONG[assignment] if part not in message] == []


def test_a_setting_is_named_once():
    with pytest.raises(InputError, match=r"--grid model.dim=8: model.dim is given twice"):
        grid_of("model.dim=8", "model.dim=16")


def test_what_was_fitted_on_a_user_does_not_choose(tmp_path):
    """The better trial is the one that is better on users whom votes were not fitted on."""
    model = parse_name("sasrec")
    own = [Cell(model, 0, None, (("model.dim", dim),)) for dim in (16, 32, 64)]
    for trial, shipped, judged in zip(own, (0.5, 0.4, 0.45), (0.1, 0.3, None), strict=True):
        directory = trial.directory(tmp_path)
        directory.mkdir(parents=True)
        found: dict = {"validation": {"overall": {"ndcg@10": shipped}}}
        found |= {} if judged is None else {"cross_fitted": judged}
        (directory / "validation.json").write_text(json.dumps(found))
    assert choose(tmp_path, {(model, None): own[:2]}) == {(model, None): own[1]}
    assert validation_metric(tmp_path, own[2]) == 0.45  # nothing was fitted
