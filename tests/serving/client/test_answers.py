"""A 200 that is no answer to what was asked is a ServingError, and never an empty list."""

import copy
from typing import Any

import pytest

from serving.client import ServingError
from serving.client.answers import read_answers, read_rows, read_status
from tests.support.moody_server import outputs

NOTHING: list[Any] = [None, [], {}, "", "ok", 5, True, {"error": "x"}, [outputs(2)]]
NOTHING += [{"outputs": None}, {"outputs": {}}, {"outputs": []}, {"predictions": []}]


@pytest.mark.parametrize("document", NOTHING, ids=repr)
def test_what_holds_no_answer_is_refused(document):
    for read in (read_answers, read_rows):
        for rows in (1, 2):
            with pytest.raises(ServingError, match="200: expected ") as error:
                read(document, rows)
            assert len(str(error.value)) < 500
    with pytest.raises(ServingError, match="200: expected "):
        read_status(document)


def test_a_right_answer_is_read():
    first, second = read_answers(outputs(2), 2)
    assert first == second
    assert (first.items, first.scores, first.domains) == (["a", "b"], [2.0, 1.0], ["x", "x"])
    assert (first.known_items, first.fallback) == (1, False)
    more = outputs(1)
    more["outputs"]["why"] = ["because"]
    assert read_answers(more, 1) == [first]
    assert read_rows(more, 1)[0]["why"] == "because"


@pytest.mark.parametrize("name", list(outputs(1)["outputs"]))
@pytest.mark.parametrize("wrong", ["missing", "short", "long", "none", "number", "rows"])
def test_a_column_that_is_wrong_is_refused(name, wrong):
    document = copy.deepcopy(outputs(2))
    columns = document["outputs"]
    if wrong == "missing":
        del columns[name]
    else:
        column: list[Any] = columns[name]
        columns[name] = {
            "short": column[:1],
            "long": column * 2,
            "none": None,
            "number": 7,
            "rows": [None, None],
        }[wrong]
    with pytest.raises(ServingError, match="200: expected "):
        read_answers(document, 2)


WRONG: dict[str, list[Any]] = {
    "items": [["a"], ["a", "b", 3], "abc", ["", "b", ""], [["a"]] * 3],
    "scores": [[1.0], ["2", "1", "0"], [True, 1.0, 0.0], [None] * 3],
    "domains": [["x"], [1, 2, 3], "xx "],
    "known_items": ["1", 1.5, True, [1]],
    "fallback": ["0", 2, None, []],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_row_that_is_wrong_is_refused(name, value):
    document: Any = copy.deepcopy(outputs(2))
    document["outputs"][name][1] = value
    with pytest.raises(ServingError, match="200: expected "):
        read_answers(document, 2)


@pytest.mark.parametrize("found", [[], [{}], ["1"], [{"version": 1, "state": "AVAILABLE"}], {}])
def test_a_status_without_versions_is_refused(found):
    with pytest.raises(ServingError, match="200: expected the status"):
        read_status({"model_version_status": found})
