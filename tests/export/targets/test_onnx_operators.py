"""The operators that tfpvae writes for ONNX give what TensorFlow, SciPy and NumPy give, at the ends too."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.special

# tf2onnx still calls NumPy by names of version 1.
pytestmark = pytest.mark.filterwarnings("ignore:.*np.object.*:FutureWarning")

INF, NAN = np.inf, np.nan
RISING = np.float32([1e-30, 1e-10, 1e-7, 3e-5, 0.01, 0.5, 1, 1.5, 2, 2.001, 3, 7.9, 8, 8.1, 20, 1e3, 1e6, 1e20])
SIGNED = np.float32([0.0, *RISING, *-RISING])


@pytest.fixture
def in_onnx(tmp_path):
    """`in_onnx(function, **inputs)`: what a function of tensors by name gives in ONNX Runtime, its axes all free."""
    import tensorflow as tf

    from tfpvae.export.endpoints import Endpoint
    from tfpvae.export.targets.onnx import run_onnx, write_onnx
    from tfpvae.signatures import Signature

    def run(function, free=True, **inputs):
        specs = tuple(
            tf.TensorSpec([None] * value.ndim if free else [None, *value.shape[1:]], value.dtype, name=name)
            for name, value in inputs.items()
        )
        endpoint = Endpoint(
            Signature("f", tuple(inputs), ("f",), ""), lambda *given: {"f": tf.identity(function(*given))}, specs
        )
        write_onnx(endpoint, tmp_path / "f.onnx")
        return run_onnx(tmp_path)("f", inputs)["f"]

    return run


def pairs(xs, ys):
    """Every pair, as two vectors."""
    return (np.ravel(grid).astype(np.float32) for grid in np.meshgrid(xs, ys))


def test_log1p_and_expm1(in_onnx):
    import tensorflow as tf

    x = np.float32([*SIGNED[np.abs(SIGNED) < 1], 1, 10, 80, 1e20])
    np.testing.assert_allclose(in_onnx(lambda x: tf.math.log1p(x), x=x), np.log1p(x.astype(np.float64)), rtol=3e-7)
    np.testing.assert_array_equal(in_onnx(lambda x: tf.math.log1p(x), x=np.float32([-1, -1.5])), [-INF, NAN])
    x = np.float32([*SIGNED[np.abs(SIGNED) < 80], 80, -80, -INF])
    np.testing.assert_allclose(in_onnx(lambda x: tf.math.expm1(x), x=x), np.expm1(x.astype(np.float64)), rtol=1e-6)


def test_lgamma(in_onnx):
    import tensorflow as tf

    x = np.float32([0.0, *RISING, *np.linspace(0.9, 2.1, 97)])
    expected = scipy.special.gammaln(x.astype(np.float64))
    np.testing.assert_allclose(in_onnx(lambda x: tf.math.lgamma(x), x=x), expected, rtol=2e-7, atol=1e-9)
    assert np.isnan(in_onnx(lambda x: tf.math.lgamma(x), x=np.float32([-0.5, -1.5, -3.2]))).all()


def test_products_that_are_zero_where_one_factor_is(in_onnx):
    import tensorflow as tf

    x, y = pairs([0, 0.5, -2, 3], [0, 1e-7, 0.5, 4, INF])
    np.testing.assert_allclose(
        in_onnx(lambda x, y: tf.math.xlogy(x, y), x=x, y=y), scipy.special.xlogy(x, y), rtol=1e-6
    )
    x, y = pairs([0, 0.5, -2, 3], [-1, -0.5, 0, 1e-7, 4])
    np.testing.assert_allclose(
        in_onnx(lambda x, y: tf.math.xlog1py(x, y), x=x, y=y), scipy.special.xlog1py(x, y), rtol=1e-6
    )
    x, y = np.float32([2, INF, NAN, 3]), np.float32([0.5, 0, 0, -1])
    np.testing.assert_array_equal(in_onnx(lambda x, y: tf.math.multiply_no_nan(x, y), x=x, y=y), [1, 0, 0, -3])


@pytest.mark.parametrize(
    "shapes", [((1, 3), (4, 1)), ((3,), (2, 3)), ((2, 1, 3), (5, 1)), ((0, 3), (1, 3)), ((), (2,))]
)
def test_the_shape_of_what_broadcasts(shapes, in_onnx):
    import tensorflow as tf

    def shape(a, b):
        return tf.broadcast_dynamic_shape(tf.shape(a), tf.shape(b))

    a, b = (np.zeros(s, np.float32) for s in shapes)
    assert tuple(in_onnx(shape, a=a, b=b)) == np.broadcast_shapes(*shapes)


def test_what_is_not_picked_may_be_infinite_or_nan(in_onnx):
    import tensorflow as tf

    def pick(x):
        return tf.where(x > 1, x, 1 / x - tf.math.log(x))

    x = np.float32([0, 1e-30, 2, -3, INF])
    np.testing.assert_allclose(in_onnx(pick, x=x), pick(tf.constant(x)), rtol=1e-6)
    assert in_onnx(pick, x=x)[2] == 2


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64"])
def test_picks_of_other_types(dtype, in_onnx):
    import tensorflow as tf

    def pick(x):
        return tf.cast(tf.where(x > 1, tf.cast(x < 3, dtype), tf.cast(x > -1, dtype)), tf.int64)

    np.testing.assert_array_equal(in_onnx(pick, x=np.float32([0, 2, 4, -3])), [1, 1, 0, 0])


@pytest.mark.parametrize("s", [1, 3, 7, 8, 16, 30])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_signed_integers_are_shifted_to_the_right(s, dtype, in_onnx):
    import tensorflow as tf

    ends = np.iinfo(dtype)
    x = np.array([0, 1, -1, 255, -256, 2**30 + 12345, -(2**31), ends.max, ends.min, ends.min + 1], dtype)
    np.testing.assert_array_equal(in_onnx(lambda x: tf.bitwise.right_shift(x, s), x=x), x >> s)


def test_a_shift_that_is_not_known_before_has_no_form(in_onnx):
    import tensorflow as tf

    from tfpvae.export.targets.onnx import NoOnnxFormError

    with pytest.raises(NoOnnxFormError, match="Shift"):
        in_onnx(lambda x: tf.bitwise.right_shift(x, x), x=np.int64([1, 2]))


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_lower_triangular_system(size, in_onnx):
    import tensorflow as tf

    rng = np.random.default_rng(size)
    matrix = np.tril(rng.normal(size=(5, size, size)), -1) + 2 * np.eye(size)
    # What is above the diagonal is not looked at.
    full = (matrix + np.triu(np.full_like(matrix, 9.0), 1)).astype(np.float32)
    b = rng.normal(size=(5, size, 2)).astype(np.float32)

    def solve(matrix, b):
        return tf.linalg.triangular_solve(matrix, b)

    expected = [scipy.linalg.solve_triangular(m, r, lower=True) for m, r in zip(matrix, b, strict=True)]
    np.testing.assert_allclose(in_onnx(solve, free=False, matrix=full, b=b), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mistake", ["lower", "size"])
def test_a_system_that_is_not_written_has_no_onnx_form(mistake, in_onnx):
    import tensorflow as tf

    from tfpvae.export.targets.onnx import NoOnnxFormError

    matrix, b = np.ones((2, 3, 3), np.float32), np.ones((2, 3, 1), np.float32)
    with pytest.raises(NoOnnxFormError, match="MatrixTriangularSolve"):
        in_onnx(
            lambda matrix, b: tf.linalg.triangular_solve(matrix, b, lower=mistake != "lower"),
            free=mistake == "size",
            matrix=matrix,
            b=b,
        )


def test_a_tensor_from_outside_is_a_constant(in_onnx):
    import tensorflow as tf

    outside, weight = tf.constant([1.0, 2.0, 3.0]), tf.Variable(2.0)
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(in_onnx(lambda x: x * outside + weight, x=x), x * [1, 2, 3] + 2)


def test_the_log_of_tf2onnx_is_left_as_it_was(in_onnx):
    import logging

    logger = logging.getLogger("tf2onnx")
    before = logger.level
    in_onnx(lambda x: x + 1.0, x=np.ones((2, 3), np.float32))
    assert logger.level == before


def test_erfc_and_the_gelu_made_of_it(in_onnx):
    import keras
    import tensorflow as tf

    x = np.float32([*SIGNED[np.abs(SIGNED) < 20], INF, -INF])

    np.testing.assert_allclose(in_onnx(lambda x: tf.math.erfc(x), x=x), scipy.special.erfc(x), atol=2e-7)
    x = np.linspace(-6, 6, 49, dtype=np.float32)
    expected = x * scipy.special.ndtr(x.astype(np.float64))
    np.testing.assert_allclose(in_onnx(lambda x: keras.activations.gelu(x), x=x), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_buckets(in_onnx, dtype):
    import tensorflow as tf

    boundaries = [-3.0, 0.0, 2.0, 2.5]
    x = np.array([[-7, -3, -2], [0, 1, 2], [3, 4, 100]], dtype)
    buckets = in_onnx(lambda x: tf.raw_ops.Bucketize(input=x, boundaries=boundaries), x=x)
    assert buckets.dtype == np.int32
    np.testing.assert_array_equal(buckets, np.digitize(x, boundaries))
