"""The demo page in a real browser: headless Chromium, where there is one."""

import html
import re
import shutil
import subprocess
from urllib.parse import quote

import pytest
import requests

from serving.client import Client
from tests.support.exporting import DOMAINS, USERS, make_served
from tests.support.rest_server import running

BROWSERS = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
CHROMIUM = next((path for path in BROWSERS if path), "")


def look(rest, tmp_path, query=""):
    """The page as the browser has it, once its requests are answered."""
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=60000",
            "--dump-dom",
            f"{rest.url}/{query}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def cards(page):
    """`{title: (lines, chosen)}` of the answers; a line is `(item, score)`."""
    found = {}
    for chosen, title, body in re.findall(
        r'<section class="card( chosen)?" data-domain="(.*?)">(.*?)</section>', page, re.S
    ):
        lines = re.findall(r"<td>(.*?)</td><td>(.*?)</td>", body, re.S)
        found[html.unescape(title)] = (
            [(html.unescape(item), float(s)) for item, s in lines],
            bool(chosen),
        )
    return found


needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")


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
    assert "Behind it" not in page and '<div class="bar' not in page


def test_the_page_asks_nobody_else(rest):
    answer = requests.get(rest.url, timeout=10)
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.findall(r"(?:src|href|url)\s*[=(]|https?://|import ", answer.text)
    assert "{{" not in answer.text and ">syncrec<" in answer.text
