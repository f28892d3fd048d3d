"""The demo page as one document: markup, style, colours of the reports, script."""

import html
from importlib.resources import files

COLOURS = files("tf_syncrec.reporting").joinpath("templates/style/colours.css")
"""Colours of all pages: a domain's here is its own in the report."""


def demo_page() -> str:
    """The document, but for `{{model}}`, `{{histories}}` and `{{names}}`, see `filled`."""
    here = files("serving.server.demo")
    page = here.joinpath("page.html").read_text(encoding="utf-8")
    style = COLOURS.read_text(encoding="utf-8") + here.joinpath("page.css").read_text("utf-8")
    script = here.joinpath("page.js").read_text(encoding="utf-8")
    return page.replace("{{style}}", style).replace("{{script}}", script)


def filled(page: str, model: str, histories: bool, names: bool) -> str:
    """The document for a reader.

    Args:
        page: of `demo_page`.
        model: name of the model.
        histories: whether there is a store to ask.
        names: whether items can be looked for.
    """
    page = page.replace("{{model}}", html.escape(model))
    page = page.replace("{{histories}}", "yes" if histories else "no")
    return page.replace("{{names}}", "yes" if names else "no")
