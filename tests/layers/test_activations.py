"""An activation before a distribution layer: one warning that names both layers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest


@pytest.fixture(scope="module")
def keras_layers():
    import keras

    return keras.layers


BEFORE = {
    "sigmoid": lambda L: [L.Dense(6, "sigmoid", name="before")],
    "relu": lambda L: [L.Dense(6, "relu", name="before")],
    "tanh": lambda L: [L.Dense(6, "tanh", name="before")],
    "softmax": lambda L: [L.Dense(6, "softmax", name="before")],
    "softplus": lambda L: [L.Dense(6, "softplus", name="before")],
    "a layer of its own": lambda L: [L.Dense(6), L.ReLU(name="before")],
    "Activation": lambda L: [L.Dense(6), L.Activation("tanh", name="before")],
    "with a reshape between": lambda L: [L.Dense(6, "relu", name="before"), L.Reshape((6,)), L.Dropout(0.1)],
    "a convolution": lambda L: [L.Reshape((3, 1)), L.Conv1D(2, 1, activation="gelu", name="before"), L.Flatten()],
    "a user's own": lambda L: [L.Dense(6, lambda x: x**2, name="before")],
}
GOOD = {
    "none": lambda L: [L.Dense(6)],
    "linear": lambda L: [L.Dense(6, "linear")],
    "leaky": lambda L: [L.Dense(6, "leaky_relu")],
    "an activation earlier": lambda L: [L.Dense(6, "relu"), L.Dense(6)],
    "normalised": lambda L: [L.Dense(6, "relu"), L.BatchNormalization()],
}


def messages(build):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build()
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("before", BEFORE)
def test_a_bounded_activation_is_named(before, keras_layers, tfpl):
    import keras

    model = []

    def build():
        model.append(keras.Sequential([keras.Input((3,)), *BEFORE[before](keras_layers), tfpl.IndependentNormal(3)]))

    (message,) = messages(build)
    assert "IndependentNormal" in message
    assert "'before'" in message
    assert messages(lambda: model[0](np.zeros((2, 3), np.float32))) == []


@pytest.mark.parametrize("before", GOOD)
def test_nothing_else_is(before, keras_layers, tfpl):
    import keras

    layers = [keras.Input((3,)), *GOOD[before](keras_layers), tfpl.IndependentNormal(3)]
    assert messages(lambda: keras.Sequential(layers)) == []


def test_in_functional_nested_and_unbuilt_models(keras_layers, tfpl):
    import keras

    def functional():
        x = keras.Input((3,))
        tfpl.OneHotCategorical(4)(keras.ops.sigmoid(keras_layers.Dense(4)(x)))

    def nested():
        trunk = keras.Sequential([keras.Input((3,)), keras_layers.Dense(4, "tanh")])
        keras.Sequential([keras.Input((3,)), trunk, tfpl.MultivariateNormalDiag(2)])

    def unbuilt():
        keras.Sequential([keras_layers.Dense(4, "relu"), tfpl.MultivariateNormalDiag(2)]).build((None, 3))

    for build in (functional, nested, unbuilt):
        assert len(messages(build)) == 1, build


def test_a_function_of_the_users_may_want_it(keras_layers, tfpl, tfd):
    import keras

    bernoulli = tfpl.DistributionLambda(lambda p: tfd.Independent(tfd.Bernoulli(probs=p), 1))
    assert messages(lambda: keras.Sequential([keras.Input((3,)), keras_layers.Dense(2, "sigmoid"), bernoulli])) == []


def subclassed(activation, tfpl):
    import keras

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(6)
            self.distribution = tfpl.IndependentNormal(3)

        def call(self, x):
            return self.distribution(keras.ops.reshape(activation(self.dense(x)), (-1, 6)))

    return Own()


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "relu6", "tanh", "softmax", "softplus", "softsign", "elu"])
def test_an_operation_before_a_layer_of_a_subclassed_model_is_named(activation, tfpl):
    import keras
    import tensorflow as tf

    model = subclassed(getattr(keras.activations, activation), tfpl)
    traced = tf.function(lambda x: model(x).mean())
    (message,) = messages(lambda: traced(np.zeros((4, 3), np.float32)))
    assert activation in message.lower()
    assert "'independent_normal" in message
    assert messages(lambda: traced(np.zeros((2, 3), np.float32))) == []


def test_a_subclassed_model_that_is_fitted_is_told_once(tfpl):
    import keras

    model = subclassed(keras.activations.sigmoid, tfpl)
    model.compile("sgd", lambda y, rv: -rv.log_prob(y))
    x = np.zeros((4, 3), np.float32)
    (message,) = messages(lambda: model.fit(x, x, epochs=2, verbose=0))
    assert "Sigmoid" in message


@pytest.mark.parametrize("activation", ["linear", "leaky_relu"])
def test_nothing_is_said_of_a_subclassed_model_without(activation, tfpl):
    import keras

    model = subclassed(getattr(keras.activations, activation), tfpl)
    model.compile("sgd", lambda y, rv: -rv.log_prob(y))
    x = np.zeros((4, 3), np.float32)
    assert messages(lambda: model.fit(x, x, verbose=0)) == []
