"""Samples of users tell what sets of them would; cards that are alike move nothing."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import Catalogue
from tests.gate.conftest import DAY, NIGHT
from tf_syncrec.gate import data_cards
from tf_syncrec.gate.data_cards import Data, compare_data, kept_share
from tf_syncrec.gate.limits import DataLimits
from tf_syncrec.gate.tables import data_table

NOW = NIGHT + 4 * DAY


def hashes(users):
    return sorted(hashlib.md5(str(user).encode()).hexdigest()[:16] for user in users)


users = st.sets(st.integers(0, 60), min_size=1)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(users, users)
def test_of_few_users_the_share_is_exact(old, new):
    found = kept_share(hashes(old), len(old), hashes(new), len(new))
    assert found == len(old & new) / len(old)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("added", [0, 7_000, 40_000])
def test_of_many_users_a_sample_is_near(kept, added, monkeypatch):
    """Also where one log is much larger, of which the sample reaches less far."""
    old = set(range(10_000))
    new = {user for user in old if user < kept * 10_000} | set(range(20_000, 20_000 + added))
    new = new or {-1}
    samples = hashes(old)[: data_cards.SAMPLE], hashes(new)[: data_cards.SAMPLE]
    found = kept_share(samples[0], len(old), samples[1], len(new))
    # Of the sample some 150 users are left at least, where the other log is so much larger.
    assert found == pytest.approx(kept, abs=4 * np.sqrt(0.25 / 150))
    assert kept not in (0.0, 1.0) or found == kept


def data_of(run):
    card = json.loads((run / "data_card.json").read_text())
    return Data("name", card, Catalogue.load(run / "items.parquet"))


@pytest.mark.parametrize("name", ["yesterday", "today"])
def test_a_log_has_not_moved_from_itself(nights, name):
    data = data_of(nights.runs[name])
    checks, notes = compare_data(data, data, DataLimits(fewer=0, more=0), NOW)
    assert notes == [] and not any(check.moved for check in checks)
    assert "MOVED" not in data_table(checks, everything=True)


def test_rows_are_to_come_by_the_clock_of_the_check(nights):
    data = data_of(nights.runs["today"])
    for now, moved in ((NIGHT + 1, False), (NIGHT - DAY + 1, True)):
        checks, _ = compare_data(data, data, DataLimits(), now)
        (found,) = [check for check in checks if check.what == "rows with future dates"]
        assert found.moved == moved
    days = data.card["times"]["days"].values()
    last = sum(rows.get(str(NIGHT // DAY), 0) for rows in days)
    assert found.candidate == last / data.card["rows"]["kept"] > 0


def test_a_new_domain_is_a_note(nights):
    """And no reason: a shop may begin to sell something."""
    data = data_of(nights.runs["today"])
    without = json.loads(json.dumps(data.card))
    rows = without["domains"].pop("music")["interactions"]
    without["times"]["days"].pop("music")
    without["shared_users"] = [row[:2] for row in without["shared_users"][:2]]
    catalogue = data.catalogue
    kept = catalogue.item_domains < 2
    smaller = Catalogue(
        *(catalogue.domains[:2], catalogue.item_ids[kept]),
        *(catalogue.item_domains[kept], catalogue.counts[kept]),
    )
    before = Data("name", without, smaller)
    checks, notes = compare_data(before, data, DataLimits(), NOW)
    assert not any(check.moved for check in checks)
    assert notes == [f"new domain music: {rows:,} rows of 360 users"]
    checks, notes = compare_data(data, before, DataLimits(), NOW)
    (gone,) = [check for check in checks if check.moved and check.domain]
    assert (gone.what, gone.domain, gone.candidate) == ("rows", "music", 0) and notes == []
