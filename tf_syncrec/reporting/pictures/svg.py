"""Figures of Matplotlib as `<svg>` that stands inside of a page, in the page's colours."""

from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import matplotlib
from cycler import cycler
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tf_syncrec.utils.glyphs import without_glyph_warnings

SERIES = 8
"""Domains that the page has colours for; further ones are dashed."""

VERDICT_COLOURS = {
    "hurt": "#a33600",
    "helped": "#005a94",
    "no clear difference": "#909497",
    "not trained alone": "#d5d8dc",
}

# Matplotlib draws with these stand-ins, which become CSS variables: one picture fits both themes.
INK, MUTED, RULE, ACCENT = "#010101", "#010102", "#010103", "#010104"
COLOURS = [f"#0200{i:02x}" for i in range(SERIES)]
CSS = (
    {INK: "--ink", MUTED: "--muted", RULE: "--rule", ACCENT: "--accent", "#000000": "--ink"}
    | {colour: f"--s{i}" for i, colour in enumerate(COLOURS)}
    | {VERDICT_COLOURS["hurt"]: "--hurt", VERDICT_COLOURS["helped"]: "--helped"}
    | {VERDICT_COLOURS["no clear difference"]: "--muted"}
    | {VERDICT_COLOURS["not trained alone"]: "--rule"}
)


def colour_of(number: int) -> tuple[str, str]:
    """Colour and dashes of a domain by its number, the same on every page."""
    return COLOURS[number % SERIES], "4 2" if number // SERIES % 2 else ""


RC: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small files, the reader's font and colour
    "text.parse_math": False,  # a domain may be called "$"
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "grid.color": RULE,
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("text.color", "axes.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
}
"""Settings to draw under."""

_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


def svg_of(figure: Figure, name: str) -> Markup:
    """A figure as `<svg>` for inlining: themed, and with ids that no other one of the page has.

    Args:
        figure: drawn under `RC`.
        name: what the picture is called, on the page once.
    """
    buffer = BytesIO()
    with (
        matplotlib.rc_context({"svg.hashsalt": name}),  # of the ids that something refers to
        without_glyph_warnings(),  # the browser draws the text, and has more fonts
    ):
        FigureCanvasSVG(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    root = ElementTree.fromstring(buffer.getvalue())
    root.attrib = {"role": "img", "aria-label": name, "viewBox": root.attrib["viewBox"]}
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)  # HTML knows it without its namespace
        if element.tag == "g":
            element.attrib.pop("id", None)  # `axes_1` of every figure; nothing refers to it
        for key in list(element.attrib):
            value = element.attrib.pop(key)
            for stand_in, variable in CSS.items():
                value = value.replace(stand_in, f"var({variable})")
            element.attrib[key.replace(_LINK, "xlink:")] = value
    return Markup(ElementTree.tostring(root, encoding="unicode"))
