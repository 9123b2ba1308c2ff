"""A normalising flow as the prior [DSB17, PP17]."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
from scipy import stats

FLOWS = {
    "RealNVP": lambda L: L.RealNVP(4, (8,)),
    "MaskedAutoregressive": lambda L: L.MaskedAutoregressive(2, (8,)),
}
SPREAD = {"RealNVP": 0.3, "MaskedAutoregressive": 0.7}
"""How far the weights are from the first ones."""


@pytest.fixture
def make():
    """`make(name, size)`: a prior with weights as after training."""
    import keras

    from tfpvae import layers, priors

    def build(name, size=2):
        keras.utils.set_random_seed(2)
        prior = priors.FlowPrior(size, FLOWS[name](layers))
        rng = np.random.default_rng(0)
        for weight in prior.weights:
            weight.assign(weight + rng.normal(scale=SPREAD[name], size=weight.shape))
        return prior

    return build


@pytest.mark.parametrize("name", FLOWS)
def test_log_prob_is_the_gaussians_less_the_log_determinant_of_the_jacobian(name, make):
    import tensorflow as tf

    prior = make(name, 3)
    u = tf.constant(np.random.default_rng(1).normal(size=(6, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(u)
        z = prior.flow.forward(u)[0]
    log_det = np.linalg.slogdet(tape.batch_jacobian(z, u).numpy().astype(np.float64))[1]
    assert np.abs(log_det).max() > 0.1
    expected = stats.norm.logpdf(u.numpy().astype(np.float64)).sum(axis=-1) - log_det
    np.testing.assert_allclose(prior.distribution().log_prob(z), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FLOWS)
def test_the_density_integrates_to_one(name, make):
    axis = np.linspace(-40, 40, 1001, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    log_prob = make(name).distribution().log_prob(grid).numpy().astype(np.float64)
    assert np.exp(log_prob).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=2e-3)
    # And it is no Gaussian.
    gaussian = stats.norm.logpdf(grid).sum(axis=-1)
    assert np.abs(np.exp(log_prob) - np.exp(gaussian)).max() > 0.05


def test_in_one_dimension(make):
    prior = make("MaskedAutoregressive", 1)
    axis = np.linspace(-20, 20, 4001, dtype=np.float32)[:, None]
    density = np.exp(prior.distribution().log_prob(axis))
    assert scipy.integrate.trapezoid(density, axis[:, 0]) == pytest.approx(1.0, abs=1e-4)


def test_at_first_it_is_the_standard_normal():
    from tfpvae.layers import MaskedAutoregressive
    from tfpvae.priors import FlowPrior

    z = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    expected = stats.norm.logpdf(np.float64(z)).sum(axis=-1)
    for prior in (FlowPrior(4), FlowPrior(4, MaskedAutoregressive(2, (8,)))):
        np.testing.assert_allclose(prior.distribution().log_prob(z), expected, rtol=1e-5)


@pytest.mark.slow
def test_it_learns_what_no_gaussian_is(make):
    """Two clusters: maximum likelihood comes near their entropy, far below the best Gaussian's."""
    import keras
    import tensorflow as tf

    rng = np.random.default_rng(0)
    data = rng.choice([-3.0, 3.0], size=(1000, 1)) + rng.normal(scale=0.5, size=(1000, 2))
    z = tf.constant(data, tf.float32)
    keras.utils.set_random_seed(0)
    from tfpvae.priors import FlowPrior

    prior = FlowPrior(2)
    optimizer = keras.optimizers.Adam(5e-3)
    optimizer.build(prior.trainable_weights)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(prior.distribution().log_prob(z))
        optimizer.apply(tape.gradient(loss, prior.trainable_weights), prior.trainable_weights)
        return loss

    for _ in range(300):
        loss = step()
    entropy = np.log(2) + np.log(2 * np.pi * np.e * 0.25)
    gaussian = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * np.cov(data.T))[1]
    assert float(loss) < entropy + 0.3 < gaussian - 0.2


def test_wrong_arguments_are_named():
    from tfpvae.errors import ModelError
    from tfpvae.layers import RealNVP
    from tfpvae.priors import FlowPrior

    with pytest.raises(ModelError, match=r"event_size must be an integer of at least 1\. Received: event_size=0"):
        FlowPrior(0)
    with pytest.raises(ModelError, match=r"flow must be one of tfpvae\.layers' flows.*Received: flow='realnvp'"):
        FlowPrior(3, "realnvp")
    with pytest.raises(ModelError, match=r"2 dimensions or more.*Use MaskedAutoregressive"):
        FlowPrior(1)
    flow = RealNVP()
    FlowPrior(3, flow)
    with pytest.raises(ModelError, match=r"of the prior's dimension, 4, or new\. Received: a flow .* with 3"):
        FlowPrior(4, flow)
