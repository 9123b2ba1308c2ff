"""Reading and writing JSON as RapidJSON does."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

FLOATS = [  # value -> text, as TensorFlow Serving wrote them
    (0.0, "0.0"),
    (-0.0, "-0.0"),
    (3.5, "3.5"),
    (28.0, "28.0"),
    (0.1, "0.1"),
    (0.44692862, "0.44692862"),
    (0.698859, "0.698859"),
    (0.495493114, "0.495493114"),
    (-0.0817349777, "-0.0817349777"),
    (87.4982376, "87.4982376"),
    (-2.30258512, "-2.30258512"),
    (1e-05, "1e-05"),
    (9e6, "9e+06"),
    (math.nan, "NaN"),
    (math.inf, "Infinity"),
    (-math.inf, "-Infinity"),
]
DOUBLES = [
    (0.1, "0.1"),
    (1e300, "1e+300"),
    (-0.0, "-0.0"),
    (1 / 3, "0.33333333333333331"),
    (math.pi, "3.1415926535897931"),
]


def test_format_float32() -> None:
    from tfpvae.server.json_writing import format_decimals

    values, texts = zip(*FLOATS, strict=True)
    assert format_decimals(np.array(values, np.float32)) == list(texts)


def test_format_float64() -> None:
    from tfpvae.server.json_writing import format_decimals

    values, texts = zip(*DOUBLES, strict=True)
    assert format_decimals(np.array(values, np.float64)) == list(texts)


@given(st.lists(st.floats(width=32)))
def test_float32_comes_back(values: list[float]) -> None:
    from tfpvae.server.json_writing import format_decimals

    array = np.array(values, np.float32)
    read_back = np.array([json.loads(text) for text in format_decimals(array)], np.float64).astype(np.float32)
    np.testing.assert_array_equal(read_back, array)


@given(st.lists(st.floats()))
def test_float64_comes_back(values: list[float]) -> None:
    from tfpvae.server.json_writing import format_decimals

    texts = format_decimals(np.array(values, np.float64))
    np.testing.assert_array_equal([json.loads(text) for text in texts], values)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The document is empty"),
        (b"  ", "The document is empty. at offset: 2"),
        (b"{} x", "The document root must not be followed by other values. at offset: 3"),
        (b"{instances: 1}", "Missing a name for object member. at offset: 1"),
        (b'{"a":1,}', "Missing a name for object member. at offset: 7"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a":1 "b":2}', "Missing a comma or } after an object member. at offset: 7"),
        (b"[1 2]", "Missing a comma or ] after an array element. at offset: 3"),
        (b"[1,]", "Invalid value. at offset: 3"),
        (b"[nul]", "Invalid value. at offset: 4"),
        (b"[-x]", "Invalid value. at offset: 2"),
        (b"[1.]", "Miss fraction part in number. at offset: 3"),
        (b"[1e+]", "Miss exponent in number. at offset: 4"),
        (b"[ 1e400]", "Number too big to be stored in double. at offset: 2"),
        (b'["a', "Missing a closing quotation mark in string. at offset: 3"),
        (b'["\n"]', "Invalid encoding in string. at offset: 2"),
        (rb'["a\x"]', "Invalid escape character in string. at offset: 3"),
        (rb'["\u12x4"]', "Incorrect hex digit after \\u escape in string. at offset: 2"),
        (rb'["\ud800"]', "The surrogate pair in string is invalid. at offset: 2"),
        (rb'["\udc00"]', "The surrogate pair in string is invalid. at offset: 2"),
        ('["é", x]'.encode(), "Invalid value. at offset: 7"),
    ],
)
def test_parse_errors(body: bytes, message: str) -> None:
    from tfpvae.server.json_text import parse
    from tfpvae.server.status import StatusError

    with pytest.raises(StatusError) as caught:
        parse(body)
    assert caught.value.message == f"JSON Parse error: {message}"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"[NaN, Infinity, -Infinity]", [math.nan, math.inf, -math.inf]),
        (b"[Inf, -Inf, -NaN]", [math.inf, -math.inf, math.nan]),
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", 2.0**64),
        (b"-9223372036854775808", -(2**63)),
        (b"1e0", 1.0),
        (rb'"\ud83d\ude00 \u2603 \/"', "\U0001f600 \u2603 /"),
        (b"\xef\xbb\xbf true", True),
        (b'"\xff"', "\udcff"),
        (b"[null, [], false]", [None, [], False]),
    ],
)
def test_parse(body: bytes, value: object) -> None:
    from tfpvae.server.json_text import parse

    assert repr(parse(body)) == repr(value)  # repr: NaN is not equal to itself, and 1 is to 1.0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON, st.booleans())
def test_both_parsers_agree(value: object, ensure_ascii: bool) -> None:
    from tfpvae.server.json_text import _Reader, parse
    from tfpvae.server.json_writing import write
    from tfpvae.server.status import StatusError

    try:
        body = json.dumps(value, ensure_ascii=ensure_ascii).encode()
    except UnicodeEncodeError:  # a lone surrogate, which no UTF-8 holds
        return
    try:
        exact = _Reader(body).document()
    except StatusError as error:
        with pytest.raises(StatusError, match=re.escape(error.message)):
            parse(body)
    else:
        assert write(parse(body)) == write(exact)


def test_deep_nesting_is_an_error() -> None:
    from tfpvae.server.json_text import parse
    from tfpvae.server.status import StatusError

    with pytest.raises(StatusError, match="nested too deeply"):
        parse(b"[" * 100_000)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "{}"),
        (b"[ ]", "[]"),
        (b'{"a":{"b":[1,{"c":null}]},"a":"\\n\\u0001/"}', None),
        (b"2.5", "2.5"),
        (b"1e300", "1e+300"),
        (b"NaN", "NaN"),
        (b"[1e300, 1.0, 1e21, 1e20, 123456.789]", "[1e300, 1.0, 1e21, 100000000000000000000.0, 123456.789]"),
        (b"[0.001, 1.5e-7, -0.0, 5e-324]", "[0.001, 1.5e-7, -0.0, 5e-324]"),
        (b"[1, [NaN, 2], 3]", "[1, ["),
    ],
)
def test_write(body: bytes, text: str | None) -> None:
    from tfpvae.server.json_text import parse
    from tfpvae.server.json_writing import write

    nested = (
        '{\n    "a": {\n        "b": [1, {\n                "c": null\n            }]\n    },\n'
        '    "a": "\\n\\u0001/"\n}'
    )
    assert write(parse(body)) == (nested if text is None else text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_shortest_double_comes_back(value: float) -> None:
    from tfpvae.server.json_writing import write

    text = write([value])
    assert json.loads(text) == [value]
    assert math.copysign(1, json.loads(text)[0]) == math.copysign(1, value)
