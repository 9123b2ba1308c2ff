"""Sizes, event shapes and ranks that are known only when a graph runs, as in TFP's tests of dynamic shapes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import tfpvae.layers as tfpl
from tfpvae.errors import ModelError

UNKNOWN = tf.TensorSpec(None, tf.float32)
UNKNOWN_SHAPE = tf.TensorSpec(None, tf.int32)

INDEPENDENT = {
    "IndependentBernoulli": 1,
    "IndependentBeta": 2,
    "IndependentContinuousBernoulli": 1,
    "IndependentDiscretizedLogistic": 2,
    "IndependentGamma": 2,
    "IndependentLogistic": 2,
    "IndependentNegativeBinomial": 2,
    "IndependentNormal": 2,
    "IndependentNormalLogVariance": 2,
    "IndependentPoisson": 1,
    "IndependentStudentT": 3,
    "SphericalNormal": 1,
}
SIZED = {  # The arguments, and how many inputs they take.
    "CategoricalMixtureOfOneHotCategorical": ((4, 3), 15),
    "IndependentCategorical": ((4, [2, 3]), 24),
    "MixtureDiscretizedLogistic": ((2, [2, 3]), 36),
    "MixtureLogistic": ((4, [2, 3]), 52),
    "MixtureNormal": ((4, [2, 3]), 52),
    "MultivariateNormalDiag": ((3,), 6),
    "MultivariateNormalTriL": ((3,), 9),
    "OneHotCategorical": ((4,), 4),
}
MIXED = ("CategoricalMixtureOfOneHotCategorical", "IndependentCategorical")
ALL = {**{name: (([2, 1, 2],), 4 * n) for name, n in INDEPENDENT.items()}, **SIZED}


def values_of(rv, draw):
    """What a distribution gives, and the log-probability of a draw."""
    return {
        "log_prob": rv.log_prob(draw),
        "batch": rv.batch_shape_tensor(),
        "event": rv.event_shape_tensor(),
        "draws": tf.shape(rv.sample(2, seed=(1, 2))),
    }


def new(name, params, *args):
    return getattr(tfpl, name).new(params, *args)


def layer(name, params, *args):
    return getattr(tfpl, name)(*args)(params)


BY_NEW = [(name, new) for name in ALL]
# A layer does the same as `new`, in a call: one of each kind.
BY_LAYER = [(name, layer) for name in ("IndependentBernoulli", "MixtureNormal", "MultivariateNormalTriL", *MIXED)]


@pytest.mark.parametrize(("name", "make"), [*BY_NEW, *BY_LAYER])
def test_nothing_is_known_before_the_graph_runs(name, make):
    args, size = ALL[name]
    params = np.random.default_rng(0).normal(size=(2, 3, size)).astype(np.float32)
    known = make(name, tf.constant(params), *args)
    draw = known.sample(seed=(3, 4))
    inside = tf.function(
        lambda params, draw, *args: values_of(make(name, params, *args), draw),
        input_signature=[UNKNOWN, UNKNOWN, *[UNKNOWN_SHAPE] * len(args)],
    )(params, draw, *args)
    assert inside["event"].numpy().tolist() == known.event_shape.as_list()
    assert inside["batch"].numpy().tolist() == [2, 3]
    assert inside["draws"].numpy().tolist() == [2, 2, 3, *known.event_shape]
    np.testing.assert_allclose(inside["log_prob"], known.log_prob(draw), rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "make"), [("IndependentNormal", new), *BY_LAYER])
def test_the_size_of_the_inputs_alone_is_unknown(name, make):
    args, size = ALL[name]
    params = np.random.default_rng(0).normal(size=(5, size)).astype(np.float32)
    known = make(name, tf.constant(params), *args)
    draw = known.sample(seed=(3, 4))
    inside = tf.function(
        lambda params: make(name, params, *args).log_prob(draw), input_signature=[tf.TensorSpec([None, None])]
    )
    np.testing.assert_allclose(inside(params), known.log_prob(draw), rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_params_size_takes_tensors(name):
    args, size = ALL[name]
    params_size = getattr(tfpl, name).params_size
    assert params_size(*args) == params_size(*map(tf.constant, args)) == size
    with tf.Graph().as_default():
        placeholders = [tf.compat.v1.placeholder(tf.int32) for _ in args]
        feed = dict(zip(placeholders, args, strict=True))
        with tf.compat.v1.Session() as session:
            assert session.run(params_size(*placeholders), feed) == size


@pytest.mark.parametrize("make", [new, layer])
def test_a_mixture_of_a_layer_of_unknown_event(make):
    params = np.random.default_rng(0).normal(size=(5, 3 * (1 + 8))).astype(np.float32)
    draw = np.zeros((5, 2, 2), np.float32)

    @tf.function(input_signature=[UNKNOWN, UNKNOWN_SHAPE])
    def inside(params, event_shape):
        return values_of(make("MixtureSameFamily", params, 3, tfpl.IndependentNormal(event_shape)), draw)

    known = make("MixtureSameFamily", tf.constant(params), 3, tfpl.IndependentNormal([2, 2]))
    values = inside(params, [2, 2])
    assert values["draws"].numpy().tolist() == [2, 5, 2, 2]
    np.testing.assert_allclose(values["log_prob"], known.log_prob(draw), rtol=1e-5)


@pytest.mark.parametrize("shape", [tf.constant([2, 3]), np.array([2, 3]), tf.TensorShape([2, 3]), tf.Variable([2, 3])])
def test_tensors_that_have_a_value_are_integers(shape, tmp_path):
    layer = tfpl.IndependentNormal(shape)
    assert layer.event_shape == (2, 3)
    assert tfpl.IndependentNormal.from_config(layer.get_config()).event_shape == (2, 3)


@pytest.mark.parametrize("size", [tf.constant(3), np.array(3), np.int64(3), tf.constant(3, tf.int64)])
def test_a_size_that_is_a_tensor_is_an_integer(size):
    assert tfpl.MultivariateNormalTriL(size).event_size == 3
    assert tfpl.MultivariateNormalTriL.params_size(size) == 9


@pytest.mark.parametrize(
    "size",
    [0, -1, 2.5, True, "3", None, np.array(2.0), *map(tf.constant, (0, 2.5, True, [3, 3]))],
)
def test_bad_sizes_are_refused_as_before(size):
    with pytest.raises(ModelError, match="event_size must be an integer of at least 1"):
        tfpl.MultivariateNormalDiag(size)


@pytest.mark.parametrize(
    "shape", [0, [2, -1], 2.5, [[2, 3]], "3", tf.constant([2, 0]), tf.constant([2.0]), tf.constant([[2]]), [2, None]]
)
def test_bad_event_shapes_are_refused_as_before(shape):
    with pytest.raises(ModelError, match="event_shape must be"):
        tfpl.IndependentNormal(shape)


@pytest.mark.parametrize("spec", [tf.TensorSpec(None), tf.TensorSpec([2])])
def test_a_shape_of_a_graph_must_be_integers(spec):
    with pytest.raises(ModelError, match="event_shape must be made of integers"):
        tf.function(lambda shape: tfpl.IndependentNormal(shape)(tf.zeros([1, 4])).mean(), input_signature=[spec])(
            [2.0, 1.0]
        )


def test_a_sequence_may_hold_a_tensor():
    @tf.function(input_signature=[tf.TensorSpec([None, None, None])])
    def mean(images):
        return tfpl.IndependentBernoulli([tf.shape(images)[1], 3])(tf.reshape(images, [tf.shape(images)[0], -1])).mean()

    assert mean(np.zeros((5, 2, 3), np.float32)).shape == (5, 2, 3)


def test_a_layer_of_a_tensor_cannot_be_saved():
    configs = []

    @tf.function(input_signature=[UNKNOWN_SHAPE])
    def make(shape):
        for layer in (tfpl.IndependentNormal(shape), tfpl.MixtureNormal(2, shape), tfpl.OneHotCategorical(shape[0])):
            with pytest.raises(ModelError, match=r"cannot be saved\. Give integers"):
                configs.append(layer.get_config())
        return shape

    make([2, 3])
    assert not configs


def test_inputs_that_do_not_fit_are_refused_when_the_graph_runs():
    function = tf.function(
        lambda params, shape: tfpl.IndependentNormal.new(params, shape).mean(), input_signature=[UNKNOWN, UNKNOWN_SHAPE]
    )
    with pytest.raises(tf.errors.InvalidArgumentError):
        function(np.zeros((2, 7), np.float32), [2, 2])


def test_a_model_of_inputs_of_unknown_size_trains():
    """TFP's test_doc_string of inputs without a size: the layer before it gives the size of its parameters."""
    model = keras.Sequential([keras.Input((None,)), tfpl.DistributionLambda(lambda t: tfd.Normal(t, 1.0))])
    assert model(np.zeros((2, 3), np.float32)).log_prob(np.zeros((2, 3), np.float32)).shape == (2, 3)
