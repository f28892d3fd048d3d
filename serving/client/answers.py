"""Looks at what a server sent: an answer to what was asked, or a ServingError."""

from dataclasses import dataclass
from typing import Any

from serving.client.connection import ServingError


@dataclass(frozen=True)
class Answer:
    """What one user gets.

    Attributes:
        items: raw ids, best first; fewer than asked for where a domain has no more.
        scores: of the items.
        domains: of the items.
        known_items: items of the history that the model knows.
        fallback: whether popularity answered, as it knows none of them (BPRMF: not the user).
    """

    items: list[str]
    scores: list[float]
    domains: list[str]
    known_items: int
    fallback: bool


def read_answers(document: Any, rows: int) -> list[Answer]:
    """Recommendations for each row of a request.

    Raises:
        ServingError: the document has no such outputs for as many rows.
    """
    names = list(Answer.__annotations__)
    outputs = _outputs(document, names, rows)
    return [_answer(*row) for row in zip(*(outputs[name] for name in names), strict=True)]


def read_rows(document: Any, rows: int) -> list[dict[str, Any]]:
    """Outputs by name, for each row of a request.

    Raises:
        ServingError: the document has no outputs, or not for as many rows.
    """
    outputs = _outputs(document, ["domains", "known_items"], rows)
    return [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]


def read_status(document: Any) -> list[dict[str, Any]]:
    """State of each version.

    Raises:
        ServingError: the document names none.
    """
    found = document.get("model_version_status") if isinstance(document, dict) else None
    if not (isinstance(found, list) and found and all(map(_is_status, found))):
        raise _unexpected("the status of versions", document)
    return found


def read_signatures(document: Any) -> dict[str, frozenset[str]]:
    """Names of the inputs of each signature, from the metadata of a model.

    Raises:
        ServingError: the document names none.
    """
    found = document
    for name in ("metadata", "signature_def", "signature_def"):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, dict) or not found:
        raise _unexpected("the metadata of a model", document)
    inputs = {
        name: each.get("inputs") if isinstance(each, dict) else None for name, each in found.items()
    }
    return {name: frozenset(each) for name, each in inputs.items() if isinstance(each, dict)}


def _outputs(document, names, rows):
    """Columns by name, `names` among them."""
    outputs = document.get("outputs") if isinstance(document, dict) else None
    if not isinstance(outputs, dict) or not outputs.keys() >= set(names):
        raise _unexpected(f"the outputs {', '.join(names)}", document)
    for name, column in outputs.items():
        if not isinstance(column, list) or len(column) != rows:
            raise _unexpected(f"{rows} rows of {name}", column)
    return outputs


def _answer(items, scores, domains, known_items, fallback):
    columns = items, scores, domains
    if not (
        all(isinstance(column, list) and len(column) == len(items) for column in columns)
        and all(isinstance(value, str) for value in (*items, *domains))
        and all(_is_number(score, int | float) for score in scores)
        and _is_number(known_items, int)
        and fallback in (0, 1)
    ):
        raise _unexpected("items with scores and domains", [*columns, known_items, fallback])
    # Places that no item fills come last, as "".
    filled = sum(1 for item in items if item)
    if not all(items[:filled]):
        raise _unexpected("empty places after all items", items)
    return Answer(items[:filled], scores[:filled], domains[:filled], known_items, bool(fallback))


def _is_number(value, kind):
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_status(value):
    return isinstance(value, dict) and all(
        isinstance(value.get(name), str) for name in ("version", "state")
    )


def _unexpected(what, received):
    return ServingError(200, f"expected {what}, received {received!r:.200}")
