"""Requests as TensorFlow Serving takes them, and answers as it gives them."""

import base64
import json

import ml_dtypes
import numpy as np
import pytest

from kerascnn.serve import rest
from kerascnn.serve.rest import RestError

FLOATS = {"x": (np.dtype("float32"), (None,))}
TEXTS = {"text": (np.dtype("O"), (None,))}
IMAGES = {"images": (np.dtype("uint8"), (None, None, None, 3))}
TWO = {"tag": (np.dtype("O"), (None,)), "signal": (np.dtype("int64"), (None, 2))}
ANY = {"x": (np.dtype("float64"), None)}


def read(text, specs):
    return rest.read_inputs(rest.parse(text.encode()), specs)


def refused(text, specs):
    with pytest.raises(RestError) as error:
        read(text, specs)
    assert error.value.status == 400
    assert json.loads(error.value.body()) == {"error": error.value.message}
    return error.value.message


@pytest.mark.parametrize(
    ("text", "specs", "expected", "by_rows"),
    [
        ('{"instances": [1, 2.5, -3e0]}', FLOATS, {"x": [1, 2.5, -3]}, True),
        ('{"instances": [{"x": 1}, {"x": 2}]}', FLOATS, {"x": [1, 2]}, True),
        ('{"inputs": [1, 2.5]}', FLOATS, {"x": [1, 2.5]}, False),
        ('{"inputs": {"x": [1, 2.5]}}', FLOATS, {"x": [1, 2.5]}, False),
        ('{"inputs": []}', FLOATS, {"x": []}, False),
        ('{"instances": ["a", "\\u00e9", ""]}', TEXTS, {"text": [b"a", "é".encode(), b""]}, True),
        ('{"instances": [{"b64": "/wA="}, "b"]}', TEXTS, {"text": [b"\xff\0", b"b"]}, True),
        ('{"instances": [{"text": {"b64": "/wA="}}]}', TEXTS, {"text": [b"\xff\0"]}, True),
        ('{"inputs": [{"b64": "/wA"}, {"b64": " /w\\nA= "}]}', TEXTS, {"text": [b"\xff\0"] * 2}, False),
        ('{"instances": [[[[1, 2, 3]]], [[[4, 5, 255]]]]}', IMAGES, {"images": [[[[1, 2, 3]]], [[[4, 5, 255]]]]}, True),
        (
            '{"instances": [{"tag": "a", "signal": [1, 2]}, {"signal": [3, 4], "tag": {"b64": "Yg=="}}]}',
            TWO,
            {"tag": [b"a", b"b"], "signal": [[1, 2], [3, 4]]},
            True,
        ),
        ('{"inputs": {"tag": ["a"], "signal": [[1, 2]]}}', TWO, {"tag": [b"a"], "signal": [[1, 2]]}, False),
        ('{"inputs": 3}', ANY, {"x": 3}, False),
        ('{"inputs": [[[1]]]}', ANY, {"x": [[[1]]]}, False),
    ],
)
def test_inputs(text, specs, expected, by_rows):
    inputs, rows = read(text, specs)
    assert rows == by_rows and inputs.keys() == expected.keys()
    for name, array in inputs.items():
        assert array.dtype == specs[name][0] and array.tolist() == expected[name]


def test_numbers_that_json_lacks():
    inputs, _ = read('{"instances": [NaN, Infinity, -Infinity]}', FLOATS)
    np.testing.assert_array_equal(inputs["x"], np.array([np.nan, np.inf, -np.inf], np.float32))


@pytest.mark.parametrize(
    ("text", "specs", "message"),
    [
        ("{}", FLOATS, "Missing 'inputs' or 'instances' key. This signature takes x: float32 [any]"),
        ('{"inputs": [1], "instances": [1]}', FLOATS, "either 'instances' or 'inputs'"),
        ('{"instances": 1}', FLOATS, "Expecting 'instances' to be a list, not a number"),
        ('{"instances": []}', FLOATS, "No values in 'instances'"),
        ('{"instances": ["1"]}', FLOATS, "'x': \"1\" is a string. This signature takes x: float32 [any]"),
        ('{"instances": [true]}', FLOATS, "'x': true is true or false"),
        ('{"instances": [1, null]}', FLOATS, "'x': null is null"),
        ('{"instances": [1e39]}', FLOATS, "'x': overflow"),
        ('{"instances": [1, [2]]}', FLOATS, "'x': [2] is a list"),
        ('{"instances": [[1], 2]}', FLOATS, "'x' has values beside lists"),
        ('{"instances": [[1], [2]]}', FLOATS, "'x' is of shape [2, 1]. This signature takes x: float32 [any]"),
        ('{"instances": [{"b64": "AA=="}]}', FLOATS, "is an object"),
        ('{"instances": [{"y": 1}]}', FLOATS, "instance 0 gives y. This signature takes x: float32 [any]"),
        ('{"instances": [{"x": 1}, {}]}', FLOATS, "instance 1 gives nothing."),
        ('{"instances": [{"x": 1}, 2]}', FLOATS, "instance 1 gives a number"),
        ('{"instances": [2, {"x": 1}]}', FLOATS, "mixes values with objects"),
        ('{"inputs": {"y": [1]}}', FLOATS, "'inputs' gives y. This signature takes x"),
        ('{"inputs": 1}', FLOATS, "'x' is of shape []"),
        (
            '{"instances": [[1, 2]]}',
            TWO,
            "list of objects of named values. This signature takes signal: int64 [any, 2], tag",
        ),
        ('{"inputs": [[1, 2]]}', TWO, "'inputs' must be an object"),
        ('{"inputs": {"tag": ["a"], "signal": [[1, 2, 3]]}}', TWO, "'signal' is of shape [1, 3]"),
        ('{"inputs": {"tag": ["a"], "signal": [[1.0, 2]]}}', TWO, "'signal': 1.0 is a number"),
        ('{"inputs": {"tag": ["a"], "signal": [[1, 99999999999999999999]]}}', TWO, "'signal'"),
        ('{"instances": [[[[1, 2, 300]]]]}', IMAGES, "'images'"),
        ('{"instances": [[[[1, 2, -1]]]]}', IMAGES, "'images'"),
        (
            '{"instances": [[[[1, 2, 3]]], [[[1, 2, 3], [1, 2, 3]]]]}',
            IMAGES,
            "'images' has instances of different shapes",
        ),
        ('{"instances": [[[[1, 2, 3], [1, 2]]]]}', IMAGES, "different"),
        ('{"instances": ["\\ud800"]}', TEXTS, "'text'"),
        ('{"instances": [{"b64": "a"}]}', TEXTS, "no base64"),
        ('{"instances": [{"b64": "_-8="}]}', TEXTS, "no base64"),
        ('{"instances": [{"b64": 1}]}', TEXTS, 'bytes are given as {"b64": "..."}'),
        ('{"instances": [{"b64": "AA==", "x": 1}]}', TEXTS, "instance 0 gives b64, x"),
        ('{"inputs": ' + "[" * 40 + "1" + "]" * 40 + "}", ANY, "'x'"),
    ],
)
def test_what_is_no_input(text, specs, message):
    assert message in refused(text, specs)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error"),
        (b"{", "JSON Parse error"),
        (b"\xff\xfe\xfd", "JSON Parse error"),
        (b'"a"', 'must be a JSON object such as {"instances": [...]}, not a string'),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[" + b"9" * 10_000 + b"]", "JSON Parse error"),
        (b"[" + b"1," * rest.MAX_VALUES + b"1]", "more than 4,194,304 values"),
    ],
)
def test_what_is_no_request(body, message):
    with pytest.raises(RestError) as error:
        rest.parse(body)
    assert error.value.status == 400 and message in error.value.message and len(error.value.message) < 300


def test_signature_name():
    assert rest.signature_name({}) == rest.signature_name({"signature_name": ""}) == "serving_default"
    assert rest.signature_name({"signature_name": "uint8"}) == "uint8"
    with pytest.raises(RestError, match="'signature_name' must be a string, not a number"):
        rest.signature_name({"signature_name": 3})


def strings(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    ("outputs", "by_rows", "expected"),
    [
        ({"y": np.array([2.5, 3], np.float32)}, True, {"predictions": [2.5, 3.0]}),
        ({"y": np.array([2.5, 3], np.float32)}, False, {"outputs": [2.5, 3.0]}),
        (
            {"b": np.array([1, 2]), "a": strings(b"c", "é".encode())},
            True,
            {"predictions": [{"a": "c", "b": 1}, {"a": "é", "b": 2}]},
        ),
        ({"b": np.array([1, 2]), "a": strings(b"c", b"d")}, False, {"outputs": {"a": ["c", "d"], "b": [1, 2]}}),
        ({"y": np.array([[True], [False]])}, True, {"predictions": [[True], [False]]}),
        ({"y": strings(b"\xff\0", b"d")}, True, {"predictions": [{"b64": "/wA="}, "d"]}),
        ({"y_bytes": strings(b"d")}, True, {"predictions": [{"b64": base64.b64encode(b"d").decode()}]}),
        ({"y": np.array(7)}, False, {"outputs": 7}),
        ({"y": np.zeros((0, 2), np.float32)}, False, {"outputs": []}),
        ({"y": np.array([1.5, -2], ml_dtypes.bfloat16)}, True, {"predictions": [1.5, -2.0]}),
    ],
)
def test_outputs(outputs, by_rows, expected):
    assert json.loads(rest.write_outputs(outputs, by_rows)) == expected


def test_float32_is_written_as_short_as_it_can_be_and_read_back_the_same():
    values = np.concatenate([np.random.default_rng(0).normal(size=1000), [0.1, 0.2, 1e-30, 3e38]]).astype(np.float32)
    body = rest.write_outputs({"y": values}, True)
    np.testing.assert_array_equal(np.array(json.loads(body)["predictions"], np.float32), values)
    assert b" 0.1, 0.2, 1e-30, 3e+38]" in body


def test_numbers_that_json_lacks_are_written():
    body = rest.write_outputs({"y": np.array([np.nan, np.inf, -np.inf], np.float32)}, True)
    assert body == b'{"predictions": [NaN, Infinity, -Infinity]}'


@pytest.mark.parametrize("y", [np.array([1, 2, 3]), np.array(1)])
def test_outputs_without_a_common_length_are_no_rows(y):
    with pytest.raises(RestError, match="no common first dimension") as error:
        rest.write_outputs({"x": np.array([1, 2]), "y": y}, True)
    assert error.value.status == 500


def test_deadline():
    assert rest.deadline_ms(None, 30_000) == 30_000
    assert rest.deadline_ms("250.5", 30_000) == 250.5
    assert rest.deadline_ms("60000", 30_000) == 30_000
    for wrong in ("", "soon", "0", "-5", "nan"):
        with pytest.raises(RestError, match=r"X-Request-Timeout: .* is no positive number of milliseconds"):
            rest.deadline_ms(wrong, 30_000)
