"""One row for each distribution layer; `test_conformance.py` puts every row through the same checks.

Nothing here imports TensorFlow before a test runs: a row gets the module of the layers, tfpvae's or TFP's, as `L`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


def real(rng, shape):
    return rng.normal(size=shape)


def binary(rng, shape):
    return rng.integers(0, 2, shape)


def count(rng, shape):
    return rng.poisson(3.0, shape)


def positive(rng, shape):
    return rng.gamma(2.0, size=shape)


def unit(rng, shape):
    return rng.uniform(0.02, 0.98, shape)


def one_hot(rng, shape):
    return np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]


def category(rng, shape):
    return rng.integers(0, 4, shape)


def pixel(rng, shape):
    return rng.integers(0, 256, shape) / 255


@dataclass(frozen=True)
class Case:
    """A row.

    Attributes:
        args: makes the positional arguments of the constructor, which are also those of `new` after `params`.
        size: the last axis of the inputs.
        event_shape: of the distribution.
        values: draws data in the distribution's support.
        params_size_args: those of `params_size`, where they are not those of the constructor.
        before: the layer that goes before it, where that is not a `Dense`.
        named: whether it has named parameters, and so `new`, `params_size` and an export.
        mean: whether the distribution has a mean.
        mode: whether the distribution has a mode.
        tame: inputs that are zero where the others are extreme.
        in_tfp: whether `tfp.layers` has the same class.
    """

    args: Callable[[Any], tuple[Any, ...]]
    size: int
    event_shape: tuple[int, ...]
    values: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    params_size_args: tuple[Any, ...] | None = None
    before: Callable[[Any], Any] | None = None
    named: bool = True
    mean: bool = True
    mode: bool = True
    tame: tuple[int, ...] = ()
    in_tfp: bool = True


def _gaussian(L):
    import keras
    import tensorflow as tf
    import tensorflow_probability as tfp

    @keras.saving.register_keras_serializable(package="tests")
    def unit_gaussian(loc):
        return tfp.distributions.MultivariateNormalDiag(loc, tf.ones_like(loc))

    return (unit_gaussian,)


CASES = {
    "AutoregressiveTransform": Case(
        lambda L: (L.AutoregressiveNetwork(2, hidden_units=[8], activation="tanh"),),
        size=6,
        event_shape=(3,),
        values=real,
        before=lambda L: L.MultivariateNormalDiag(3),
        named=False,
        mean=False,
        mode=False,
    ),
    "CategoricalMixtureOfOneHotCategorical": Case(lambda L: (4, 3), size=15, event_shape=(4,), values=one_hot),
    "DistributionLambda": Case(_gaussian, size=3, event_shape=(3,), values=real, named=False),
    "IndependentBernoulli": Case(lambda L: ([2, 3],), size=6, event_shape=(2, 3), values=binary),
    "IndependentBeta": Case(lambda L: ([2, 3],), size=12, event_shape=(2, 3), values=unit, in_tfp=False),
    "IndependentCategorical": Case(lambda L: (4, [2, 3]), size=24, event_shape=(2, 3), values=category, in_tfp=False),
    "IndependentContinuousBernoulli": Case(lambda L: ([2, 3],), size=6, event_shape=(2, 3), values=unit, in_tfp=False),
    "IndependentDiscretizedLogistic": Case(
        lambda L: ([2, 3],), size=12, event_shape=(2, 3), values=pixel, in_tfp=False
    ),
    "IndependentGamma": Case(lambda L: ([2, 3],), size=12, event_shape=(2, 3), values=positive, in_tfp=False),
    "IndependentLogistic": Case(lambda L: ([2, 3],), size=12, event_shape=(2, 3), values=real),
    "IndependentNegativeBinomial": Case(lambda L: ([2, 3],), size=12, event_shape=(2, 3), values=count, in_tfp=False),
    "IndependentNormal": Case(lambda L: ([2, 3],), size=12, event_shape=(2, 3), values=real),
    "IndependentNormalLogVariance": Case(lambda L: ([2, 3],), size=12, event_shape=(2, 3), values=real, in_tfp=False),
    "IndependentPoisson": Case(lambda L: ([2, 3],), size=6, event_shape=(2, 3), values=count),
    "IndependentStudentT": Case(lambda L: ([2, 3],), size=18, event_shape=(2, 3), values=real, in_tfp=False),
    # It has weights, so there is no `new`; its parameters and its export are tested in a file of its own.
    "InverseAutoregressiveFlow": Case(
        lambda L: (3, 2), size=8, event_shape=(3,), values=real, named=False, mean=False, mode=False, in_tfp=False
    ),
    "MixtureDiscretizedLogistic": Case(
        lambda L: (3, [2, 3]), size=54, event_shape=(2, 3), values=pixel, mode=False, in_tfp=False
    ),
    "MixtureLogistic": Case(lambda L: (3, [2, 3]), size=39, event_shape=(2, 3), values=real, mode=False),
    "MixtureNormal": Case(lambda L: (3, [2, 3]), size=39, event_shape=(2, 3), values=real, mode=False),
    "MixtureSameFamily": Case(
        lambda L: (3, L.IndependentBernoulli([2])),
        size=9,
        event_shape=(2,),
        values=binary,
        params_size_args=(3, 2),
        mode=False,
    ),
    "MultivariateNormalDiag": Case(lambda L: (3,), size=6, event_shape=(3,), values=real, in_tfp=False),
    # Below the diagonal nothing is extreme: to solve by a triangular matrix of 1e4 over 1e-5 overflows in float32.
    "MultivariateNormalTriL": Case(lambda L: (3,), size=9, event_shape=(3,), values=real, tame=(4, 5, 8)),
    "OneHotCategorical": Case(lambda L: (4,), size=4, event_shape=(4,), values=one_hot),
    "SphericalNormal": Case(
        lambda L: ([2, 3], 0.5), size=6, event_shape=(2, 3), values=real, params_size_args=([2, 3],), in_tfp=False
    ),
}


_shared: dict[str, Any] = {}


class LayerCase:
    """A row with its name, and what the checks need of it."""

    def __init__(self, name: str) -> None:
        from tfpvae import layers

        self.name = name
        self.row = CASES[name]
        self.layers = layers
        self.rng = np.random.default_rng(0)

    def layer(self, **kwargs: Any) -> Any:
        return getattr(self.layers, self.name)(*self.row.args(self.layers), **kwargs)

    def model(self, dtype: str = "float32", **kwargs: Any) -> Any:
        """A `Sequential` of a dense layer and the layer, for inputs `[B, 5]`."""
        import keras

        keras.utils.set_random_seed(1)
        before = [] if self.row.before is None else [self.row.before(self.layers)]
        dense = keras.layers.Dense(self.row.size, dtype=dtype, bias_initializer="normal")
        return keras.Sequential([keras.Input((5,)), dense, *before, self.layer(dtype=dtype, **kwargs)])

    def shared_model(self) -> Any:
        """`model()`, made once for all tests: its weights may have been trained."""
        if self.name not in _shared:
            _shared[self.name] = self.model()
        return _shared[self.name]

    def inputs(self, *batch: int, scale: float = 1.0) -> np.ndarray:
        """Inputs of the layer, `[*batch, size]`."""
        return self.rng.normal(scale=scale, size=(*batch, self.row.size)).astype(np.float32)

    def values(self, *batch: int) -> np.ndarray:
        """Data of the support, `[*batch, *event_shape]`."""
        return self.row.values(self.rng, (*batch, *self.row.event_shape)).astype(np.float32)

    def call(self, layer: Any, inputs: Any) -> Any:
        """What the layer makes of inputs, by way of the layer before it if there is one."""
        return layer(inputs if self.row.before is None else self.row.before(self.layers)(inputs))
