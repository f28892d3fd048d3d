"""Every limit is an option, and stands on the page with its default and its reason."""

import dataclasses
import re

import pytest

from data_prep import InputError
from tests.support.documents import ROOT
from tf_syncrec.cli import Parser
from tf_syncrec.gate.limits import DataLimits, ModelLimits, add_options, limits_from

BOTH = (*dataclasses.fields(DataLimits), *dataclasses.fields(ModelLimits))


def given(*arguments):
    parser = Parser("gate", "", [])
    add_options(parser)
    return limits_from(parser.parse_args([*arguments]))


def test_defaults_are_those_of_the_options():
    assert given() == (DataLimits(), ModelLimits())
    assert given("--fewer", "0.3", "--slower", "2")[0] == DataLimits(fewer=0.3)
    assert given("--fewer", "0.3", "--slower", "2")[1] == ModelLimits(slower=2.0)


@pytest.mark.parametrize("field", BOTH, ids=lambda field: field.name)
def test_what_is_no_limit_is_refused(field):
    for value in (field.metadata["least"] - 0.1, field.metadata["most"] + 0.1, float("nan")):
        if value != float("inf"):
            with pytest.raises(InputError, match=f"--{field.name} .*: expected"):
                given(f"--{field.name}", str(value))


def test_the_page_has_them_all():
    text = (ROOT / "docs/gate.md").read_text()
    rows = re.findall(r"^\| `--(\w+)` \| ([\d.]+) \| (.+) \|$", text, re.MULTILINE)
    expected = [(f.name, f"{f.default:g}", f.metadata["about"]) for f in BOTH]
    assert rows == expected
