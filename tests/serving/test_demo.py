"""The demo page in a real browser: headless Chromium, where there is one."""

import html
import re
from urllib.parse import quote

import pyarrow as pa
import pytest
import requests

from serving.client import Client
from serving.histories import open_histories
from serving.server.demo.item_names import ItemNames
from tests.support.browser import SIZES, Seen, cards, look, needs_browser
from tests.support.exporting import DOMAINS, USERS
from tests.support.rest_server import PATIENCE, running


@needs_browser
def test_a_history_is_answered_for_every_domain(rest, tmp_path):
    history = rest.served.ids[:2] + rest.served.ids[-2:]
    query = "&".join(f"history={quote(item)}" for item in history)
    page = look(rest, tmp_path, f"?domain={quote('música')}&{query}")
    shown = cards(page)
    assert next(iter(shown)) == "música" and set(shown) == {*DOMAINS, ""}
    request = {"instances": [{"items": history, "domain": domain} for domain in shown]}
    answers = requests.post(
        f"{rest.url}/v1/models/syncrec:predict", json=request, timeout=30
    ).json()
    for (domain, (lines, chosen)), row in zip(shown.items(), answers["predictions"], strict=True):
        assert chosen == (domain == "música")
        expected = [
            (item, round(score, 3))
            for item, score in zip(row["items"], row["scores"], strict=True)
            if item
        ]
        assert [item for item, _ in lines] == [item for item, _ in expected]
        assert [score for _, score in lines] == pytest.approx([s for _, s in expected], abs=1e-3)
    assert "4 of 4 items known" in page
    bars = re.findall(r'<div class="bar (\w+)"', page)
    assert bars.count("lambda") == len(DOMAINS)
    assert bars.count("cross") == 2 * (1 + len(DOMAINS)) and bars.count("single") == 1 + len(
        DOMAINS
    )


@needs_browser
def test_the_start_page_offers_popular_items_and_every_domain(rest, tmp_path):
    page = look(rest, tmp_path)
    for domain in DOMAINS:
        assert f'<option value="{domain}">' in page
    chips = re.findall(r'<button type="button" title="(.*?)">', page)
    popular = [item for d in (0, 1, 3) for item in rest.served.ids if item.startswith(DOMAINS[d])][
        :1
    ]
    assert html.unescape(chips[0]) == popular[0]
    assert len(chips) == 4 + 3 + 4


@needs_browser
def test_ids_are_text_and_errors_are_shown(rest, tmp_path):
    page = look(rest, tmp_path, "?history=" + quote("<img src=x onerror=document.title='run'>"))
    assert "0 of 1 items known: popularity fallback" in page
    assert "<title>run</title>" not in page and "<img" not in page
    page = look(rest, tmp_path, "?" + "&".join(["history=a"] * 1001))
    assert "1001 elements a row" in page


@needs_browser
def test_a_model_that_knows_users_is_asked_by_them(tmp_path, exported):
    """It has neither λ nor gates to show."""
    served = exported("bprmf")
    with running(served.base) as rest:
        page = look(rest, tmp_path / "browser", f"?user={quote(USERS[5])}")
        (answer,) = Client(rest.url, timeout=PATIENCE).recommend([[]], "audio", user_ids=[USERS[5]])
    lines, _ = cards(page)["audio"]
    assert [item for item, _ in lines] == answer.items
    assert "<h2>What the network" not in page and '<div class="bar' not in page


CLICK = """<script>
new MutationObserver((changes, observer) => {
  if (document.body.dataset.done) {
    observer.disconnect();
    document.querySelector("section[data-domain=audio] td button").click();
  }
}).observe(document.body, { attributes: true });
</script></html>"""
"""Clicks what is recommended first, once there is an answer."""


@needs_browser
def test_a_user_is_shown_with_his_history_and_a_click_counts(rest, tmp_path, monkeypatch):
    store = open_histories(str(tmp_path / "histories.db"))
    monkeypatch.setattr(rest.server.api, "histories", store)
    had, user = rest.served.ids[40], "<b> 'u'"
    store.record(user, had, 1e9)
    asks = f"?domain=audio&user={quote(user)}"
    page = look(rest, tmp_path / "before", asks)
    client = Client(rest.url, timeout=PATIENCE, histories=store)
    expected = client.recommend_user(user, "audio").items
    assert "1 of 1 items known" in page
    buttons = [re.fullmatch(r'<button type="button">(.*)</button>', i) for i, _ in raw_lines(page)]
    assert [html.unescape(button[1]) for button in buttons if button] == expected
    monkeypatch.setattr(rest.server, "_page", rest.server._page.replace("</html>", CLICK))
    page = look(rest, tmp_path / "after", asks)
    assert [event.item_id for event in store.latest(user)] == [had, expected[0]]
    assert "2 of 2 items known" in page
    shown = [html.unescape(re.sub("<.*?>", "", item)) for item, _ in raw_lines(page)]
    assert shown == client.recommend_user(user, "audio").items and expected[0] not in shown


def raw_lines(page):
    return cards(page, raw=True)["audio"][0]


@needs_browser
def test_a_store_that_is_away_shows_what_is_popular(rest, tmp_path, monkeypatch):
    pytest.importorskip("redis")
    monkeypatch.setattr(rest.server.api, "histories", open_histories("redis://127.0.0.1:1/0"))
    page = look(rest, tmp_path, "?user=u")
    assert "0 of 0 items known: popularity fallback" in page
    assert "The store of histories does not answer" in page


def test_the_page_asks_nobody_else(rest):
    answer = requests.get(rest.url, timeout=10)
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.findall(r"(?:src|href|url)\s*[=(]|https?://|import ", answer.text)
    assert "{{" not in answer.text and ">syncrec<" in answer.text


@pytest.fixture(scope="module")
def named(rest):
    """The same server, with titles of its items."""
    ids = rest.served.ids
    table = {"item_id": ids, "title": [f"Title {n}" for n in range(len(ids))]}
    table["domain"] = [""] * len(ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rest.server, "_names", ItemNames(pa.table(table)))
        yield rest


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_can_be_read_and_runs_into_no_error(browser, named, size, theme):
    query = f"/?domain={quote('música')}&history={quote(named.served.ids[40])}"
    with Seen(browser, named.url + query, size, theme) as seen:
        seen.page.wait_for_selector("body[data-done]")
        seen.keep(f"demo-{size}-{theme}", full_page=True)
        assert seen.page.inner_text(".card.chosen td").startswith("Title ")
        assert not seen.wider_than_the_window()
        assert seen.faint() == []
        assert seen.said == []


def test_items_are_found_and_recommended_by_the_keyboard_alone(browser, named):
    with Seen(browser, named.url) as seen:
        page = seen.page
        page.wait_for_selector("body[data-ready]")
        page.keyboard.press("/")
        page.keyboard.type("title 4")
        page.wait_for_selector("#found button")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")  # in the box: the first one
        chosen = [named.served.ids[14], named.served.ids[4]]
        assert page.input_value("#history").split("\n") == chosen
        page.keyboard.press("Escape")
        assert page.input_value("#search") == ""
        page.locator("button.main").press("Enter")
        page.wait_for_selector("body[data-done]")
        assert page.inner_text("#note") == "2 of 2 items known"


def test_why_an_item_is_there_is_said_by_what_its_score_is_made_of(browser, named):
    """In the numbers of the signature, and with the titles of the items that vote."""
    history = [named.served.ids[0], named.served.ids[1], named.served.ids[50]]
    query = "&".join(f"history={quote(item)}" for item in history)
    with Seen(browser, f"{named.url}/?domain=audio&{query}") as seen:
        seen.page.wait_for_selector("body[data-done]")
        card = seen.page.locator("section[data-domain=audio]")
        lines = card.locator("tr[data-score]").all()
        scores = [float(line.get_attribute("data-score")) for line in lines]
        button = card.locator(".ask button").first
        button.focus()
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_selector("body[data-explained]")
        assert button.get_attribute("aria-expanded") == "true"
        seen.keep("demo-why")
        for row, score in zip(card.locator("tr.why").all(), scores, strict=True):
            texts = row.locator(".bar > span:last-child").all_text_contents()
            numbers = [float(text) for text in texts]
            assert sum(numbers) == pytest.approx(score, abs=0.005 * len(numbers) + 2e-3)
        labels = card.locator("tr.why .bar > span:first-child").all_text_contents()
        assert "the domain's own history" in labels
        voters = {label for label in labels if label.startswith("vote of ")}
        assert voters and voters <= {"vote of Title 0", "vote of Title 1", "vote of Title 50"}
        seen.page.keyboard.press("Enter")
        assert not card.locator("tr.why").first.is_visible()
