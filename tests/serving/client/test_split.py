"""A split by user: stable, of the right shares, and moved one way when a share grows."""

import hashlib
import math
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from serving.client import Split

USERS = [f"user {number}" for number in range(20_000)]
WEIGHTS = {"stable": 0.7, "canary": 0.2, "cold": 0.1}


def counts(labels, names):
    return [labels.count(name) for name in names]


def test_every_label_has_its_share():
    found = counts(Split(WEIGHTS, "2026-11").labels(USERS), WEIGHTS)
    expected = [len(USERS) * share for share in WEIGHTS.values()]
    assert stats.chisquare(found, expected).pvalue > 1e-3
    doubled = {name: 2 * weight for name, weight in reversed(WEIGHTS.items())}
    assert Split(doubled, "2026-11").labels(USERS) == Split(WEIGHTS, "2026-11").labels(USERS)


def test_a_user_has_one_label_in_every_process():
    split = Split(WEIGHTS, "2026-11")
    here = [split.label(user) for user in USERS[:50]]
    code = (
        "from serving.client import Split; "
        f"print(Split({WEIGHTS}, '2026-11').labels([f'user {{n}}' for n in range(50)]))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(here)
    assert split.label(17) == split.label("17")


def test_it_is_the_rule_that_it_says():
    """For whoever splits in another language."""

    def literal(user):
        clocks = {}
        for label, weight in WEIGHTS.items():
            key = "".join(f"{len(part)}:{part}" for part in ("2026-11", label, user)).encode()
            drawn = int(hashlib.sha256(key).hexdigest()[:16], 16) // 2**11
            clocks[label] = -math.log((drawn + 0.5) / 2**53) / weight
        return min(clocks, key=clocks.__getitem__)

    assert Split(WEIGHTS, "2026-11").labels(USERS[:200]) == [literal(u) for u in USERS[:200]]


def test_another_salt_is_another_split():
    one, two = (Split(WEIGHTS, salt).labels(USERS) for salt in ("2026-11", "2026-12"))
    table = [counts([b for a, b in zip(one, two, strict=True) if a == n], WEIGHTS) for n in WEIGHTS]
    assert stats.chi2_contingency(table).pvalue > 1e-3  # independent
    assert one != two


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(
    weights=st.dictionaries(st.sampled_from("abcde"), st.floats(0.01, 10), min_size=1, max_size=5),
    grown=st.sampled_from("abcdef"),
    by=st.floats(0.01, 10),
    salt=st.text(max_size=5),
)
def test_whoever_moves_moves_to_the_label_that_grows(weights, grown, by, salt):
    before = Split(weights, salt).labels(USERS[:200])
    after = Split(weights | {grown: weights.get(grown, 0.0) + by}, salt).labels(USERS[:200])
    assert all(new in (old, grown) for old, new in zip(before, after, strict=True))


def test_growing_a_canary_by_shares_keeps_whoever_has_it():
    small, large = (
        Split({"stable": 1 - share, "canary": share}, "x").labels(USERS) for share in (0.01, 0.5)
    )
    moved = {pair for pair in zip(small, large, strict=True) if pair[0] != pair[1]}
    assert moved == {("stable", "canary")}


def test_a_weight_of_nothing_gets_nobody():
    assert set(Split({"a": 1, "b": 0}, "x").labels(USERS[:500])) == {"a"}


@pytest.mark.parametrize(
    "weights", [{}, {"a": 0}, {"a": -1, "b": 2}, {"a": math.nan}, {"a": math.inf}, {"": 1}]
)
def test_weights_that_are_none(weights):
    with pytest.raises(ValueError, match="weights"):
        Split(weights, "x")


def test_ids_that_are_none():
    with pytest.raises(TypeError, match="user_id"):
        Split({"a": 1}, "x").label(1.5)  # type: ignore[arg-type]
