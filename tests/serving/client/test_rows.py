"""What is asked goes to the server as it was meant, or is refused before anything is sent."""

from typing import Any

import numpy as np
import pytest

from serving.client import Client, ServingError
from serving.client.rows import flag, for_each, histories_of, text, whole


@pytest.mark.parametrize(
    "histories",
    [
        *("a", b"a", None, 5, np.array("a"), {"ann": ["a"]}, {"a"}),
        *(["a", "b"], [1, 2], [b"ab"], np.array(["a", "b"]), np.array([1, 2]), [None], [0.5]),
        *([{"ann": ["a"]}], [{"a"}], [["a"], "b"]),
    ],
    ids=repr,
)
def test_histories_that_are_no_lists_are_refused(histories):
    for ask in (Client("http://127.0.0.1:1").recommend, Client("http://127.0.0.1:1").explain):
        with pytest.raises(ValueError, match="histories: expected lists of item ids, received"):
            ask(histories)


@pytest.mark.parametrize(
    ("histories", "expected"),
    [
        ([], []),
        ([[], ("a", "")], [[], ["a", ""]]),
        ([[1, np.int64(2), np.uint8(3), 2**70]], [["1", "2", "3", str(2**70)]]),
        (np.array([[1, 2], [3, 4]]), [["1", "2"], ["3", "4"]]),
        ([np.array(["a", "b"]), np.array(["c"], object)], [["a", "b"], ["c"]]),
        ([[np.str_("é"), np.array("x")]], [["é", "x"]]),
        ((iter("ab") for _ in range(2)), [["a", "b"]] * 2),
    ],
)
def test_ids_are_text_or_whole_numbers(histories, expected):
    found = histories_of(histories)
    assert found == expected
    assert {type(item) for row in found for item in row} <= {str}


@pytest.mark.parametrize(
    "item", [1.0, np.float64(2), float("nan"), True, np.bool_(False), None, b"a", ["a"], object()]
)
def test_other_ids_are_refused_by_name(item):
    with pytest.raises(TypeError, match="histories: expected text or whole numbers, received"):
        Client("http://127.0.0.1:1").recommend([["a", item]])
    with pytest.raises(TypeError, match="user_ids: expected "):
        Client("http://127.0.0.1:1").recommend([["a"]], user_ids=[item])


def test_one_value_stands_for_all():
    assert for_each("x", 2, "domains", text) == for_each(np.str_("x"), 2, "d", text) == ["x"] * 2
    assert for_each(3, 2, "k", whole) == for_each(np.int32(3), 2, "k", whole) == [3, 3]
    assert for_each(np.bool_(True), 2, "e", flag) == for_each(np.array([True] * 2), 2, "e", flag)
    assert for_each(np.array([1, 2]), 2, "k", whole) == [1, 2]


@pytest.mark.parametrize(
    "options",
    [
        *({"k": wrong} for wrong in (2.5, np.float32(2), True, "3", [None], [True], b"1")),
        *({"exclude_seen": wrong} for wrong in (1, "yes", [0], {True})),
        *({"domains": wrong} for wrong in (2.5, [None], b"x", {"x": 1}, {"x"})),
        *({"timestamps": [[wrong]]} for wrong in ("noon", None, True)),
        *({"now": wrong, "timestamps": [[1]]} for wrong in ("noon", [None], True)),
    ],
    ids=repr,
)
def test_options_of_other_types_are_refused_by_name(options):
    with pytest.raises(TypeError, match=f"{next(iter(options))}: expected "):
        Client("http://127.0.0.1:1").recommend([["a"]], **options)


@pytest.mark.parametrize(
    "options",
    [
        {"timestamps": [1, 2]},
        {"timestamps": [[1, 2]]},
        {"timestamps": []},
        {"timestamps": [[float("nan")]]},
        {"timestamps": [[10**400]]},
        {"timestamps": [[1]], "now": float("inf")},
        {"now": 1.0},
    ],
    ids=repr,
)
def test_times_have_to_belong_to_the_items(options):
    with pytest.raises(ValueError, match=r"timestamps|now"):
        Client("http://127.0.0.1:1").recommend([["a"]], **options)


def test_nothing_is_sent_of_what_is_refused():
    """Not even the batches before it: the address is none, which a request would tell."""
    client = Client("http://127.0.0.1:1", batch_size=1, retries=0)
    wrong: Any = [["a"], [None]]
    with pytest.raises(TypeError):
        client.recommend(wrong)
    with pytest.raises(ServingError):
        client.recommend([["a"], ["b"]])
