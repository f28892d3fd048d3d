"""Pages in a real browser: headless Chromium, where there is one."""

import html
import re
import shutil
import subprocess
from pathlib import Path

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
        r'<section class="card( chosen)?" data-domain="(.*?)".*?>(.*?)</section>', page, re.S
    ):
        lines = re.findall(r'<tr data-score="(.*?)".*?><td>(.*?)</td>', body, re.S)
        found[html.unescape(title)] = (
            [(item if raw else html.unescape(item), float(s)) for s, item in lines],
            bool(chosen),
        )
    return found


needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")

SIZES = {"wide": (1280, 800), "phone": (390, 844)}
"""What pages are looked at in, in CSS pixels."""

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
"""Where tests leave what they saw, for somebody to look at; CI may keep it."""


class Seen:
    """A page in a window: `page` of Playwright, and what the console said."""

    def __init__(self, browser, url, size="wide", theme="light", **options):
        width, height = SIZES[size]
        view = {"width": width, "height": height}
        self.page = browser.new_page(viewport=view, color_scheme=theme, **options)
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(url)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.page.close()

    def keep(self, name, **options):
        """Leaves a picture of the window."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", **options)

    def wider_than_the_window(self):
        """Whether one has to scroll sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth > innerWidth")

    def on_screen(self, selector):
        """Whether all of the first such element is in the window, without scrolling."""
        box = self.page.locator(selector).first.bounding_box()
        size = self.page.viewport_size
        inside = box["x"] >= 0 and box["x"] + box["width"] <= size["width"]
        return inside and box["y"] >= 0 and box["y"] + box["height"] <= size["height"]

    def faint(self):
        """Texts that do not stand out from what is behind them, by WCAG 2.1 (1.4.3)."""
        return self.page.evaluate(FAINT)


FAINT = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = "#000";
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) =>
    [0, 1, 2].map((i) => top[3] * top[i] + (1 - top[3]) * under[i]).concat(1);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0.05);
  const behind = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement)
      layers.push(rgba(getComputedStyle(each).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const found = new Set(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
    if (!text || element.closest("script, style") || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), ground = behind(element);
    const colour = over(rgba(element.closest("svg") ? style.fill : style.color), ground);
    const [high, low] = [light(colour), light(ground)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    if (high / low < least) found.add(`${text.slice(0, 40)}: ${(high / low).toFixed(2)}`);
  }
  return [...found];
}"""
