"""Alarms: of models that are known to be ill, and of figures just beside the limits."""

from dataclasses import replace

import numpy as np
import pytest


@pytest.fixture
def healthy():
    """The figures of a model without a fault."""
    from tfpvae.evaluate import ActiveUnits, LogMarginal, Mean, Measurements
    from tfpvae.evaluate.measurements import Noise

    return Measurements(
        n=100,
        latents=4,
        event_shape=(8, 8, 1),
        elbo=Mean(-20.0, 0.5),
        elbo_stddev=5.0,
        log_likelihood=Mean(-15.0, 0.5),
        kl=Mean(5.0, 0.1),
        worth_of_latent=Mean(20.0, 1.0),
        active_units=ActiveUnits(np.array([1.0, 0.5, 0.2, 0.1]), 0.01),
        kl_per_latent=np.array([2.0, 1.5, 1.0, 0.5]),
        discrete=False,
        noise=Noise(0.1, 1.0, 0.5),
        log_marginal=LogMarginal(np.linspace(-24, -14, 100), np.full(100, 0.1), 500),
        inference_gap=Mean(1.0, 0.05),
        train_elbo=Mean(-19.9, 0.5),
        train_log_marginal=Mean(-18.9, 0.5),
        train_inference_gap=Mean(1.0, 0.05),
    )


def found(measured, name):
    from tfpvae.evaluate import diagnose

    return {finding.name: finding for finding in diagnose(measured).findings}[name]


def test_nothing_wrong(healthy):
    from tfpvae.evaluate import diagnose

    diagnosis = diagnose(healthy)
    assert [finding.level for finding in diagnosis.findings] == ["ok"] * 6
    assert diagnosis.alarms == ()
    assert str(diagnosis).splitlines()[0] == "OK    latents: 4 of 4 latents are active, and carry 5.00 nats."


class TestBaselines:
    @pytest.mark.parametrize(
        ("share", "error", "pca", "level"),
        [(0.9, 0.01, 0.7, "ok"), (0.71, 0.01, 0.7, "note"), (0.4, 0.01, 0.7, "alarm")],
    )
    def test_reconstructions_beside_principal_components(self, healthy, share, error, pca, level):
        from tfpvae.evaluate import Mean
        from tfpvae.evaluate.baseline_figures import Explained

        finding = found(replace(healthy, explained=Explained(Mean(share, error), pca, 4)), "reconstructions")
        assert finding.level == level
        assert f"explain {share:.2f} of the variance" in finding.text
        assert "4 principal components explain 0.70" in finding.text

    @pytest.mark.parametrize(
        ("gap", "error", "level"), [(-3.0, 0.1, "ok"), (0.9, 0.1, "ok"), (9.0, 4.0, "ok"), (9.0, 1.0, "alarm")]
    )
    def test_the_prior_beside_a_fitted_gaussian(self, healthy, gap, error, level):
        from tfpvae.evaluate import Mean

        finding = found(replace(healthy, prior_gap=Mean(gap, error)), "prior")
        assert finding.level == level
        assert ("tfpvae refine" in finding.text) is (level == "alarm")

    def test_one_example_is_not_judged_by_them(self, build_vae, digits):
        from tfpvae.evaluate import measure

        vae = build_vae()
        for x, x_train in ((digits.test[:1], digits.train[:9]), (digits.test[:9], digits.train[:1])):
            measured = measure(vae, x, x_train)
            assert measured.explained is None
            assert measured.prior_gap is None

    def test_planted_faults_are_found_and_a_model_without_them_is_not_accused(self):
        """A linear Gaussian model with its own posterior, then undertrained, and with latents that miss the prior."""
        import keras

        import tfpvae
        from tfpvae import layers
        from tfpvae.evaluate import diagnose, measure

        rng = np.random.default_rng(0)
        W, s = rng.standard_normal((2, 6)), 0.3
        x = (rng.standard_normal((800, 2)) @ W + s * rng.standard_normal((800, 6))).astype(np.float32)
        covariance = np.linalg.inv(np.eye(2) + W @ W.T / s**2)
        encoder = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5), layers.MultivariateNormalTriL(2)])
        decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(6), layers.SphericalNormal(6, s)])
        vae = tfpvae.VAE(encoder, decoder)
        tril = np.linalg.cholesky(covariance)
        kernel, bias = np.zeros((6, 5)), np.zeros(5)
        kernel[:, :2] = W.T @ covariance / s**2
        scale = np.asarray(encoder(np.zeros((1, 6), "f")).tensor_distribution.scale_tril)
        assert scale.shape == (1, 2, 2)

        def softplus_inverse(value):
            return np.log(np.expm1(value))

        # In the order of tfp.math.fill_triangular for two dimensions.
        bias[2:] = [softplus_inverse(tril[1, 1]), tril[1, 0], softplus_inverse(tril[0, 0])]
        encoder.layers[0].set_weights([kernel, bias])
        decoder.layers[0].set_weights([W, np.zeros(6)])

        def levels():
            findings = diagnose(measure(vae, x[:300], x[300:])).findings
            return {finding.name: finding.level for finding in findings}

        well = levels()
        assert "alarm" not in well.values()
        decoder.layers[0].set_weights([0.1 * W, np.zeros(6)])
        assert levels()["reconstructions"] == "alarm"
        decoder.layers[0].set_weights([W / 3, np.zeros(6)])
        encoder.layers[0].set_weights([3 * kernel, bias])
        far = levels()
        assert far["prior"] == "alarm"
        assert far["reconstructions"] != "alarm"


class TestCollapse:
    def test_a_model_whose_encoder_ignores_x(self, build_vae, digits):
        from tfpvae.evaluate import diagnose, measure

        vae = build_vae()
        params = vae.encoder.layers[-2]
        params.set_weights([np.zeros_like(w) for w in params.get_weights()])
        diagnosis = diagnose(measure(vae, digits.test))
        assert {finding.name for finding in diagnosis.alarms} >= {"latents"}
        assert "Posterior collapse" in str(diagnosis)
        assert "KLWarmUp" in str(diagnosis)

    def test_a_model_whose_decoder_ignores_z(self, build_vae, vae, digits):
        from tfpvae.evaluate import diagnose, measure

        blind = build_vae(encoder=vae.encoder)
        blind.decoder.layers[0].set_weights([np.zeros_like(w) for w in blind.decoder.layers[0].get_weights()])
        diagnosis = diagnose(measure(blind, digits.test))
        assert [finding.name for finding in diagnosis.alarms] == ["decoder"]
        assert "The decoder ignores z" in str(diagnosis)

    def test_few_active_units_are_a_note(self, healthy):
        from tfpvae.evaluate import ActiveUnits

        for count, level in ((0, "alarm"), (1, "note"), (2, "ok")):
            variances = np.where(np.arange(4) < count, 1.0, 0.001)
            finding = found(replace(healthy, active_units=ActiveUnits(variances, 0.01)), "latents")
            assert finding.level == level
        assert "2 of 4" in finding.text

    def test_silent_latents_are_counted(self, healthy):
        finding = found(replace(healthy, kl_per_latent=np.array([4.9, 0.1, 0.001, 0.002])), "latents")
        assert "The KL of 2 is below 0.01 nats." in finding.text

    @pytest.mark.parametrize(
        ("worth", "error", "level"),
        [
            (1.0, 0.5, "note"),
            (-0.1, 0.4, "note"),
            (1.0, float("nan"), "note"),
            (0.005, 0.0001, "alarm"),
            (0.1, 0.1, "alarm"),
            (0.3, 0.05, "ok"),
        ],
    )
    def test_too_few_examples_are_no_alarm(self, healthy, worth, error, level):
        from tfpvae.evaluate import Mean

        assert found(replace(healthy, worth_of_latent=Mean(worth, error)), "decoder").level == level


class TestOverfitting:
    def test_is_not_looked_for_without_training_data(self, healthy):
        from tfpvae.evaluate import diagnose

        names = [finding.name for finding in diagnose(replace(healthy, train_elbo=None)).findings]
        assert names == ["latents", "decoder", "noise"]

    @pytest.mark.parametrize(
        ("gap", "error", "level"), [(2.0, 0.7, "ok"), (2.2, 0.5, "alarm"), (0.9, 0.1, "note"), (-9.0, 0.1, "ok")]
    )
    def test_the_gap_must_be_beyond_its_errors_and_not_small(self, healthy, gap, error, level):
        from tfpvae.evaluate import Mean

        # A standard deviation of 5 between examples: an alarm from 1 nat on.
        measured = replace(healthy, elbo=Mean(-20.0, 0.0), train_elbo=Mean(-20.0 + gap, error))
        finding = found(measured, "overfitting")
        assert finding.level == level
        assert f"{gap:.3f} ± {error:.3f} nats" in finding.text

    def test_whose_it_is(self, healthy):
        from tfpvae.evaluate import Mean

        decoder = replace(healthy, train_log_marginal=Mean(-10.0, 0.3))
        assert found(decoder, "decoder overfitting").level == "alarm"
        assert found(decoder, "encoder overfitting").level == "ok"
        encoder = replace(healthy, inference_gap=Mean(4.0, 0.2))
        assert found(encoder, "decoder overfitting").level == "ok"
        assert found(encoder, "encoder overfitting").level == "alarm"
        assert "4.00 nats below log p(x), and 1.00 on training data" in found(encoder, "encoder overfitting").text

    @pytest.mark.slow
    def test_a_model_that_learned_thirty_images_by_heart(self, build_vae, digits):
        import keras

        from tfpvae.evaluate import diagnose, measure

        keras.utils.set_random_seed(0)
        vae = build_vae(hidden=64)
        vae.fit(np.repeat(digits.train[:30], 30, axis=0), epochs=5, batch_size=30, verbose=0)
        diagnosis = diagnose(measure(vae, digits.test, digits.train[:30]))
        assert "overfitting" in {finding.name for finding in diagnosis.alarms}


class TestNoise:
    def test_noise_that_vanished(self, healthy):
        from tfpvae.evaluate.measurements import Noise

        finding = found(replace(healthy, noise=Noise(1e-6, 1.0, 0.5)), "noise")
        assert finding.level == "alarm"
        assert "fallen to 1e-06" in finding.text

    def test_a_bound_that_many_values_touch(self, healthy):
        from tfpvae.evaluate.measurements import Noise

        finding = found(replace(healthy, noise=Noise(0.01, 0.3, 0.5)), "noise")
        assert finding.level == "note"
        assert "30% of the values" in finding.text

    def test_a_learned_scale_at_its_bound(self, linear_gaussian):
        import keras

        import tfpvae
        from tfpvae import layers
        from tfpvae.evaluate import diagnose, measure

        layer = layers.SphericalNormal((8,), scale=1e-6, learn_scale=True)
        decoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(8), layer])
        vae = tfpvae.VAE(linear_gaussian.vae.encoder, decoder)
        assert "noise" in {finding.name for finding in diagnose(measure(vae, linear_gaussian.x)).alarms}
