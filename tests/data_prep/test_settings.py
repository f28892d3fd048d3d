"""One schema: what Python gives and what YAML gives are the same settings, and name a dataset."""

import inspect
import typing
from pathlib import Path

import pytest

from data_prep import InputError, prepare
from data_prep.read.datasets import amazon
from data_prep.read.datasets.synthetic import generate
from data_prep.settings import DataConfig, ItemsConfig, SyntheticConfig, data_config
from data_prep.store.sequence_builder import SequenceConfig
from tf_syncrec.config import Config

SMALL = {"users": 60, "items_per_domain": 20, "interactions_per_user": 12}


@pytest.mark.parametrize(
    ("dataset", "options", "name"),
    [
        ("synthetic", {}, "410f62620e972464"),
        ("synthetic", {"kind": "shared_taste"}, "410f62620e972464"),
        ("synthetic", {"seed": 3, "min_domains": 2}, "2dc82d7410a9fe2c"),
        ("synthetic", SMALL | {"split": "global_time", "test_share": 0.2}, "82a672a2074ee2d2"),
        ("amazon", {}, "a2517c8bd077b5f6"),
        (
            "amazon",
            {"release": "2023", "categories": ("Toys", "Books"), "base_url": "http://mirror/x/"},
            "7ff49f51a3b00b7e",
        ),
        (
            "interactions",
            {"path": "log.csv", "columns": {"user_id": "who"}}
            | {"min_interactions": 5, "min_domain_interactions": 2},
            "cb34e6fc2f87e6bc",
        ),
        ("amazon", {"raw_dir": Path("raw")}, "a88fafcdca23e66c"),
    ],
)
def test_a_dataset_has_the_name_it_always_had(tmp_path, monkeypatch, dataset, options, name):
    """What was prepared before is found; global time is another split since it looks back."""
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text("who,item_id,domain,timestamp\nu,i,a,1\n")
    Path("raw").mkdir()
    Path("raw/Books.csv").write_text("i,u,5.0,1\n")
    Path("raw/Toys.csv").write_text("j,u,5.0,2\n")
    assert SequenceConfig(settings=data_config(dataset, **options)).name == name


def test_keywords_yaml_and_an_object_are_the_same_settings(tmp_path):
    keywords = {"data_dir": tmp_path, "min_interactions": 2, "split": "global_time"}
    yaml = {**keywords, "data_dir": str(tmp_path), "dataset": "synthetic", "synthetic": SMALL}
    config = Config.model_validate({"data": yaml}).data
    assert data_config("synthetic", **keywords, **SMALL) == config
    assert data_config("synthetic", **keywords, synthetic=SMALL) == config
    assert data_config(config) is config
    assert data_config("synthetic", path=None, synthetic=None) == DataConfig()
    by_object = prepare(config, report=None)
    assert prepare("synthetic", **keywords, synthetic=SMALL, report=None).name == by_object.name
    with pytest.raises(InputError, match="min_domains: give"):
        prepare(config, min_domains=2, report=None)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"min_interactions": "2"}, ["data.min_interactions=2", "integer"]),
        ({"min_interactions": True}, ["data.min_interactions=True", "integer"]),
        ({"min_interactions": 2.5}, ["data.min_interactions=2.5", "integer"]),
        ({"min_domains": 0}, ["data.min_domains=0", "greater than or equal to 1"]),
        ({"path": 5, "dataset": "interactions"}, ["--path 5", "string"]),
        ({"release": 2019, "dataset": "amazon"}, ["--release 2019", "2014, 2018, 2023"]),
        ({"categories": ["a/b"], "dataset": "amazon"}, ["--categories 'a/b'", "separated"]),
        ({"engine": "polars"}, ["--engine polars", "duckdb, spark"]),
        ({"users": 0}, ["data.synthetic.users=0", "greater than or equal to 1"]),
        ({"users": 5, "dataset": "amazon"}, ["data.synthetic", "not to amazon"]),
        ({"threads": 3}, ["data.threads", "no such setting"]),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(options, parts):
    """Of the command line everything is text; of Python a text is no number, nor is a truth."""
    with pytest.raises(InputError) as caught:
        data_config(**{"dataset": "synthetic", **options})
    message = str(caught.value)
    assert message.splitlines() == [message]
    assert [part for part in parts if part not in message] == []


def test_every_setting_says_what_it_does():
    sections = ("items", "synthetic")
    for section in (DataConfig, ItemsConfig, SyntheticConfig):
        fields = {name: field.description for name, field in section.model_fields.items()}
        assert [name for name, text in fields.items() if not text and name not in sections] == []


def test_the_releases_of_the_schema_are_those_that_are_known():
    (year, nothing) = typing.get_args(DataConfig.model_fields["release"].annotation)
    assert typing.get_args(typing.get_args(year)[0]) == tuple(amazon.RELEASES)
    assert nothing is type(None)


def test_the_settings_of_a_run_hold_this_schema():
    assert Config.model_fields["data"].annotation is DataConfig
    assert inspect.signature(generate).parameters["settings"].default is None
