"""A conditional model is measured and drawn given y: each figure beside the model's own `score`."""

import numpy as np
import pytest

from tfpvae.errors import DataError, ModelError


@pytest.fixture(scope="module")
def labels():
    return np.arange(60) % 3


@pytest.fixture(scope="module")
def conditional(digits, labels):
    import keras

    import tfpvae
    from tfpvae import layers

    keras.utils.set_random_seed(0)
    x, y = keras.Input((8, 8, 1)), keras.Input((3,))
    h = keras.layers.Concatenate()([keras.layers.Flatten()(x), y])
    encoder = keras.Model([x, y], layers.MultivariateNormalDiag(2)(keras.layers.Dense(4)(h)))
    z = keras.Input((2,))
    h = keras.layers.Dense(16, "relu")(keras.layers.Concatenate()([z, y]))
    decoder = keras.Model([z, y], layers.IndependentBernoulli((8, 8, 1))(keras.layers.Dense(64)(h)))
    return tfpvae.ConditionalVAE(encoder, decoder, num_classes=3)


def test_figures_are_given_y(conditional, digits, labels):
    from tfpvae import evaluate

    x = digits.test[:60]
    found = evaluate.measure(conditional, x, y=labels, x_train=x[:20], y_train=labels[:20], samples=5)
    for y, n, elbo in ((labels, 60, found.elbo), (labels[:20], 20, found.train_elbo)):
        assert elbo.value == pytest.approx(float(np.mean(conditional.score(x[:n], y, seed=0)["elbo"])), rel=1e-5)
    log_marginal = evaluate.importance_log_marginal(conditional, x, 5, 0, y=labels).log_marginal
    np.testing.assert_allclose(found.log_marginal.log_marginal, log_marginal)
    means = np.asarray(conditional.encode(x, labels).mean())
    np.testing.assert_allclose(found.active_units.variances, means.var(axis=0, ddof=1), rtol=1e-4)
    assert found.kl_per_latent.sum() == pytest.approx(found.kl.value, rel=1e-4)
    np.testing.assert_allclose(
        evaluate.kl_per_latent(conditional, x, y=labels, batch_size=7), found.kl_per_latent, rtol=1e-4
    )
    np.testing.assert_allclose(
        found.manifold_dimension.variances, np.asarray(conditional.encode(x, labels).variance()).mean(0), rtol=1e-4
    )
    assert found.discrete is True
    other = evaluate.rate_distortion(conditional, x, y=0)
    assert other.rate.value == pytest.approx(float(np.mean(conditional.score(x, 0, seed=0)["kl"])), rel=1e-5)
    assert other.rate.value != pytest.approx(found.kl.value, rel=1e-5)


def test_it_stands_in_a_table_beside_what_has_no_y(conditional, digits, labels):
    from tfpvae import evaluate

    x = digits.test[:60]
    baseline = evaluate.FactorizedBernoulli().fit(digits.train)
    table = evaluate.compare([conditional, baseline], x, samples=5, y=labels)
    expected = evaluate.importance_log_marginal(conditional, x, 5, 0, y=labels).log_marginal.mean()
    assert {entry.name: entry.log_prob.value for entry in table.entries}[conditional.name] == pytest.approx(expected)


def test_a_report_has_all_pictures(conditional, digits, labels, tmp_path):
    from tfpvae import evaluate

    written = evaluate.report(conditional, digits.test[:60], tmp_path / "r", y=labels, labels=labels)
    assert {path.name for path in written.path.iterdir()} >= {
        "reconstructions.png", "samples.png", "traversals.png", "latent_map.png", "latent_grid.png",
        "interpolations.png",
    }  # fmt: skip


def test_y_must_be_there_where_it_belongs(conditional, vae, digits, labels):
    from tfpvae import evaluate

    with pytest.raises(ModelError, match="y must be given"):
        evaluate.active_units(conditional, digits.test)
    with pytest.raises(DataError, match="labels from 0 to 2"):
        evaluate.active_units(conditional, digits.test[:60], y=labels + 1)
    with pytest.raises(ModelError, match="takes no y"):
        evaluate.kl_per_latent(vae, digits.test[:60], y=labels)
