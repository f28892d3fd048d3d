"""The first screen of a comparison: one sign for one difference, and certain only what is."""

import pytest

from tests.support.small_comparison import small_comparison
from tf_syncrec.reporting.comparison_answer import answer_of

DOMAINS = ["books", "films"]


@pytest.fixture
def comparison():
    return small_comparison(DOMAINS)


def test_best_first_each_less_the_reference(comparison):
    answer = answer_of(comparison)
    assert answer.best == "syncrec"
    assert [place.name for place in answer.places] == ["syncrec", "sasrec", "mmoe"]
    assert [place.less_reference for place in answer.places] == [
        "+0.020 [+0.010, +0.030]",
        "",
        "-0.010 [-0.020, 0.000]",
    ]
    assert [place.bar for place in answer.places] == pytest.approx([1.0, 0.1 / 0.12, 0.75])
    assert answer.sentence == (
        "It is ahead of sasrec by +0.020 (95 % interval +0.010 to +0.030 over users), significant."
    )
    assert answer.facts["Where is which model best?"] == "syncrec in every domain."


def test_what_may_be_chance_is_called_so(comparison):
    found = comparison["models"]["syncrec"]["against_reference"]["ndcg@10"]["overall"]
    found |= {"p_value": 0.2, "low": -0.01}
    answer = answer_of(comparison)
    assert answer.sentence.endswith("not significant.") and not answer.places[0].sure


def test_a_reference_that_is_best_is_ahead_of_the_next_by_as_much(comparison):
    """The difference of the next one, the other way round, and its ends too."""
    models = comparison["models"]
    del models["syncrec"]
    assert answer_of(comparison).sentence == (
        "It is ahead of mmoe by +0.010 (95 % interval 0.000 to +0.020 over users), significant."
    )
    del models["mmoe"]
    assert answer_of(comparison).sentence == "It is the only model."


def test_domains_are_won_by_the_highest_mean_and_hurt_by_verdicts(comparison):
    comparison["models"]["mmoe"]["test"]["domains"]["films"] = {
        "ndcg@10": {"mean": 0.9, "std": None}
    }
    rows = comparison["negative_transfer"]["sasrec"]["domains"]
    rows["films"] = rows["films"] | {"verdict": "helped"}
    answer = answer_of(comparison)
    assert answer.facts == {
        "Where is which model best?": "syncrec in books; mmoe in films.",
        "Is a domain hurt by the others?": "sasrec: books is hurt, films helped.",
    }
    assert answer.verdict == "hurt"
    for row in rows.values():
        row["verdict"] = "no clear difference"
    answer = answer_of(comparison)
    assert answer.facts["Is a domain hurt by the others?"] == "sasrec: none for certain."
    assert answer.verdict == ""
    comparison["negative_transfer"] = {}
    assert list(answer_of(comparison).facts) == ["Where is which model best?"]
