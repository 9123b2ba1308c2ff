"""Training: the loss by hand, Keras's ways to train, and what the model answers."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, log_expit

from tfpvae.errors import ModelError


def bernoulli_log_prob(x: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """sum x log sigma(l) + (1 - x) log sigma(-l), in double precision, `[B]`."""
    logits = np.asarray(logits, np.float64)
    return np.sum(x * log_expit(logits) + (1 - x) * log_expit(-logits), axis=(1, 2, 3))


def gaussian_kl(loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """KL from N(loc, scale^2) to N(0, I), `[B]`."""
    loc, scale = np.asarray(loc, np.float64), np.asarray(scale, np.float64)
    return 0.5 * np.sum(scale**2 + loc**2 - 1 - 2 * np.log(scale), axis=-1)


def terms_by_hand(vae, x: np.ndarray, seed) -> tuple[np.ndarray, np.ndarray]:
    """log p(x given z) and KL, `[B]`, at the draw of z that `seed` gives; z by NumPy from its own epsilon."""
    import tensorflow as tf

    q = vae.encode(x)
    loc, scale = (q.named_parameters[k].numpy().astype(np.float64) for k in ("loc", "scale"))
    z = q.sample(seed=seed).numpy()
    assert np.abs((z - loc) / scale).max() < 6
    logits = vae.decode(tf.constant(z)).named_parameters["logits"].numpy()
    return bernoulli_log_prob(x, logits), gaussian_kl(loc, scale)


def fix_seed(vae, monkeypatch, seed=(11, 12)):
    """Every step draws z with this seed."""
    import tensorflow as tf

    monkeypatch.setattr(vae, "_next_seed", lambda: tf.constant(seed, tf.int32))
    return tf.constant(seed, tf.int32)


class TestTheLoss:
    """The acceptance test: minus the mean of log p(x given z) minus the closed-form KL, which enters once."""

    def test_of_a_test_step_is_numpys_for_the_seed_generators_next_draw(self, build_vae, digits):
        import keras

        vae = build_vae()
        x = digits.test[:32]
        copy = keras.random.SeedGenerator()
        copy.state.assign(vae.seed_generator.state)
        seed = np.asarray(copy.next()).astype(np.int32)
        reported = vae.test_on_batch(x, return_dict=True)
        log_likelihood, kl = terms_by_hand(vae, x, seed)
        assert kl.mean() > 1e-3  # Else a KL counted twice would not show.
        np.testing.assert_allclose(reported["loss"], -(log_likelihood - kl).mean(), rtol=1e-5)
        np.testing.assert_allclose(reported["elbo"], (log_likelihood - kl).mean(), rtol=1e-5)
        np.testing.assert_allclose(reported["log_likelihood"], log_likelihood.mean(), rtol=1e-5)
        np.testing.assert_allclose(reported["kl"], kl.mean(), rtol=1e-5)

    @pytest.mark.parametrize("eager", [False, True])
    def test_of_a_train_step_is_numpys_before_the_step(self, eager, build_vae, digits, monkeypatch):
        vae = build_vae(run_eagerly=eager)
        x = digits.train[:32]
        seed = fix_seed(vae, monkeypatch)
        log_likelihood, kl = terms_by_hand(vae, x, seed)
        reported = vae.train_on_batch(x, return_dict=True)
        np.testing.assert_allclose(reported["loss"], -(log_likelihood - kl).mean(), rtol=1e-5)
        np.testing.assert_allclose(reported["kl"], kl.mean(), rtol=1e-5)
        after = terms_by_hand(vae, x, seed)
        assert not np.allclose(after[0], log_likelihood)

    def test_is_numpys_for_the_trained_and_loaded_model(self, vae, digits, tmp_path, monkeypatch):
        import keras

        vae.save(tmp_path / "vae.keras")
        loaded = keras.models.load_model(tmp_path / "vae.keras")
        x = digits.test[:32]
        seed = fix_seed(loaded, monkeypatch)
        log_likelihood, kl = terms_by_hand(vae, x, seed)
        np.testing.assert_allclose(
            loaded.test_on_batch(x, return_dict=True)["loss"], -(log_likelihood - kl).mean(), rtol=1e-5
        )
        for mine, its in zip(vae.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, its)
        for name, value in vae.encode(x).named_parameters.items():
            np.testing.assert_array_equal(value, loaded.encode(x).named_parameters[name])
        z = vae.sample_latent(8, seed=1)
        np.testing.assert_array_equal(
            vae.decode(z).named_parameters["logits"], loaded.decode(z).named_parameters["logits"]
        )

    def test_moves_the_weights_along_the_gradient_of_that_number(self, build_vae, digits, monkeypatch):
        """One step of plain gradient descent, against central differences of NumPy's number, weight by weight."""
        import keras

        vae = build_vae(optimizer=keras.optimizers.SGD(1.0))
        x = digits.train[:16]
        seed = fix_seed(vae, monkeypatch)
        before = vae.get_weights()
        vae.train_on_batch(x)
        # The state of the seed generator is a weight too, and no float.
        steps = [b - a if b.dtype == np.float32 else 0 * b for b, a in zip(before, vae.get_weights(), strict=True)]
        checked = 0
        for i, step in enumerate(steps):
            norm = float(np.linalg.norm(step))
            if norm == 0:
                continue
            losses = []
            for h in (5e-3, -5e-3):
                moved = list(before)
                moved[i] = before[i] + h * step / norm
                vae.set_weights(moved)
                log_likelihood, kl = terms_by_hand(vae, x, seed)
                losses.append(-(log_likelihood - kl).mean())
            np.testing.assert_allclose((losses[0] - losses[1]) / 1e-2, norm, rtol=2e-2, atol=5e-3)
            checked += 1
        assert checked == len(vae.trainable_variables) == 8

    def test_adds_the_networks_own_losses_once(self, build_vae, digits, monkeypatch):
        import keras

        from tfpvae import layers

        decoder = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(64, kernel_regularizer="l2"), layers.IndependentBernoulli((8, 8, 1))]
        )
        vae = build_vae(decoder=decoder)
        seed = fix_seed(vae, monkeypatch)
        x = digits.test[:8]
        log_likelihood, kl = terms_by_hand(vae, x, seed)
        penalty = 0.01 * np.sum(decoder.layers[0].kernel.numpy() ** 2)
        reported = vae.test_on_batch(x, return_dict=True)
        np.testing.assert_allclose(reported["loss"], -(log_likelihood - kl).mean() + penalty, rtol=1e-5)
        np.testing.assert_allclose(reported["elbo"], (log_likelihood - kl).mean(), rtol=1e-5)

    def test_weighs_each_row_by_its_sample_weight(self, build_vae, digits, monkeypatch):
        vae = build_vae()
        seed = fix_seed(vae, monkeypatch)
        x, weight = digits.test[:6], np.array([0, 1, 2, 0.5, 3, 0], np.float32)
        log_likelihood, kl = terms_by_hand(vae, x, seed)
        elbo = log_likelihood - kl
        reported = vae.test_on_batch(x, sample_weight=weight, return_dict=True)
        np.testing.assert_allclose(reported["loss"], -(weight * elbo).mean(), rtol=1e-5)
        np.testing.assert_allclose(reported["elbo"], np.average(elbo, weights=weight), rtol=1e-5)
        np.testing.assert_allclose(reported["kl"], np.average(kl, weights=weight), rtol=1e-5)
        assert vae.train_on_batch(x, sample_weight=weight, return_dict=True)["loss"] == pytest.approx(
            reported["loss"], rel=1e-5
        )

    @pytest.mark.parametrize("kind", ["IndependentNormal", "MultivariateNormalTriL"])
    def test_of_other_likelihoods_and_posteriors(self, kind, build_vae, digits, monkeypatch):
        from tfpvae import layers

        x = digits.test[:9]
        if kind == "IndependentNormal":
            vae = build_vae(likelihood=layers.IndependentNormal((8, 8, 1)))
        else:
            vae = build_vae(posterior=layers.MultivariateNormalTriL(4))
        seed = fix_seed(vae, monkeypatch)
        q = vae.encode(x)
        p_x = vae.decode(q.sample(seed=seed)).named_parameters
        if kind == "IndependentNormal":
            loc, scale = p_x["loc"].numpy(), p_x["scale"].numpy()
            density = -0.5 * ((x - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)
            expected = density.sum((1, 2, 3)) - gaussian_kl(q.loc, q.stddev())
        else:
            loc, L = q.named_parameters["loc"].numpy(), q.named_parameters["scale_tril"].numpy()
            trace = np.sum(L**2, axis=(1, 2))
            log_det = 2 * np.log(np.diagonal(L, axis1=1, axis2=2)).sum(1)
            kl = 0.5 * (trace + np.sum(loc**2, 1) - 4 - log_det)
            expected = bernoulli_log_prob(x, p_x["logits"]) - kl
        assert vae.test_on_batch(x, return_dict=True)["elbo"] == pytest.approx(expected.mean(), rel=1e-5)
        assert vae.train_on_batch(x, return_dict=True)["elbo"] == pytest.approx(expected.mean(), rel=1e-5)

    def test_with_a_prior_that_is_not_standard(self, build_vae, digits, monkeypatch):
        import tensorflow_probability as tfp

        tfd = tfp.distributions
        loc, scale = np.float32([1, -1, 0.5, 2]), np.float32([0.5, 2, 1, 3])
        vae = build_vae(prior=tfd.Independent(tfd.Normal(loc, scale), 1))
        seed = fix_seed(vae, monkeypatch)
        x = digits.test[:9]
        log_likelihood, _ = terms_by_hand(vae, x, seed)
        q = vae.encode(x)
        # KL to N(loc, scale^2) is KL to N(0, I) of the standardised posterior.
        kl = gaussian_kl((q.loc.numpy() - loc) / scale, q.stddev().numpy() / scale)
        reported = vae.test_on_batch(x, return_dict=True)
        np.testing.assert_allclose(reported["kl"], kl.mean(), rtol=1e-5)
        np.testing.assert_allclose(reported["loss"], -(log_likelihood - kl).mean(), rtol=1e-5)


HISTORY = {"loss", "elbo", "log_likelihood", "kl"}


class TestKerasLoops:
    def test_evaluate_is_the_mean_over_rows_not_over_batches(self, vae, digits, monkeypatch):
        x = digits.test[:123]  # Batches of 50, 50 and 23 rows.
        seed = fix_seed(vae, monkeypatch)
        vae.make_test_function(force=True)
        try:
            whole = vae.evaluate(x, batch_size=50, verbose=0, return_dict=True)
        finally:
            monkeypatch.undo()
            vae.make_test_function(force=True)
        terms = [terms_by_hand(vae, x[i : i + 50], seed) for i in (0, 50, 100)]
        log_likelihood, kl = (np.concatenate(t) for t in zip(*terms, strict=True))
        assert set(whole) == HISTORY
        assert whole["loss"] == pytest.approx(-(log_likelihood - kl).mean(), rel=1e-5)
        assert whole["elbo"] == pytest.approx((log_likelihood - kl).mean(), rel=1e-5)
        assert whole["kl"] == pytest.approx(kl.mean(), rel=1e-5)

    def test_fit_reports_the_metrics_by_name_and_learns(self, build_vae, digits):
        vae = build_vae()
        assert [m.name for m in vae.metrics] == ["loss", "elbo", "log_likelihood", "kl"]
        history = vae.fit(digits.train[:300], epochs=6, batch_size=50, verbose=0).history
        assert set(history) == HISTORY
        assert history["loss"][-1] < history["loss"][0] - 2
        np.testing.assert_allclose(history["loss"], -np.array(history["elbo"]), rtol=1e-5)
        gap = np.array(history["log_likelihood"]) - np.array(history["kl"])
        np.testing.assert_allclose(history["elbo"], gap, rtol=1e-5)

    @pytest.mark.parametrize("validation", ["array", "tuple", "dataset"])
    def test_validation_data_is_like_x(self, validation, build_vae, digits):
        import tensorflow as tf

        vae = build_vae()
        x_test = digits.test[:40]
        data = {
            "array": x_test,
            "tuple": (x_test,),
            "dataset": tf.data.Dataset.from_tensor_slices(x_test).batch(16),
        }[validation]
        history = vae.fit(digits.train[:40], validation_data=data, verbose=0).history
        assert set(history) == HISTORY | {f"val_{name}" for name in HISTORY}
        assert np.isfinite(history["val_loss"]).all()

    @pytest.mark.slow
    def test_tf_data_with_every_usual_callback(self, build_vae, digits, tmp_path: Path):
        import keras
        import tensorflow as tf

        batches = tf.data.Dataset.from_tensor_slices(digits.train[:120]).batch(40)
        vae = build_vae()
        callbacks = [
            keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=1e9, restore_best_weights=True),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_loss", save_best_only=True),
            keras.callbacks.ModelCheckpoint(tmp_path / "last.weights.h5", save_weights_only=True),
            keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=1e9),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
        ]
        with warnings.catch_warnings():
            # Keras opens CSVLogger's file for good; not tfpvae's to close.
            warnings.simplefilter("ignore", ResourceWarning)
            history = vae.fit(
                batches, epochs=9, validation_data=batches, callbacks=callbacks, verbose=0, shuffle=False
            ).history
        assert len(history["loss"]) == 2  # No epoch is better by 1e9: stopped after the second.
        assert float(vae.optimizer.learning_rate) == pytest.approx(5e-3)
        assert (tmp_path / "last.weights.h5").is_file()
        rows = (tmp_path / "log.csv").read_text().splitlines()
        assert len(rows) == 3
        assert set(rows[0].split(",")) == {"epoch", "learning_rate"} | HISTORY | {f"val_{n}" for n in HISTORY}
        best = keras.models.load_model(tmp_path / "best.keras")
        for mine, its in zip(vae.get_weights()[:8], best.get_weights()[:8], strict=True):
            assert mine.shape == its.shape

    @pytest.mark.slow
    def test_a_run_broken_off_is_resumed_where_it_was(self, build_vae, digits, tmp_path: Path):
        import keras

        class Crash(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 2:
                    raise KeyboardInterrupt

        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        vae = build_vae()
        with pytest.raises(KeyboardInterrupt):
            vae.fit(digits.train[:80], epochs=3, callbacks=[backup, Crash()], verbose=0)
        reached = vae.get_weights()[0]
        again = build_vae()
        history = again.fit(
            digits.train[:80],
            epochs=3,
            callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup"), _Weights(reached)],
            verbose=0,
        )
        assert history.epoch == [2]

    @pytest.mark.parametrize(
        "options",
        [
            {"run_eagerly": True},
            pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
            {"steps_per_execution": 2},
        ],
        ids=lambda o: next(iter(o)),
    )
    def test_the_way_of_running_changes_nothing(self, options, build_vae, digits):
        import keras

        histories = []
        for given in ({}, options):
            keras.utils.set_random_seed(3)
            vae = build_vae(**given)
            histories.append(vae.fit(digits.train[:64], epochs=2, batch_size=32, shuffle=False, verbose=0).history)
        # XLA has other random numbers for the same seed: the same training, and other draws.
        rtol = 2e-2 if "jit_compile" in options else 1e-3
        for name in ("loss", "elbo", "log_likelihood"):
            np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=rtol)

    def test_the_random_seed_makes_two_runs_identical(self, build_vae, digits):
        import keras

        weights, losses = [], []
        for seed in (5, 5, 6):
            keras.utils.set_random_seed(seed)
            vae = build_vae()
            losses.append(vae.fit(digits.train[:64], epochs=2, verbose=0).history["loss"])
            weights.append(vae.get_weights())
        assert losses[0] == losses[1] != losses[2]
        for a, b in zip(weights[0], weights[1], strict=True):
            np.testing.assert_array_equal(a, b)

    def test_every_step_draws_anew(self, vae, digits):
        x = digits.test[:16]
        values = {float(vae.test_on_batch(x, return_dict=True)["log_likelihood"]) for _ in range(3)}
        assert len(values) == 3

    def test_mixed_precision_trains(self, build_vae, digits):
        import keras

        from tfpvae import layers

        policy = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
        encoder = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                keras.layers.Flatten(),
                keras.layers.Dense(8, "relu", dtype=policy),
                keras.layers.Dense(8, dtype=policy),
                layers.MultivariateNormalDiag(4),
            ]
        )
        vae = build_vae(encoder=encoder)
        history = vae.fit(digits.train[:64], epochs=3, verbose=0).history
        assert history["loss"][-1] < history["loss"][0]
        assert vae.encode(digits.test[:2]).loc.dtype.name == "float32"


def _Weights(expected: np.ndarray):  # noqa: N802  (a class, made when Keras is there)
    import keras

    class Check(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            np.testing.assert_array_equal(self.model.get_weights()[0], expected)

    return Check()


class TestAnswers:
    def test_calling_it_is_the_likelihood_of_a_draw(self, vae, digits):
        x = digits.test[:5]
        p_x = vae(x)
        assert p_x.event_shape == (8, 8, 1)
        assert p_x.batch_shape == [5]
        log_prob = bernoulli_log_prob(x, p_x.named_parameters["logits"].numpy())
        np.testing.assert_allclose(p_x.log_prob(x), log_prob, rtol=1e-5)
        assert (vae(x).mean().numpy() != p_x.mean().numpy()).any()

    def test_encode_and_decode_are_the_networks(self, vae, digits):
        x = digits.test[:5]
        weights = [np.asarray(w, np.float64) for w in vae.encoder.get_weights() if w.dtype == np.float32]
        hidden = np.maximum(x.reshape(5, -1) @ weights[0] + weights[1], 0)
        params = hidden @ weights[2] + weights[3]
        q = vae.encode(x)
        np.testing.assert_allclose(q.mean(), params[:, :4], atol=1e-5)
        np.testing.assert_allclose(q.stddev(), np.log1p(np.exp(params[:, 4:])) + 1e-5, atol=1e-5)

        z = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
        weights = [np.asarray(w, np.float64) for w in vae.decoder.get_weights() if w.dtype == np.float32]
        logits = np.maximum(z @ weights[0] + weights[1], 0) @ weights[2] + weights[3]
        np.testing.assert_allclose(vae.decode(z).mean(), expit(logits).reshape(5, 8, 8, 1), atol=1e-5)

    def test_predict_and_reconstruct_are_the_mean_at_the_mean(self, vae, digits):
        x = digits.test[:70]
        expected = vae.decode(vae.encode(x).mean()).mean().numpy()
        np.testing.assert_allclose(vae.reconstruct(x), expected, atol=1e-6)
        np.testing.assert_allclose(vae.predict(x, verbose=0), expected, atol=1e-5)
        assert ((expected > 0.5) == (x > 0.5)).mean() > 0.75  # It has learnt something of the images.

    def test_score_is_the_bound_by_hand_at_the_draw_of_the_seed(self, vae, digits):
        from tfpvae.random import numpy as reference
        from tfpvae.random.seeds import POSTERIOR, seeds_for

        x = digits.test[:6]
        got = vae.score(x, seed=9)
        epsilon = reference.normal_from_uniform(reference.uniform(seeds_for(6, 9), 4, POSTERIOR))
        q = vae.encode(x)
        loc, scale = q.loc.numpy(), q.stddev().numpy()
        logits = vae.decode(loc + scale * epsilon).named_parameters["logits"].numpy()
        log_likelihood, kl = bernoulli_log_prob(x, logits), gaussian_kl(loc, scale)
        assert list(got) == ["elbo", "log_likelihood", "kl"]
        np.testing.assert_allclose(got["log_likelihood"], log_likelihood, rtol=1e-4)
        np.testing.assert_allclose(got["kl"], kl, rtol=1e-4)
        np.testing.assert_allclose(got["elbo"], log_likelihood - kl, rtol=1e-4)
        np.testing.assert_array_equal(vae.score(x, seed=9)["elbo"], got["elbo"])
        assert (vae.score(x)["elbo"].numpy() != vae.score(x)["elbo"].numpy()).any()


class TestPredictStatistics:
    def test_they_are_those_of_the_reconstruction_in_one_pass(self, vae, digits):
        x = digits.test[:70]
        found = vae.predict(x, statistics=("mean", "stddev", "log_prob"), verbose=0)
        p_x = vae.decode(vae.encode(x).mean())
        assert set(found) == {"mean", "stddev", "log_prob"}
        np.testing.assert_allclose(found["mean"], p_x.mean(), atol=1e-5)
        np.testing.assert_allclose(found["stddev"], p_x.stddev(), atol=1e-5)
        np.testing.assert_allclose(found["log_prob"], p_x.log_prob(x), rtol=1e-4)
        np.testing.assert_allclose(vae.predict(x, verbose=0), p_x.mean(), atol=1e-5)

    def test_an_unknown_one_is_named(self, vae, digits):
        with pytest.raises(ModelError, match="statistics must be some of mean, stddev"):
            vae.predict(digits.test[:2], statistics=("median",))

    def test_statistics_of_one_call_are_no_other_calls(self, vae, digits):
        from concurrent.futures import ThreadPoolExecutor

        x = digits.test[:4]
        wanted = [None, ("mean",), ("stddev", "mode"), None] * 3

        def kind(statistics):
            predicted = vae.predict(x, statistics=statistics, verbose=0)
            return tuple(predicted) if isinstance(predicted, dict) else None

        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(kind, wanted)) == wanted
        assert isinstance(vae.predict_on_batch(x), np.ndarray)
