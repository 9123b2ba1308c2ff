"""Tensors to JSON and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

DTYPES = {
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "float": np.float32,
    "double": np.float64,
    "bool": np.bool_,
}
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
ROWS = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


@st.composite
def tensors(draw: st.DrawFn, shapes: st.SearchStrategy[tuple[int, ...]]) -> tuple[str, np.ndarray]:
    """TensorFlow's name for a dtype, and an array of it."""
    shape = draw(shapes)
    name = draw(st.sampled_from([*DTYPES, "string"]))
    if name == "string":
        array = np.empty(shape, object)
        array.ravel()[:] = draw(st.lists(st.binary(), min_size=array.size, max_size=array.size))
        return name, array
    return name, draw(hnp.arrays(DTYPES[name], shape))


def _request(layout: Any, answer: str, name: str) -> bytes:
    """A request that sends the answer back."""
    value = json.loads(answer)[layout.value]
    rows = layout.name == "ROW"
    request = {"instances": [{name: row} for row in value]} if rows else {"inputs": {name: value}}
    return json.dumps(request).encode()


def _there_and_back(layout: Any, dtype: str, array: np.ndarray) -> np.ndarray:
    from tfpvae.server.json_answers import write_outputs
    from tfpvae.server.json_codec import parse_object, read_inputs
    from tfpvae.server.json_text import parse

    name = "x_bytes" if dtype == "string" else "x"
    answer = write_outputs({name: array}, layout)
    received_layout, inputs = read_inputs(parse_object(parse(_request(layout, answer, name))), {name: dtype})
    assert received_layout is layout
    return inputs[name]


@given(tensors(SHAPES))
def test_columns_come_back(tensor: tuple[str, np.ndarray]) -> None:
    from tfpvae.server.json_codec import Layout

    dtype, array = tensor
    received = _there_and_back(Layout.COLUMN, dtype, array)
    assert received.dtype == array.dtype
    # No JSON says how many entries an empty list's own lists would have had.
    shape = array.shape[: array.shape.index(0) + 1] if 0 in array.shape else array.shape
    np.testing.assert_array_equal(received, array.reshape(shape))


@given(tensors(ROWS))
def test_rows_come_back(tensor: tuple[str, np.ndarray]) -> None:
    from tfpvae.server.json_codec import Layout

    dtype, array = tensor
    received = _there_and_back(Layout.ROW, dtype, array)
    assert received.dtype == array.dtype
    np.testing.assert_array_equal(received, array)


@given(tensors(ROWS), tensors(ROWS))
def test_both_layouts_hold_the_same(one: tuple[str, np.ndarray], two: tuple[str, np.ndarray]) -> None:
    from tfpvae.server.json_answers import write_outputs
    from tfpvae.server.json_codec import Layout

    rows = min(len(one[1]), len(two[1]))
    outputs = {"a_bytes": one[1][:rows], "b_bytes": two[1][:rows]}
    by_row = json.loads(write_outputs(outputs, Layout.ROW))["predictions"]
    by_column = json.loads(write_outputs(outputs, Layout.COLUMN))["outputs"]
    for name in outputs:
        assert repr([row[name] for row in by_row]) == repr(by_column[name])


@pytest.mark.parametrize(
    ("request_text", "message"),
    [
        ('{"inputs": [[1, 2], [3]]}', "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        (
            '{"inputs": [[1], 2]}',
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ('{"inputs": [1, [2]]}', "Encountered list at unexpected level: 1 expected < 1"),
        ('{"inputs": [true]}', "JSON Value: true Type: True is not of expected type: float"),
        (
            '{"inputs": {"b64": "AA=="}}',
            'JSON Value: {\n    "b64": "AA=="\n} Type: Object is not of expected type: float',
        ),
        ('{"inputs": {"y": 1}}', "Missing named input: x in 'inputs' object."),
        (
            '{"instances": [[1, 2], [3]]}',
            "Failed to process element: 1 of 'instances' list. "
            "Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1",
        ),
        (
            '{"instances": [[[1, 2]], [[1], [2]]]}',
            "Failed to process element: 1 of 'instances' list. "
            "Error: INVALID_ARGUMENT: Expecting shape [1,2] but got: [2,1]",
        ),
        ('{"instances": [1, {"x": 1}]}', "Expecting value/list but got object at item 1 of input list"),
        (f'{{"inputs": {"[" * 40}{"]" * 40}}}', "A tensor must have at most 32 dimensions. Received: 40"),
    ],
)
def test_read_errors(request_text: str, message: str) -> None:
    from tfpvae.server.json_codec import parse_object, read_inputs
    from tfpvae.server.json_text import parse
    from tfpvae.server.status import StatusError

    with pytest.raises(StatusError) as caught:
        read_inputs(parse_object(parse(request_text.encode())), {"x": "float"})
    assert caught.value.message == message


def test_read_half_is_unimplemented() -> None:
    from tfpvae.server.json_codec import read_tensor
    from tfpvae.server.status import Code, StatusError

    with pytest.raises(StatusError, match=r"Conversion of JSON Value: 1.5 to type: half") as caught:
        read_tensor([1.5], "half")
    assert caught.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("text", ["YQ==", "YQ", " Y Q = = "])
def test_base64_with_and_without_padding(text: str) -> None:
    from tfpvae.server.json_codec import read_tensor
    from tfpvae.server.json_text import JsonObject

    assert read_tensor([JsonObject([("b64", text)])], "string").tolist() == [b"a"]


@pytest.mark.parametrize("text", ["!!!", "A", "YQ=", "Y=Q="])
def test_base64_errors(text: str) -> None:
    from tfpvae.server.json_codec import read_tensor
    from tfpvae.server.json_text import JsonObject
    from tfpvae.server.status import StatusError

    with pytest.raises(StatusError, match="Unable to base64 decode"):
        read_tensor([JsonObject([("b64", text)])], "string")


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"x": np.float32(1)}, "Tensor name: x has no shape information "),
        ({"x": np.zeros((0, 2))}, "Tensor name: x has invalid batch size: 0"),
        (
            {"x": np.zeros(2), "y": np.zeros(3)},
            "Tensor name: y has inconsistent batch size: 3 expecting: 2",
        ),
        ({"x": np.zeros(2, np.float16)}, "Failed to write JSON value for tensor type: half"),
    ],
)
def test_write_errors(outputs: dict[str, np.ndarray], message: str) -> None:
    from tfpvae.server.json_answers import write_outputs
    from tfpvae.server.json_codec import Layout
    from tfpvae.server.status import StatusError

    with pytest.raises(StatusError) as caught:
        write_outputs(outputs, Layout.ROW)
    assert caught.value.message == message


def test_text_that_is_not_utf8_is_answered_as_it_is() -> None:
    from tfpvae.server.json_answers import write_outputs
    from tfpvae.server.json_codec import Layout
    from tfpvae.server.json_text import encode

    answer = write_outputs({"text": np.array([b"\xff\x00"], object)}, Layout.ROW)
    assert encode(answer) == b'{\n    "predictions": ["\xff\\u0000"\n    ]\n}'


def test_bytes_in_rows_of_lists_are_indented_by_their_depth() -> None:
    from tfpvae.server.json_answers import write_outputs
    from tfpvae.server.json_codec import Layout

    answer = write_outputs({"x_bytes": np.array([[b"a"], [b"b"]], object)}, Layout.ROW)
    item = '[{{\n                "b64": "{}"\n            }}]'
    assert answer == f'{{\n    "predictions": [{item.format("YQ==")}, {item.format("Yg==")}\n    ]\n}}'
