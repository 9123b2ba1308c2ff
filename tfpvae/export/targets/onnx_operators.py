"""Operators of TensorFlow that tf2onnx does not know, or writes so that they fail, in those of ONNX.

TFP's densities are full of them: of shapes that broadcast, and of functions that keep their digits near zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from onnx import TensorProto

from tfpvae._compat.tf2onnx import numpy_type, unique_name


class _Writer:
    """Writes the nodes that replace one node.

    Args:
        graph: tf2onnx's graph.
        node: the node.

    Attributes:
        inputs: the names of the node's inputs.
        dtype: that of the numbers that are written as constants: the first input's, of ONNX's types.
    """

    def __init__(self, graph: Any, node: Any) -> None:
        self._graph = graph
        self._node = node
        self.inputs: list[str] = list(node.input)
        self.dtype = graph.get_dtype(self.inputs[0])

    def shape(self, index: int) -> list[int] | None:
        """The shape of an input, -1 where a size is free; None if its rank is."""
        return self._graph.get_shape(self.inputs[index])

    def dtype_of(self, index: int) -> int:
        """The type of an input, of ONNX's."""
        return self._graph.get_dtype(self.inputs[index])

    def number(self, index: int) -> int | None:
        """An input that is a constant of one element, else None."""
        node = self._node.inputs[index]
        if not node.is_const() or node.get_tensor_value(as_list=False).size != 1:
            return None
        return int(node.get_tensor_value(as_list=False).item())

    def flag(self, name: str) -> bool:
        """A boolean attribute of the node."""
        return bool(self._node.get_attr_value(name))

    def floats(self, name: str) -> list[float]:
        """An attribute of the node that is a list of numbers."""
        return list(self._node.get_attr(name).floats)

    def constant(self, value: Any, dtype: type | None = None) -> str:
        """A constant."""
        array = np.array(value, dtype or numpy_type(self.dtype))
        return self._graph.make_const(unique_name("constant"), array).output[0]

    def __call__(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """The output of a new node; what is no name among its inputs is a constant."""
        names = [name if isinstance(name, str) else self.constant(name) for name in inputs]
        return self._graph.make_node(operator, names, attr=attributes).output[0]

    def finish(self, result: str) -> None:
        """Puts the result in the node's place."""
        outputs, shapes, dtypes = self._node.output, self._node.output_shapes, self._node.output_dtypes
        self._graph.remove_node(self._node.name)
        self._graph.make_node("Identity", [result], outputs=outputs, shapes=shapes, dtypes=dtypes)


def _broadcast_args(write: _Writer) -> str | None:
    """The shape of a + b, from the shapes of a and b: where one has 1, the other's."""
    shapes = [write.shape(0), write.shape(1)]
    if any(shape is None or shape[0] < 0 for shape in shapes):
        return None
    sizes = [shape[0] for shape in shapes if shape is not None]
    a, b = (
        write("Concat", [1] * (max(sizes) - size), name, axis=0) if size < max(sizes) else name
        for size, name in zip(sizes, write.inputs, strict=True)
    )
    return write("Where", write("Equal", a, 1), b, a)


def _log1p(write: _Writer, x: str | None = None) -> str:
    """ln(1 + x) = x ln(u) / (u - 1) for u = 1 + x as it is rounded, and x where u is 1."""
    x = x or write.inputs[0]
    u = write("Add", x, 1.0)
    ratio = write("Div", write("Log", u), write("Sub", u, 1.0))
    return write("Where", write("Equal", u, 1.0), x, write("Mul", x, ratio))


def _expm1(write: _Writer) -> str:
    """exp(x) - 1 = tanh(x / 2) (exp(x) + 1)."""
    (x,) = write.inputs
    return write("Mul", write("Tanh", write("Mul", x, 0.5)), write("Add", write("Exp", x), 1.0))


def _zero_where_zero(write: _Writer, zero: str, other: str) -> str:
    """The product; 0 where the first is 0, even if the other is infinite or NaN."""
    return write("Where", write("Equal", zero, 0.0), 0.0, write("Mul", zero, other))


def _mul_no_nan(write: _Writer) -> str:
    x, y = write.inputs
    return _zero_where_zero(write, y, x)


def _xlogy(write: _Writer) -> str:
    x, y = write.inputs
    return _zero_where_zero(write, x, write("Log", y))


def _xlog1py(write: _Writer) -> str:
    x, y = write.inputs
    return _zero_where_zero(write, x, _log1p(write, y))


def _lgamma(write: _Writer) -> str:
    """ln Gamma(x) for x >= 0, NaN below: Stirling's series at x + 8, less ln x (x + 1) ... (x + 7); from 8 on at x.

    In float64: the two are near each other where x is near 1 or 2.
    """
    dtype, write.dtype = write.dtype, TensorProto.DOUBLE
    x = write("Cast", write.inputs[0], to=TensorProto.DOUBLE)
    product = x
    for k in range(1, 8):
        product = write("Mul", product, write("Add", x, float(k)))
    small = write("Less", x, 8.0)
    y = write("Where", small, write("Add", x, 8.0), x)
    surplus = write("Where", small, write("Log", product), 0.0)
    inverse = write("Div", 1.0, y)
    square = write("Mul", inverse, inverse)
    series = write("Mul", square, 1 / 1260)
    series = write("Mul", square, write("Sub", series, 1 / 360))
    series = write("Mul", inverse, write("Add", series, 1 / 12))
    main = write("Sub", write("Mul", write("Sub", y, 0.5), write("Log", y)), y)
    value = write("Sub", write("Add", write("Add", main, 0.5 * math.log(2 * math.pi)), series), surplus)
    value = write("Where", write("Less", x, 0.0), math.nan, value)
    return write("Cast", value, to=dtype)


def _select(write: _Writer) -> str:
    """a where the condition holds, else b. tf2onnx's own is a sum of products: NaN where the other is infinite."""
    condition, a, b = write.inputs
    if write.dtype_of(1) != TensorProto.BOOL:
        return write("Where", condition, a, b)
    return write("Or", write("And", condition, a), write("And", write("Not", condition), b))


def _right_shift(write: _Writer) -> str | None:
    """floor(x / 2^s) for signed integers, which ONNX does not shift, and a constant s of 1 to 30.

    Division floors in TensorFlow and truncates in ONNX: the s lowest bits are taken off before. What is divided has 24
    bits at most where the integer has 32, so that the quotient is exact in OpenVINO, which computes it in float32.
    """
    x, s = write.inputs[0], write.number(1)
    if write.dtype not in (TensorProto.INT32, TensorProto.INT64) or s is None or not 1 <= s <= 30:
        return None

    def shifted(s: int, mask: int) -> str:
        return write("Div", write("BitwiseAnd", x, mask), 2**s)

    if s >= 8:
        return shifted(s, -(2**s))
    return write("Add", write("Mul", shifted(16, -(2**16)), 2 ** (16 - s)), shifted(s, 2**16 - 2**s))


def _erfc(write: _Writer) -> str:
    """1 - erf(x): gelu is made of it."""
    return write("Sub", 1.0, write("Erf", write.inputs[0]))


def _bucketize(write: _Writer) -> str:
    """How many of the boundaries, which are constants, are at most x."""
    (x,) = write.inputs
    boundaries = write.constant(write.floats("boundaries"), np.float32)
    column = write("Unsqueeze", write("Cast", x, to=TensorProto.FLOAT), write.constant([-1], np.int64))
    reached = write("Cast", write("GreaterOrEqual", column, boundaries), to=TensorProto.INT32)
    return write("ReduceSum", reached, write.constant([-1], np.int64), keepdims=0)


def _triangular_solve(write: _Writer) -> str | None:
    """L^-1 b for a lower triangular L of a known size, row after row."""
    matrix, b = write.inputs
    shape = write.shape(0)
    if shape is None or shape[-1] < 0 or not write.flag("lower") or write.flag("adjoint"):
        return None

    def part(name: str, axis: int, start: int, stop: int) -> str:
        starts, stops, axes = (write.constant([n], np.int64) for n in (start, stop, axis))
        return write("Slice", name, starts, stops, axes)

    rows: list[str] = []
    for i in range(shape[-1]):
        row, value = part(matrix, -2, i, i + 1), part(b, -2, i, i + 1)
        if rows:
            known = write("Concat", *rows, axis=-2)
            value = write("Sub", value, write("MatMul", part(row, -1, 0, i), known))
        rows.append(write("Div", value, part(row, -1, i, i + 1)))
    return write("Concat", *rows, axis=-2)


_OPERATORS: Final[dict[str, Callable[[_Writer], str | None]]] = {
    "BroadcastArgs": _broadcast_args,
    "Bucketize": _bucketize,
    "Erfc": _erfc,
    "Expm1": _expm1,
    "Lgamma": _lgamma,
    "Log1p": _log1p,
    "MatrixTriangularSolve": _triangular_solve,
    "MulNoNan": _mul_no_nan,
    "RightShift": _right_shift,
    "SelectV2": _select,
    "Xlog1py": _xlog1py,
    "Xlogy": _xlogy,
}
"""Each gives the name of the result, or None where there is no form: the operator then stays, and is refused."""


def _handler(form: Callable[[_Writer], str | None]) -> Callable[..., None]:
    def handle(graph: Any, node: Any, name: str, args: Any) -> None:
        del name, args
        write = _Writer(graph, node)
        result = form(write)
        if result is not None:
            write.finish(result)

    return handle


HANDLERS: Final[dict[str, tuple[Callable[..., None], list[Any]]]] = {
    operator: (_handler(form), []) for operator, form in _OPERATORS.items()
}
"""What tf2onnx takes as `custom_op_handlers`."""
