"""What is better, worse, the same, and what nobody can tell; and every reason to hold back."""

import numpy as np
import pytest

from tf_syncrec.gate.later_rows import Questions
from tf_syncrec.gate.limits import ModelLimits
from tf_syncrec.gate.scoring import Scored
from tf_syncrec.gate.verdicts import BETTER, SAME, UNCLEAR, WORSE, quality, reasons_of_answers
from tf_syncrec.metrics.gains import MISS, user_gains

K = 10
NAMES = ("large", "small")


def questions(users=3_000, small=40):
    """All users have a target in the large domain, and the first ones in the small one."""
    askers = np.concatenate([np.arange(users), np.arange(small)])
    domains = np.repeat([0, 1], [users, small])
    return Questions(
        *(0.0, [f"u{n}" for n in range(users)], [["i"]] * users, [[0.0]] * users, NAMES),
        *(askers, domains, np.array(["i"] * len(askers), object)),
        *(np.array(["i", "j"], object), np.array([0, 1]), np.array([5_000, 40])),
    )


def scored(ranks, unknown=(0.1, 0.1), recommended=(500, 500), items=(1000, 1000)):
    return Scored(ranks, np.array(unknown), np.array(recommended), np.array(items), 0.0)


def random_ranks(asked, seed=0):
    rng = np.random.default_rng(seed)
    return rng.choice([1.0, 2.0, 5.0, 9.0, MISS], len(asked.targets))


def judged(change, limits=ModelLimits(), **more):  # noqa: B008
    """Of ranks and of what a function makes of them; and all reasons."""
    asked = questions()
    ranks = random_ranks(asked)
    table = quality(asked, scored(ranks), scored(change(ranks.copy(), asked), **more), K, limits)
    return table, reasons_of_answers(table, None, limits)


def lose(share, domain, seed=1):
    """Misses in place of some hits."""

    def change(ranks, asked):
        drawn = np.random.default_rng(seed).random(len(ranks)) < share
        ranks[drawn & (asked.target_domains == domain)] = MISS
        return ranks

    return change


def test_nothing_differs():
    table, reasons = judged(lambda ranks, asked: ranks)
    assert table["domains"]["large"]["verdict"] == table["overall"]["verdict"] == SAME
    assert table["domains"]["small"]["verdict"] == UNCLEAR  # so few targets show nothing
    assert reasons == []


def test_a_certain_loss_is_worse_and_its_mirror_better():
    table, reasons = judged(lose(0.1, 0))
    assert table["domains"]["large"]["verdict"] == table["overall"]["verdict"] == WORSE
    assert [(reason.kind, reason.domain) for reason in reasons] == [
        ("worse", ""),
        ("worse", "large"),
    ]
    asked = questions()
    ranks = random_ranks(asked)
    mirror = quality(
        asked, scored(lose(0.1, 0)(ranks.copy(), asked)), scored(ranks), K, ModelLimits()
    )
    assert mirror["domains"]["large"]["verdict"] == BETTER
    assert reasons_of_answers(mirror, None, ModelLimits()) == []


def test_a_certain_loss_that_nobody_can_feel_is_the_same():
    """Two signs: the interval is all below 0, and the loss is less than the limit."""
    table, reasons = judged(lose(0.012, 0))
    row = table["domains"]["large"]
    assert row["difference"]["high"] < 0 and -0.02 < row["relative"][0] < 0
    assert row["verdict"] == SAME and reasons == []
    table, _ = judged(lose(0.012, 0), ModelLimits(worse=0.001))
    assert table["domains"]["large"]["verdict"] == WORSE


def test_of_several_domains_one_may_be_worse_by_chance():
    """Certain by itself, not among the domains that were looked at."""
    seen = set()
    for seed in range(40):
        table, _ = judged(lose(0.17, 1, seed))
        row = table["domains"]["small"]
        difference = row["difference"]
        if difference["p_value"] < 0.05 <= difference["p_holm"]:
            assert row["relative"][0] < -0.02 and row["verdict"] == UNCLEAR
        elif difference["p_holm"] < 0.05:
            assert row["verdict"] == WORSE
        seen.add((difference["p_value"] < 0.05, difference["p_holm"] < 0.05))
    assert (True, False) in seen


def test_a_loss_of_a_small_domain_is_seen_where_it_is_certain():
    table, reasons = judged(lose(0.9, 1))
    assert table["domains"]["small"]["verdict"] == WORSE
    assert [(reason.kind, reason.domain) for reason in reasons] == [("worse", "small")]
    assert table["domains"]["large"]["verdict"] == SAME


def test_what_the_interval_does_not_exclude_is_not_called_the_same():
    def shuffled(ranks, asked):
        return random_ranks(asked, seed=9)

    table, reasons = judged(shuffled)
    row = table["domains"]["small"]
    assert row["relative"][1] < -0.2 and row["verdict"] == UNCLEAR and reasons == []
    large = table["domains"]["large"]
    assert -0.2 < large["relative"][1] < 0 and large["verdict"] == SAME
    table, _ = judged(shuffled, ModelLimits(undetected=0.001))
    assert table["domains"]["large"]["verdict"] == UNCLEAR
    strict = reasons_of_answers(table, None, ModelLimits(), strict=True)
    assert {(reason.kind, reason.domain) for reason in strict} >= {("unclear", "small")}


def test_nobody_was_ever_right():
    asked = questions()
    nothing = scored(np.full(len(asked.targets), MISS))
    table = quality(asked, nothing, nothing, K, ModelLimits())
    assert table["domains"]["large"]["relative"] is None
    assert {row["verdict"] for row in table["domains"].values()} == {UNCLEAR}
    better = quality(asked, nothing, scored(random_ranks(asked)), K, ModelLimits())
    assert better["domains"]["large"]["verdict"] == better["overall"]["verdict"] == BETTER


def test_numbers_are_means_of_users():
    table, _ = judged(lose(0.3, 0))
    asked = questions()
    ranks = random_ranks(asked)
    changed = lose(0.3, 0)(ranks.copy(), asked)
    for side, values in (("current", ranks), ("candidate", changed)):
        for metric in ("ndcg", "hr"):
            gains = user_gains(values, f"{metric}@{K}")
            for index, name in enumerate(NAMES):
                mean = gains[asked.target_domains == index].mean()
                assert table["domains"][name][metric][side] == pytest.approx(mean)
            users = [gains[asked.askers == user].mean() for user in range(len(asked.users))]
            assert table["overall"][metric][side] == pytest.approx(np.mean(users))
    assert table["overall"]["targets"] == len(asked.users)


@pytest.mark.parametrize(
    ("more", "kinds"),
    [
        ({"unknown": (0.149, 0.1)}, []),
        ({"unknown": (0.151, 0.1)}, [("unknown", "large")]),
        ({"unknown": (0.1, 1.0)}, []),  # forty rows
        ({"recommended": (401, 500)}, []),
        ({"recommended": (399, 500)}, [("coverage", "large")]),
        ({"recommended": (500, 0)}, [("coverage", "small")]),
        # New items alone, and items that have gone with what was said of them.
        ({"items": (1300, 2000)}, []),
        ({"items": (1300, 1300), "recommended": (390, 520)}, [("coverage", "large")]),
        ({"items": (700, 800), "recommended": (390, 399)}, []),
    ],
)
def test_items_that_are_unknown_and_items_that_are_never_shown(more, kinds):
    _, reasons = judged(lambda ranks, asked: ranks, **more)
    assert [(reason.kind, reason.domain) for reason in reasons] == kinds


def test_a_share_of_unknown_items_that_both_have():
    asked = questions()
    both = scored(random_ranks(asked), unknown=(0.6, 0.1))
    reasons = reasons_of_answers(quality(asked, both, both, K, ModelLimits()), None, ModelLimits())
    assert [(reason.kind, reason.domain) for reason in reasons] == [("unknown", "large")]
    assert "60.0%" in reasons[0].text and "limit: 50 %" in reasons[0].text


@pytest.mark.parametrize(("seconds", "held"), [(0.149, False), (0.151, True)])
def test_slower(seconds, held):
    table, _ = judged(lambda ranks, asked: ranks)
    speed = {"current": 0.1, "candidate": seconds}
    reasons = reasons_of_answers(table, speed, ModelLimits())
    assert [reason.kind for reason in reasons] == ["slower"] * held
