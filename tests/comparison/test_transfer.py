"""Verdicts: which domains are hurt, which helped, and where nobody can tell."""

import statistics

import matplotlib.image
import numpy as np
import pytest

from data_prep import prepare
from tests.support.comparing import (
    domains_of,
    literal_gain,
    no_cells,
    options,
    plant_cell,
    strict_json,
    tables_of,
)
from tf_syncrec import compare
from tf_syncrec.comparison.names import parse_name
from tf_syncrec.comparison.verdicts import negative_transfer
from tf_syncrec.reporting.pictures.svg import VERDICT_COLOURS


def test_verdicts_on_planted_ranks(tmp_path, capsys):
    """Ranks written by hand: the preset finds them, and says who is hurt and who is helped."""
    rng = np.random.default_rng(0)
    domains = ["hurt", "helped", "same", "$|"]
    lines = ["user_id\titem_id\tdomain\ttimestamp"]
    for user in range(200):
        for step in range(4):
            domain = domains[(user + step // 2) % 4]
            lines.append(f"u{user}\t{domain}{rng.integers(9)}\t{domain}\t{step}")
    (tmp_path / "log.tsv").write_text("\n".join(lines) + "\n")
    prepared = prepare(
        "interactions", path=tmp_path / "log.tsv", data_dir=tmp_path / "data", report=None
    )
    users = domains_of(prepared)
    # Of each domain, ranks alone and with all others; `$|` differs as often up as down.
    planted = {"hurt": ([1, 2], [9, 30]), "helped": ([9, 30], [1, 2])}
    planted |= {"same": ([3, 3], [3, 3]), "$|": ([2, 5], [5, 2])}
    root = tmp_path / "comparison"
    for model in ("syncrec", "syncrec_single", "sasrec_cross", "sasrec_single"):
        for seed in range(2):
            for part in domains if model.endswith("_single") else [None]:
                own = [user for user in users if part in (None, users[user])]
                ranks = [planted[users[u]][part is None][int(u[1:]) // 4 % 2] for u in own]
                if model.startswith("syncrec"):  # nothing changes
                    ranks = [4] * len(own)
                plant_cell(root, model, seed, part, own, [users[u] for u in own], ranks)
    arguments = options(tmp_path, seeds="0,1")
    at = arguments.index("--models")
    arguments[at : at + 2] = ["--preset", "negative_transfer"]
    with no_cells():
        compare.main(arguments)
    comparison = strict_json(root / "comparison.json")
    assert comparison["reference"] == "sasrec_single"
    found = comparison["negative_transfer"]
    expected = {"hurt": "hurt", "helped": "helped"}
    expected |= dict.fromkeys(("same", "$|"), "no clear difference")
    rows = found["sasrec_cross"]["domains"]
    assert {name: row["verdict"] for name, row in rows.items()} == expected
    assert {row["verdict"] for row in found["syncrec"]["domains"].values()} == {
        "no clear difference"
    }
    mean = {
        name: [statistics.fmean(literal_gain(rank, "ndcg@10") for rank in ranks) for ranks in both]
        for name, both in planted.items()
    }
    for name, (alone, together) in mean.items():
        assert (rows[name]["alone"], rows[name]["all_domains"]) == pytest.approx((alone, together))
        assert rows[name]["change"] == pytest.approx(together / alone - 1)
    assert rows["hurt"]["difference"]["high"] < 0 < rows["helped"]["difference"]["low"]

    tables = tables_of((root / "comparison.md").read_text())
    (table,) = [t for t in tables if t[0][-1] == "other domains" and t[2][-1] != t[3][-1]]
    assert {row[0]: row[-1] for row in table[2:] if row[0] in domains} == expected
    # Red for hurt and blue for helped; nothing of both where nothing changes.
    red, blue = (tuple(bytes.fromhex(VERDICT_COLOURS[v][1:])) for v in ("hurt", "helped"))
    assert colours(root / "negative_transfer-sasrec_cross.png") >= {red, blue}
    assert not colours(root / "negative_transfer-syncrec.png") & {red, blue}


SEEDS = {
    # NDCG@10 of each seed alone and on all domains; all differences are significant over users.
    "all below": ([0.5, 0.52], [0.4, 0.42], "hurt"),
    "all above": ([0.4, 0.42], [0.5, 0.52], "helped"),
    "one the other way": ([0.5, 0.5], [0.1, 0.7], "no clear difference"),
    # Pair by pair always below, yet one seed alone is worse than another one on all domains.
    "overlap": ([0.5, 0.9], [0.4, 0.8], "no clear difference"),
    "one against three": ([0.5], [0.4, 0.45, 0.3], "hurt"),
    "three against one": ([0.4, 0.45, 0.3], [0.5], "helped"),
    "one within three": ([0.3], [0.1, 0.15, 0.31], "no clear difference"),
    "one each": ([0.5], [0.4], "hurt"),
}


@pytest.mark.parametrize("name", SEEDS)
def test_a_verdict_needs_every_seed_of_one_above_every_seed_of_the_other(name):
    """However many seeds each has, and in whatever order."""
    alone, together, verdict = SEEDS[name]
    models = {name: parse_name(name) for name in ("sasrec", "sasrec_single")}
    index = np.zeros(50, int)
    for step in (1, -1):
        gains = {
            "sasrec": np.add.outer(together[::step], np.linspace(-0.01, 0.01, 50)),
            "sasrec_single": np.tile(np.array(alone)[:, None], 50),
        }
        table = negative_transfer(models, gains, index, ["only"], set())["sasrec"]
        for row in (table["overall"], table["domains"]["only"]):
            assert row["difference"]["p_value"] < 0.01
            assert row["verdict"] == verdict
            assert row["alone"] == pytest.approx(statistics.fmean(alone))
            assert row["all_domains"] == pytest.approx(statistics.fmean(together))
            change = statistics.fmean(together) - statistics.fmean(alone)
            assert row["difference"]["mean"] == pytest.approx(change)
            assert row["by_seed"]["alone"] == pytest.approx(alone)
            assert row["by_seed"]["all_domains"] == pytest.approx(together[::step])
    stand_in = negative_transfer(models, gains, index, ["only"], {("sasrec_single", "only")})
    assert stand_in["sasrec"]["domains"]["only"]["verdict"] == "not trained alone"


def colours(file):
    """Distinct colours of a picture."""
    pixels = np.round(255 * matplotlib.image.imread(file)[..., :3]).astype(int)
    return set(map(tuple, np.unique(pixels.reshape(-1, 3), axis=0).tolist()))
