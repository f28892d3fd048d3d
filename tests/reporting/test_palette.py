"""Colours are seen: on light and on dark, by everybody, and a domain's is the same everywhere."""

import re
from importlib.resources import files

import numpy as np
import pytest

from tf_syncrec.reporting.pictures.charts import lines
from tf_syncrec.reporting.pictures.svg import CSS, SERIES, colour_of

SHEET = files("tf_syncrec.reporting").joinpath("templates/style/colours.css").read_text()
THEMES = [
    dict(re.findall(r"(--\w+): (#[0-9a-f]{6});", block)) for block in SHEET.split(":root")[1:]
]


def linear(colour):
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """By WCAG 2.1, 1.4.3."""
    lights = sorted(linear(colour) @ [0.2126, 0.7152, 0.0722] + 0.05 for colour in (one, other))
    return lights[1] / lights[0]


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark", "print"])
def test_text_and_pictures_stand_out(theme):
    for ground in ("--page", "--card"):
        for text in ("--ink", "--muted", "--accent", "--hurt", "--helped"):
            assert contrast(theme[text], theme[ground]) >= 4.5, text
        for series in range(SERIES):
            assert contrast(theme[f"--s{series}"], theme[ground]) >= 3, series


# Viénot, Brettel and Mollon 1999, on linear RGB: who lacks the red or the green cones.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.112, 0.888, 0.0], [0.112, 0.888, 0.0], [0.004, -0.004, 1.0]],
    "deuteranopia": [[0.292, 0.708, 0.0], [0.292, 0.708, 0.0], [-0.022, 0.022, 1.0]],
}


@pytest.mark.parametrize("kind", BLINDNESS)
@pytest.mark.parametrize("theme", THEMES[:2], ids=["light", "dark"])
def test_no_two_domains_look_alike_to_anybody(theme, kind):
    seen = [
        np.clip(np.array(BLINDNESS[kind]) @ linear(theme[f"--s{n}"]), 0, 1) ** (1 / 2.2)
        for n in range(SERIES)
    ]
    for i in range(SERIES):
        for j in range(i):
            assert np.linalg.norm(seen[i] - seen[j]) > 0.2, (i, j)
    hurt, helped = (np.array(BLINDNESS[kind]) @ linear(theme[v]) for v in ("--hurt", "--helped"))
    assert np.linalg.norm(np.clip(hurt, 0, 1) ** 0.45 - np.clip(helped, 0, 1) ** 0.45) > 0.3


def test_a_domain_has_its_colour_whoever_else_is_drawn():
    points = {name: [(1, value)] for name, value in (("a", 0.1), ("b", 0.2), ("c", 0.3))}
    for values in (points, points | {"a": []}):
        chart = lines("t", "", values, of_domains=True)
        assert chart is not None
        found = {key.label: key.colour for key in chart.legend}
        assert found == {name: CSS[colour_of("abc".index(name))[0]] for name in found}
    assert len({colour_of(n) for n in range(2 * SERIES)}) == 2 * SERIES
