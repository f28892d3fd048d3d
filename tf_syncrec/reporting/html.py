"""HTML pages from templates: numbers as they are written, nothing that a value could break."""

import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from data_prep.errors import InputError
from tf_syncrec.evaluation import shown


def render(template: str, **values: Any) -> str:
    """A page from a template of `templates/`; all values are escaped."""
    environment = Environment(
        loader=PackageLoader("tf_syncrec.reporting"), autoescape=True, trim_blocks=True
    )
    environment.filters |= {"number": number, "signed": signed, "code": code, "shown": shown}
    return environment.get_template(template).render(**values)


def read_json(file: Path) -> Any:
    """The content of a JSON file; None where there is none.

    Raises:
        InputError: it cannot be read.
    """
    if not file.exists():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error}); put it back from a copy") from error


def number(value: Any, digits: int = 4) -> str:
    """Formats a table's value; what is missing becomes a dash."""
    if isinstance(value, float):
        return f"{value:z.{digits}f}"  # z: no minus before zeros
    return "–" if not isinstance(value, int) else f"{value:,}"


def signed(value: float) -> str:
    """Formats a difference, with its sign; what rounds to nothing has none."""
    text = f"{value:+z.3f}"
    return text if text != "+0.000" else "0.000"


def code(text: str) -> Markup:
    """What stands between backticks, as code."""
    parts = enumerate(text.split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(p) if n % 2 else p for n, p in parts)
