"""The support of distributions that no layer of tfpvae makes, and of `DistributionLambda`."""

from __future__ import annotations

import numpy as np
import pytest

from tfpvae import supports


def mixture(tfd, components):
    return tfd.MixtureSameFamily(tfd.Categorical(probs=[0.5, 0.5]), components)


DISTRIBUTIONS = {
    "Bernoulli": (lambda tfd: tfd.Bernoulli(0.0), supports.Binary()),
    "Independent(Bernoulli)": (lambda tfd: tfd.Independent(tfd.Bernoulli([0.0, 0.0]), 1), supports.Binary()),
    "Sample(Bernoulli)": (lambda tfd: tfd.Sample(tfd.Bernoulli(0.0), 3), supports.Binary()),
    "mixture of Bernoulli": (lambda tfd: mixture(tfd, tfd.Bernoulli([0.0, 1.0])), supports.Binary()),
    "ContinuousBernoulli": (lambda tfd: tfd.ContinuousBernoulli(0.0), supports.UnitInterval()),
    "Beta": (lambda tfd: tfd.Beta(1.0, 2.0), supports.UnitInterval(open=True)),
    "Gamma": (lambda tfd: tfd.Gamma(1.0, 2.0), supports.Positive()),
    "Exponential": (lambda tfd: tfd.Exponential(1.0), supports.Interval(low=0.0)),
    "Poisson": (lambda tfd: tfd.Poisson(1.0), supports.Counts()),
    "NegativeBinomial": (lambda tfd: tfd.NegativeBinomial(1.0, 0.0), supports.Counts()),
    "Categorical": (lambda tfd: tfd.Categorical(probs=[0.2, 0.8]), supports.Categories(2)),
    "OneHotCategorical": (lambda tfd: tfd.OneHotCategorical(logits=[0.2, 0.8, 0.0]), supports.OneHot(3)),
    "Normal": (lambda tfd: tfd.Normal(0.0, 1.0), None),
    "LogNormal": (lambda tfd: tfd.LogNormal(0.0, 1.0), None),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_support_of_tfps_distributions(name):
    from tensorflow_probability import distributions as tfd

    from tfpvae.layers.support import support_of

    make, support = DISTRIBUTIONS[name]
    assert support_of(make(tfd)) == support


@pytest.mark.parametrize("name", [name for name, (_, support) in DISTRIBUTIONS.items() if support is not None])
def test_every_draw_is_possible(name):
    import tensorflow as tf
    from tensorflow_probability import distributions as tfd

    make, support = DISTRIBUTIONS[name]
    draws = make(tfd).sample(100, seed=[0, 1])
    assert np.asarray(support.possible(tf.cast(draws, tf.float32))).all()


def _spread(t):
    from tensorflow_probability import distributions as tfd

    return tfd.Independent(tfd.Gamma(2.0, 1.0 + t**2), 1)


class TestDistributionLambda:
    def test_tells_it_by_the_distribution(self):
        from tfpvae import layers

        assert layers.DistributionLambda(_spread)(np.ones((2, 3), np.float32)).support == supports.Positive()

    @pytest.mark.parametrize("own", [False, True], ids=["of tfpvae", "own"])
    def test_takes_it_as_an_argument_and_saves_it(self, own):
        import keras

        from tfpvae import layers

        @keras.saving.register_keras_serializable(package="test_support")
        class Even(supports.Support):
            name = "even"
            low = 0.0
            step = 2.0

        keras.saving.register_keras_serializable(package="test_support")(_spread)
        layer = layers.DistributionLambda(_spread, support=Even() if own else supports.Interval(0.0, 5.0, advice="x"))
        again = layers.DistributionLambda.from_config(layer.get_config())
        support = again(np.ones((2, 3), np.float32)).support
        assert isinstance(support, Even) if own else support == layer.support


def test_a_cast_distribution_keeps_it():
    import tensorflow as tf

    from tfpvae import layers

    rv = layers.IndependentGamma(2)(np.ones((1, 4), np.float32))
    assert tf.cast(rv, tf.float64).support == supports.Positive()


def test_a_layer_that_says_nothing_is_over_all_numbers():
    from tfpvae import layers

    class Own(layers.DistributionLayer):
        pass

    assert Own().support == supports.Real()
