"""What every prior must do: one table of cases, and every class has one."""

from __future__ import annotations

import json

import numpy as np
import pytest

# Name -> how it is made of priors, layers and tfd. Each is for three latents.
CASES = {
    "DistributionPrior": lambda P, L, tfd: P.DistributionPrior(
        tfd.MultivariateNormalDiag(np.float32([1.0, -2.0, 0.5]), np.float32([0.5, 1.0, 2.0]))
    ),
    "FittedMixturePrior": lambda P, L, tfd: fitted(P),
    "FlowPrior": lambda P, L, tfd: P.FlowPrior(3, L.RealNVP(3, (4,))),
    "FlowPrior, masked autoregressive": lambda P, L, tfd: P.FlowPrior(3, L.MaskedAutoregressive(2, (4,))),
    "MixturePrior": lambda P, L, tfd: P.MixturePrior(3, 4),
    "StandardNormal": lambda P, L, tfd: P.StandardNormal(3),
    "VampPrior": lambda P, L, tfd: P.VampPrior(5, mean=0.5, stddev=0.5),
}
LEARNED = [name for name in CASES if name not in ("DistributionPrior", "FittedMixturePrior", "StandardNormal")]


def fitted(priors):
    """To two curved clouds."""
    rng = np.random.default_rng(2)
    z = rng.standard_normal((400, 3))
    z[:, 1] += z[:, 0] ** 2
    z[::2] = 0.3 * z[::2] + [4, 0, 1]
    prior = priors.FittedMixturePrior(3, 4)
    prior.fit(z)
    return prior


@pytest.fixture
def make():
    import keras
    import tensorflow_probability as tfp

    from tfpvae import layers, priors

    keras.utils.set_random_seed(6)
    return lambda name: CASES[name](priors, layers, tfp.distributions)


@pytest.fixture
def trained(make, tiny_vae):
    """`trained(name)`: a VAE whose weights are those of long training, as far as anyone can tell."""

    def build(name):
        vae = tiny_vae(make(name))
        rng = np.random.default_rng(1)
        for weight in (*vae.prior.trainable_weights, *vae.encoder.trainable_weights):
            weight.assign(weight + rng.normal(scale=0.5, size=weight.shape))
        return vae

    return build


def uniforms(prior, n, seed=0):
    """As tfpvae makes them: multiples of 2^-24 below one."""
    drawn = np.random.default_rng(seed).integers(0, 2**24, (n, prior.num_uniforms))
    return drawn.astype(np.float32) * np.float32(2**-24)


def test_every_prior_has_a_case():
    from tfpvae import priors
    from tfpvae._registry import registered_classes

    concrete = set(priors.__all__) - {"Prior"}
    registered = {name for name, module in registered_classes().items() if module.startswith("tfpvae.priors.")}
    assert registered == concrete
    # ConditionalPrior is not for the models of this table: test_conditional_prior.py has it.
    assert {name.partition(",")[0] for name in CASES} == concrete - {"ConditionalPrior"}


@pytest.mark.parametrize("name", CASES)
def test_its_config_is_plain_json(name, make):
    import keras

    prior = make(name)
    text = json.dumps(keras.saving.serialize_keras_object(prior))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is type(prior)
    assert json.dumps(again.get_config()) == json.dumps(prior.get_config())


@pytest.mark.parametrize("name", CASES)
def test_draws_by_uniforms_are_draws_of_the_distribution(name, trained):
    prior = trained(name).prior
    n = 20_000
    draws = prior.draw(uniforms(prior, n)).numpy().astype(np.float64)
    p = prior.distribution()
    assert p.batch_shape == []
    assert p.event_shape == [prior.event_size] == [3]
    samples = p.sample(n, seed=(3, 4)).numpy().astype(np.float64)
    assert draws.shape == samples.shape == (n, 3)
    for statistic in (lambda z: z, np.square, lambda z: z * np.roll(z, 1, axis=-1), lambda z: z > 0.5):
        a, b = statistic(draws), statistic(samples)
        error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / n)
        assert (np.abs(a.mean(axis=0, dtype=np.float64) - b.mean(axis=0, dtype=np.float64)) < 4 * error).all()


@pytest.mark.parametrize("name", CASES)
def test_a_draw_depends_on_its_own_uniforms_alone(name, trained):
    prior = trained(name).prior
    u = uniforms(prior, 7)
    z = prior.draw(u)
    for i in range(7):
        np.testing.assert_allclose(prior.draw(u[i : i + 1])[0], z[i], atol=1e-5)
    assert len({tuple(row) for row in z.numpy()}) == 7
    for u in (0.0, 0.5, 1.0 - 2.0**-24):
        assert np.isfinite(prior.draw(np.full((2, prior.num_uniforms), u, np.float32))).all()


@pytest.mark.parametrize("name", CASES)
def test_log_prob_takes_any_number_of_draws_and_has_gradients(name, trained):
    import tensorflow as tf

    vae = trained(name)
    z = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(z)
        log_prob = vae.prior.distribution().log_prob(z)
        loss = tf.reduce_sum(log_prob)
    assert log_prob.shape == (2, 5)
    np.testing.assert_allclose(log_prob[1, 2], vae.prior.distribution().log_prob(z[1, 2]), rtol=1e-4)
    gradients = tape.gradient(loss, [z, *vae.prior.trainable_weights])
    assert all(np.abs(g).max() > 0 for g in gradients)


@pytest.mark.parametrize("name", LEARNED)
def test_a_vae_trains_it_without_a_warning_and_saves_it(name, make, tiny_vae, x, tmp_path):
    import keras

    from tfpvae.layers.kl import exact_kl

    vae = tiny_vae(make(name))
    variables = vae.trainable_variables
    assert len({id(v) for v in variables}) == len(variables)
    assert {id(v) for v in vae.prior.trainable_weights} <= {id(v) for v in variables}
    assert exact_kl(vae.posterior(x), vae.prior.distribution()) is None
    before = [np.array(w) for w in vae.prior.trainable_weights]
    assert before
    vae.fit(x, epochs=2, batch_size=16, verbose=0)
    assert all((a != np.array(b)).any() for a, b in zip(before, vae.prior.trainable_weights, strict=True))

    vae.save(tmp_path / "vae.keras")
    again = keras.models.load_model(tmp_path / "vae.keras")
    assert type(again.prior) is type(vae.prior)
    z = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(again.prior.distribution().log_prob(z), vae.prior.distribution().log_prob(z))
    np.testing.assert_array_equal(again.sample_latent(5, seed=3), vae.sample_latent(5, seed=3))
    # Training goes on with the optimizer's state of each variable.
    for a, b in zip(again.optimizer.variables, vae.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)


# tf2onnx still calls NumPy by names of version 1.
@pytest.mark.filterwarnings("ignore:.*np.object.*:FutureWarning")
@pytest.mark.parametrize(
    "name",
    ["FittedMixturePrior", "FlowPrior", *(pytest.param(name, marks=pytest.mark.slow) for name in LEARNED[1:])],
)
def test_its_draws_are_exported_and_the_same_everywhere(name, trained, tmp_path, only):
    import tfpvae
    from tfpvae.export import Profile
    from tfpvae.export.targets.onnx import run_onnx
    from tfpvae.random.seeds import seeds_for

    only("decode", "sample_latent")
    vae = trained(name)
    # Parity of SavedModel and ONNX Runtime with Keras is part of the export.
    profile = Profile(float16="never", int8="never")
    export = tfpvae.export_model(vae, tmp_path / "model", profile=profile)
    seeds = seeds_for(2000, 5)
    found = run_onnx(export.path / "onnx")("sample_latent", {"seed": seeds})["z"]
    expected = vae.sample_latent(seed=seeds).numpy()
    # Where a component is picked, not one of them is another one.
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
