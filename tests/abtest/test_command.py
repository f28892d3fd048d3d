"""`abtest` from the outside: two shapes of files, what it says, and what it refuses."""

import collections
import gzip
import json

import duckdb
import numpy as np
import pytest

from data_prep import InputError
from serving.client import Split
from tests.abtest.test_rates import draw
from tf_syncrec.abtest import main
from tf_syncrec.abtest.click_rows import read_clicks
from tf_syncrec.evaluation.significance import holm

SPLIT = Split({"stable": 3, "canary": 1}, "test")


def impressions(users=2_000, gain=1.5, seed=0):
    """`(user, label, domain, clicked)`; in books the canary gains, in films it does not."""
    rng = np.random.default_rng(seed)
    rows = []
    for domain in ("books", "films"):
        for user in range(users):
            label = SPLIT.label(user)
            better = gain if (label, domain) == ("canary", "books") else 1.0
            (shown,), (clicked,) = draw(rng, 1, 0.1 * better)
            rows += [(f"u{user}", label, domain, int(n < clicked)) for n in range(int(shown))]
    return rows


@pytest.fixture(scope="module")
def rows():
    return impressions()


def write(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


HEADER = "user_id,label,domain,clicked"


def report(tmp_path, *arguments):
    output = tmp_path / "abtest.json"
    main([*map(str, arguments), "--output", str(output)])
    return json.loads(output.read_text())


def test_every_shape_of_a_file_says_the_same(tmp_path, rows, capsys):
    file = write(tmp_path / "clicks.csv", HEADER, rows)
    expected = report(tmp_path, file)
    # Zipped, with tabs and other names; in two files; Parquet with types; added up.
    texts = [(*row[1:3], row[0], "true" if row[3] else "false") for row in rows]
    other = "\n".join("\t".join(row) for row in [("variant", "domain", "who", "hit"), *texts])
    (tmp_path / "other.tsv.gz").write_bytes(gzip.compress(other.encode()))
    named = ("--column", "label=variant", "--column", "user_id=who", "--column", "clicked=hit")
    assert report(tmp_path, tmp_path / "other.tsv.gz", *named) == expected
    parts = [write(tmp_path / f"{n}.csv", HEADER, rows[n::2]) for n in range(2)]
    assert report(tmp_path, *parts) == expected
    duckdb.execute(
        f"COPY (SELECT user_id, label, domain, clicked::BOOLEAN AS clicked FROM '{file}') "
        f"TO '{tmp_path / 'clicks.parquet'}'"
    )
    assert report(tmp_path, tmp_path / "clicks.parquet") == expected
    counts: dict = collections.defaultdict(lambda: [0, 0])
    for *key, clicked in rows:
        counts[tuple(key)][0] += 1
        counts[tuple(key)][1] += clicked
    summed = [(*key, *count) for key, count in counts.items()]
    counted = write(tmp_path / "counts.csv", "user_id,label,domain,impressions,clicks", summed)
    assert report(tmp_path, counted) == expected
    assert "lift over stable" in capsys.readouterr().out


def test_it_finds_the_gain_where_it_is(tmp_path, rows, capsys):
    shares = ("--shares", "stable=0.75,canary=0.25")
    found = report(tmp_path, write(tmp_path / "clicks.csv", HEADER, rows), *shares)
    assert found["control"] == "stable" and not found["users"]["mismatch"]
    assert "WARNING" not in capsys.readouterr().out
    books, films = (found["domains"][name]["canary"] for name in ("books", "films"))
    assert books["verdict"] == "better" and books["lift"][1] > 0
    assert films["verdict"] == "no clear difference"
    adjusted = holm([books["p_value"], films["p_value"]])
    assert [books["p_holm"], films["p_holm"]] == adjusted.tolist()
    for name in ("books", "films"):
        for label, row in found["domains"][name].items():
            mine = [clicked for _, *place, clicked in rows if place == [label, name]]
            assert (row["impressions"], row["clicks"]) == (len(mine), sum(mine))
            assert row["value"] == sum(mine) / len(mine)
    overall = found["overall"]["canary"]
    mine = [(u, clicked) for u, label, _, clicked in rows if label == "canary"]
    assert (overall["impressions"], overall["users"]) == (len(mine), len({u for u, _ in mine}))
    other = report(tmp_path, tmp_path / "clicks.csv", *shares, "--control", "canary")
    assert other["domains"]["books"]["stable"]["verdict"] == "worse"
    assert other["domains"]["books"]["stable"]["difference"][0] == -books["difference"][0]


def test_users_who_got_lost_are_warned_of(tmp_path, rows, capsys):
    lost = [row for row in rows if row[1] == "stable" or int(row[0][1:]) % 3]
    file = write(tmp_path / "clicks.csv", HEADER, lost)
    found = report(tmp_path, file, "--shares", "stable=3,canary=1")
    assert found["users"]["mismatch"] and found["users"]["p_value"] < 1e-3
    assert "WARNING  sample ratio mismatch: users by label" in capsys.readouterr().out


def test_users_of_several_labels_are_left_out_and_told(tmp_path, rows, capsys):
    mixed = [*rows, ("u0", "canary", "films", 1), ("u0", "stable", "books", 1)]
    found = report(tmp_path, write(tmp_path / "clicks.csv", HEADER, mixed))
    without = write(tmp_path / "without.csv", HEADER, [row for row in rows if row[0] != "u0"])
    expected = report(tmp_path, without)
    assert found["users"].pop("of_several_labels") == 1
    assert expected["users"].pop("of_several_labels") == 0 and found == expected
    assert "1 users have rows of several labels" in capsys.readouterr().out


def test_a_users_rows_in_two_domains_are_one_user(tmp_path):
    shown = [("u", "a", "x", 1), ("u", "a", "y", 0), ("v", "b", "x", 0)]
    found = read_clicks([write(tmp_path / "clicks.csv", HEADER, shown)], {})
    assert len(set(found.users[found.labels == 0].tolist())) == 1
    assert found.domain_names == ("x", "y") and found.impressions.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("lines", "options", "said"),
    [
        (["u,a,x,1", "u,,x,0"], [], r"clicks\.csv: row 2 .*label None"),
        (["u,a,x,1", "v,b,x,2"], [], r"row 2 .* received .*clicked '2'"),
        (["u,a,x,1", "v,a,x,0"], [], "one label, 'a'"),
        (["u,a,x,1", "u,b,x,0"], [], "no users are left"),
        (["u,a,x,1", "v,b,x,0"], ["--control", "c"], "--control c: no such label; there are a, b"),
        (["u,a,x,1", "v,b,x,0"], ["--shares", "a=1"], "expected a share of each of a, b"),
        (["u,a,x,1", "v,b,x,0"], ["--shares", "a=1,b=0"], "received 'b=0'"),
        (["u,a,x,1"], ["--column", "who=x"], "--column who=x: expected NAME=THEIRS"),
        (["u,a,x,1"], ["--column", "user_id=who"], "has no column 'who'; there are user_id, lab"),
        (["u,a,x,1"], ["--column", "clicked=hit"], r"no column 'hit' \(or impressions and clicks"),
        (["u,a,x,1"], ["--output", "nowhere/x.json"], "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path, lines, options, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clicks.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    with pytest.raises(InputError, match=said):
        main(["clicks.csv", *options])


def test_counts_that_cannot_be(tmp_path):
    header = "user_id,label,domain,impressions,clicks"
    for counts in ("3,4", "-1,0", "2.5,1", "x,0"):
        file = write(
            tmp_path / "counts.csv", header, [("u", "a", "x", 2, 1), ("v", "b", "x", counts)]
        )
        with pytest.raises(InputError, match="row 2"):
            main([str(file)])
    with pytest.raises(InputError, match="no such file"):
        main([str(tmp_path / "none.csv")])
    (tmp_path / "bad.parquet").write_text("x")
    with pytest.raises(InputError, match=r"bad\.parquet: cannot be read"):
        main([str(tmp_path / "bad.parquet")])


def test_a_handful_of_users_is_too_few_to_tell(tmp_path, capsys):
    rng = np.random.default_rng(3)
    rows = [
        (f"t{n}", "new", "books", *(int(some[0]) for some in draw(rng, 1, 0.05)))
        for n in range(300)
    ]
    rows += [(f"c{n}", "old", "books", 4, 0) for n in range(5)]
    file = write(tmp_path / "few.csv", "user_id,label,domain,impressions,clicks", rows)
    found = report(tmp_path, file, "--control", "old")
    for row in (found["overall"]["new"], found["domains"]["books"]["new"]):
        assert row["verdict"] == "too few to tell" and not row["enough"]
    assert found["domains"]["books"]["new"]["p_holm"] == 1.0
    assert "too few to tell" in capsys.readouterr().out
