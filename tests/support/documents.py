"""Reads the commands and the code of the documents."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NOT_RUN = "# not run by the tests: "
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its language, its text, and why the tests leave it out, if they do."""

    language: str
    text: str
    why_not: str | None

    @property
    def commands(self) -> list[list[str]]:
        """The command lines of a shell block, as words; environment and comments left out."""
        lines = self.text.replace("\\\n", "").splitlines()  # as a shell joins lines
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        words = [shlex.split(line, comments=True) for line in lines]
        return [line for line in words if line]


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found = []
    for language, text in _FENCE.findall(page.read_text()):
        why = text.split("\n", 1)[0]
        found.append(
            Block(language, text, why.removeprefix(NOT_RUN) if why.startswith(NOT_RUN) else None)
        )
    return found
