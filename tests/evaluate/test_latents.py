"""Active units, the KL of each latent and the manifold's dimension, beside NumPy on a linear-Gaussian model."""

import numpy as np
import pytest

from tfpvae.errors import DataError, ModelError


class TestActiveUnits:
    def test_is_the_variance_of_the_posterior_means(self, linear_gaussian):
        from tfpvae.evaluate import active_units

        units = active_units(linear_gaussian.vae, linear_gaussian.x)
        np.testing.assert_allclose(units.variances, linear_gaussian.means.var(axis=0, ddof=1), rtol=1e-4, atol=1e-9)
        assert units.active.tolist() == [True, True, False]
        assert units.num_active == 2
        assert units.most_active.tolist() == [0, 1, 2]

    def test_does_not_depend_on_the_batch_size(self, vae, digits):
        from tfpvae.evaluate import active_units

        whole = active_units(vae, digits.test)
        parts = active_units(vae, digits.test, batch_size=100)
        np.testing.assert_allclose(parts.variances, whole.variances, rtol=1e-5)

    def test_the_threshold_decides(self, linear_gaussian):
        from tfpvae.evaluate import active_units

        between = linear_gaussian.means.var(axis=0, ddof=1)[:2].mean()
        assert active_units(linear_gaussian.vae, linear_gaussian.x, threshold=between).num_active == 1

    def test_a_posterior_without_a_mean_is_drawn(self, linear_gaussian):
        import keras
        from tensorflow_probability import bijectors as tfb
        from tensorflow_probability import distributions as tfd

        import tfpvae
        from tfpvae import layers
        from tfpvae.evaluate import active_units

        def log_normal(loc):
            return tfd.TransformedDistribution(tfd.MultivariateNormalDiag(loc, [0.5, 0.5, 0.5]), tfb.Exp())

        loc = keras.layers.Dense(3)
        encoder = keras.Sequential([keras.Input((8,)), loc, layers.DistributionLambda(log_normal)])
        loc.set_weights([0.5 * linear_gaussian.A.T, -0.5 * linear_gaussian.A @ linear_gaussian.mu])
        units = active_units(tfpvae.VAE(encoder, linear_gaussian.vae.decoder), linear_gaussian.x)
        expected = np.exp(0.5 * linear_gaussian.means + 0.5**2 / 2).var(axis=0, ddof=1)
        # Two means of 64 draws each: about sd(z) / 8 of noise in each, without bias.
        np.testing.assert_allclose(units.variances, expected, atol=0.03)
        assert abs(units.variances[2]) < 0.01
        assert units.variances[0] > 0.1

    def test_one_row_says_nothing(self, linear_gaussian):
        from tfpvae.evaluate import active_units

        with pytest.raises(ModelError, match="x of one row"):
            active_units(linear_gaussian.vae, linear_gaussian.x[:1])

    def test_bad_data_is_named(self, linear_gaussian):
        from tfpvae.evaluate import active_units

        with pytest.raises(DataError, match=r"shape \[400, 4\]"):
            active_units(linear_gaussian.vae, linear_gaussian.x[:, :4])


class TestKLPerLatent:
    def test_closed_form(self, linear_gaussian):
        from tfpvae.evaluate import kl_per_latent

        kl = kl_per_latent(linear_gaussian.vae, linear_gaussian.x)
        np.testing.assert_allclose(kl, linear_gaussian.kl.mean(axis=0), rtol=1e-4, atol=1e-6)
        assert kl[2] == pytest.approx(0, abs=1e-5)

    def test_sums_to_the_kl_that_score_reports(self, vae, digits):
        from tfpvae.evaluate import kl_per_latent

        kl = kl_per_latent(vae, digits.test, batch_size=100)
        assert kl.shape == (4,)
        assert kl.sum() == pytest.approx(float(np.mean(vae.score(digits.test, seed=0)["kl"])), rel=1e-5)

    def test_is_refused_where_the_kl_is_no_sum(self, build_vae, digits):
        from tfpvae import layers
        from tfpvae.evaluate import kl_per_latent

        with pytest.raises(ModelError, match=r"no sum over latents.*MultivariateNormalTriL"):
            kl_per_latent(build_vae(posterior=layers.MultivariateNormalTriL(4)), digits.test)


class TestManifoldDimension:
    def test_counts_what_the_posterior_pins_down(self, linear_gaussian):
        from tfpvae.evaluate import manifold_dimension

        found = manifold_dimension(linear_gaussian.vae, linear_gaussian.x)
        np.testing.assert_allclose(found.variances, linear_gaussian.s**2, rtol=1e-4)
        assert found.dimension == 2
        assert found.gamma == pytest.approx(linear_gaussian.sigma**2)
        low, high = found.gap
        assert low == pytest.approx(linear_gaussian.s[1] ** 2, rel=1e-4)
        assert high == pytest.approx(1.0, rel=1e-4)

    def test_is_measured_in_units_of_the_prior(self, linear_gaussian):
        from tensorflow_probability import distributions as tfd

        import tfpvae
        from tfpvae.evaluate import manifold_dimension

        prior = tfd.MultivariateNormalDiag([0.0, 0.0, 0.0], [1.0, 0.1, 1.0])
        vae = tfpvae.VAE(linear_gaussian.vae.encoder, linear_gaussian.vae.decoder, prior)
        found = manifold_dimension(vae, linear_gaussian.x)
        np.testing.assert_allclose(found.variances, linear_gaussian.s**2 / [1, 0.01, 1], rtol=1e-4)
        assert found.dimension == 1

    def test_no_gamma_without_one_variance(self, vae, digits):
        from tfpvae.evaluate import manifold_dimension

        assert manifold_dimension(vae, digits.test).gamma is None

    def test_without_variances_it_is_refused(self, linear_gaussian):
        import keras
        from tensorflow_probability import bijectors as tfb
        from tensorflow_probability import distributions as tfd

        import tfpvae
        from tfpvae import layers
        from tfpvae.evaluate import manifold_dimension

        def log_normal(loc):
            return tfd.TransformedDistribution(tfd.MultivariateNormalDiag(loc, [0.5, 0.5, 0.5]), tfb.Exp())

        layer = layers.DistributionLambda(log_normal)
        encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3), layer])
        vae = tfpvae.VAE(encoder, linear_gaussian.vae.decoder)
        with pytest.raises(ModelError, match="the posterior has none in closed form: TransformedDistribution"):
            manifold_dimension(vae, linear_gaussian.x)
