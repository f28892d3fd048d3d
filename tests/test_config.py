"""Settings: what is wrong is said in one line that names the option and the received value."""

import argparse
from pathlib import Path

import pytest

from data_prep import InputError
from tf_syncrec import config as config_module
from tf_syncrec.cli import add_data_options, config_from, run_command
from tf_syncrec.config import Config, load, parse_set

SHIPPED = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


@pytest.fixture
def config_file(tmp_path):
    """`config_file(text)`: a file that holds it."""

    def write(text: str | bytes = "") -> Path:
        path = tmp_path / "settings.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def refusal(path, *assignments):
    """The message of the error, which must be one line."""
    with pytest.raises(InputError) as error:
        load(path, [parse_set(assignment) for assignment in assignments])
    message = str(error.value)
    assert message.splitlines() == [message]
    return message


def from_command_line(*arguments):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_data_options(parser)
    return config_from(parser.parse_args(arguments))


# ----------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("assignment", "parts"),
    [
        ("model.dmi=3", ["unknown setting 'model.dmi'", "did you mean 'model.dim'"]),
        ("modle.dim=3", ["unknown setting 'modle'"]),
        ("nonsense=3", ["unknown setting 'nonsense'", "model.dim", "evaluate.max_k"]),
        ("model.dim=abc", ["model.dim", "integer", "received 'abc'"]),
        ("model.dim=", ["model.dim", "received None"]),
        ("model.dim=2.5", ["model.dim", "received 2.5"]),
        ("model.dim=[8]", ["model.dim", "received [8]"]),
        ("model.dim=0", ["model.dim", "greater than or equal to 1", "received 0"]),
        ("model.dropout=1", ["model.dropout", "less than 1", "received 1"]),
        ("model.gate=both", ["model.gate", "'sequence'", "'causal'", "received 'both'"]),
        ("loss.name=hinge", ["loss.name", "sampled_softmax", "received 'hinge'"]),
        ("data.dataset=netflix", ["data.dataset", "'amazon'", "received 'netflix'"]),
        ("data.release=2019", ["data.release", "'2018'", "received '2019'"]),
        ("train.learning_rate=.nan", ["train.learning_rate", "finite", "received nan"]),
        ("model.temperature=.inf", ["model.temperature", "finite", "received inf"]),
        ("model.cross_experts=5", ["cross_experts (j = 5)", "experts (K = 5)"]),
        ("model.heads=3", ["heads (3)", "dim (64)"]),
        ("model=3", ["model", "received 3"]),
        ("model.dim.x=3", ["model.dim", "received {'x': 3}"]),
        ("data.columns=customer", ["data.columns", "received 'customer'"]),
        ("data.columns={user_id: 5}", ["data.columns.user_id", "received 5"]),
        ("data.synthetic.users=many", ["data.synthetic.users", "received 'many'"]),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_received(config_file, assignment, parts):
    message = refusal(config_file(), assignment)
    assert message.startswith(f"--set {assignment}: ")
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(
    "assignment",
    [
        *(
            "model.dim",
            "=3",
            "model.dim=[1",
            "model.dim={",
            "model.dim=@",
            "data.release=2018-99-99",
        ),
        *("model.dim=3\n4", "model.dim=!!python/name:os.system", "model.=3", "model..dim=3", ".=3"),
    ],
)
def test_a_malformed_set_is_refused_and_repeated(config_file, assignment):
    assert " ".join(assignment.split()) in refusal(config_file(), assignment)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a: b: c", ["not valid YAML"]),
        ("model: {dim: 8", ["not valid YAML"]),
        ("model:\n\tdim: 8", ["not valid YAML"]),
        ("data: {path: 2018-99-99}", ["not valid YAML"]),
        ("a: 1\n---\nb: 2", ["not valid YAML"]),
        (b"\x01", ["not valid YAML"]),
        (b"\xff\xfe\x00a", ["cannot be read"]),
        ("just text", ["'just text'"]),
        ("[1, 2]", ["[1, 2]"]),
        ("model:", ["model", "None"]),
        ("model: [1]", ["model", "[1]"]),
        ("1: 2", ["1"]),
        ("model: {dim: 0}", ["model.dim", "received 0"]),
        ("model: {dimm: 8}", ["'model.dimm'", "did you mean 'model.dim'"]),
        ("model: {experts: 3}", ["cross_experts (j = 3)", "(K = 3)"]),
    ],
)
def test_a_broken_file_is_named(config_file, text, parts):
    path = config_file(text)
    message = refusal(path)
    assert message.startswith(f"--config {path}: ")
    assert [part for part in parts if part not in message] == []


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    assert refusal(tmp_path / "no.yaml") == f"--config {tmp_path / 'no.yaml'}: no such file"
    assert f"--config {tmp_path}: cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("assignments", "culprit"),
    [
        (["model.dim=32", "model.cross_experts=9"], "model.cross_experts=9"),
        (["model.cross_experts=4", "model.blocks=1", "model.experts=4"], "model.experts=4"),
        (["model.ff=3", "model.ff_dim=0"], "model.ff_dim=0"),
        (["model.dim=32", "model.dim=0"], "model.dim=0"),
        (["data.columns.item_id=a", "data.columns={user_id: 5}"], "data.columns={user_id: 5}"),
    ],
)
def test_of_several_options_the_wrong_one_is_blamed(config_file, assignments, culprit):
    assert refusal(config_file(), *assignments).startswith(f"--set {culprit}: ")


@pytest.mark.parametrize("option", ["seed", "epochs"])
def test_options_are_blamed_under_their_own_name(option):
    with pytest.raises(InputError, match=f"--{option} two: train.{option}: .*received 'two'"):
        from_command_line(f"--{option}", "two")


def test_a_command_line_prints_the_error_and_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: from_command_line("--release", "2019"))
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: --release 2019: ") and err.count("\n") == 1


# ----------------------------------------------------------------------------------- what is right


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_load(path):
    load(path)
    assert config_module.shipped(path.stem).samefile(path)


def test_there_are_shipped_configurations():
    assert {"amazon", "synthetic"} <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_is_saved_loads_as_the_same(path, tmp_path):
    overrides = [
        parse_set(assignment)
        for assignment in (
            "data.columns.user_id=køber nr",
            "data.columns.item_id=null_",
            "data.release='2018'",
            "data.path='/a b/#c: d.tsv'",
            "data.categories=['2014', yes_, 'no']",
            "data.synthetic.users=7",
            "train.learning_rate=1e-5",
            "model.ff_dim=12",
        )
    ]
    config = load(path, overrides)
    config.save(tmp_path / "config.yaml")
    again = load(tmp_path / "config.yaml")
    assert again == config
    assert again.data.columns == {"user_id": "køber nr", "item_id": "null_"}
    assert again != load(path)


@pytest.mark.parametrize(
    "column",
    ["No", "yes", "1", "01", "1e3", "@id", "null", "~", "2018-01-01", "a: b", "[id", "- id", "#"],
)
def test_the_name_of_a_column_is_text(config_file, tmp_path, column):
    config = load(config_file(), [parse_set(f"data.columns.user_id={column}")])
    assert config.data.columns == {"user_id": column}
    config.save(tmp_path / "saved.yaml")
    assert load(tmp_path / "saved.yaml").data.columns == {"user_id": column}


def test_quotes_of_the_command_line_are_quotes(config_file):
    config = load(config_file(), [parse_set("data.columns.user_id='No'")])
    assert config.data.columns == {"user_id": "No"}


ALIASES = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]" for n in range(6)]
)


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"u{row},i{row},books,{row}" for row in range(5000)),  # a log
        "user:" + "x" * 100_000 + ": 1",
        "data: " + "x" * 100_000,
        "data: {path: [" + "x, " * 50_000 + "]}",
        ALIASES + "\nmodel: {dim: *a6}",
        ALIASES,
    ],
    ids=["a log", "a key", "a value", "a list", "aliases in a value", "aliases"],
)
def test_a_wrong_file_is_not_repeated_as_a_whole(config_file, text):
    message = refusal(path := config_file(text))
    # The names of all settings are some 3,000 characters.
    assert message.startswith(f"--config {path}: ") and len(message) < 5000


def test_an_empty_file_is_the_defaults(config_file):
    assert load(config_file("# nothing yet\n")) == Config()


def test_later_overrides_win_and_leave_the_rest(config_file):
    path = config_file("model: {dim: 8, window: 9}")
    config = load(path, [parse_set("model.dim=16"), parse_set("model.dim=24")])
    assert (config.model.dim, config.model.window) == (24, 9)
    assert load(path).model.dim == 8


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("train.learning_rate=1e-3", 1e-3),  # a string to YAML
        ("model.ff_dim=null", None),
        ("model.asymmetric=false", False),
        ("data.categories=[Books, Video_Games]", ["Books", "Video_Games"]),
        ("data.release=2018", "2018"),
        ("data.path=a=b.tsv", "a=b.tsv"),
        ("data.columns={user_id: who, item_id: what}", {"user_id": "who", "item_id": "what"}),
        ("data.path=007", "007"),
        ("data.path=2018-99-99", "2018-99-99"),
        ("data.path=a: b", "a: b"),
        ("data.path=null", None),
    ],
)
def test_set_reads_yaml(config_file, assignment, value):
    config = load(config_file(), [parse_set(assignment)])
    section, name = assignment.partition("=")[0].split(".")
    assert getattr(getattr(config, section), name) == value


def test_options_reach_their_settings():
    config = from_command_line(
        *("--dataset", "amazon", "--raw_dir", "ratings", "--release", "2014", "--seed", "3"),
        *("--categories", "Books,Toys", "--epochs", "4", "--set", "model.dim=12"),
    )
    data = config.data
    assert (data.dataset, data.raw_dir, data.release) == ("amazon", "ratings", "2014")
    assert data.categories == ["Books", "Toys"]
    assert (config.train.seed, config.train.epochs, config.model.dim) == (3, 4, 12)


def test_the_dataset_of_a_file_holds_unless_an_option_says_otherwise(config_file):
    path = str(config_file("data: {dataset: interactions, path: log.tsv}"))
    assert from_command_line("--config", path).data.dataset == "interactions"
    assert from_command_line("--config", path, "--dataset", "amazon").data.dataset == "amazon"
    assert from_command_line().data.dataset == "synthetic"


@pytest.mark.parametrize("dataset", ["synthetic", "amazon", "complete_journey", "interactions"])
def test_every_dataset_has_a_default_configuration(dataset):
    assert from_command_line("--dataset", dataset).data.dataset == dataset
