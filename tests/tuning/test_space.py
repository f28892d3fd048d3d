"""What is searched: the configuration itself first, and nothing that the user has set."""

import pytest

from data_prep import InputError
from tf_syncrec.config import Config, load, shipped
from tf_syncrec.models.registry import NETWORKS, with_network_settings
from tf_syncrec.tuning.space import (
    SEARCHED,
    first_points,
    shortened,
    space_of,
    value_of,
    with_settings,
)

CONFIGS = ("amazon", "paper", "synthetic", "tiny")


def configured(config):
    """What `config_from` gives for further overrides."""
    return lambda more: with_settings(config, {name: value for name, value, _ in more})


def space_for(config, given=(), grid=()):
    return space_of(config, given, grid, configured(config))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_first_trial_is_the_configuration_itself_and_all_lie_in_the_space(name, network):
    base = load(shipped(name), [("model.name", network, "")])
    config = with_network_settings(base)
    space = space_for(config)
    points = first_points(space, config)
    assert with_settings(config, shortened(points[0], config)) == config
    assert len(points) == len({tuple(point.items()) for point in points}) == 4
    for point in points:
        assert point.keys() == space.keys()
        for setting, value in point.items():
            assert space[setting]["low"] <= value <= space[setting]["high"]
            assert shortened(point, config) == point


def test_a_configuration_out_of_the_ordinary_is_within_its_own_space():
    config = Config.model_validate(
        {"model": {"dropout": 0.9, "temperature": 3}, "train": {"learning_rate": 0.0123456}}
    )
    space = space_for(config)
    for name, value in first_points(space, config)[0].items():
        assert space[name]["low"] <= value == value_of(config, name) <= space[name]["high"]


@pytest.mark.parametrize("given", SEARCHED)
def test_what_the_user_has_set_is_not_searched(given):
    config = Config()
    space = space_for(config, [given, "model.dim"])
    assert space.keys() == SEARCHED.keys() - {given}
    for point in first_points(space, config):
        assert value_of(with_settings(config, point), given) == value_of(config, given)


def test_a_dot_product_has_no_temperature_to_search():
    config = Config.model_validate({"model": {"similarity": "dot"}})
    assert space_for(config).keys() == {"train.learning_rate", "model.dropout"}


def test_a_grid_adds_a_setting_or_takes_the_place_of_a_range():
    space = space_for(Config(), grid=["model.dim=32,128", "model.dropout=0.1,0.2"])
    assert space["model.dim"] == {"values": [64, 32, 128]}  # with that of the configuration
    assert space["model.dropout"] == {"values": [0.2, 0.1]}
    assert first_points(space, Config())[0]["model.dim"] == 64


@pytest.mark.parametrize(
    ("given", "grid", "message"),
    [
        (SEARCHED, [], "all settings that it searches are given by --set"),
        (["model.dim"], ["model.dim=1,2"], "--grid model.dim=1,2: model.dim is given by --set"),
        ([], ["model.dim"], "--grid takes section.name=value"),
        ([], ["data.min_interactions=3,5"], "--grid data.min_interactions=3,5: a grid takes"),
        ([], ["train.seed=1,2"], "--grid train.seed=1,2: a grid takes"),
    ],
)
def test_what_cannot_be_searched_is_refused(given, grid, message):
    with pytest.raises(InputError, match=message):
        space_for(Config(), given, grid)


def test_what_makes_a_network_what_it_is_cannot_be_searched():
    config = with_network_settings(Config.model_validate({"model": {"name": "syncrec_full"}}))
    with pytest.raises(InputError, match="--model syncrec_full is what it is by"):
        space_for(config, grid=["model.asymmetric=true,false"])


def test_numbers_are_short_but_for_those_of_the_configuration():
    config = Config.model_validate({"train": {"learning_rate": 0.00123456}})
    drawn = {"train.learning_rate": 0.0023456, "model.dropout": 0.123456, "model.dim": 64}
    assert shortened(drawn, config) == {
        "train.learning_rate": 0.00235,
        "model.dropout": 0.123,
        "model.dim": 64,
    }
    assert shortened({"train.learning_rate": 0.00123456}, config) == {
        "train.learning_rate": 0.00123456
    }


def test_settings_that_do_not_fit_one_another_are_refused():
    with pytest.raises(InputError, match="cross_experts"):
        with_settings(Config(), {"model.experts": 2, "model.cross_experts": 2})
