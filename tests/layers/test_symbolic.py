"""Functional models in which layers take distributions, by no `compute_output_shape` of theirs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import tfpvae
from tfpvae.layers import DistributionTensor

ROWS = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")


@keras.saving.register_keras_serializable("test_symbolic")
class Mean(keras.layers.Layer):
    def call(self, q):
        return q.mean()


@keras.saving.register_keras_serializable("test_symbolic")
class Divergence(keras.layers.Layer):
    def call(self, q, p=None):
        if p is None:
            q, p = q
        return tfd.kl_divergence(q, p)


class Inner(keras.layers.Layer):
    """A layer that has a layer inside it, and none of it built."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(2)

    def call(self, q):
        return self.dense(tf.concat([q.mean(), q.stddev()], -1))


class PassOn(keras.layers.Layer):
    def call(self, q):
        self.add_loss(tf.reduce_mean(q.entropy()))
        return q


def normal(size=3, **options):
    layer = tfpvae.layers.IndependentNormal(size, **options)
    inputs = keras.Input((5,))
    return inputs, layer(keras.layers.Dense(2 * size)(inputs))


def test_a_layer_asks_a_distribution_for_its_mean():
    x, q = normal()
    mean = Mean()(q)
    assert mean.shape == (None, 3)
    model = keras.Model(x, [q, mean])
    drawn, of_layer = model(ROWS)
    np.testing.assert_array_equal(of_layer, drawn.mean())


def test_a_layer_asks_for_what_the_tensor_has_not_the_shape_of():
    x, q = normal()
    entropy = keras.layers.Lambda(lambda q: q.entropy())(q)
    assert entropy.shape == (None,)
    assert keras.Model(x, entropy)(ROWS).shape == (4,)


@pytest.mark.parametrize("call", [lambda q, p: Divergence()([q, p]), lambda q, p: Divergence()(q, p=p)])
def test_a_layer_takes_two_distributions(call):
    x = keras.Input((5,))
    q = tfpvae.layers.IndependentNormal(3)(keras.layers.Dense(6)(x))
    p = tfpvae.layers.MultivariateNormalTriL(3)(keras.layers.Dense(9)(x))
    kl = call(q, p)
    assert kl.shape == (None,)
    model = keras.Model(x, [q, p, kl])
    a, b, of_layer = model(ROWS)
    np.testing.assert_array_equal(of_layer, tfd.kl_divergence(a, b))


def test_a_layer_with_unbuilt_layers_inside_is_built_and_trains():
    x, q = normal()
    model = keras.Model(x, Inner()(q))
    model.compile("adam", "mse")
    before = model.get_weights()
    model.fit(ROWS, np.ones((4, 2), np.float32), verbose=0)
    assert len(before) > 2
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_a_distribution_goes_through_a_layer_and_on():
    x, q = normal()
    mean = Mean()(PassOn()(PassOn()(q)))
    model = keras.Model(x, mean)
    assert model(ROWS).shape == (4, 3)
    assert len(model.losses) == 2


def test_a_distribution_layer_follows_a_layer_that_takes_a_distribution():
    _, q = normal()
    decoded = tfpvae.layers.IndependentBernoulli(4)(keras.layers.Dense(4)(Mean()(q)))
    assert Mean()(decoded).shape == (None, 4)


@pytest.mark.parametrize("sequential", [False, True])
def test_a_model_that_returns_a_distribution_stands_in_another(sequential):
    layers = [keras.layers.Dense(6), tfpvae.layers.IndependentNormal(3)]
    inner = keras.Sequential([keras.Input((5,)), *layers]) if sequential else keras.Model(*normal())
    x = keras.Input((5,))
    model = keras.Model(x, Mean()(inner(x)))
    np.testing.assert_array_equal(model(ROWS), inner(ROWS).mean())


def test_a_model_called_on_another_size_of_batch_returns_a_distribution_too():
    inner = keras.Model(*normal())
    x = keras.Input(batch_shape=(4, 5))
    assert Mean()(inner(x)).shape == (4, 3)


def test_layers_that_take_distributions_stand_in_a_sequential():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(6), tfpvae.layers.IndependentNormal(3), Mean()])
    assert model.output_shape == (None, 3)


def test_a_model_with_such_layers_is_saved(tmp_path):
    x, q = normal()
    model = keras.Model(x, Mean()(q))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(ROWS), model(ROWS))


def test_the_kl_of_a_distribution_is_added_by_a_layer():
    x, q = normal()
    prior = tfd.Independent(tfd.Normal(tf.zeros(3), 1.0), 1)
    added = tfpvae.layers.KLDivergenceAddLoss(prior)(q)
    mean = Mean()(added)
    model = keras.Model(x, [added, mean])
    model(ROWS)
    assert len(model.losses) == 1


def test_a_lambda_with_an_output_shape_keeps_it():
    _, q = normal()
    assert keras.layers.Lambda(lambda q: q.mean(), output_shape=(3,))(q).shape == (None, 3)


def test_an_error_of_the_layer_comes_through():
    class Wrong(keras.layers.Layer):
        def call(self, q):
            return q.no_such_thing

    _, q = normal()
    with pytest.raises(AttributeError, match="no_such_thing"):
        Wrong()(q)


def test_layers_of_tensors_are_as_before():
    x = keras.Input((5,))
    lambda_layer = keras.layers.Lambda(lambda x: x[:, :2])
    assert lambda_layer(x).shape == (None, 2)
    assert keras.layers.Dense(3)(x).shape == (None, 3)


def test_several_heads_come_out_of_one_layer():
    class Two(keras.layers.Layer):
        def build(self, shape):
            self.a, self.b = tfpvae.layers.IndependentNormal(2), tfpvae.layers.IndependentBernoulli(4)

        def call(self, x):
            return {"a": self.a(x), "plain": x, "b": self.b(x)}

    x = keras.Input((4,))
    outputs = Two()(x)
    assert Mean()(outputs["a"]).shape == (None, 2)
    assert Mean()(outputs["b"]).shape == (None, 4)
    assert isinstance(keras.Model(x, outputs)(ROWS[:, :4])["b"], DistributionTensor)


def test_a_distribution_layer_stands_in_time_distributed():
    x = keras.Input((7, 5))
    y = keras.layers.TimeDistributed(tfpvae.layers.IndependentBernoulli(5))(x)
    assert y.shape == (None, 7, 5)
    assert keras.Model(x, y)(np.zeros((2, 7, 5), np.float32)).shape == (2, 7, 5)


@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_float16", "mixed_bfloat16"])
def test_layers_of_every_policy_get_distributions(policy):
    x = keras.Input((5,))
    inner = keras.Sequential([keras.layers.Dense(6, dtype=policy), tfpvae.layers.IndependentNormal(3, dtype=policy)])
    for q in (inner(x), inner.layers[-1](inner.layers[0](x))):
        model = keras.Model(x, [Mean(dtype=policy)(q), Mean(dtype=policy, autocast=False)(q)])
        mean, same = model(ROWS)
        np.testing.assert_array_equal(mean, same)
        assert mean.shape == (4, 3)


def test_casts_and_another_rank_keep_the_distribution():
    x, q = normal()
    for changed in (keras.ops.cast(q, "float16"), keras.ops.expand_dims(q, 1), keras.layers.Identity()(q)):
        assert keras.Model(x, Mean()(changed))(ROWS).shape == (4, 3)
