"""Distributions as arguments of a `tf.function`, and distribution layers that are made inside one."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

import tfpvae
from tfpvae.layers import DistributionTensor

ROWS = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")


def normal(rows=ROWS):
    return tfpvae.layers.IndependentNormal(3)(tf.constant(rows))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_function_gets_the_distribution_and_its_draw(jit_compile):
    rv = normal()

    @tf.function(jit_compile=jit_compile)
    def inside(rv):
        return rv.log_prob(rv), rv.mean(), tf.convert_to_tensor(rv), rv + 1.0

    log_prob, mean, value, more = inside(rv)
    np.testing.assert_allclose(log_prob, rv.log_prob(rv), rtol=1e-5)
    np.testing.assert_array_equal(mean, rv.mean())
    np.testing.assert_array_equal(value, rv)
    np.testing.assert_allclose(more, tf.convert_to_tensor(rv) + 1.0, rtol=1e-6)


@pytest.mark.parametrize("compiled", [{"run_eagerly": True}, {}, {"jit_compile": True}])
def test_a_decorated_loss_trains(compiled):
    @tf.function
    def negative_log_likelihood(y, rv):
        return -rv.log_prob(y)

    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(6), tfpvae.layers.IndependentNormal(3, convert_to_tensor_fn="mean")]
    )
    model.compile("adam", negative_log_likelihood, **compiled)
    before = model.get_weights()
    loss = model.evaluate(ROWS, ROWS[:, :3], verbose=0)
    np.testing.assert_allclose(loss, -np.mean(model(ROWS).log_prob(ROWS[:, :3])), rtol=1e-5)
    model.fit(ROWS, ROWS[:, :3], verbose=0)
    assert (before[0] != model.get_weights()[0]).any()


def test_one_trace_serves_batches_of_all_sizes():
    traces = []
    layer = tfpvae.layers.IndependentNormal(3)

    @tf.function(reduce_retracing=True)
    def mean(rv):
        traces.append(rv)
        return rv.mean()

    for rows in (4, 3, 2, 1):
        assert mean(layer(tf.constant(ROWS[:rows]))).shape == (rows, 3)
    assert len(traces) == 2


def test_a_second_call_does_not_trace_again():
    traces = []
    layer = tfpvae.layers.MultivariateNormalTriL(2)

    @tf.function
    def mean(rv):
        traces.append(rv)
        return rv.mean()

    for scale in (1.0, 2.0):
        rv = layer(tf.constant(ROWS[:, :5] * scale))
        np.testing.assert_array_equal(mean(rv), rv.mean())
    assert len(traces) == 1


def test_every_layer_s_distribution_goes_in(case):
    rv = case.call(case.layer(), case.inputs(2))
    inside = tf.function(lambda rv: rv.log_prob(rv))(rv)
    np.testing.assert_allclose(inside, rv.log_prob(rv), rtol=2e-4, atol=1e-4)


def invert(x):
    """A distribution that TensorFlow cannot take apart: its bijector holds functions."""
    exp = tfb.Inline(tf.exp, tf.math.log, lambda y: -tf.math.log(y), forward_min_event_ndims=0)
    return tfd.TransformedDistribution(tfd.Normal(x, 1.0), exp)


def joint(x):
    return tfd.JointDistributionSequential([tfd.Normal(x, 1.0), lambda a: tfd.Normal(a, 1.0)])


@pytest.mark.parametrize("make", [lambda x: tfd.Normal(x, 1.0), invert, joint])
def test_what_a_distribution_lambda_returns_goes_in(make):
    rv = tfpvae.layers.DistributionLambda(make)(tf.constant(ROWS))
    np.testing.assert_array_equal(tf.function(lambda rv: tf.convert_to_tensor(rv))(rv), rv)


def test_two_distributions_go_in_and_gradients_come_out():
    layer = tfpvae.layers.IndependentNormal(3)
    rows = tf.Variable(ROWS)

    @tf.function
    def divergence(q, p):
        return tfd.kl_divergence(q, p)

    with tf.GradientTape() as tape:
        q = layer(rows)
        kl = divergence(q, layer(tf.constant(ROWS + 1.0)))
    gradient = tape.gradient(kl, rows)
    with tf.GradientTape() as tape:
        direct = tfd.kl_divergence(layer(rows), layer(tf.constant(ROWS + 1.0)))
    np.testing.assert_allclose(gradient, tape.gradient(direct, rows), rtol=1e-4)


def test_structures_and_keywords_carry_distributions():
    @tf.function
    def total(pair, *, rv):
        assert all(isinstance(d, DistributionTensor) for d in (pair["a"], rv))
        return pair["a"].mean() + pair["x"] + rv.mean()

    rv = normal()
    np.testing.assert_allclose(total({"a": rv, "x": 1.0}, rv=rv), 2 * rv.mean() + 1.0, rtol=1e-6)


def test_a_function_calls_another_on_its_argument():
    inner = tf.function(lambda rv: rv.stddev())
    np.testing.assert_array_equal(tf.function(lambda rv: inner(rv))(rv := normal()), rv.stddev())


def test_a_distribution_is_returned():
    rv = normal()
    returned = tf.function(lambda rv: rv)(rv)
    np.testing.assert_array_equal(tf.convert_to_tensor(returned), rv)


def made_inside(x):
    return tfpvae.layers.IndependentNormal(3)(x)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_layer_is_made_inside_a_function(jit_compile):
    function = tf.function(lambda x: made_inside(x).mean(), jit_compile=jit_compile)
    np.testing.assert_allclose(function(ROWS), made_inside(ROWS).mean(), rtol=1e-6)
    drawn = tf.function(lambda x: tf.convert_to_tensor(made_inside(x)), jit_compile=jit_compile)
    assert (drawn(ROWS).numpy() != drawn(ROWS).numpy()).any()


def test_the_draws_of_a_layer_that_is_made_inside_follow_the_seed():
    def draws():
        keras.utils.set_random_seed(3)
        return tf.function(lambda x: tf.convert_to_tensor(made_inside(x)))(ROWS).numpy()

    np.testing.assert_array_equal(draws(), draws())


class MakesOne(keras.layers.Layer):
    def call(self, x):
        return made_inside(x).mean()


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_a_layer_is_made_inside_call_and_loss_and_predict(run_eagerly):
    def loss(y, x):
        return -tf.reduce_mean(tfpvae.layers.IndependentNormal(3)(tf.concat([x, x], -1)).log_prob(y))

    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6), MakesOne()])
    model.compile("adam", loss, run_eagerly=run_eagerly)
    history = model.fit(ROWS, ROWS[:, :3], epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert model.predict(ROWS, verbose=0).shape == (4, 3)


def test_an_array_of_a_symbolic_draw_is_tensorflow_s_error():
    @tf.function
    def inside(rv):
        return np.asarray(rv)

    with pytest.raises(NotImplementedError):
        inside(normal())


@pytest.mark.filterwarnings("ignore:Encoding a StructuredValue:UserWarning")
def test_a_module_whose_function_was_given_a_distribution_is_saved(tmp_path):
    class Module(tf.Module):
        @tf.function
        def loss(self, rv):
            return tf.reduce_sum(rv.mean())

        @tf.function(input_signature=[tf.TensorSpec([None])])
        def double(self, x):
            return 2 * x

    module, rv = Module(), normal()
    module.loss(rv)
    assert module.loss.get_concrete_function(rv)(rv) == module.loss(rv)
    tf.saved_model.save(module, tmp_path / "module")
    assert tf.saved_model.load(tmp_path / "module").double([1.5]).numpy().tolist() == [3.0]
