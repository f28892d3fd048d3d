"""Published sets become the logs that they say, and numbers those of their protocol."""

import json

import numpy as np
import pytest

from benchmarks.published.__main__ import main
from benchmarks.published.measure import TestRanks as Found
from benchmarks.published.sets import ABXI, PAIRS, SETS, S3Rec
from benchmarks.published.tables import NUMBERS, domain_table, picture, published, summary
from data_prep import InputError
from tf_syncrec.metrics.gains import METRICS, MISS


@pytest.fixture
def data(tmp_path):
    """Sets of a few users, in the forms of the authors' files."""
    for domain in S3Rec.domains:
        file = tmp_path / "s3rec" / f"{domain}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text("1 5 2 9\n2 5 1\n\n")
    folder = tmp_path / "abxi" / "abe"
    folder.mkdir(parents=True)
    ids = {"A": [1, 0], "B": [2, 0], "C": [3, 1], "D": [4, 1], "E": [5, 1]}
    (folder / "map_item_50.txt").write_text(json.dumps(ids))
    (folder / "abe_50_preprocessed.txt").write_text("0 1|86400 3|86400 4|172800\n1 4|0 2|86400\n")
    return tmp_path


def test_files_that_share_no_ids_share_no_users_and_items(data):
    rows = list(S3Rec().rows(data))
    assert rows[:3] == [
        ("Beauty-1", "Beauty-5", "Beauty", 0),
        ("Beauty-1", "Beauty-2", "Beauty", 1),
        ("Beauty-1", "Beauty-9", "Beauty", 2),
    ]
    assert len(rows) == 15 and len({row.user for row in rows}) == 6
    assert all(row.user.startswith(row.domain) and row.item.startswith(row.domain) for row in rows)
    assert S3Rec().items_of(data) == dict.fromkeys(S3Rec.domains, 4)


@pytest.mark.parametrize(("by_file", "times"), [(True, [0, 1, 2]), (False, [86400, 86400, 172800])])
def test_of_ties_the_order_of_the_file_is_kept_or_unknown(data, by_file, times):
    one = ABXI("abe", PAIRS["abe"], by_file)
    rows = [row for row in one.rows(data) if row.user == "0"]
    assert [row.time for row in rows] == times
    assert [row.item for row in rows] == ["1", "3", "4"]
    assert [row.domain for row in rows] == ["Beauty", "Electronics", "Electronics"]
    # Of two items and three, less what each has: where the target is, a tie may decide.
    assert one.others(data) == {
        "0": {"Beauty": 1, "Electronics": 1},
        "1": {"Beauty": 1, "Electronics": 2},
    }
    assert one.items_of(data) == {"Beauty": 2, "Electronics": 3}  # of which no row has E


def test_a_log_is_written_once(data, tmp_path):
    log = tmp_path / "log.tsv"
    S3Rec().write_log(data, log)
    lines = log.read_text().splitlines()
    assert lines[:2] == ["user_id\titem_id\tdomain\ttimestamp", "Beauty-1\tBeauty-5\tBeauty\t0"]
    log.write_text("kept")
    S3Rec().write_log(data, log)
    assert log.read_text() == "kept"


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("abe_50_preprocessed.txt", "0 1|5\n1 9|5\n", "line 2: .*received '9|5'"),
        ("abe_50_preprocessed.txt", "0 1|5\n1 2|x\n", "line 2: .*received '2|x'"),
        ("abe_50_preprocessed.txt", "0 1|5\n\n7\n", "line 3: .*received '7'"),
        ("map_item_50.txt", "[1]", "JSON"),
        ("map_item_50.txt", '{"A": [1, 7]}', "JSON"),
        ("map_item_50.txt", None, "cannot be read: No such file"),
    ],
)
def test_a_file_of_another_form_is_refused_by_name(data, file, text, said):
    path = data / "abxi" / "abe" / file
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(InputError, match=f"{file}.*{said}".replace("|", r"\|")):
        list(ABXI("abe", PAIRS["abe"], True).rows(data))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sets", "s3rec,ml1m"], "--sets: unknown 'ml1m'; known: s3rec, abxi"),
        (["--models", "nothing"], "--models: unknown model 'nothing'"),
        (["--seeds", "0,x"], "--seeds: expected whole numbers, received 'x'"),
        (["--sets", "abxi"], "afk.*cannot be read"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_trained(data, tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        main(["--data", str(data), "--output_dir", str(tmp_path / "out"), *options])


def test_metrics_are_those_of_the_protocol():
    ranks = np.array([1, 4, 12, MISS, 2], float)
    domains = np.array(["a", "a", "a", "b", "b"], object)
    found = Found(domains, ranks, np.full(5, 20))
    full = found.metrics(None)
    assert full["a"]["hr@10"] == pytest.approx(2 / 3) and full["b"]["mrr"] == 0.25
    assert full["a"]["users"] == 3
    # All others are drawn: the same.
    for domain, of in found.metrics(20).items():
        assert of == pytest.approx(full[domain])
    # Of 20 others one is drawn: the target has rank 1 or 2.
    assert found.metrics(1)["a"]["hr@10"] == 1
    above = np.array([0, 3, 11]) / 20
    assert found.metrics(1)["a"]["mrr"] == pytest.approx((1 - above / 2).mean())


def measured(value):
    domains = {
        domain: {m: [value, value + 0.02] for m in METRICS} | {"users": 9}
        for domain in PAIRS["abe"]
    }
    return {"seeds": ["0", "1"], "cost": [{}], "domains": domains}


def test_tables_put_the_best_first_and_say_how_far_it_is_ahead():
    models = {"syncrec": measured(0.25), "popularity": measured(0.01)}
    lines = domain_table("abxi", "Beauty", models).splitlines()
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert names == [
        "**syncrec**",
        "ABXI",
        "SASRec mixed, softmax over all",
        "SASRec alone",
        "**popularity**",
    ]
    assert "0.2600 ± 0.0141" in lines[2] and lines[2].split("|")[-2].strip() == "1.18"
    sets = [{"name": "abxi-abe", "table": "abxi", "negatives": 999, "models": models}]
    assert "0.2200 (ABXI)" in summary(sets, "syncrec")
    assert len(picture(sets).axes) == 2


def test_every_published_model_has_a_value_for_each_metric():
    domains = {"s3rec": S3Rec.domains, "abxi": [name for pair in PAIRS.values() for name in pair]}
    assert NUMBERS.keys() == domains.keys() == SETS.keys()
    for table, names in domains.items():
        for domain in names:
            of = published(table, domain)  # strict about lengths
            assert of and all(0 < value < 1 for row in of.values() for value in row.values())
