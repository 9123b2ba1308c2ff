"""Every mistake is one clear error where it is made, before training."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

import numpy as np
import pytest

EVENT = (8, 8, 1)
X = (np.random.default_rng(0).random((20, *EVENT)) < 0.5).astype(np.float32)


@pytest.fixture(scope="module")
def parts():
    """Layers and networks to put together wrongly."""
    import keras
    import tensorflow_probability as tfp

    from tfpvae import layers

    class Parts:
        keras_ = keras
        L = keras.layers
        D = layers
        tfd = tfp.distributions

        @staticmethod
        def sequential(*last, event=EVENT):
            start = [] if event is None else [keras.Input(event)]
            return keras.Sequential([*start, keras.layers.Flatten(), *last])

        @staticmethod
        def functional(*last, event=EVENT):
            x = keras.Input(event)
            y = keras.layers.Flatten()(x)
            for layer in last:
                y = layer(y)
            return keras.Model(x, y)

        @staticmethod
        def subclassed(*last, lazily=False):
            class Subclassed(keras.Model):
                def __init__(self):
                    super().__init__()
                    if not lazily:
                        self.steps = [keras.layers.Flatten(), *last]

                def build(self, input_shape):
                    if lazily:
                        self.steps = [keras.layers.Flatten(), *last]
                    self.built = True

                def call(self, x):
                    for step in self.steps:
                        x = step(x)
                    return x

            return Subclassed()

        @staticmethod
        def plain_layer(*last):
            class Plain(keras.layers.Layer):
                def __init__(self):
                    super().__init__()
                    self.steps = [keras.layers.Flatten(), *last]

                def call(self, x):
                    for step in self.steps:
                        x = step(x)
                    return x

            return Plain()

        @staticmethod
        def posterior(size=4):
            return keras.layers.Dense(2 * size), layers.MultivariateNormalDiag(size)

        @staticmethod
        def decoder(event=EVENT, latent=4):
            return keras.Sequential(
                [
                    keras.Input((latent,)),
                    keras.layers.Dense(int(np.prod(event))),
                    layers.IndependentBernoulli(event),
                ]
            )

        @staticmethod
        def regularized():
            prior = tfp.distributions.MultivariateNormalDiag(np.zeros(4, np.float32))
            return (
                keras.layers.Dense(8),
                layers.MultivariateNormalDiag(4, activity_regularizer=layers.KLDivergenceRegularizer(prior)),
            )

    return Parts


@pytest.fixture
def count_steps(monkeypatch):
    """How many training steps were traced or run."""
    from tfpvae import VAE

    steps = []
    whole = VAE.train_step
    monkeypatch.setattr(VAE, "train_step", lambda self, data: steps.append(1) or whole(self, data))
    return steps


# What | how the model is built | the message. Each is refused when the model is made.
AT_CONSTRUCTION: dict[str, tuple[Callable, str]] = {
    "functional encoder ends in a tensor": (
        lambda p: (p.functional(p.L.Dense(4)), p.decoder()),
        r"The encoder must end in a distribution layer, such as tfpvae\.layers\.MultivariateNormalDiag\. Received: ",
    ),
    "Sequential encoder with Input ends in a tensor": (
        lambda p: (p.sequential(p.L.Dense(4)), p.decoder()),
        r"The encoder must end in a distribution layer.* Received: layer 'dense.*' of type Dense",
    ),
    "Sequential encoder without Input ends in a tensor": (
        lambda p: (p.sequential(p.L.Dense(4), event=None), p.decoder()),
        r"The encoder must end in a distribution layer.* Received: layer 'dense.*' of type Dense",
    ),
    "nested Sequential encoder ends in a tensor": (
        lambda p: (p.sequential(p.keras_.Sequential([p.L.Dense(4)]), event=None), p.decoder()),
        r"The encoder must end in a distribution layer.*Dense",
    ),
    "decoder ends in a tensor": (
        lambda p: (p.functional(*p.posterior()), p.functional(p.L.Dense(64), event=(4,))),
        r"The decoder must end in a distribution layer, such as tfpvae\.layers\.IndependentBernoulli",
    ),
    "KL regulariser in a Sequential encoder": (
        lambda p: (p.sequential(*p.regularized()), p.decoder()),
        r"The encoder of a VAE must have no KL regulariser: .* count twice.*'multivariate_normal_diag.*prior=",
    ),
    "KL regulariser in a functional encoder": (
        lambda p: (p.functional(*p.regularized()), p.decoder()),
        "must have no KL regulariser",
    ),
    "KL regulariser in a nested encoder": (
        lambda p: (p.sequential(p.sequential(p.functional(*p.regularized(), event=(64,)), event=(64,))), p.decoder()),
        "must have no KL regulariser",
    ),
    "KL regulariser in an encoder without Input": (
        lambda p: (p.sequential(*p.regularized(), event=None), p.decoder()),
        "must have no KL regulariser",
    ),
    "KL regulariser in a subclassed encoder": (
        lambda p: (p.subclassed(*p.regularized()), p.decoder()),
        "must have no KL regulariser",
    ),
    "decoder of another event shape": (
        lambda p: (p.functional(*p.posterior()), p.decoder((8, 8))),
        r"The decoder's event shape must be that of the data, \[8, 8, 1\]\. Received: event shape \[8, 8\]",
    ),
    "decoder of another latent size": (
        lambda p: (p.functional(*p.posterior()), p.decoder(latent=3)),
        r"The decoder must take z of shape \[B, 4\].*Received: a decoder that takes \[B, 3\]",
    ),
    "decoder whose event is a batch": (
        lambda p: (
            p.functional(*p.posterior()),
            p.functional(p.L.Dense(64), p.D.DistributionLambda(lambda t: p.tfd.Normal(t, 1.0)), event=(4,)),
        ),
        r"The decoder's distribution must have one batch dimension.*tfd\.Independent.*batch shape \[1, 64\]",
    ),
    "posterior over a matrix": (
        lambda p: (p.functional(p.L.Dense(8), p.D.IndependentNormal((2, 2))), p.decoder()),
        r"The encoder's distribution must be over a vector z, event shape \[D\]\. Received: event shape \[2, 2\]",
    ),
    "prior of another dimension": (
        lambda p: (p.functional(*p.posterior()), p.decoder(), p.tfd.MultivariateNormalDiag(np.zeros(3, np.float32))),
        r"The prior must have the posterior's dimension, 4\. Received: a prior of dimension 3",
    ),
    "prior whose dimensions are a batch": (
        lambda p: (p.functional(*p.posterior()), p.decoder(), p.tfd.Normal(np.zeros(4, np.float32), 1.0)),
        r"one distribution over a vector.*tfd\.Independent.*batch shape \(4,\)",
    ),
    "prior that is no distribution": (
        lambda p: (p.functional(*p.posterior()), p.decoder(), "normal"),
        r"A prior must be a tfpvae\.priors\.Prior or a tfd\.Distribution\. Received: str",
    ),
    "encoder that is no layer": (
        lambda p: (lambda x: x, p.decoder()),
        "The encoder must be a Keras model or layer. Received: function",
    ),
    "decoder that is no layer": (
        lambda p: (p.functional(*p.posterior()), p.tfd.Normal(0.0, 1.0)),
        "The decoder must be a Keras model or layer. Received: Normal",
    ),
    "encoder that is a class": (
        lambda p: (p.keras_.Model, p.decoder()),
        "The encoder must be a Keras model or layer. Received: type",
    ),
}


@pytest.mark.parametrize("case", AT_CONSTRUCTION)
def test_refused_at_construction(case, parts):
    from tfpvae import VAE
    from tfpvae.errors import ModelError, TfpvaeError

    build, message = AT_CONSTRUCTION[case]
    networks = build(parts)
    with pytest.raises(ModelError, match=re.compile(message, re.DOTALL)) as raised:
        VAE(*networks)
    assert isinstance(raised.value, TfpvaeError)
    assert isinstance(raised.value, ValueError)


# Networks whose shapes are known with the first data: refused by `fit`, before the first step.
AT_FIRST_FIT: dict[str, tuple[Callable, str]] = {
    "subclassed encoder ends in a tensor": (
        lambda p: (p.subclassed(p.L.Dense(4)), p.decoder()),
        r"The encoder must end in a distribution layer.*Received: a model whose output is a tensor",
    ),
    "subclassed decoder ends in a tensor": (
        lambda p: (p.functional(*p.posterior()), p.subclassed(p.L.Dense(64))),
        r"The decoder must end in a distribution layer.*Received: a model whose output is a tensor",
    ),
    "decoder of another event shape": (
        lambda p: (p.sequential(*p.posterior(), event=None), p.decoder((8, 8))),
        r"The decoder's event shape must be that of the data, \[8, 8, 1\]\. Received: event shape \[8, 8\]",
    ),
    "prior of another dimension": (
        lambda p: (p.subclassed(*p.posterior()), p.decoder(), p.tfd.MultivariateNormalDiag(np.zeros(3, np.float32))),
        r"The prior must have the posterior's dimension, 4\. Received: a prior of dimension 3",
    ),
    "KL regulariser in layers made in build": (
        lambda p: (p.subclassed(*p.regularized(), lazily=True), p.decoder()),
        "must have no KL regulariser",
    ),
    "KL regulariser inside a plain layer": (
        lambda p: (p.plain_layer(*p.regularized()), p.decoder()),
        "must have no KL regulariser",
    ),
    "KL regulariser inside a plain layer of a Sequential": (
        lambda p: (p.sequential(p.plain_layer(*p.regularized()), event=None), p.decoder()),
        "must have no KL regulariser",
    ),
}


@pytest.mark.parametrize("case", AT_FIRST_FIT)
def test_refused_at_construction_or_at_the_first_fit(case, parts, count_steps):
    from tfpvae import VAE
    from tfpvae.errors import ModelError

    def build_and_fit():
        vae = VAE(*AT_FIRST_FIT[case][0](parts))
        vae.compile()
        vae.fit(X, verbose=0)

    with pytest.raises(ModelError, match=re.compile(AT_FIRST_FIT[case][1], re.DOTALL)):
        build_and_fit()
    assert count_steps == []


def with_value(value: float) -> np.ndarray:
    x = X.copy()
    x[3, 2, 1, 0] = value
    return x


BAD_DATA = {
    "NaN": (with_value(np.nan), r"must be finite\. Received: nan at index \[3, 2, 1, 0\], and 1 such values in all"),
    "infinity": (with_value(np.inf), r"must be finite\. Received: inf at index \[3, 2, 1, 0\]"),
    "above one": (with_value(1.5), r"must be values in \[0, 1\]\. Received: 1\.5 at index \[3, 2, 1, 0\], and 1 such"),
    "below nought": (with_value(-0.25), r"must be values in \[0, 1\]\. Received: -0\.25 at index \[3, 2, 1, 0\]"),
    "8-bit pixels": ((X * 255).astype(np.uint8), r"must be values in .*Received: 255 at .*Divide pixels of 0 to 255"),
    "no channel": (X[..., 0], r"must have shape \[N, 8, 8, 1\], N at least 1.*Received: shape \[\d+, 8, 8\]"),
    "one image, no batch": (X[0], r"must have shape \[N, 8, 8, 1\].*Received: shape \[8, 8, 1\]"),
    "other size": (np.zeros((5, 7, 8, 1), np.float32), r"must have shape \[N, 8, 8, 1\].*shape \[5, 7, 8, 1\]"),
    "no rows": (X[:0], r"must have shape \[N, 8, 8, 1\], N at least 1.*Received: shape \[0, 8, 8, 1\]"),
    "strings": (np.full((5, *EVENT), "a"), r"must hold numbers\. Received: dtype <U1"),
    "complex": (X.astype(np.complex64), r"must hold numbers\. Received: dtype complex64"),
}  # fmt: skip


@pytest.mark.parametrize("form", ["array", "tensor", "dataset"])
@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_refused_before_the_first_step(case, form, build_vae, count_steps):
    import tensorflow as tf

    from tfpvae.errors import DataError, TfpvaeError

    bad, message = BAD_DATA[case]
    if form != "array":
        if case in ("no rows", "one image, no batch") and form == "dataset":
            pytest.skip("a data set has no such thing")
        bad = tf.constant(bad)
    if form == "dataset":
        bad = tf.data.Dataset.from_tensor_slices(bad).batch(10)
    vae = build_vae()
    message = re.compile(message.replace("<U1", ".*") if form != "array" else message, re.DOTALL)
    with pytest.raises(DataError, match=message) as raised:
        vae.fit(bad, verbose=0)
    assert str(raised.value).startswith("x must ")
    assert isinstance(raised.value, TfpvaeError)
    assert count_steps == []


@pytest.mark.parametrize("case", ["NaN", "above one", "no channel"])
def test_bad_validation_and_evaluation_data_are_refused(case, build_vae, count_steps):
    from tfpvae.errors import DataError

    bad, message = BAD_DATA[case]
    vae = build_vae()
    for data in (bad, (bad,)):
        with pytest.raises(DataError, match="^validation_data " + message):
            vae.fit(X, validation_data=data, verbose=0)
    with pytest.raises(DataError, match="^x " + message):
        vae.evaluate(bad, verbose=0)
    assert count_steps == []


def test_targets_are_refused(build_vae, count_steps):
    from tfpvae.errors import ModelError

    vae = build_vae()
    with pytest.raises(ModelError, match=r"A VAE has no targets: call fit\(x\), not fit\(x, y\)\."):
        vae.fit(X, X, verbose=0)
    with pytest.raises(ModelError, match=r"A VAE has no targets: call evaluate\(x\), not evaluate\(x, y\)\."):
        vae.evaluate(X, X, verbose=0)
    assert count_steps == []


def test_targets_in_the_validation_data_are_refused_before_the_first_step(build_vae, count_steps):
    """Or else not used, as in a data set: but no training that fails when its first epoch is over."""
    from tfpvae.errors import ModelError

    vae = build_vae()
    try:
        vae.fit(X, validation_data=(X, X), verbose=0)
    except ModelError:
        assert count_steps == []


@pytest.mark.parametrize(
    "options",
    [{"loss": "mse"}, {"metrics": ["mse"]}, {"weighted_metrics": ["mse"]}, {"loss": "mse", "loss_weights": 2.0}],
    ids=lambda o: "+".join(o),
)
def test_a_loss_or_metrics_are_refused_by_compile(options, build_vae):
    from tfpvae.errors import ModelError

    vae = build_vae()
    with pytest.raises(
        ModelError, match="compiled without a loss and metrics.*Received: " + ", ".join(sorted(options))
    ):
        vae.compile("adam", **options)
    vae.compile("adam", loss=None, metrics=None)


def test_an_unknown_argument_of_compile_is_refused(build_vae):
    with pytest.raises(TypeError, match="beta"):
        build_vae().compile("adam", beta=2.0)


CALLS = ("sample", "sample_mean", "sample_latent")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, r"n must be an integer of at least 1\. Received: n=0"),
        ({"n": -3, "seed": 1}, r"n must be an integer of at least 1\. Received: n=-3"),
        ({"n": 2.0}, r"n must be an integer of at least 1\. Received: n=2\.0"),
        ({"n": True}, r"n must be an integer"),
        ({"n": 3, "seed": [1, 2]}, r"seed must hold one seed for each row\. Received: n=3, 2 seeds"),
        ({"n": 1, "seed": 2**63}, r"seed must fit in int64"),
        ({"n": 1, "seed": 1.5}, r"seed must be an int64, or a list of them"),
        ({"n": 1, "seed": "7"}, r"seed must be an int64, or a list of them"),
        ({"seed": [[1, 2]]}, r"seed must be an int64, or a list of them with shape \[n\]\. Received: shape \[1, 2\]"),
        ({"seed": []}, r"seed must "),
    ],
    ids=str,
)
def test_wrong_n_and_seeds_are_refused(call, arguments, message, vae):
    from tfpvae.errors import ModelError

    with pytest.raises(ModelError, match=message):
        getattr(vae, call)(**arguments)


def test_score_takes_one_seed_for_each_row(vae):
    from tfpvae.errors import ModelError

    with pytest.raises(ModelError, match=r"seed must hold one seed for each row\. Received: n=20, 2 seeds"):
        vae.score(X, seed=[1, 2])


class TestGreyValues:
    GREY = X * 0.5 + 0.25

    def test_warn_once_where_fit_is_called(self, build_vae):
        vae = build_vae()
        with pytest.warns(UserWarning, match=r"x holds grey values.*Bernoulli.*cross-entropy.*Binarize") as caught:
            vae.fit(self.GREY, epochs=2, verbose=0)
        assert len(caught) == 1
        assert caught[0].filename == __file__

    @pytest.mark.slow
    def test_do_not_warn_again_with_every_epochs_validation(self, build_vae):
        vae = build_vae()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            vae.fit(self.GREY, validation_data=self.GREY, epochs=3, verbose=0)
        told = [str(w.message).partition(" holds grey")[0] for w in caught]
        assert told in (["x"], ["x", "validation_data"])

    def test_are_nothing_to_warn_of_for_a_gaussian(self, build_vae):
        from tfpvae import layers

        build_vae(likelihood=layers.IndependentNormal(EVENT)).fit(self.GREY, verbose=0)

    def test_binary_integers_and_booleans_are_no_grey_values(self, build_vae):
        vae = build_vae()
        vae.fit(X.astype(np.uint8), verbose=0)
        vae.fit(X.astype(bool), verbose=0)
