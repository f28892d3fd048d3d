"""Of what may be recommended to everybody: items allowed and denied, at most n of a kind."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import InputError
from serving.client import Client
from tests.recommending.test_everybody import USERS, options, with_log
from tests.support.exporting import MAX_K
from tests.support.rest_server import PATIENCE, running
from tf_syncrec import recommend
from tf_syncrec.recommending.filters import Choice
from tf_syncrec.recommending.served_model import Answers


@pytest.fixture(scope="module")
def place(served, tmp_path_factory):
    """An export, its server, a log, and files of what may be recommended."""
    served = with_log(served, tmp_path_factory)
    rng = np.random.default_rng(0)
    served.allow = [str(item) for item in rng.permutation(served.ids)[:50]]
    served.deny = [str(item) for item in rng.permutation(served.ids)[:20]]
    served.brands = {item: f"brand {rng.integers(6)}" for item in served.ids[::2]}
    served.files = {name: served.log.parent / f"{name}.csv" for name in ("allow", "deny", "items")}
    for name in ("allow", "deny"):  # with a blank line, and an id that has a separator of others
        write_csv(
            served.files[name],
            ["item_id"],
            [[f" {item}"] for item in getattr(served, name)] + [[], ["x;y|z"]],
        )
    rows = [["x", served.brands.get(item, ""), item] for item in served.ids]
    write_csv(served.files["items"], ["price", "brand", "item_id"], rows)
    with running(served.base) as rest:
        served.client = Client(rest.url, timeout=PATIENCE)
        yield served


def write_csv(path, names, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)


def lists_of(place, output, *more):
    """What the command answers in `audio`, `{user: items}`, and what it says."""
    recommend.main(options(place, output, "--domains", "audio", *more))
    lists: dict[str, list[str]] = {}
    for row in pq.read_table(output).to_pylist():
        lists.setdefault(row["user_id"], []).append(row["item_id"])
        assert row["rank"] == len(lists[row["user_id"]])
    return lists


def histories_of(place):
    histories: dict[str, list[str]] = {}
    for line in place.log.read_text().splitlines()[1:]:
        user, item, *_ = line.split(",")
        histories.setdefault(user, []).append(item)
    return histories


@pytest.mark.slow
def test_what_is_allowed_and_denied_is_as_the_server_has_it(place, tmp_path):
    files = ("--allow", str(place.files["allow"]), "--deny", str(place.files["deny"]))
    found = lists_of(place, tmp_path / "recs.parquet", *files, "--k", "8")
    histories = histories_of(place)
    answers = place.client.recommend(
        histories.values(), "audio", k=8, allow=place.allow, deny=place.deny
    )
    assert found == {u: a.items for u, a in zip(histories, answers, strict=True) if a.items}
    seen = {item for items in found.values() for item in items}
    assert seen and seen <= set(place.allow) - set(place.deny)


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_at_most_n_of_a_kind_as_somebody_would_choose_them(place, tmp_path, processes, capsys):
    found = lists_of(
        *(place, tmp_path / "recs.parquet", "--items", str(place.files["items"])),
        *("--at_most", "brand=1", "--candidates", str(MAX_K), "--k", "12"),
        *("--processes", processes),
    )
    histories, short = histories_of(place), 0
    answers = place.client.recommend(histories.values(), "audio", k=MAX_K)
    for user, answer in zip(histories, answers, strict=True):
        chosen: list[str] = []
        for item in answer.items:
            brand = place.brands.get(item)
            taken = brand is not None and brand in map(place.brands.get, chosen)
            if not taken and len(chosen) < 12:
                chosen.append(item)
        assert found.get(user, []) == chosen
        short += len(chosen) < 12
    assert f"{short} of {USERS} lists have fewer than 12 items." in capsys.readouterr().out


def test_kinds_are_counted_anew_in_each_list():
    """Two users and two domains, whose lists follow one another."""
    kinds = {"a1": "a", "a2": "a", "b1": "b"}
    one = [b"a1", b"x", b"a2", b"b1", b"y"]
    items = np.array(one * 3 + [b"a2", b"a1"], object)
    ranks = np.array([1, 2, 3, 4, 5] * 3 + [1, 2])
    users, domains = np.repeat([0, 0, 1, 2], [5, 5, 5, 2]), np.repeat([b"d", b"e", b"d"], [5, 5, 7])
    rest = np.arange(17.0), np.zeros(17, bool)
    answers = Answers(users, domains, ranks, items, *rest)
    found = Choice(kinds=kinds, at_most=1, candidates=5).of(answers, 3)
    assert found.items.tolist() == [b"a1", b"x", b"b1"] * 3 + [b"a2"]
    assert found.ranks.tolist() == [1, 2, 3] * 3 + [1]
    assert found.users.tolist() == [0] * 6 + [1] * 3 + [2]
    assert found.scores.tolist() == [0, 1, 3, 5, 6, 8, 10, 11, 13, 15]


@pytest.mark.slow
def test_parts_of_another_choice_are_not_gone_on_with(place, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tf_syncrec.recommending.everybody.answer_parts",
        lambda *args: (_ for _ in ()).throw(OSError),
    )
    output, deny = tmp_path / "recs.parquet", ("--deny", str(place.files["deny"]))
    with pytest.raises(OSError):
        recommend.main(options(place, output, *deny))
    with pytest.raises(InputError, match="begun with another candidate set; delete it"):
        recommend.main(options(place, output))


def test_options_that_cannot_be_used_are_named(place, tmp_path):
    write_csv(tmp_path / "none.csv", ["item_id"], [])
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "other.parquet")
    items = ("--items", str(place.files["items"]))
    for more, message in {
        ("--allow", str(tmp_path / "none.csv")): "--allow .*none.csv: has no item",
        ("--deny", str(tmp_path / "missing.csv")): "--deny .*missing.csv: no such file",
        ("--deny", str(tmp_path / "other.parquet")): "has no column 'item_id', received 'id'",
        items: "--items needs --at_most",
        ("--at_most", "brand=2"): "--at_most needs --items",
        (*items, "--at_most", "brand"): "--at_most brand: expected COLUMN=N, e.g. brand=2",
        (*items, "--at_most", "brand=0"): "--at_most brand=0: expected COLUMN=N",
        (*items, "--at_most", "colour=1"): "no column 'colour', received 'price', 'brand'",
        (*items, "--at_most", "brand=1"): "--candidates 100: expected 1 to what the export",
    }.items():
        with pytest.raises(InputError, match=message):
            recommend.main(options(place, tmp_path / "no.parquet", *more))
        assert not (tmp_path / "no.parquet.parts").exists()
