"""TensorFlow Serving's REST API as pure functions: JSON to arrays, arrays to JSON, and what is said when it goes wrong.

The format is https://www.tensorflow.org/tfx/serving/api_rest. Like TensorFlow Serving, and unlike strict JSON, numbers
may be NaN, Infinity and -Infinity, on the way in and on the way out.
"""

import base64
import binascii
import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

# Of one request, counted by its commas: while Python reads JSON, nothing else runs, and so many take about 0.2 s. They
# are 26 images of 224 x 224 pixels in three colours as numbers, or any number of files in base64.
MAX_VALUES = 2**22
LONGEST_QUOTE = 80  # characters of a wrong value that an error repeats
MAX_RANK = 16

Shape = tuple[int | None, ...] | None  # None for a shape of any rank
Spec = tuple[np.dtype, Shape]  # strings have the dtype object


class RestError(Exception):
    """What a client is told.

    Args:
      status: the HTTP status code.
      message: what was wrong, and what to do.
      headers: further headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})

    def body(self) -> bytes:
        return encode({"error": self.message})


def encode(content: Any) -> bytes:
    """JSON in UTF-8, as the body of an answer."""
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


def parse(body: bytes | bytearray) -> dict[str, Any]:
    """The JSON object that a request's body holds.

    Raises:
      RestError: 400, it is none, or too deep, or has more than `MAX_VALUES` values.
    """
    if body.count(b",") >= MAX_VALUES:
        raise RestError(400, f"the body has more than {MAX_VALUES:,} values: send fewer instances, or files in base64")
    try:
        content = json.loads(body)
    except RecursionError:
        raise RestError(400, "JSON Parse error: lists or objects are nested too deeply") from None
    except ValueError as error:  # no JSON, no UTF-8, or a number of thousands of digits
        raise RestError(400, f"JSON Parse error: {_short(error)}") from None
    if not isinstance(content, dict):
        raise RestError(400, f'the body must be a JSON object such as {{"instances": [...]}}, not {_kind(content)}')
    return content


def signature_name(content: Mapping[str, Any]) -> str:
    """Which signature a request is for; `serving_default` where it names none."""
    name = content.get("signature_name", "")
    if not isinstance(name, str):
        raise RestError(400, f"'signature_name' must be a string, not {_kind(name)}")
    return name or "serving_default"


def read_inputs(content: Mapping[str, Any], specs: Mapping[str, Spec]) -> tuple[dict[str, np.ndarray], bool]:
    """The tensors of a request for prediction, and whether they came row by row.

    Args:
      content: from `parse`: either "instances", a list with one value (or one object of named values) for each row; or
        "inputs", a tensor or an object of named tensors.
      specs: of the signature's inputs, by name.

    Raises:
      RestError: 400, where they are not what the signature takes; the message names what it wants.
    """
    rows, columns = "instances" in content, "inputs" in content
    if rows and columns:
        raise RestError(400, "give either 'instances' or 'inputs', not both")
    if not rows and not columns:
        raise RestError(400, f"Missing 'inputs' or 'instances' key. {_wanted(specs)}")
    named = _by_rows(content["instances"], specs) if rows else _by_columns(content["inputs"], specs)
    return {name: _tensor(name, named[name], *spec, by_rows=rows) for name, spec in specs.items()}, rows


def write_outputs(outputs: Mapping[str, np.ndarray], by_rows: bool) -> bytes:
    """The body that answers a request: "predictions" for one that came row by row, else "outputs".

    The name is left out where there is one output. Bytes are {"b64": ...} in outputs named `*_bytes` and where they are
    no UTF-8; other strings are plain.

    Raises:
      RestError: 500, outputs of different lengths cannot be given row by row.
    """
    plain = {name: _plain(name, outputs[name]) for name in sorted(outputs)}
    if not by_rows:
        return encode({"outputs": plain if len(plain) > 1 else next(iter(plain.values()))})
    lengths = {name: outputs[name].shape[:1] for name in plain}
    if len(set(lengths.values())) != 1 or () in lengths.values():
        raise RestError(500, f"the outputs have no common first dimension: {lengths}. Ask with 'inputs', by columns.")
    if len(plain) == 1:
        return encode({"predictions": next(iter(plain.values()))})
    return encode({"predictions": [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]})


def _by_rows(instances, specs):
    """{name: the list of its values}"""
    if not isinstance(instances, list):
        raise RestError(400, f"Expecting 'instances' to be a list, not {_kind(instances)}")
    if not instances:
        raise RestError(400, "No values in 'instances': it must have at least one")
    if not _is_named(instances[0]):
        if any(_is_named(instance) for instance in instances):
            raise RestError(400, "'instances' mixes values with objects of named values")
        if len(specs) != 1:
            raise RestError(400, f"'instances' must be a list of objects of named values. {_wanted(specs)}")
        return {next(iter(specs)): instances}
    for i, instance in enumerate(instances):
        if not _is_named(instance) or instance.keys() != specs.keys():
            keys = ", ".join(sorted(instance)) if _is_named(instance) else _kind(instance)
            raise RestError(400, f"instance {i} gives {_short(keys) or 'nothing'}. {_wanted(specs)}")
    return {name: [instance[name] for instance in instances] for name in specs}


def _by_columns(inputs, specs):
    """{name: its tensor as nested lists}"""
    if not _is_named(inputs):
        if len(specs) != 1:
            raise RestError(400, f"'inputs' must be an object of named tensors. {_wanted(specs)}")
        return {next(iter(specs)): inputs}
    if inputs.keys() != specs.keys():
        raise RestError(400, f"'inputs' gives {_short(', '.join(sorted(inputs))) or 'nothing'}. {_wanted(specs)}")
    return inputs


def _is_named(value):
    """Whether this is an object of named values; one with "b64" alone is a value."""
    return isinstance(value, dict) and not _is_binary(value)


def _is_binary(value):
    return isinstance(value, dict) and value.keys() == {"b64"}


def _tensor(name, value, dtype, shape, by_rows):
    """Nested lists as an array of what the signature takes."""
    flat, found = [value], []
    while isinstance(flat[0], list):  # one step a dimension, each of which runs in C
        if not all(map(list.__instancecheck__, flat)):
            raise RestError(400, f"'{name}' has values beside lists")
        lengths = set(map(len, flat))
        if len(lengths) > 1:
            what = "instances of different shapes" if by_rows and len(found) > 0 else "lists of different lengths"
            raise RestError(400, f"'{name}' has {what}, such as {min(lengths)} and {max(lengths)} values")
        found.append(lengths.pop())
        flat = list(itertools.chain.from_iterable(flat))
        if not flat or len(found) > MAX_RANK:
            break
    if shape is not None and not _fits(found, shape):
        raise RestError(400, f"'{name}' is of shape {found}. {_wanted({name: (dtype, shape)})}")
    try:
        return _array(flat, dtype).reshape(found)
    except (ValueError, OverflowError, FloatingPointError) as error:
        raise RestError(400, f"'{name}': {_short(error)}. {_wanted({name: (dtype, shape)})}") from None


def _fits(found, shape):
    return len(found) == len(shape) and all(want in (None, have) for have, want in zip(found, shape, strict=True))


def _array(flat, dtype):
    kinds = set(map(type, flat))
    allowed = {"O": {str, dict}, "b": {bool}, "i": {int}, "u": {int}}.get(dtype.kind, {int, float})
    for wrong in kinds - allowed:
        value = next(value for value in flat if type(value) is wrong)
        raise ValueError(f"{json.dumps(value)[:LONGEST_QUOTE]} is {_kind(value)}")
    if dtype.kind == "O":
        array = np.empty(len(flat), object)
        array[:] = [_bytes(value) for value in flat]
        return array
    if dtype.kind in "biu":
        return np.array(flat, dtype)
    with np.errstate(over="raise"):
        return np.array(flat, np.float64).astype(dtype)


def _bytes(value):
    if isinstance(value, str):
        return value.encode()  # half a surrogate pair raises a ValueError
    if not _is_binary(value) or not isinstance(value["b64"], str):
        raise ValueError('bytes are given as {"b64": "..."}')
    try:
        return binascii.a2b_base64(value["b64"], strict_mode=True)
    except ValueError:  # as TensorFlow Serving does, take it with white space, and without the "=" at its end
        text = "".join(value["b64"].split()).rstrip("=")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError as error:
        raise ValueError(f"what stands in b64 is no base64 ({error})") from None


def _plain(name, array):
    """An output as nested lists of what JSON knows."""
    if array.dtype.kind in "OS":
        as_bytes = name.endswith("_bytes")
        flat = np.empty(array.size, object)
        flat[:] = [_text(value, as_bytes) for value in array.ravel().tolist()]
        return flat.reshape(array.shape).tolist()
    if array.dtype.kind in "biu" or array.dtype == np.float64:
        return array.tolist()
    # The shortest decimal that is this float32, where its double would have seventeen digits.
    return array.astype(np.float32).astype(str).astype(np.float64).tolist()


def _text(value, as_bytes):
    if not as_bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(value).decode()}


def _wanted(specs):
    names = ", ".join(f"{name}: {_type(*spec)}" for name, spec in sorted(specs.items()))
    return f"This signature takes {names}"


def _type(dtype, shape):
    sizes = (
        "any shape" if shape is None else "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
    )
    return f"{'string' if dtype.kind == 'O' else dtype.name} {sizes}"


def _kind(value):
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _short(text):
    text = str(text)
    return text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + " ..."


def deadline_ms(header: str | None, longest: float) -> float:
    """How many milliseconds a request may take: what its `X-Request-Timeout` says, but `longest` at most.

    Raises:
      RestError: 400, it says no positive number.
    """
    if header is None:
        return longest
    try:
        milliseconds = float(header)
    except ValueError:
        milliseconds = math.nan
    if not milliseconds > 0:
        raise RestError(400, f"X-Request-Timeout: {_short(header)!r} is no positive number of milliseconds")
    return min(milliseconds, longest)
