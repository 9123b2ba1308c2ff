"""Layers of Keras 2 inside those of Keras 3, and variables that nobody holds: both would not train, in silence."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest

from tfpvae.errors import ModelError

X = np.ones((2, 3), np.float32)


def test_tfps_own_autoregressive_network_is_refused_with_its_replacement(tfpl):
    from tensorflow_probability import bijectors as tfb

    with pytest.raises(ModelError, match=r"made is a layer of Keras 2.*Use tfpvae\.layers\.AutoregressiveNetwork"):
        tfpl.AutoregressiveTransform(tfb.AutoregressiveNetwork(params=2, hidden_units=[4]))


class TestInAFunction:
    @pytest.fixture
    def dense(self):
        import tf_keras

        return tf_keras.layers.Dense(3)

    def test_of_its_own_is_refused(self, dense, tfpl, tfd):
        with pytest.raises(ModelError, match=r"dense, which make_distribution_fn uses, is a layer of Keras 2"):
            tfpl.DistributionLambda(lambda t: tfd.Normal(dense(t), 1.0))

    def test_as_an_argument_is_refused(self, dense, tfpl, tfd):
        def make(t, network):
            return tfd.Normal(network(t), 1.0)

        with pytest.raises(ModelError, match=r"an argument, which make_distribution_fn uses"):
            tfpl.DistributionLambda(functools.partial(make, network=dense))
        with pytest.raises(ModelError, match=r"a default, which make_distribution_fn uses"):
            tfpl.DistributionLambda(lambda t, network=dense: tfd.Normal(network(t), 1.0))

    def test_of_the_module_is_refused(self, dense, tfpl, tfd, monkeypatch):
        monkeypatch.setitem(globals(), "NETWORK", dense)
        with pytest.raises(ModelError, match=r"NETWORK, which make_distribution_fn uses"):
            tfpl.DistributionLambda(lambda t: tfd.Normal(NETWORK(t), 1.0))  # noqa: F821


def test_an_attribute_of_the_name_of_one_of_the_module_is_none(tfpl, tfd, monkeypatch):
    import tf_keras

    monkeypatch.setitem(globals(), "mean", tf_keras.layers.Dense(3))
    layer = tfpl.DistributionLambda(lambda t: tfd.Normal(t - tfd.Normal(t, 1.0).mean(), 1.0))
    assert layer(X).batch_shape == (2, 3)


@pytest.mark.parametrize("kind", ["attribute", "list", "dict"])
def test_a_layer_that_holds_one_is_refused_when_the_model_is_compiled(kind, build_vae, tfpl):
    import keras
    import tf_keras

    class Holds(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            inner = tf_keras.layers.Dense(8)
            self.inner = {"attribute": inner, "list": [inner], "dict": {"a": inner}}[kind]

        def call(self, x):
            return x

    encoder = [keras.Input((8, 8, 1)), keras.layers.Flatten(), Holds(), keras.layers.Dense(8)]
    with pytest.raises(ModelError, match=r"inner of layer 'holds.*' is a layer of Keras 2.*Use keras\.layers\.Dense"):
        build_vae(encoder=keras.Sequential([*encoder, tfpl.MultivariateNormalDiag(4)]))


class TestVariablesThatNobodyHolds:
    def told(self, layer):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            layer(X)
            layer(X)
        return [str(each.message) for each in caught if "does not hold" in str(each.message)]

    def test_a_variable_that_the_function_reads_is_warned_of_once(self, tfpl, tfd):
        import tensorflow as tf

        variable = tf.Variable(1.0, name="scale")
        (told,) = self.told(tfpl.DistributionLambda(lambda t: tfd.Normal(t * variable, 1.0)))
        assert "reads variables that the layer does not hold: scale:0." in told

    def test_a_layer_that_the_function_calls_too(self, tfpl, tfd):
        import keras

        dense = keras.layers.Dense(3)
        (told,) = self.told(tfpl.DistributionLambda(lambda t: tfd.Normal(dense(t), 1.0)))
        assert "kernel" in told

    def test_what_the_distribution_or_the_layer_holds_is_not(self, tfpl, tfd):
        import keras
        import tensorflow as tf

        variable = tf.Variable(1.0)
        assert self.told(tfpl.DistributionLambda(lambda t: tfd.Normal(t, variable))) == []
        layer = tfpl.DistributionLambda(lambda t: tfd.Normal(layer.inner(t), 1.0))
        layer.inner = keras.layers.Dense(3)
        layer.inner.build((None, 3))
        assert self.told(layer) == []
        assert len(layer.trainable_variables) == 2
