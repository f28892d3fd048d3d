"""Text and tables as data, which a template of a page shows, or `markdown` writes down."""

from collections.abc import Sequence
from typing import NamedTuple

from tabulate import tabulate

NBSP = "\u00a0"
"""Where a narrow page must not break a line; Markdown has a space there."""


class Cell(NamedTuple):
    """A cell that the reader's eye shall find.

    Attributes:
        text: what stands there.
        bold: the best of its kind, or what was chosen.
        verdict: `hurt` or `helped`, which the page shows in its colour.
    """

    text: str
    bold: bool = False
    verdict: str = ""


class Table(NamedTuple):
    """Rows of text or `Cell`, and their headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]


class Section(NamedTuple):
    """A heading and what stands below it; what is between backticks is code.

    Attributes:
        title: the heading.
        text: a paragraph.
        items: of a list.
        table: numbers.
        level: 2, or 3 below such a one.
    """

    title: str
    text: str = ""
    items: Sequence[str] = ()
    table: Table | None = None
    level: int = 2


def markdown(title: str, sections: Sequence[Section], pictures: Sequence[str]) -> str:
    """Sections as Markdown.

    Args:
        title: the heading above them.
        sections: in their order.
        pictures: names of files, shown at the end.
    """
    parts = [f"# {title}"]
    for section in sections:
        parts.append(f"{'#' * section.level} {section.title}")
        parts += filter(None, [section.text, "\n".join(f"- {item}" for item in section.items)])
        if section.table:
            parts.append(_markdown_table(section.table))
    parts += [f"![{name}]({name})" for name in pictures]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    alignment = ["left"] + ["right"] * (len(table.headings) - 1)
    rows = [[_markdown_cell(cell) for cell in row] for row in table.rows]
    headings = [*map(_markdown_cell, table.headings)]
    return tabulate(rows, headings, "github", disable_numparse=True, colalign=alignment)


def _markdown_cell(cell: str | Cell) -> str:
    """Text that does not end its cell: a domain may be called "|"."""
    text, bold, _ = cell if isinstance(cell, Cell) else Cell(cell)
    text = " ".join(text.split()).replace("|", r"\|")
    return f"**{text}**" if bold else text
