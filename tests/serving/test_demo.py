"""The demo page in a real browser: headless Chromium, where there is one."""

import html
import re
from urllib.parse import quote

import pytest
import requests

from serving.client import Client
from serving.histories import open_histories
from tests.support.browser import cards, look, needs_browser
from tests.support.exporting import DOMAINS, USERS, make_served
from tests.support.rest_server import running


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
    bars = re.findall(r'<div class="bar (\w+)">', page)
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
    assert "0 of 1 items known: this is what is popular" in page
    assert "<title>run</title>" not in page and "<img" not in page
    page = look(rest, tmp_path, "?" + "&".join(["history=a"] * 1001))
    assert "1001 elements a row" in page


@needs_browser
def test_a_model_that_knows_users_is_asked_by_them(tmp_path):
    """It has neither λ nor gates to show."""
    served = make_served(tmp_path / "syncrec", "bprmf")
    with running(served.base) as rest:
        page = look(rest, tmp_path / "browser", f"?user={quote(USERS[5])}")
        (answer,) = Client(rest.url).recommend([[]], "audio", user_ids=[USERS[5]])
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
    client = Client(rest.url, histories=store)
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
    assert "0 of 0 items known: this is what is popular" in page
    assert "The store of histories does not answer" in page


def test_the_page_asks_nobody_else(rest):
    answer = requests.get(rest.url, timeout=10)
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.findall(r"(?:src|href|url)\s*[=(]|https?://|import ", answer.text)
    assert "{{" not in answer.text and ">syncrec<" in answer.text
