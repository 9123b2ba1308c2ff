"""Callbacks: what they measure, when, and who sees it."""

import csv
import warnings

import numpy as np
import pytest

from tfpvae.errors import ModelError, RunError


@pytest.fixture(scope="module")
def x(digits):
    """Few images: an epoch is four steps."""
    return digits.train[:200]


class TestCollapseAlarm:
    def test_a_healthy_model_is_silent_and_its_units_are_in_the_history(self, build_vae, digits):
        import keras

        from tfpvae.evaluate import active_units
        from tfpvae.training import CollapseAlarm

        keras.utils.set_random_seed(0)
        vae = build_vae(hidden=32)
        history = vae.fit(
            digits.train, epochs=2, batch_size=50, verbose=0, callbacks=[CollapseAlarm(digits.test)]
        ).history
        assert history["active_units"][-1] == active_units(vae, digits.test).num_active
        assert history["active_units"][-1] > 0

    def test_units_that_die_are_told_once(self, build_vae, digits, x):
        import keras

        from tfpvae.training import CollapseAlarm

        class Kill(keras.callbacks.Callback):
            """From the second epoch on the encoder moves with x in one latent alone."""

            def on_epoch_end(self, epoch, logs=None):
                if epoch >= 1:
                    params = self.model.encoder.layers[-2]
                    kernel, bias = params.get_weights()
                    kernel[:, 1:4] = 0
                    params.set_weights([kernel, bias])

        vae = build_vae()
        callbacks = [Kill(), CollapseAlarm(digits.test, threshold=1e-6)]
        with pytest.warns(UserWarning, match=r"after epoch 2 only 1 of 4 latents are active, after 4 before") as caught:
            history = vae.fit(x, epochs=3, batch_size=50, verbose=0, callbacks=callbacks).history
        assert len([w for w in caught if "Posterior collapse" in str(w.message)]) == 1
        assert history["active_units"] == [4, 1, 1]

    @pytest.mark.parametrize(("at_least", "start_from_epoch", "warned"), [(5, 0, True), (5, 2, False), (4, 0, False)])
    def test_when_it_warns(self, build_vae, digits, x, at_least, start_from_epoch, warned):
        from tfpvae.training import CollapseAlarm

        alarm = CollapseAlarm(digits.test, at_least=at_least, threshold=1e-6, start_from_epoch=start_from_epoch)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            build_vae().fit(x[:50], epochs=1, batch_size=50, verbose=0, callbacks=[alarm])
        assert any("Posterior collapse" in str(w.message) for w in caught) == warned

    def test_at_least_is_checked(self, digits):
        from tfpvae.training import CollapseAlarm

        with pytest.raises(ModelError, match="at_least="):
            CollapseAlarm(digits.test, at_least=0)


class TestLogMarginalEstimate:
    def test_every_epoch_has_a_value_and_every_nth_a_new_one(self, build_vae, digits, x, tmp_path):
        import keras

        from tfpvae.evaluate import importance_log_marginal
        from tfpvae.training import LogMarginalEstimate

        vae, held_out = build_vae(), digits.test[:40]
        callbacks = [
            LogMarginalEstimate(held_out, samples=5, every=2, seed=3),
            keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        ]
        history = vae.fit(x, epochs=3, batch_size=50, verbose=0, callbacks=callbacks).history["val_log_marginal"]
        expected = importance_log_marginal(vae, held_out, 5, 3).log_marginal.mean()
        assert history[2] == pytest.approx(expected, rel=1e-6)
        assert history[0] == history[1] != history[2]
        with (tmp_path / "log.csv").open() as file:
            assert [float(row["val_log_marginal"]) for row in csv.DictReader(file)] == pytest.approx(history)

    def test_early_stopping_and_the_best_weights(self, build_vae, digits, x, monkeypatch):
        """The documented way, with estimates that peak at the second epoch."""
        import keras

        from tfpvae.evaluate import LogMarginal
        from tfpvae.training import LogMarginalEstimate, callbacks

        weights, peak = [], iter([-30.0, -20.0, -25.0, -26.0, -27.0])

        def estimate(vae, x, samples, seed, y):
            weights.append(vae.get_weights())
            return LogMarginal(np.full(3, next(peak)), np.zeros(3), samples)

        monkeypatch.setattr(callbacks, "importance_log_marginal", estimate)
        vae = build_vae()
        stop = keras.callbacks.EarlyStopping("val_log_marginal", mode="max", patience=2, restore_best_weights=True)
        history = vae.fit(
            x, epochs=5, batch_size=50, verbose=0, callbacks=[LogMarginalEstimate(digits.test), stop]
        ).history
        assert history["val_log_marginal"] == [-30.0, -20.0, -25.0, -26.0]
        for now, best in zip(vae.get_weights(), weights[1], strict=True):
            np.testing.assert_array_equal(now, best)

    def test_a_second_fit_measures_anew(self, build_vae, digits, x):
        from tfpvae.training import LogMarginalEstimate

        vae, callback = build_vae(), LogMarginalEstimate(digits.test[:20], samples=2, every=5)
        first = vae.fit(x, epochs=1, batch_size=50, verbose=0, callbacks=[callback]).history
        second = vae.fit(x, initial_epoch=1, epochs=2, batch_size=50, verbose=0, callbacks=[callback]).history
        assert first["val_log_marginal"] != second["val_log_marginal"]

    @pytest.mark.parametrize("options", [{"samples": 0}, {"every": 1.5}], ids=str)
    def test_counts_are_checked(self, digits, options):
        from tfpvae.training import LogMarginalEstimate

        (name,) = options
        with pytest.raises(ModelError, match=f"{name}="):
            LogMarginalEstimate(digits.test, **options)


def test_a_conditional_model_is_watched_given_y(digits, tmp_path):
    import keras

    import tfpvae
    from tfpvae import layers
    from tfpvae.evaluate import importance_log_marginal
    from tfpvae.training import CollapseAlarm, LogMarginalEstimate, SamplePictures

    x, y, z = keras.Input((8, 8, 1)), keras.Input((3,)), keras.Input((2,))
    h = keras.layers.Concatenate()([keras.layers.Flatten()(x), y])
    encoder = keras.Model([x, y], layers.MultivariateNormalDiag(2)(keras.layers.Dense(4)(h)))
    h = keras.layers.Concatenate()([z, y])
    decoder = keras.Model([z, y], layers.IndependentBernoulli((8, 8, 1))(keras.layers.Dense(64)(h)))
    vae = tfpvae.ConditionalVAE(encoder, decoder, num_classes=3)
    vae.compile("adam")
    images, labels = digits.test[:60], np.arange(60) % 3
    callbacks = [
        CollapseAlarm(images, y=labels),
        LogMarginalEstimate(images, samples=3, y=labels),
        SamplePictures(tmp_path, n=4, x=images[:2], y=2),
    ]
    history = vae.fit(images, labels, epochs=1, verbose=0, callbacks=callbacks).history
    expected = importance_log_marginal(vae, images, 3, 0, y=labels).log_marginal.mean()
    assert history["val_log_marginal"] == [pytest.approx(expected, rel=1e-6)]
    assert history["active_units"] == [2]
    assert len(list(tmp_path.iterdir())) == 2


class TestSamplePictures:
    def test_every_nth_epoch_and_the_last(self, build_vae, digits, x, tmp_path):
        from PIL import Image

        from tfpvae.evaluate import pictures
        from tfpvae.training import SamplePictures

        vae = build_vae()
        callback = SamplePictures(tmp_path / "a" / "b", every=2, n=4, seed=5, x=digits.test[:3])
        vae.fit(x, epochs=4, batch_size=50, verbose=0, callbacks=[callback])
        names = sorted(path.name for path in (tmp_path / "a" / "b").iterdir())
        assert names == [f"{kind}-{n:04d}.png" for kind in ("reconstructions", "samples") for n in (1, 3, 4)]
        drawn = np.asarray(Image.open(tmp_path / "a" / "b" / "samples-0004.png"))
        np.testing.assert_array_equal(drawn, np.asarray(pictures.samples(vae, 4, 5)))
        before = np.asarray(Image.open(tmp_path / "a" / "b" / "samples-0001.png"))
        assert (before != drawn).any()

    def test_without_images_there_are_no_reconstructions(self, build_vae, x, tmp_path):
        from tfpvae.training import SamplePictures

        build_vae().fit(x, epochs=1, batch_size=50, verbose=0, callbacks=[SamplePictures(tmp_path)])
        assert [path.name for path in tmp_path.iterdir()] == ["samples-0001.png"]

    def test_a_directory_that_cannot_be_made(self, build_vae, x, tmp_path):
        from tfpvae.training import SamplePictures

        (tmp_path / "file").touch()
        with pytest.raises(RunError, match="cannot be written"):
            build_vae().fit(x, epochs=1, verbose=0, callbacks=[SamplePictures(tmp_path / "file")])

    def test_counts_are_checked(self, tmp_path):
        from tfpvae.training import SamplePictures

        with pytest.raises(ModelError, match="every="):
            SamplePictures(tmp_path, every=0)
