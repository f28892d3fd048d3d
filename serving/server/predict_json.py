"""JSON of TensorFlow Serving's predict API to tensors and back.

Row format: `{"instances": [{name: value, ...}, ...]}`, answered by `{"predictions": [...]}`;
columns: `{"inputs": {name: values, ...}}`, answered by `{"outputs": {...}}`.
"""

import base64
import binascii
import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from serving.server.limits import Limits


class RestError(Exception):
    """What the client is told in place of an answer.

    Args:
        status: HTTP status code.
        message: what goes into `{"error": message}`.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def read_json(body: bytes) -> dict[str, Any]:
    """The object that a request's body is.

    Raises:
        RestError: it is none, or nested too deeply to be read.
    """
    try:
        document = json.loads(body.decode("utf-8"))
    except RecursionError:
        raise RestError(400, "JSON Parse error: nested too deeply") from None
    except ValueError as error:  # no UTF-8, no JSON, or an integer of thousands of digits
        raise RestError(400, f"JSON Parse error: {error}"[:500]) from None
    if not isinstance(document, dict):
        raise RestError(400, f"JSON Value: {_short(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """The signature that a request names, or the default one."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise RestError(
            400,
            f"JSON Value: {_short(name)} not formatted correctly. 'signature_name' key must be a "
            "string value.",
        )
    name = name or "serving_default"
    if name not in known:
        raise RestError(400, f'Serving signature name: "{name}" not found in signature def')
    return name


def read_inputs(
    document: Mapping[str, Any], infos: Mapping[str, Any], limits: Limits
) -> tuple[dict[str, np.ndarray], bool]:
    """Input tensors of a request.

    Args:
        document: its JSON.
        infos: `{name: TensorInfo}` of the signature.
        limits: what a request may ask for.

    Returns:
        `{name: array}`, and whether the request came in rows.

    Raises:
        RestError: something is missing, too much, ragged or of a wrong type.
    """
    row_format = "instances" in document
    if row_format == ("inputs" in document):
        raise RestError(
            400,
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
            if row_format
            else "Missing 'inputs' or 'instances' key",
        )
    columns = _rows(document["instances"], infos) if row_format else document["inputs"]
    if not _is_object(columns):
        if len(infos) > 1:
            raise RestError(
                400,
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required",
            )
        columns = {next(iter(infos)): columns}
    for name in infos:
        if name not in columns:
            raise RestError(400, f"Missing named input: {name} in 'inputs' object.")
    arrays = {name: _array(columns[name], infos[name], name, limits) for name in infos}
    sizes = {name: len(array) for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise RestError(400, f"Inputs must have as many rows as each other, received {sizes}")
    if 0 in sizes.values():
        raise RestError(400, "No rows in the request")
    return arrays, row_format


def _rows(instances, infos):
    """`{name: [values of all rows]}`."""
    if not isinstance(instances, list):
        raise RestError(400, "Expecting 'instances' to be an list/array")
    if not instances:
        raise RestError(400, "No values in 'instances' array")
    if len(infos) == 1 and not any(map(_is_object, instances)):
        return {next(iter(infos)): instances}
    for number, row in enumerate(instances):
        if not _is_object(row):
            raise RestError(
                400,
                f"Expecting object but got {_short(row)} at item {number} of 'instances' list: "
                "it must be a list of objects, as the signature has named inputs",
            )
        if row.keys() != set(infos):
            raise RestError(
                400,
                f"Failed to process element: {number} of 'instances' list. JSON object: "
                f"{_short(row)} keys must be equal to: {','.join(infos)}",
            )
    return {name: [row[name] for row in instances] for name in infos}


def _array(value, info, name, limits):
    """A nested list as a tensor of the rank and type that the signature has."""
    rank = len(info.tensor_shape.dim)
    shape: list[int] = []
    values = [value]
    for level in range(rank):
        for each in values:
            if not isinstance(each, list):
                raise RestError(
                    400, f"Input {name}: JSON Value: {_short(each)} found where a list is expected"
                )
        size = len(values[0]) if values else 0
        most = limits.rows if level == 0 else limits.history
        if size > most:
            what = "rows" if level == 0 else "elements a row"
            raise RestError(400, f"Input {name}: {size} {what}, and {most} are the limit")
        for each in values:
            if len(each) != size:
                raise RestError(
                    400,
                    f"Input {name}: Encountered list at unexpected size: {len(each)} at level: "
                    f'{level} expected size: {size} (fill shorter ones up with "")',
                )
        shape.append(size)
        values = [item for each in values for item in each]
    dtype = tf.as_dtype(info.dtype)
    leaves = [_leaf(leaf, dtype, name) for leaf in values]
    return np.array(leaves, dtype.as_numpy_dtype).reshape(shape)


def _leaf(value, dtype, name):
    if dtype == tf.string and isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError:  # half of a surrogate pair
            raise RestError(400, f"Input {name}: {_short(value)} is not UTF-8") from None
    if dtype == tf.string and _is_base64(value):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise RestError(400, f"Input {name}: Unable to base64 decode") from None
    if dtype == tf.bool and isinstance(value, bool):
        return value
    whole = isinstance(value, int) and not isinstance(value, bool)
    if dtype.is_integer and whole and dtype.min <= value <= dtype.max:
        return value
    if dtype.is_floating and (whole or isinstance(value, float)):
        with contextlib.suppress(OverflowError):  # a whole number of hundreds of digits
            if math.isfinite(value):
                return float(value)
    raise RestError(
        400,
        f"Input {name}: JSON Value: {_short(value)} is not of expected type: {dtype.name}",
    )


def _is_base64(value):
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _is_object(value):
    return isinstance(value, dict) and not _is_base64(value)


def _short(value):
    """A value as JSON, however long it is, in a message that is not."""
    try:
        text = json.dumps(value)
    except RecursionError:  # writing goes less deep than reading
        text = "deeply nested..."
    return text if len(text) <= 100 else text[:100] + "..."


def write_outputs(outputs: Mapping[str, np.ndarray], row_format: bool) -> dict[str, Any]:
    """The answer to a request, in the format that the request came in."""
    columns = {name: _plain(array) for name, array in outputs.items()}
    if not row_format:
        return {"outputs": columns}
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(names, row, strict=True)) for row in rows]}


def _plain(array):
    """Nested lists; text for bytes, and the shortest decimals that say what a float32 is."""
    if array.dtype == object:
        flat = [value.decode("utf-8", errors="replace") for value in array.ravel()]
        return np.array(flat, object).reshape(array.shape).tolist()
    if array.dtype == np.float32:
        return array.astype("U").astype(np.float64).tolist()
    return array.tolist()
