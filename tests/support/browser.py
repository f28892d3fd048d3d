"""The demo page in a real browser: headless Chromium, where there is one."""

import html
import re
import shutil
import subprocess

import pytest

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


def cards(page, raw=False):
    """`{title: (lines, chosen)}` of the answers; a line is `(item, score)`, the item maybe raw."""
    found = {}
    for chosen, title, body in re.findall(
        r'<section class="card( chosen)?" data-domain="(.*?)">(.*?)</section>', page, re.S
    ):
        lines = re.findall(r'<tr data-score="(.*?)".*?><td>(.*?)</td>', body, re.S)
        found[html.unescape(title)] = (
            [(item if raw else html.unescape(item), float(s)) for s, item in lines],
            bool(chosen),
        )
    return found


needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
