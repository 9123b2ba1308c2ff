"""The KL as a regulariser and as a layer: its scale, its weight, its prior's variables, and what it refuses."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

D = 2
LOC = np.float32([[-1.0, 1.0], [0.5, 0.0], [2.0, -0.5], [0.0, 0.0], [1.0, 1.0], [-2.0, 0.3], [0.1, 0.2], [3.0, -3.0]])
SCALE = np.float32([[1.1, 1.3], [0.5, 2.0], [1.0, 1.0], [1.0, 1.0], [0.2, 0.3], [1.5, 0.9], [1.2, 0.8], [0.7, 0.7]])
PARAMS = np.concatenate([LOC, np.log(np.expm1(SCALE - 1e-5))], axis=-1)
KL = 0.5 * (SCALE**2 + LOC**2 - 1) - np.log(SCALE)  # From N(0, 1), for each value.


@pytest.fixture
def prior(tfd):
    return tfd.MultivariateNormalDiag(np.zeros(D, "f"))


@pytest.fixture
def add(tfpl):
    """`add(prior, how, ...)`: a model of one Gaussian layer with the KL as regulariser or as a layer after it."""
    import keras

    def build(prior, how="regularizer", convert="sample", **options):
        if how == "regularizer":
            regularizer = tfpl.KLDivergenceRegularizer(prior, **options)
            layers = [tfpl.MultivariateNormalDiag(D, convert, activity_regularizer=regularizer)]
        else:
            layers = [tfpl.MultivariateNormalDiag(D, convert), tfpl.KLDivergenceAddLoss(prior, **options)]
        return keras.Sequential([keras.Input((2 * D,)), *layers])

    return build


HOWS = pytest.mark.parametrize("how", ["regularizer", "layer"])


class TestScale:
    @HOWS
    @pytest.mark.parametrize("batch", [1, 8])
    @pytest.mark.parametrize("draws", [None, 1, 3])
    def test_it_is_the_sum_over_the_event_and_the_mean_over_the_batch(self, how, batch, draws, add, prior):
        # TFP issue 396: what is summed and what is averaged. Keras divides by the first axis, be it batch or draws.
        model = add(prior, how, "sample" if draws is None else lambda d: d.sample(draws))
        model(PARAMS[:batch])
        assert len(model.losses) == 1
        np.testing.assert_allclose(model.losses[0], KL[:batch].sum(1).mean(), rtol=1e-4)

    @HOWS
    def test_it_is_counted_once(self, how, add, prior):
        # TFP issues 599 and 1215: the divergence was in the loss twice.
        import keras

        encoder = add(prior, how, "mean", weight=3.0)
        decoder = keras.Sequential([keras.Input((D,)), keras.layers.Dense(1)])
        model = keras.Model(encoder.inputs[0], decoder(encoder.outputs[0]))
        model.compile(jit_compile=False, loss=lambda y, p: p[:, 0] * 0)
        assert model.evaluate(PARAMS, LOC[:, :1], batch_size=8, verbose=0) == pytest.approx(
            3 * KL.sum(1).mean(), rel=1e-4
        )
        history = model.fit(PARAMS, LOC[:, :1], batch_size=8, epochs=2, verbose=0).history
        np.testing.assert_allclose(history["loss"], 3 * KL.sum(1).mean(), rtol=1e-4)
        model(PARAMS)
        model(PARAMS)
        assert len(model.losses) == 1

    def test_it_is_on_the_scale_of_the_likelihood(self, add, prior, tfpl):
        import keras

        encoder = add(prior, convert="mean")
        model = keras.Model(encoder.inputs[0], tfpl.IndependentNormal(1)(encoder.outputs[0]))
        model.compile(jit_compile=False, loss=lambda y, rv: -rv.log_prob(y))
        y = LOC[:, :1]
        scale = np.log1p(np.exp(LOC[:, 1]))
        nll = 0.5 * ((y[:, 0] - LOC[:, 0]) / scale) ** 2 + np.log(scale) + 0.5 * np.log(2 * np.pi)
        loss = model.evaluate(PARAMS, y, batch_size=8, verbose=0)
        assert loss == pytest.approx(np.mean(nll + KL.sum(1)), rel=1e-4)


class TestExactOrMonteCarlo:
    @HOWS
    def test_exact_is_the_default(self, how, add, prior):
        # tfp.layers estimated it by one draw, and two calls differed.
        model = add(prior, how)
        losses = []
        for _ in range(2):
            model(PARAMS)
            losses.append(float(model.losses[0]))
        assert losses[0] == losses[1]

    @HOWS
    @pytest.mark.parametrize(
        "options",
        [{"use_exact_kl": False}, {"test_points_fn": lambda d: d.sample(4000)}, {"test_points_reduce_axis": 0}],
        ids=["asked for", "test points", "axis"],
    )
    def test_test_points_mean_monte_carlo(self, how, options, add, prior):
        import keras

        keras.utils.set_random_seed(1)
        model = add(prior, how, lambda d: d.sample(4000), **options)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model(PARAMS)
        loss = float(model.losses[0])
        assert loss != pytest.approx(KL.sum(1).mean(), rel=1e-6)
        assert loss == pytest.approx(KL.sum(1).mean(), rel=0.03)

    def test_exact_may_be_asked_for_with_test_points(self, add, prior):
        model = add(prior, use_exact_kl=True, test_points_fn=lambda d: d.sample(2))
        model(PARAMS)
        np.testing.assert_allclose(model.losses[0], KL.sum(1).mean(), rtol=1e-4)

    def test_without_a_closed_form_one_warning_names_the_pair(self, add, tfd, monkeypatch):
        from tfpvae.layers import kl

        monkeypatch.setattr(kl, "_warned", set())
        laplace = tfd.Independent(tfd.Laplace(np.zeros(D, "f"), 1.0), 1)
        with pytest.warns(UserWarning, match=r"MultivariateNormalDiag and Independent\(Laplace\)") as caught:
            add(laplace)
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            add(laplace)(PARAMS)

    def test_another_event_is_refused(self, add, tfd):
        from tfpvae.errors import ModelError

        # Without Independent, log q - log p would be [B] - [B, D], and broadcast.
        for options in ({}, {"use_exact_kl": False}):
            with pytest.raises(ModelError, match=r"over the same event.*tfd.Independent"):
                add(tfd.Normal(np.zeros(D, "f"), 1.0), **options)


# Spellings of N((0.5, -1), L L^T), L = [[0.6, 0], [0.3, 1.2]], and of its diagonal cousin.
SHIFT, TRIL, DIAG = np.float32([0.5, -1.0]), np.float32([[0.6, 0.0], [0.3, 1.2]]), np.float32([0.6, 1.2])


def _spellings(tfd, tfb, tfp):
    standard = tfd.Sample(tfd.Normal(0.0, 1.0), D)
    unit = tfd.MultivariateNormalDiag(np.zeros(D, "f"))
    operator = tfp.experimental.distributions.MultivariateNormalPrecisionFactorLinearOperator
    import tensorflow as tf

    full = {
        "TriL": tfd.MultivariateNormalTriL(SHIFT, TRIL),
        "FullCovariance": tfd.MultivariateNormalFullCovariance(SHIFT, TRIL @ TRIL.T),
        "LinearOperator": tfd.MultivariateNormalLinearOperator(SHIFT, tf.linalg.LinearOperatorFullMatrix(TRIL)),
        "precision": operator(
            SHIFT, tf.linalg.LinearOperatorLowerTriangular(np.linalg.cholesky(np.linalg.inv(TRIL @ TRIL.T)).astype("f"))
        ),
        "Chain of a Sample": tfd.TransformedDistribution(
            standard, tfb.Chain([tfb.Shift(SHIFT), tfb.ScaleMatvecTriL(TRIL)])
        ),
        "Shift of ScaleMatvecLinearOperator": tfb.Shift(SHIFT)(
            tfb.ScaleMatvecLinearOperator(tf.linalg.LinearOperatorFullMatrix(TRIL))
        )(unit),
        "Scale of a TriL": tfd.TransformedDistribution(
            tfd.MultivariateNormalTriL(SHIFT / np.float32([2, -2]), TRIL / np.float32([[2], [-2]])),
            tfb.Scale(np.float32([2, -2])),
        ),
        "Invert": tfb.Shift(SHIFT)(tfb.Invert(tfb.ScaleMatvecTriL(np.linalg.inv(TRIL).astype("f")))(standard)),
        "BatchBroadcast": tfd.BatchBroadcast(tfd.MultivariateNormalTriL(SHIFT, TRIL), [8]),
    }
    diagonal = {
        "Diag": tfd.MultivariateNormalDiag(SHIFT, DIAG),
        "Independent": tfd.Independent(tfd.Normal(SHIFT, DIAG), 1),
        "Scale and Shift": tfb.Shift(SHIFT)(tfb.Scale(-DIAG))(standard),
        "Scale by its logarithm": tfb.Shift(SHIFT)(tfb.Scale(log_scale=np.log(DIAG)))(standard),
        "ScaleMatvecDiag": tfb.Shift(SHIFT)(tfb.ScaleMatvecDiag(DIAG))(unit),
        "Independent of Transformed": tfd.Independent(
            tfd.TransformedDistribution(tfd.Normal(np.zeros(D, "f"), DIAG), tfb.Shift(SHIFT)), 1
        ),
        "low rank": tfd.MultivariateNormalDiagPlusLowRank(SHIFT, DIAG, scale_perturb_factor=np.zeros((D, 1), "f")),
        "low rank covariance": tfd.MultivariateNormalDiagPlusLowRankCovariance(SHIFT, DIAG**2, np.zeros((D, 1), "f")),
    }
    return {**full, **diagonal}, {**dict.fromkeys(full, TRIL), **dict.fromkeys(diagonal, np.diag(DIAG))}


SPELLINGS = [
    *("TriL", "FullCovariance", "LinearOperator", "precision", "Chain of a Sample"),
    *("Shift of ScaleMatvecLinearOperator", "Scale of a TriL", "Invert", "BatchBroadcast"),
    *("Diag", "Independent", "Scale and Shift", "Scale by its logarithm", "ScaleMatvecDiag"),
    *("Independent of Transformed", "low rank", "low rank covariance"),
]


def by_hand(m0, L0, m1, L1):
    m0, L0, m1, L1 = (np.asarray(a, np.float64) for a in (m0, L0, m1, L1))
    inverse, gap = np.linalg.inv(L1 @ L1.T), m1 - m0
    trace = np.trace(inverse @ L0 @ L0.T)
    log_det = 2 * (np.linalg.slogdet(L1)[1] - np.linalg.slogdet(L0)[1])
    return 0.5 * (trace + gap @ inverse @ gap - len(m0) + log_det)


@pytest.mark.parametrize("name", SPELLINGS)
def test_the_kl_of_gaussians_is_exact_however_they_are_spelled(name, tfd):
    import tensorflow_probability as tfp

    from tfpvae.layers.kl import exact_kl

    distributions, scales = _spellings(tfd, tfp.bijectors, tfp)
    assert set(distributions) == set(SPELLINGS)
    p, scale = distributions[name], scales[name]
    q = tfd.MultivariateNormalDiag(LOC, SCALE)
    expected = np.array([by_hand(m, np.diag(s), SHIFT, scale) for m, s in zip(LOC, SCALE, strict=True)])
    np.testing.assert_allclose(exact_kl(q, p), expected, rtol=2e-4)
    other_way = np.array([by_hand(SHIFT, scale, m, np.diag(s)) for m, s in zip(LOC, SCALE, strict=True)])
    np.testing.assert_allclose(exact_kl(p, q), other_way, rtol=2e-4)
    np.testing.assert_allclose(exact_kl(p, distributions["TriL"]), by_hand(SHIFT, scale, SHIFT, TRIL), atol=1e-4)
    # And where tfd.kl_divergence itself is called.
    np.testing.assert_allclose(tfd.kl_divergence(q, p), expected, rtol=2e-4)


def test_samples_and_independents_of_full_normals_are_summed(tfd):
    from tfpvae.layers.kl import exact_kl

    rows = tfd.Independent(tfd.MultivariateNormalTriL(LOC.reshape(4, 2, D), TRIL), 1)  # Batch [4], event [2, D].
    repeated = tfd.Sample(tfd.MultivariateNormalDiag(SHIFT, DIAG), [2])
    batch = tfd.Sample(tfd.MultivariateNormalTriL(LOC[:4], np.stack([TRIL] * 4)), [2])  # Batch [4], event [2, D].
    each = np.array([by_hand(m, TRIL, SHIFT, np.diag(DIAG)) for m in LOC]).reshape(4, 2)
    np.testing.assert_allclose(exact_kl(rows, repeated), each.sum(1), rtol=1e-4)
    twice = [2 * by_hand(m, TRIL, SHIFT, np.diag(DIAG)) for m in LOC[:4]]
    np.testing.assert_allclose(exact_kl(batch, repeated), twice, rtol=1e-4)
    np.testing.assert_allclose(exact_kl(batch, batch), np.zeros(4), atol=1e-5)


def test_what_is_not_affine_is_no_gaussian(tfd):
    import tensorflow_probability as tfp

    from tfpvae.layers.kl import as_gaussian, exact_kl

    tfb = tfp.bijectors
    lognormal = tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), tfb.Exp())
    assert as_gaussian(lognormal) is None
    assert as_gaussian(tfd.TransformedDistribution(lognormal, tfb.Shift(1.0))) is None
    assert exact_kl(tfd.Normal(0.0, 1.0), lognormal) is None
    # TFP knows this one: the same bijector on both sides.
    other = tfd.TransformedDistribution(tfd.Normal(1.0, 2.0), lognormal.bijector)
    np.testing.assert_allclose(
        exact_kl(lognormal, other), tfd.kl_divergence(tfd.Normal(0.0, 1.0), tfd.Normal(1.0, 2.0))
    )


def one_step(model):
    """The loss of one training step. Keras 3.12 returns the mean over the steps since the last reset."""
    model.reset_metrics()
    return model.train_on_batch(PARAMS, LOC)


# The models below have no weights but those of the prior.
NO_WEIGHTS = "ignore:The model does not have any trainable weights"


@pytest.mark.filterwarnings(NO_WEIGHTS)
class TestWeight:
    @HOWS
    def test_a_number(self, how, add, prior):
        model = add(prior, how, weight=0.25)
        model(PARAMS)
        np.testing.assert_allclose(model.losses[0], 0.25 * KL.sum(1).mean(), rtol=1e-4)

    @HOWS
    @pytest.mark.parametrize("kind", ["tf", "keras"])
    def test_a_variable_is_read_at_every_step(self, how, kind, add, prior):
        import keras
        import tensorflow as tf

        weight = tf.Variable(0.5, trainable=False) if kind == "tf" else keras.Variable(0.5, trainable=False)
        model = add(prior, how, weight=weight)
        model.compile(jit_compile=False, loss=lambda y, rv: rv[:, 0] * 0)
        for value in (0.5, 2.0):
            weight.assign(value)
            loss = model.evaluate(PARAMS, LOC, batch_size=8, verbose=0)
            assert loss == pytest.approx(value * KL.sum(1).mean(), rel=1e-4)
        assert not model.trainable_variables
        assert len(model.non_trainable_weights) == 1

    @HOWS
    def test_a_schedule_counts_training_batches(self, how, add, prior):
        from tfpvae.schedules import KLWarmUp

        model = add(prior, how, weight=KLWarmUp(4))
        model.compile(jit_compile=False, loss=lambda y, rv: rv[:, 0] * 0)
        losses = [one_step(model) for _ in range(6)]
        np.testing.assert_allclose(losses, np.array([0, 0.25, 0.5, 0.75, 1, 1]) * KL.sum(1).mean(), rtol=1e-4)
        assert model.evaluate(PARAMS, LOC, batch_size=2, verbose=0) == pytest.approx(KL.sum(1).mean(), rel=1e-4)
        steps = [v for v in model.non_trainable_weights if v.dtype == "int64"]
        assert [int(v.numpy()) for v in steps] == [6]

    def test_any_schedule_of_keras_will_do(self, add, prior):
        import keras

        model = add(prior, weight=keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 2.0]))
        model.compile(jit_compile=False, loss=lambda y, rv: rv[:, 0] * 0)
        losses = [one_step(model) for _ in range(3)]
        np.testing.assert_allclose(losses, np.array([0.5, 0.5, 2.0]) * KL.sum(1).mean(), rtol=1e-4)

    def test_warm_up(self):
        import keras

        from tfpvae.errors import ModelError
        from tfpvae.schedules import KLWarmUp

        schedule = KLWarmUp(10, start=0.2, end=1.2)
        np.testing.assert_allclose([float(schedule(s)) for s in (0, 5, 10, 11)], [0.2, 0.7, 1.2, 1.2], rtol=1e-6)
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(schedule)))
        again = keras.saving.deserialize_keras_object(config)
        assert isinstance(again, KLWarmUp)
        assert again.get_config() == {"steps": 10, "start": 0.2, "end": 1.2}
        for arguments in ({"steps": 0}, {"steps": 1.5}, {"steps": True}, {"steps": 2, "start": -1}):
            with pytest.raises(ModelError, match="Received"):
                KLWarmUp(**arguments)


class TestFreeBits:
    def test_of_independent_gaussians_they_are_for_each_value(self, add, prior):
        model = add(prior, free_bits=1.0, weight=2.0)
        model(PARAMS)
        means = KL.mean(0)
        assert means.min() < 1.0 < means.max() or means.min() > 1.0
        np.testing.assert_allclose(model.losses[0], 2 * np.maximum(means, 1.0).sum(), rtol=1e-4)

    def test_below_them_there_is_no_gradient(self, add, prior):
        import tensorflow as tf

        params = tf.Variable(PARAMS)
        for free_bits, moves in ((100.0, False), (0.0, True)):
            model = add(prior, free_bits=free_bits)
            with tf.GradientTape() as tape:
                model(params)
                loss = sum(model.losses)
            assert loss.numpy() == pytest.approx(max(100.0 * D * (not moves), KL.sum(1).mean() * moves), rel=1e-4)
            assert bool(np.abs(tape.gradient(loss, params)).max() > 0) == moves

    def test_of_others_they_are_for_the_whole(self, tfd, tfpl):
        q = tfd.MultivariateNormalTriL(LOC, np.stack([TRIL] * 8))
        p = tfd.MultivariateNormalDiag(np.zeros(D, "f"))
        kl = float(np.mean([by_hand(m, TRIL, np.zeros(D), np.eye(D)) for m in LOC]))
        assert float(tfpl.KLDivergenceRegularizer(p, free_bits=0.1)(q)) == pytest.approx(kl, rel=1e-4)
        assert float(tfpl.KLDivergenceRegularizer(p, free_bits=10.0)(q)) == pytest.approx(10.0 * D)


class TestAddLoss:
    def test_it_passes_the_distribution_on(self, tfpl, prior, tfd):
        # TFP issue 865: after KLDivergenceAddLoss there was a tensor, and model(x).mean() failed.
        import tensorflow as tf

        rv = tfpl.MultivariateNormalDiag(D)(tf.constant(PARAMS))
        out = tfpl.KLDivergenceAddLoss(prior)(rv)
        assert out is rv
        assert isinstance(out.tensor_distribution, tfd.MultivariateNormalDiag)

    def test_in_a_model_it_is_the_same_draw(self, add, prior, tfd):
        import keras

        encoder = add(prior, "layer")
        model = keras.Model(encoder.inputs[0], [encoder.layers[0].output, encoder.outputs[0]])
        before, after = model(PARAMS)
        np.testing.assert_array_equal(before.numpy(), after.numpy())
        np.testing.assert_allclose(after.mean(), LOC, atol=1e-6)

    def test_it_must_follow_a_distribution(self, tfpl, prior):
        from tfpvae.errors import ModelError

        with pytest.raises(ModelError, match="must follow a distribution layer"):
            tfpl.KLDivergenceAddLoss(prior)(np.zeros((2, D), "f"))


class TestPriorsWithVariables:
    @pytest.fixture
    def learned(self, tfd):
        import tensorflow as tf
        import tensorflow_probability as tfp

        loc = tf.Variable(np.zeros(D, "f"), name="prior_loc")
        scale = tfp.util.TransformedVariable(np.ones(D, "f"), tfp.bijectors.Softplus(), name="prior_scale")
        return tfd.Independent(tfd.Normal(loc, scale), 1)

    @HOWS
    def test_they_are_trained(self, how, add, learned):
        import keras

        model = add(learned, how)
        assert len(model.trainable_variables) == 2
        assert model.trainable_variables[0].value is learned.distribution.loc
        model.compile(keras.optimizers.Adam(0.2), jit_compile=False, loss=lambda y, rv: rv[:, 0] * 0)
        model.fit(np.tile(PARAMS, (60, 1)), np.tile(LOC, (60, 1)), batch_size=8, shuffle=False, verbose=0)
        # The prior nearest to the posteriors has their mean, and their second moment around it.
        np.testing.assert_allclose(learned.distribution.loc.numpy(), LOC.mean(0), atol=0.05)
        second = np.sqrt((SCALE**2 + (LOC - LOC.mean(0)) ** 2).mean(0))
        np.testing.assert_allclose(np.asarray(learned.distribution.scale), second, rtol=0.05)

    def test_a_deferred_tensor_and_a_function_and_a_model(self, add, tfd, tfpl):
        import keras
        import tensorflow as tf
        import tensorflow_probability as tfp

        raw = tf.Variable(np.zeros(D, "f"))
        deferred = tfp.util.DeferredTensor(raw, lambda x: x + 1.0)
        plain = tf.Variable(np.ones(D, "f"))
        priors = {
            "deferred": tfd.Independent(tfd.Normal(deferred, 1.0), 1),
            "function": lambda: tfd.Independent(tfd.Normal(plain, 1.0), 1),
            "model": keras.Sequential(
                [
                    tfpl.VariableLayer([D], initializer="ones"),
                    tfpl.DistributionLambda(lambda t: tfd.Independent(tfd.Normal(t, 1.0), 1)),
                ]
            ),
        }
        expected = 0.5 * ((LOC - 1) ** 2 + SCALE**2 - 1) - np.log(SCALE)
        for name, prior in priors.items():
            model = add(prior)
            model(PARAMS)
            np.testing.assert_allclose(model.losses[0], expected.sum(1).mean(), rtol=1e-4, err_msg=name)
            assert len(model.trainable_variables) == 1, name
            model.compile("sgd", jit_compile=False, loss=lambda y, rv: rv[:, 0] * 0)
            before = model.trainable_variables[0].numpy()
            model.train_on_batch(PARAMS, LOC)
            assert np.abs(model.trainable_variables[0].numpy() - before).max() > 0, name

    def test_one_prior_of_two_layers_takes_one_step(self, tfpl, learned):
        import keras

        regularizers = [tfpl.KLDivergenceRegularizer(learned) for _ in range(2)]
        x = keras.Input((2 * D,))
        outputs = [tfpl.MultivariateNormalDiag(D, activity_regularizer=r)(x) for r in regularizers]
        model = keras.Model(x, outputs)
        assert len(model.trainable_variables) == 2
        model.compile(keras.optimizers.SGD(0.1), jit_compile=False, loss=[lambda y, rv: rv[:, 0] * 0] * 2)
        model.train_on_batch(PARAMS, [LOC, LOC])
        # Two terms, each with the gradient -mean(loc) in the prior's loc.
        np.testing.assert_allclose(learned.distribution.loc.numpy(), 2 * 0.1 * LOC.mean(0), rtol=1e-4)

    def test_a_vae_trains_and_saves_such_a_prior(self, build_vae, digits, tmp_path, tfd):
        import keras
        import tensorflow as tf
        import tensorflow_probability as tfp

        loc = tf.Variable(np.zeros(4, "f"), name="loc")
        scale = tfp.util.TransformedVariable(np.ones(4, "f"), tfp.bijectors.Exp(), name="scale")
        vae = build_vae(prior=tfd.Independent(tfd.Normal(loc, scale), 1))
        vae.fit(digits.train[:200], epochs=1, batch_size=50, verbose=0)
        assert np.abs(loc.numpy()).max() > 0
        vae.save(tmp_path / "vae.keras")
        again = keras.models.load_model(tmp_path / "vae.keras")
        np.testing.assert_array_equal(again.prior.distribution().mean(), loc.numpy())
        np.testing.assert_array_equal(again.prior.distribution().stddev(), np.asarray(scale))
        assert len(again.trainable_variables) == len(vae.trainable_variables)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distribution_b": 3.0}, "distribution_b must be a tfd.Distribution or a function"),
        ({"weight": "full"}, "weight must be a number, a variable, or a schedule"),
        ({"weight": [1.0, 2.0]}, "weight must be one number"),
        ({"weight": print}, "weight must be a number, a variable, or a schedule"),
        ({"free_bits": -1.0}, "free_bits must be a number of at least 0"),
        ({"free_bits": "a"}, "free_bits must be a number of at least 0"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(arguments, message, tfpl, prior):
    from tfpvae.errors import ModelError

    for cls in (tfpl.KLDivergenceRegularizer, tfpl.KLDivergenceAddLoss):
        with pytest.raises(ModelError, match=message):
            cls(**{"distribution_b": prior, **arguments})


def test_a_function_must_return_a_distribution(add):
    from tfpvae.errors import ModelError

    with pytest.raises(ModelError, match=r"distribution_b must return a tfd\.Distribution"):
        add(lambda: 3.0)
