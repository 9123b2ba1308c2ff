"""Objectives as arguments of a model: what it maximises, what it reports, what it refuses, what it saves."""

from __future__ import annotations

import json

import numpy as np
import pytest


def objectives():
    from tfpvae.objectives import DReG, Elbo, FreeBits, Iwae
    from tfpvae.schedules import KLWarmUp

    return {
        "elbo": Elbo(),
        "beta": Elbo(beta=4.0),
        "warm-up": Elbo(beta=KLWarmUp(steps=10, start=0.5)),
        "free bits": FreeBits(0.3),
        "iwae": Iwae(5),
        "dreg": DReG(k=3, beta=KLWarmUp(steps=4)),
    }


NAMES = ["elbo", "beta", "warm-up", "free bits", "iwae", "dreg"]


@pytest.fixture
def build_with(build_vae, digits):
    """`build_with(objective)`: a new VAE with that objective and the same weights every time."""
    import keras

    import tfpvae
    from tfpvae.training import FusedAdam

    def build(objective, **parts):
        keras.utils.set_random_seed(3)
        plain = build_vae(**parts)
        model = tfpvae.VAE(plain.encoder, plain.decoder, plain.prior, objective=objective)
        model.compile(FusedAdam(1e-2))
        return model

    return build


@pytest.mark.parametrize("name", NAMES)
def test_fit_maximises_it_and_reports_the_plain_terms(name, build_with, digits):
    model = build_with(objectives()[name])
    history = model.fit(digits.train[:400], epochs=3, batch_size=50, verbose=0).history
    assert set(history) == {"loss", "elbo", "log_likelihood", "kl"}
    assert history["loss"][-1] < history["loss"][0]
    np.testing.assert_allclose(
        history["elbo"], np.subtract(history["log_likelihood"], history["kl"]), rtol=1e-4
    )  # Whatever is maximised, elbo is the ELBO.


@pytest.mark.parametrize("name", NAMES)
def test_it_is_saved_with_the_model(name, build_with, digits, tmp_path):
    import keras
    import tensorflow as tf

    objective = objectives()[name]
    json.dumps(objective.get_config())
    model = build_with(objective)
    model.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert type(loaded.objective) is type(objective)
    assert loaded.objective.get_config() == objective.get_config()
    x, seed = tf.constant(digits.test[:5]), tf.constant([1, 2])
    one, other = (m.objective(m, x, seed, step=2) for m in (model, loaded))
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_the_values_of_the_bounds_by_hand(vae, digits):
    import tensorflow as tf

    from tfpvae.layers.kl import kl_per_value
    from tfpvae.objectives import elbo, free_bits, iwae, log_weights

    x, seed = tf.constant(digits.test[:9]), tf.constant([7, 8])
    plain = elbo(vae, x, seed)
    beta = elbo(vae, x, seed, beta=2.5)
    np.testing.assert_allclose(beta.bound, plain.log_likelihood - 2.5 * plain.kl, rtol=1e-5)
    np.testing.assert_array_equal(beta.elbo, plain.elbo)

    q = vae.encode(x)
    loc, scale = q.loc.numpy(), q.stddev().numpy()
    per_latent = 0.5 * (scale**2 + loc**2 - 1) - np.log(scale)
    np.testing.assert_allclose(kl_per_value(q, vae.prior.distribution()), per_latent, rtol=1e-4, atol=1e-5)
    nats = float(np.median(per_latent.mean(0)))  # Some latents below, some above.
    bits = free_bits(vae, x, nats, seed)
    counted = np.maximum(per_latent.mean(0), nats).sum()
    assert counted > per_latent.sum(1).mean() + 1e-3
    np.testing.assert_allclose(bits.bound, plain.log_likelihood - counted, rtol=1e-4)
    np.testing.assert_allclose(bits.kl, plain.kl, rtol=1e-4)
    np.testing.assert_allclose(free_bits(vae, x, 0.0, seed).bound.numpy().mean(), plain.elbo.numpy().mean(), rtol=1e-5)

    for factor in (1.0, 0.5):
        terms = iwae(vae, x, 6, seed, beta=factor)
        z = vae.posterior(x).sample(6, seed=seed)
        likelihood = np.stack([vae.likelihood(draw).log_prob(x) for draw in z])
        weights = likelihood + factor * (log_weights(vae, x, 6, seed).numpy() - likelihood)
        expected = np.log(np.mean(np.exp(weights - weights.max(0)), axis=0)) + weights.max(0)
        np.testing.assert_allclose(terms.bound, expected, rtol=1e-4)


def test_the_factor_of_the_kl_is_one_unless_it_is_said(vae, digits):
    import tensorflow as tf

    from tfpvae.objectives import DReG, Elbo, FreeBits, Iwae

    x, seed = tf.constant(digits.test[:9]), tf.constant([7, 8])
    for kind, arguments in ((Elbo, ()), (FreeBits, (0.1,)), (Iwae, (2,)), (DReG, (2,))):
        bound, of_one, of_half = (
            kind(*arguments, **beta)(vae, x, seed).bound.numpy() for beta in ({}, {"beta": 1.0}, {"beta": 0.5})
        )
        np.testing.assert_array_equal(bound, of_one)
        assert (np.abs(of_half - of_one) > 0.1).all()


def test_a_schedule_counts_training_steps_and_a_loaded_model_goes_on(build_with, digits, tmp_path):
    import keras

    from tfpvae.objectives import Elbo
    from tfpvae.schedules import KLWarmUp

    model = build_with(Elbo(beta=KLWarmUp(steps=4)))
    x = digits.train[:50]

    def factor(model):
        """The factor of the KL that the loss shows."""
        result = model.evaluate(x, batch_size=50, verbose=0, return_dict=True)
        return (result["log_likelihood"] + result["loss"]) / result["kl"]

    seen = [factor(model)]
    for _ in range(2):
        model.fit(x, batch_size=50, verbose=0)
        seen.append(factor(model))
    model.save(tmp_path / "vae.keras")
    model = keras.models.load_model(tmp_path / "vae.keras")
    seen.append(factor(model))
    model.fit(x, batch_size=10, verbose=0)  # Five more.
    seen.append(factor(model))
    np.testing.assert_allclose(seen, [0.0, 0.25, 0.5, 0.5, 1.0], atol=1e-3)


@pytest.mark.slow
def test_free_bits_keep_a_latent_from_falling_silent(build_with, digits):
    """Their point: with a strong pull to the prior, the KL of each latent stays at what is free."""
    from tfpvae.objectives import Elbo, FreeBits

    rates = {}
    for objective in (Elbo(beta=30.0), FreeBits(0.5, beta=30.0)):
        model = build_with(objective)
        model.fit(digits.train, epochs=8, batch_size=50, verbose=0)
        rates[type(objective)] = model.evaluate(digits.test, verbose=0, return_dict=True)["kl"]
    assert rates[Elbo] < 0.4
    assert rates[FreeBits] > 0.8


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Iwae", {"k": 0}, "k must be an integer of at least 1. Received: k=0"),
        ("Iwae", {"k": 2.0}, "k must be an integer of at least 1"),
        ("DReG", {"k": -1}, "k must be an integer of at least 1"),
        ("FreeBits", {"nats": -0.1}, "nats must be a number of at least 0"),
        ("FreeBits", {"nats": "2"}, "nats must be a number of at least 0"),
        ("Elbo", {"beta": -1.0}, "beta must be a number of 0 or more, or a schedule"),
        ("Elbo", {"beta": float("nan")}, "beta must be a number of 0 or more, or a schedule"),
        ("Elbo", {"beta": "linear"}, "beta must be a number of 0 or more, or a schedule"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(name, arguments, message):
    from tfpvae import objectives
    from tfpvae.errors import ModelError

    with pytest.raises(ModelError, match=message):
        getattr(objectives, name)(**arguments)


def test_what_is_no_objective_is_refused(build_with):
    from tfpvae.errors import ModelError
    from tfpvae.objectives import Iwae

    for wrong in ("iwae", Iwae, 5):
        with pytest.raises(ModelError, match=r"objective must be one of tfpvae.objectives, such as Iwae\(k=50\)"):
            build_with(wrong)


def test_a_bound_that_the_model_does_not_have_is_refused_when_it_is_built(build_with):
    from tfpvae import layers, priors
    from tfpvae.errors import ModelError
    from tfpvae.objectives import DReG, Elbo, FreeBits, Iwae

    with pytest.raises(ModelError, match="FreeBits must have a KL that is a sum over the latents"):
        build_with(FreeBits(0.1), posterior=layers.MultivariateNormalTriL(4))
    for objective in (None, Elbo(), Iwae(2)):
        with pytest.raises(ModelError, match=r"must have a posterior that is reparameterised.*OneHotCategorical"):
            build_with(objective, posterior=layers.OneHotCategorical(4))

    class OfTheEncoder(priors.StandardNormal):
        shares_encoder = True

    with pytest.raises(ModelError, match="DReG must have a prior that does not share the encoder's weights"):
        build_with(DReG(2), prior=OfTheEncoder(4))
    assert build_with(Iwae(2), prior=OfTheEncoder(4)).built
