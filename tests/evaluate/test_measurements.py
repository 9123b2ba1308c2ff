"""All figures at once are those of the functions one by one."""

import json

import numpy as np
import pytest

from tfpvae.errors import ModelError


def test_the_figures_of_a_bernoulli_model(vae, digits):
    from tfpvae import evaluate

    x, x_train = digits.test[:150], digits.train[:40]
    steps: list[str] = []
    found = evaluate.measure(vae, x, x_train, samples=30, seed=5, progress=steps.append)
    point = evaluate.rate_distortion(vae, x, seed=5)
    assert found.kl.value == pytest.approx(point.rate.value)
    assert found.log_likelihood.value == pytest.approx(-point.distortion.value)
    assert found.elbo == pytest.approx(point.elbo)
    np.testing.assert_allclose(found.active_units.variances, evaluate.active_units(vae, x).variances)
    np.testing.assert_allclose(found.kl_per_latent, evaluate.kl_per_latent(vae, x))
    log_marginal = evaluate.importance_log_marginal(vae, x, 30, 5).log_marginal
    np.testing.assert_allclose(found.log_marginal.log_marginal, log_marginal)
    elbo = np.asarray(vae.score(x, seed=5)["elbo"], np.float64)
    assert found.inference_gap.value == pytest.approx((log_marginal - elbo).mean(), rel=1e-3)
    assert found.elbo_stddev == pytest.approx(elbo.std(), rel=1e-5)
    naive = evaluate.monte_carlo_log_marginal(vae, x[:100], 30, 5).log_marginal
    np.testing.assert_allclose(found.estimators.monte_carlo.log_marginal, naive)
    np.testing.assert_array_equal(found.estimators.importance.log_marginal, found.log_marginal.log_marginal[:100])
    assert found.train_elbo.value == pytest.approx(float(np.mean(vae.score(x_train, seed=5)["elbo"])), rel=1e-5)
    on_train = evaluate.importance_log_marginal(vae, x_train, 30, 5).log_marginal
    assert found.train_log_marginal.value == pytest.approx(on_train.mean())
    assert found.discrete is True
    assert found.noise is None
    assert found.bits_per_dimension == pytest.approx(-log_marginal.mean() / 64 / np.log(2))
    assert found.worth_of_latent.value > 1
    assert "150 examples" in steps

    said = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert said["elbo"] == pytest.approx(said["log_likelihood"] - said["kl"], abs=1e-4)
    assert said["rate"] == said["kl"]
    assert said["active_units"] == found.active_units.num_active
    assert said["log_marginal"] == pytest.approx(log_marginal.mean())
    assert said["monte_carlo"]["log_marginal"] == pytest.approx(naive.mean())
    assert "gamma" not in said


def test_the_figures_of_a_density(linear_gaussian):
    from tfpvae.evaluate import measure

    found = measure(linear_gaussian.vae, linear_gaussian.x)
    assert found.discrete is False
    assert found.bits_per_dimension is None
    assert found.log_marginal is found.estimators is found.train_elbo is None
    assert found.noise.smallest == pytest.approx(0.5)
    assert found.noise.share_at_smallest == 1
    assert found.noise.data_stddev == pytest.approx(linear_gaussian.x.std(), rel=1e-5)
    said = found.to_json()
    assert said["gamma"] == pytest.approx(0.25)
    assert said["manifold_dimension"] == 2
    assert not {"bits_per_dimension", "log_marginal", "train_elbo", "monte_carlo"} & set(said)


def test_the_worth_of_z_in_closed_form(linear_gaussian):
    """E log p(x|z) - E log p(x|z'), z' of the row before: 1/2 sigma^-2 of the squares that the wrong mean adds."""
    from tfpvae.evaluate.rows import checked, worth_of_latent

    found = worth_of_latent(linear_gaussian.vae, checked(linear_gaussian.vae, linear_gaussian.x), batch_size=400)
    means, W = linear_gaussian.means, linear_gaussian.W
    residual = linear_gaussian.x - linear_gaussian.mu
    own = np.square(residual - means @ W.T).sum(axis=1)
    other = np.square(residual - np.roll(means, 1, axis=0) @ W.T).sum(axis=1)
    expected = ((other - own) / 2 / linear_gaussian.sigma**2).mean()
    assert abs(found.mean() - expected) < 0.1 * expected


def test_one_example_has_no_nan_in_its_json(linear_gaussian):
    from tfpvae.evaluate import measure

    said = measure(linear_gaussian.vae, linear_gaussian.x[:1]).to_json()
    json.dumps(said, allow_nan=False)
    assert "elbo_standard_error" not in said
    assert "active_units" not in said
    assert said["n"] == 1


def test_grey_values_have_no_bits(vae, digits):
    from tfpvae.evaluate import measure

    found = measure(vae, digits.test[:20] * 0.5)
    assert found.discrete is None
    assert found.bits_per_dimension is None


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "3"])
@pytest.mark.parametrize(
    "name", ["active_units", "kl_per_latent", "manifold_dimension", "measure", "rate_distortion", "frechet_distance"]
)
def test_batch_sizes_are_checked(linear_gaussian, name, batch_size):
    from tfpvae import evaluate

    first = (linear_gaussian.vae, linear_gaussian.x[:4])
    if name == "frechet_distance":
        first = (linear_gaussian.x[:4], linear_gaussian.x[:4], lambda x: x)
    with pytest.raises(ModelError, match=r"batch_size must be an integer of at least 1\. Received: batch_size="):
        getattr(evaluate, name)(*first, batch_size=batch_size)


@pytest.mark.parametrize("samples", [-1, 1.5, True])
def test_samples_are_checked(linear_gaussian, samples):
    from tfpvae.evaluate import measure

    with pytest.raises(ModelError, match="samples="):
        measure(linear_gaussian.vae, linear_gaussian.x, samples=samples)
