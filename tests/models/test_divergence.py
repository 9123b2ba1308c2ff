"""Training that diverges ends with an error that says what to do, and the model keeps finite weights."""

from __future__ import annotations

import numpy as np
import pytest

from tfpvae.errors import DataError, DivergedError, ExportError, ModelError

RNG = np.random.default_rng(0)
COLUMNS = np.stack([RNG.integers(18, 80, 64), RNG.lognormal(10.8, 0.6, 64), 1.6e9 + RNG.uniform(0, 1e8, 64)], axis=1)
SCALED = ((COLUMNS - COLUMNS.mean(0)) / COLUMNS.std(0)).astype(np.float32)


@pytest.fixture
def build(build_vae):
    """`build(optimizer, ...)`: a VAE of three columns."""
    import keras

    from tfpvae import layers

    def build(optimizer="adam", likelihood="IndependentNormal", **options):
        likelihood = getattr(layers, likelihood)((3,))
        encoder = [keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(4)]
        decoder = [keras.Input((2,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(6), likelihood]
        vae = build_vae(
            encoder=keras.Sequential([*encoder, layers.MultivariateNormalDiag(2)]), decoder=keras.Sequential(decoder)
        )
        vae.compile(optimizer, **options)
        return vae

    return build


def is_finite(model):
    return all(np.isfinite(weight).all() for weight in model.get_weights() if weight.dtype.kind == "f")


@pytest.mark.parametrize(
    ("likelihood", "eager"), [("IndependentNormal", False), ("IndependentNormalLogVariance", True)]
)
def test_unscaled_columns(likelihood, eager, build):
    vae = build(likelihood=likelihood, run_eagerly=eager)
    with pytest.raises(DivergedError, match=r"Training diverged.*goes up to 1\.7e\+09.*scale each column"):
        vae.fit(COLUMNS, batch_size=64, epochs=50, verbose=0)
    assert is_finite(vae)
    vae.fit(SCALED, verbose=0)  # It can be trained on.
    assert is_finite(vae)


def test_a_learning_rate_too_large_in_a_data_set(build):
    import keras
    import tensorflow as tf

    vae = build(keras.optimizers.SGD(1e20), run_eagerly=True)
    with pytest.raises(DivergedError, match=r"smaller learning rate than 1e\+20"):
        vae.fit(tf.data.Dataset.from_tensor_slices(SCALED).batch(16), epochs=3, verbose=0)
    assert is_finite(vae)


def test_a_validation_loss_that_is_not_finite(build):
    seen = []
    import keras

    vae = build(run_eagerly=True)
    after = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs))
    with pytest.raises(DivergedError, match="val_loss of epoch 1 was"):
        vae.fit(SCALED, validation_data=np.full((4, 3), 3e38), verbose=0, callbacks=after)
    assert is_finite(vae)
    assert seen == []  # Nobody's callback saves such an epoch.


def test_an_optimizer_that_scales_the_loss_leaves_out_the_step(build):
    import keras
    import tensorflow as tf

    from tfpvae.models.divergence import checked_gradients

    loss, gradients = tf.constant(1.0), [tf.constant([1.0, np.inf]), None]
    scaling = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
    np.testing.assert_array_equal(checked_gradients(loss, gradients, scaling)[0], [1.0, np.inf])
    with pytest.raises(tf.errors.InvalidArgumentError, match="diverged"):
        checked_gradients(loss, gradients, keras.optimizers.SGD())
    with pytest.raises(tf.errors.InvalidArgumentError, match="diverged"):
        checked_gradients(tf.constant(np.nan), [], scaling)


def test_lost_weights_are_neither_trained_nor_exported(build, tmp_path):
    import tfpvae

    vae = build(run_eagerly=True)
    vae.set_weights([np.full_like(weight, np.nan) for weight in vae.get_weights()])
    with pytest.raises(ModelError, match="weights are not finite"):
        vae.fit(SCALED, verbose=0)
    with pytest.raises(ExportError, match="weights are not finite"):
        tfpvae.export_model(vae, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


class TestSampleWeights:
    """Weights count, or they are refused."""

    W = RNG.uniform(0, 1, 64).astype(np.float32)

    def batches(self, weight):
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices((SCALED, SCALED, weight)).batch(32)

    def test_by_position(self, build):
        vae = build(run_eagerly=True)
        assert vae.evaluate(SCALED, None, 32, 0, np.zeros(64))[0] == 0
        assert vae.fit(SCALED, None, 32, 1, 0, None, 0.0, None, True, None, np.zeros(64)).history["loss"] == [0]

    @pytest.mark.parametrize("column", [False, True])
    def test_a_column_of_weights_means_the_same(self, column, build):
        import keras

        vae = build(keras.optimizers.SGD(0.0), run_eagerly=True)
        weight = self.W[:, None] if column else self.W
        losses = []
        for data, options in ((self.batches(weight), {}), (SCALED, {"sample_weight": weight, "batch_size": 32})):
            keras.utils.set_random_seed(0)
            vae.seed_generator.state.assign([0, 0])
            losses.append(vae.fit(data, shuffle=False, verbose=0, **options).history["loss"][0])
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
        vae.seed_generator.state.assign([0, 0])
        expected = vae.fit(self.batches(self.W), shuffle=False, verbose=0).history["loss"][0]
        np.testing.assert_allclose(losses[0], expected, rtol=1e-5)

    @pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
    def test_in_batches_they_are_checked(self, value, build):
        vae = build(run_eagerly=True)
        wrong = self.W.copy()
        wrong[50] = value
        generator = ((SCALED[rows], None, wrong[rows]) for rows in (slice(0, 32), slice(32, 64)))
        for data in (self.batches(wrong), generator):
            with pytest.raises(DataError, match="A batch of sample_weight must be"):
                vae.fit(data, verbose=0)
        with pytest.raises(DataError, match=r"sample_weight must have shape \[N\]"):
            vae.fit(self.batches(np.ones((64, 2), np.float32)), verbose=0)
