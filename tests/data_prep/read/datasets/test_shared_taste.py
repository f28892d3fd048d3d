"""Made-up logs of shared taste: reproducible, and with the structure that its page promises."""

import hashlib

import numpy as np
import pytest

from data_prep.errors import InputError
from data_prep.read.datasets.shared_taste import CONTRARY, DOMAINS
from data_prep.read.datasets.synthetic import generate
from data_prep.settings import SyntheticConfig, data_config


def test_equal_seeds_give_equal_tables():
    def table(seed):
        sizes = {"users": 50, "items_per_domain": 30, "interactions_per_user": 10}
        return generate(SyntheticConfig(**sizes, seed=seed))

    assert table(3).equals(table(3))
    assert not table(3).equals(table(4))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"users": 200}, "9817094b4dc2aa1f"),
        ({"users": 60, "items_per_domain": 20, "harm": [0.0, 0.5]}, "7f837feba9202c3b"),
    ],
)
def test_a_log_is_what_it_was_before_there_were_kinds(sizes, expected):
    """Published numbers are of these logs, which have kept their names."""
    columns = generate(SyntheticConfig(**sizes)).to_pydict().values()
    text = "\n".join(f"{u},{i},{d},{t:.0f}" for u, i, d, t in zip(*columns, strict=True))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == expected


@pytest.mark.parametrize(("users", "items"), [(1, 4), (7, 10)])
def test_the_smallest_sizes_work(users, items):
    sizes = SyntheticConfig(users=users, items_per_domain=items, interactions_per_user=3)
    table = generate(sizes)
    assert len(set(table["user_id"].to_pylist())) == sizes.users
    assert table.num_rows >= 3 * sizes.users


@pytest.mark.parametrize("field", ["users", "items_per_domain", "interactions_per_user"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "3"])
def test_sizes_that_make_no_sense(field, value):
    with pytest.raises(InputError, match=f"data.synthetic.{field}"):
        data_config("synthetic", synthetic={field: value})


@pytest.fixture(scope="module")
def log():
    frame = generate(SyntheticConfig(seed=1)).to_pandas()
    frame["step"] = frame.groupby("user_id").cumcount()
    return frame


def test_shape(log):
    assert log.user_id.nunique() == 3000
    assert 22 < len(log) / 3000 < 26
    assert sorted(log.domain.unique()) == sorted(DOMAINS)
    assert log.groupby("user_id").domain.nunique().mean() > 3.8
    assert (log.groupby("user_id").timestamp.diff().dropna() > 0).all()
    assert (log.item_id.str.rpartition("_")[0] == log.domain).all()


def test_popularity_says_little(log):
    for _, items in log.groupby("domain").item_id:
        assert items.value_counts(normalize=True).head(10).sum() < 0.15


def follow_scores(previous, following, train):
    """How often each item followed `previous` on `train`, as shares, for the other rows."""
    previous_codes, names = previous.factorize()
    following_codes, targets = following.factorize()
    counts = np.zeros((len(names), len(targets)))
    np.add.at(counts, (previous_codes[train], following_codes[train]), 1)
    counts /= np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return counts[previous_codes[~train]], following_codes[~train]


def hit_rate(scores, targets):
    top = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    return (top == targets[:, None]).any(axis=1).mean()


@pytest.mark.parametrize("domain", DOMAINS)
def test_planted_structure(log, domain):
    own = log.item_id.where(log.domain == domain)
    # The latest item of the domains that share taste, `domain` itself left out.
    elsewhere = log.item_id.where(~log.domain.isin([domain, CONTRARY]))
    before = {
        name: items.groupby(log.user_id).ffill().groupby(log.user_id).shift()
        for name, items in (("own", own), ("elsewhere", elsewhere))
    }
    rows = (log.domain == domain) & before["own"].notna() & before["elsewhere"].notna()
    train = (log.user_id[rows].str[-1] != "7").to_numpy()
    target = log.item_id[rows]
    inside, targets = follow_scores(before["own"][rows], target, train)
    outside, _ = follow_scores(before["elsewhere"][rows], target, train)
    alone = hit_rate(inside, targets)
    if domain == CONTRARY:
        assert alone > 0.8, "a strong pattern of its own"
        assert hit_rate(outside, targets) < 0.1, "about which the other domains say nothing"
    else:
        assert hit_rate(outside, targets) > 0.4, "far above popularity, which gives about 0.1"
        assert hit_rate(inside + outside, targets) > 1.1 * alone, "the others help"
