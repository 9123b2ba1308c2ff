"""The mixture of posteriors at learned pseudo-inputs [TW18]."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

EVENT = 6


@pytest.fixture
def start():
    return np.random.default_rng(2).uniform(size=(4, EVENT)).astype(np.float32)


def test_log_prob_is_that_of_the_mixture_of_posteriors(tiny_vae, start):
    from tfpvae.priors import VampPrior

    vae = tiny_vae(VampPrior(4, pseudo_inputs=start))
    np.testing.assert_allclose(vae.prior.pseudo_inputs, start, atol=1e-7)
    named = vae.encode(start).named_parameters
    z = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)
    posteriors = stats.norm(np.float64(named["loc"]), np.float64(named["scale"]))
    expected = special.logsumexp(posteriors.logpdf(z[:, None]).sum(axis=-1), axis=-1) - np.log(4)
    np.testing.assert_allclose(vae.prior.distribution().log_prob(z), expected, rtol=1e-4, atol=1e-5)
    assert vae.prior.event_size == vae.latent_size == 3


def test_it_follows_the_encoder(tiny_vae, start):
    from tfpvae.priors import VampPrior

    vae = tiny_vae(VampPrior(4, pseudo_inputs=start))
    z = np.zeros((1, 3), np.float32)
    before = vae.prior.distribution().log_prob(z)
    vae.encoder.layers[1].bias.assign(np.arange(6))
    assert np.abs(vae.prior.distribution().log_prob(z) - before).max() > 0.1


def test_its_only_weights_are_the_pseudo_inputs(tiny_vae):
    import tensorflow as tf

    from tfpvae.priors import VampPrior

    vae = tiny_vae(VampPrior(4))
    assert [w.shape for w in vae.prior.weights] == [(4, EVENT)]
    assert len(vae.trainable_variables) == len(vae.encoder.weights) + len(vae.decoder.weights) + 1
    assert vae.prior.shares_encoder
    # And yet the prior's density has a gradient in the encoder's weights.
    with tf.GradientTape() as tape:
        log_prob = vae.prior.distribution().log_prob(tf.zeros([1, 3]))
    assert all(np.abs(g).max() > 0 for g in tape.gradient(log_prob, vae.encoder.trainable_weights))


def test_components_are_picked_equally_often(tiny_vae, start):
    from tfpvae.priors import VampPrior

    vae = tiny_vae(VampPrior(4, pseudo_inputs=start))
    prior = vae.prior
    u = np.zeros((2**12, prior.num_uniforms), np.float32)
    u[:, 0] = np.arange(2**12) / 2**12
    loc = vae.encode(start).named_parameters["loc"].numpy()
    np.testing.assert_allclose(prior.draw(u), np.repeat(loc, 2**10, axis=0), atol=1e-6)


@pytest.mark.parametrize("components", [3, 49, 500])
def test_the_last_uniform_picks_the_last_component(tiny_vae, components):
    from tfpvae.priors import VampPrior

    vae = tiny_vae(VampPrior(components, mean=0.5, stddev=0.2))
    u = np.zeros((1, vae.prior.num_uniforms), np.float32)
    u[:, 0] = 1 - 2.0**-24
    loc = vae.encode(vae.prior.pseudo_inputs).named_parameters["loc"]
    np.testing.assert_allclose(vae.prior.draw(u)[0], loc[-1], atol=1e-5)


def test_at_first_and_within_bounds(tiny_vae):
    import keras
    import tensorflow as tf

    from tfpvae.priors import VampPrior

    prior = tiny_vae(VampPrior(200, seed=1)).prior
    values = np.ravel(prior.pseudo_inputs)
    assert stats.kstest((values - 0.05) / 0.01, "norm").pvalue > 1e-3
    wide = tiny_vae(VampPrior(200, mean=0.0, stddev=1.0, seed=1)).prior
    values = np.array(wide.pseudo_inputs)
    assert values.min() == 0.0
    assert values.max() == 1.0
    assert np.abs(tiny_vae(VampPrior(200, stddev=1.0, bounds=None)).prior.pseudo_inputs).max() > 2.0
    # What is outside can come back.
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(wide.pseudo_inputs)
    np.testing.assert_array_equal(tape.gradient(total, wide.weights[0]), np.ones((200, EVENT)))
    keras.optimizers.SGD(1.0).apply([tf.fill([200, EVENT], 10.0)], wide.weights)
    np.testing.assert_array_equal(wide.pseudo_inputs, np.zeros((200, EVENT)))


@pytest.mark.parametrize("name", ["MultivariateNormalTriL", "IndependentNormal", "InverseAutoregressiveFlow"])
def test_any_posterior_does(tiny_vae, name):
    from tfpvae import layers
    from tfpvae.priors import VampPrior

    vae = tiny_vae(VampPrior(4, mean=0.5, stddev=0.3), getattr(layers, name)(3))
    z = vae.sample_latent(3000, seed=0).numpy().astype(np.float64)
    samples = vae.prior.distribution().sample(3000, seed=(1, 2)).numpy().astype(np.float64)
    error = np.sqrt((z.var(axis=0) + samples.var(axis=0)) / 3000)
    assert (np.abs(z.mean(axis=0) - samples.mean(axis=0)) < 4 * error).all()
    assert np.isfinite(vae.prior.distribution().log_prob(z.astype(np.float32))).all()


def test_a_posterior_without_named_parameters_is_not_drawn_by_seed(tiny_vae):
    import tensorflow_probability as tfp

    from tfpvae import layers
    from tfpvae.priors import VampPrior

    tfd = tfp.distributions
    posterior = layers.DistributionLambda(lambda t: tfd.MultivariateNormalDiag(t[..., :3], 1.0 + t[..., 3:] ** 2))
    vae = tiny_vae(VampPrior(4, mean=0.5, stddev=0.3), posterior)
    assert vae.prior.num_uniforms is None
    with pytest.raises(NotImplementedError, match="VampPrior cannot be drawn from a fixed number of uniforms"):
        vae.prior.draw(np.zeros((1, 5), np.float32))
    z = vae.prior.distribution().sample(5, seed=(1, 2))
    assert z.shape == (5, 3)
    assert vae.prior.distribution().log_prob(z).shape == (5,)


def test_without_a_model_it_says_what_it_lacks():
    from tfpvae.errors import ModelError
    from tfpvae.priors import VampPrior

    prior = VampPrior(4)
    for use in (
        lambda: prior.event_size,
        lambda: prior.num_uniforms,
        lambda: prior.pseudo_inputs,
        prior.distribution,
        lambda: prior.draw(np.zeros((1, 5), np.float32)),
    ):
        with pytest.raises(ModelError, match=r"A VampPrior must be given to a model, VAE\(encoder, decoder, prior="):
            use()


def test_one_model_alone(tiny_vae):
    from tfpvae.errors import ModelError
    from tfpvae.priors import VampPrior

    prior = VampPrior(4)
    tiny_vae(prior)
    with pytest.raises(ModelError, match="must be of one model alone"):
        tiny_vae(prior)


def test_pseudo_inputs_of_another_shape_are_named(tiny_vae):
    from tfpvae.errors import ModelError
    from tfpvae.priors import VampPrior

    with pytest.raises(ModelError, match=r"must have shape \[K, \*event_shape\], \[4, 6\]\. Received: shape \[4, 5\]"):
        tiny_vae(VampPrior(4, pseudo_inputs=np.zeros((4, 5))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"components": 0}, r"components must be an integer of at least 1\. Received: components=0"),
        (
            {"pseudo_inputs": np.zeros((4, 6))},
            r"numbers of shape \[K, \*event_shape\], K = 3\. Received: shape \[4, 6\]",
        ),
        ({"pseudo_inputs": np.array(["a", "b", "c"])}, r"must be numbers of shape .* dtype <U1"),
        ({"pseudo_inputs": np.full((3, 6), 1.5)}, r"within bounds=\(0\.0, 1\.0\)\. Received: values from 1\.5 to 1\.5"),
        ({"pseudo_inputs": np.full((3, 6), np.nan), "bounds": None}, r"must be finite"),
        ({"stddev": -1.0}, r"stddev must be a number of at least 0\. Received: stddev=-1\.0"),
        ({"mean": "zero"}, r"mean must be a number\. Received: mean='zero'"),
        ({"bounds": (1.0, 0.0)}, r"bounds must be two rising numbers, .*or None\. Received: bounds=\(1\.0, 0\.0\)"),
        ({"bounds": 1.0}, r"bounds must be two rising numbers"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    from tfpvae.errors import ModelError
    from tfpvae.priors import VampPrior

    with pytest.raises(ModelError, match=message):
        VampPrior(**{"components": 3, **arguments})
