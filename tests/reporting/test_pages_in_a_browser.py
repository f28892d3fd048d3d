"""What is on screen of the report and of a comparison: desk and phone, day and night."""

import json

import pytest

from tests.reporting.test_report import make_run, result
from tests.support.browser import SIZES, Seen
from tests.support.small_comparison import small_comparison
from tf_syncrec.reporting.comparison_report import comparison_page
from tf_syncrec.reporting.run_report import write_report

DOMAINS = ["books", "contrary", "films", "music and a name that is long"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("page"), DOMAINS)
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["test"]["domains"]["books"] = result(0.3)
    group = {"users": 50, "hr@10": 0.5, "ndcg@10": 0.25, "share_of_hits": 0.5, "error": 0.01}
    metrics["breakdown"] = {
        "history": {"0-2": group, "3-5": group},
        "cold": {"yes": group, "no": group},
    }
    row = {"users": 9, "coverage": 0.5, "novelty": 7.0, "diversity": 0.5, "gini": 0.5}
    row |= {"popularity_bias": 1.1, "exposure": 0.25, "targets": 0.25}
    lists = {"split": "test", "k": 10, "overall": row, "domains": dict.fromkeys(DOMAINS, row)}
    metrics["beyond_accuracy"] = lists
    difference = {"mean": 0.04, "low": 0.03, "high": 0.05, "p_value": 0.001}
    over = {"overall": difference, "domains": dict.fromkeys(DOMAINS, difference)}
    metrics["over_popularity"] = {"split": "test", **over}
    (run / "metrics.json").write_text(json.dumps(metrics))
    return write_report(run).as_uri()


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    page = tmp_path_factory.mktemp("page") / "report.html"
    page.write_text(comparison_page(small_comparison(DOMAINS), {}), encoding="utf-8")
    return page.as_uri()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_a_page_fits_can_be_read_and_runs_into_no_error(browser, name, size, theme, request):
    with Seen(browser, request.getfixturevalue(name), size, theme) as seen:
        seen.keep(f"{name}-{size}-{theme}")
        assert not seen.wider_than_the_window()
        assert seen.faint() == []
        assert seen.said == []


@pytest.mark.parametrize("size", SIZES)
def test_the_first_screen_of_a_report_answers(browser, report, size):
    with Seen(browser, report, size) as seen:
        for what in (".headline", ".answer figure", ".answer dl", ".answer pre.command"):
            assert seen.on_screen(what), what
        text = seen.page.inner_text(".answer")
        for said in ("find their next item", "95 % interval", "Yes: books", "What to do next"):
            assert said in text


@pytest.mark.parametrize("size", SIZES)
def test_the_first_screen_of_a_comparison_answers(browser, comparison, size):
    with Seen(browser, comparison, size) as seen:
        assert seen.on_screen(".headline") and seen.on_screen("table.sorted")
        assert seen.on_screen(".answer dl")
        assert "syncrec has the highest NDCG@10" in seen.page.inner_text(".headline")
        assert "sasrec: books, contrary, films and" in seen.page.inner_text(".answer dl")


def test_what_is_under_a_phone_is_no_wider_than_it(browser, report):
    """Tables of domains are cards there: nothing that decides is beyond the edge."""
    with Seen(browser, report, "phone") as seen:
        ends = seen.page.evaluate(
            "[...document.querySelectorAll('.cards td')]"
            ".map((cell) => cell.getBoundingClientRect().right)"
        )
        assert len(ends) > 20 and max(ends) <= 390


def test_samples_are_closed_until_asked_for_by_the_keyboard(browser, report):
    with Seen(browser, report) as seen:
        assert not seen.page.locator(".users").is_visible()
        seen.page.locator("#samples summary").focus()
        seen.page.keyboard.press("Enter")
        assert seen.page.locator(".users").is_visible()
        assert seen.faint() == []


def test_a_table_is_sorted_by_the_keyboard_and_says_so(browser, comparison):
    with Seen(browser, comparison) as seen:
        rows = seen.page.locator("table.sorted tbody th")
        assert rows.all_inner_texts() == ["syncrec", "sasrec", "mmoe"]
        button = seen.page.locator("table.sorted thead button").nth(1)
        button.focus()
        seen.page.keyboard.press("Enter")
        assert rows.all_inner_texts() == ["syncrec", "sasrec", "mmoe"]  # highest first
        seen.page.keyboard.press("Enter")
        assert rows.all_inner_texts() == ["mmoe", "sasrec", "syncrec"]
        heading = seen.page.locator("table.sorted thead th").nth(1)
        assert heading.get_attribute("aria-sort") == "ascending"
        seen.page.locator("table.sorted thead button").first.click()
        assert rows.all_inner_texts() == ["mmoe", "sasrec", "syncrec"]
        assert heading.get_attribute("aria-sort") is None
        differences = seen.page.locator("table.sorted tbody td:nth-child(3)")
        seen.page.locator("table.sorted thead button").nth(2).click()
        assert [text[:1] for text in differences.all_inner_texts()] == ["+", "-", "–"]  # none last


def test_paper_is_white_whatever_the_screen_is(browser, report):
    with Seen(browser, report, theme="dark") as seen:
        seen.page.emulate_media(media="print", color_scheme="dark")
        ground = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(255, 255, 255)" and not seen.page.locator("nav").is_visible()
