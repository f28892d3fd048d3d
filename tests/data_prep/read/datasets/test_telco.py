"""The made-up log of a telecommunications company has the structure that its page promises."""

import numpy as np
import pandas as pd
import pytest

from data_prep import InputError, prepare
from data_prep.read.datasets import telco
from data_prep.read.datasets.synthetic import generate
from data_prep.settings import TELCO_LENGTH, SyntheticConfig, data_config
from data_prep.store.sequence_builder import SequenceConfig

DOMAINS = list(telco.DOMAINS)
USERS = 1500


@pytest.fixture(scope="module")
def log():
    frame = generate(SyntheticConfig(kind="telco", users=USERS, seed=1)).to_pandas()
    frame["place"] = frame.groupby("user_id").cumcount()
    frame["part"] = frame.place / frame.groupby("user_id").item_id.transform("size")
    frame["late"] = frame.part >= 0.8
    frame["hour"] = frame.timestamp % 86_400 / 3_600
    return frame


# ---------------------------------------------------------------------------------------- its shape


def test_equal_seeds_give_equal_tables():
    def table(seed):
        return generate(SyntheticConfig(kind="telco", users=40, seed=seed))

    assert table(3).equals(table(3))
    assert not table(3).equals(table(4))


@pytest.mark.parametrize("users", [1, 7])
def test_the_smallest_sizes_work(users):
    table = generate(SyntheticConfig(kind="telco", users=users, interactions_per_user=3))
    assert len(set(table["user_id"].to_pylist())) == users
    assert table.num_rows >= 3 * users


def test_settings_keep_their_meaning(log):
    assert log.user_id.nunique() == USERS
    assert len(log) / USERS == pytest.approx(TELCO_LENGTH, rel=0.03)
    few = generate(SyntheticConfig(kind="telco", users=USERS, interactions_per_user=30))
    assert few.num_rows / USERS == pytest.approx(30, rel=0.03)


def test_domains_are_to_one_another_as_in_table_1(log):
    events = log.domain.value_counts(normalize=True)[DOMAINS].to_numpy()
    paper = np.array(telco.PAPER_EVENTS) / sum(telco.PAPER_EVENTS)
    np.testing.assert_allclose(events, paper, rtol=0.15)
    assert (np.diff(events) < 0).all()
    items = log.groupby("domain").item_id.nunique()[DOMAINS].to_numpy()
    expected = np.array(telco.PAPER_ITEMS) * (USERS / telco.PAPER_USERS) ** 0.5
    np.testing.assert_allclose(items, expected, rtol=0.05)
    assert (log.item_id.str.rpartition("_")[0] == log.domain).all()
    assert telco.items_of(telco.PAPER_USERS) == telco.PAPER_ITEMS


def test_rows_of_a_user_are_together_and_in_order(log):
    assert (log.user_id != log.user_id.shift()).sum() == USERS
    assert (log.groupby("user_id").timestamp.diff().dropna() > 0).all()


def test_there_are_nights_and_sessions(log):
    by_hour = np.histogram(log.hour, 24, (0, 24))[0] / len(log)
    assert by_hour[1:5].sum() < 0.02, "a sixth of the day"
    assert by_hour[17:21].sum() > 0.2
    gaps = log.groupby("user_id").timestamp.diff().dropna()
    assert 0.7 < (gaps < 600).mean() < 0.9, "within a session"
    assert (gaps > 3600).mean() > 0.1, "between sessions"
    assert ((gaps > 600) & (gaps < 3600)).mean() < 0.05, "and little in between"


# ------------------------------------------------------------------------------------- its repeats


def test_people_come_back_most_to_apps_and_hardly_to_what_they_bought(tmp_path):
    said: list[str] = []
    prepared = prepare(
        *("synthetic",), kind="telco", users=400, data_dir=tmp_path, report=said.append
    )
    rules = dict(zip(prepared.catalogue.domains, prepared.catalogue.repeats.tolist(), strict=True))
    assert rules == {name: name != "e_comm" for name in DOMAINS}
    [line] = [line for line in said if line.startswith("Repeat consumption")]
    shares = {name: float(line.split(f"{name} (")[1].split("%")[0]) for name in DOMAINS[:-1]}
    assert max(shares, key=lambda name: shares[name]) == "app_use"
    assert min(shares, key=lambda name: shares[name]) == "coupon_use"
    assert shares["app_use"] > 80 and shares["coupon_use"] > 15
    assert "e_comm" not in line


def test_repeats_of_purchases_are_few_and_there(log):
    again = log.duplicated(["user_id", "item_id"])[log.domain == "e_comm"]
    assert 0 < again.mean() < 0.05


# ---------------------------------------------------------------------- its structure, by counting


def counts(rows, columns, targets, names):
    """How often each of `names` was a target, for each value of `columns`, as a lookup."""
    table = rows.groupby(columns)[targets].value_counts().unstack(fill_value=0)
    return table.reindex(columns=names, fill_value=0)


def hits(scores, targets, k):
    """Share of rows whose target is among the first `k`; ties go by order of columns."""
    top = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return (top == targets[:, None]).any(axis=1).mean()


def popularity(rows, names):
    return rows.item_id.value_counts().reindex(names, fill_value=0).to_numpy(float)


@pytest.fixture(scope="module")
def apps(log):
    """How often the next app is the most popular one, the user's own, the user's at this hour."""
    rows = log[(log.domain == "app_use") & log.user_id.isin(log.user_id.unique()[:500])]
    train, test = rows[~rows.late], rows[rows.late]
    had = dict(list(train.groupby("user_id")))
    personal, rhythm = [], []
    for user, targets in test.groupby("user_id"):
        names, code = np.unique(had[user].item_id, return_inverse=True)
        used = (code[:, None] == np.arange(len(names))).astype(float)  # (events, items)
        apart = np.abs(had[user].hour.to_numpy() - targets.hour.to_numpy()[:, None])
        near = np.minimum(apart, 24 - apart) < 2.5  # (targets, events)
        often = used.sum(axis=0)
        at_this_hour = near @ used + often / 100  # which decides where the hour says nothing
        personal.append(names[often.argmax()] == targets.item_id)
        rhythm.append(names[at_this_hour.argmax(axis=1)] == targets.item_id)
    return {
        "popularity": (test.item_id == train.item_id.mode()[0]).mean(),
        "personal": np.concatenate(personal).mean(),
        "rhythm": np.concatenate(rhythm).mean(),
    }


def test_a_users_own_frequencies_beat_popularity(apps):
    assert apps["personal"] > 5 * apps["popularity"]


def test_the_hour_says_which_app_is_next(apps):
    assert apps["rhythm"] > 1.3 * apps["personal"]


def by_cue(log, cause, effect, k, which):
    """Hit rates of the next `effect`: by a `cause` before it, and by popularity.

    Which one: the `latest`, a `random` one of all users, or any of the user's `own`, which says as
    much of the user's taste as the latest.
    """
    causes = log.item_id.where(log.domain == cause)
    rows = log[log.domain == effect].assign(cue=causes.groupby(log.user_id).ffill())
    assert rows.cue.notna().all(), "there is none without its cause"
    if which == "random":
        rows["cue"] = np.random.default_rng(0).permutation(rows.cue)
    if which == "own":
        drawn = (
            log[log.domain == cause].groupby("user_id").sample(1000, replace=True, random_state=0)
        )
        options = drawn.item_id.to_numpy().reshape(-1, 1000)
        place = np.searchsorted(np.unique(drawn.user_id), rows.user_id)
        rows["cue"] = options[place, np.arange(len(rows)) % 1000]
    train, test = rows[~rows.late], rows[rows.late]
    names = np.unique(rows.item_id)
    target = np.searchsorted(names, test.item_id)
    popular = popularity(train, names)
    table = counts(train, "cue", "item_id", names).reindex(test.cue, fill_value=0).to_numpy(float)
    return (
        hits(table + popular / popular.sum(), target, k),
        hits(np.tile(popular, (len(test), 1)), target, k),
    )


# How many are taken from the top, and how much better than popularity the cue is.
CUES = [("navi", "e_comm", 10, 2.0), ("call_use", "coupon_use", 1, 4.0)]


@pytest.mark.parametrize(("cause", "effect", "k", "margin"), CUES)
def test_what_was_before_says_what_is_used_next(log, cause, effect, k, margin):
    latest, popular = by_cue(log, cause, effect, k, "latest")
    assert latest > margin * popular
    assert by_cue(log, cause, effect, k, "random")[0] < 1.2 * popular
    assert latest > 1.4 * by_cue(log, cause, effect, k, "own")[0]


@pytest.mark.parametrize("domain", [name for name in DOMAINS if name != "coupon_use"])
def test_taste_is_shared_by_domains(log, domain):
    """What others who share one's apps use in another domain says what one uses there oneself."""
    known = log[(log.domain == "app_use") & ~log.late]
    if domain == "app_use":  # Half of the apps say which of the other half one explores.
        known = known[known.item_id.str[-1] < "5"]
    users = counts(known, "user_id", "item_id", np.unique(known.item_id)) > 0
    about = users.to_numpy(float) / np.sqrt(np.maximum(users.sum(axis=0).to_numpy(), 1))
    rows = log[(log.domain == domain) & ~log.duplicated(["user_id", "item_id"])]
    if domain == "app_use":
        rows = rows[rows.item_id.str[-1] >= "5"]
    rows = rows[rows.user_id.isin(users.index)]
    place = pd.Series(np.arange(len(users)), users.index)
    teaches = rows.user_id.str[-1] < "8"
    train, test = rows[teaches], rows[~teaches]
    names = np.unique(rows.item_id)
    code, target = (np.searchsorted(names, some.item_id) for some in (train, test))
    used = np.zeros((len(users), len(names)))
    used[place[train.user_id], code] = 1
    scores = (about @ (about.T @ used))[place[test.user_id]]
    popular = np.tile(used.sum(axis=0), (len(test), 1))
    k = max(1, len(names) // 12)
    assert hits(scores, target, k) > 1.3 * hits(popular, target, k)


# ------------------------------------------------------------------------------------ its settings


@pytest.mark.parametrize(("name", "value"), [("items_per_domain", 20), ("harm", [0.0, 1.0])])
def test_what_belongs_to_the_other_kind_is_refused(name, value):
    with pytest.raises(InputError, match=rf"data.synthetic.{name}=.+shared_taste, not to telco"):
        data_config("synthetic", kind="telco", **{name: value})


def test_a_kind_that_there_is_not():
    with pytest.raises(InputError, match="expected one of shared_taste, telco"):
        data_config("synthetic", kind="bank")


def test_its_length_is_its_own_unless_given():
    assert data_config("synthetic", kind="telco").synthetic.interactions_per_user == TELCO_LENGTH
    given = data_config("synthetic", kind="telco", interactions_per_user=24)
    assert given.synthetic.interactions_per_user == 24
    again = type(given.synthetic).model_validate(given.synthetic.model_dump())
    assert again == given.synthetic
    assert data_config("synthetic").synthetic.interactions_per_user == 24


def test_kinds_are_datasets_of_their_own():
    names = {
        SequenceConfig(settings=data_config("synthetic", interactions_per_user=24, **more)).name
        for more in ({}, {"kind": "telco"}, {"kind": "telco", "seed": 1})
    }
    assert len(names) == 3
