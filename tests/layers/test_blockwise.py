"""BlockwiseInitializer, as TFP's: each block of the last axis in its own way."""

from __future__ import annotations

import numpy as np
import pytest

from tfpvae.errors import ModelError


def test_blocks_lie_along_the_last_axis(tfpl):
    import keras

    initializer = tfpl.BlockwiseInitializer(["zeros", keras.initializers.Constant(0.5), "ones"], [1, 2, 3])
    expected = np.tile(np.float32([0, 0.5, 0.5, 1, 1, 1]), (4, 1))
    np.testing.assert_array_equal(initializer((4, 6)), expected)
    assert initializer((6,), dtype="float64").dtype == "float64"
    layer = tfpl.VariableLayer([2, 6], initializer=initializer)
    np.testing.assert_array_equal(layer.constant, expected[:2])


def test_a_model_that_uses_it_is_saved(tfpl, tmp_path):
    import keras

    initializer = tfpl.BlockwiseInitializer(["zeros", keras.initializers.Constant(-2.0)], [2, 2])
    model = keras.Sequential([
        keras.Input((3,)), keras.layers.Dense(4, bias_initializer=initializer), tfpl.IndependentNormal(2),
    ])  # fmt: skip
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[0].bias_initializer
    assert type(loaded) is tfpl.BlockwiseInitializer
    assert loaded.sizes == (2, 2)
    np.testing.assert_array_equal(loaded((4,)), [0, 0, -2, -2])


@pytest.mark.parametrize(
    ("initializers", "sizes", "message"),
    [
        (["zeros"], [1, 2], r"a size for each initializer. Received: 1 initializers, sizes=\[1, 2\]"),
        ([], [], "a size for each initializer"),
        (["zeros", "ones"], [1, 0], "sizes must be"),
    ],
)
def test_wrong_sizes_are_refused(initializers, sizes, message, tfpl):
    with pytest.raises(ModelError, match=message):
        tfpl.BlockwiseInitializer(initializers, sizes)


@pytest.mark.parametrize("shape", [(3, 5), (3,), ()])
def test_a_shape_of_another_last_size_is_refused(shape, tfpl):
    with pytest.raises(ModelError, match=r"The last size must be 4, the sum of sizes=\[1, 3\]"):
        tfpl.BlockwiseInitializer(["zeros", "ones"], [1, 3])(shape)
