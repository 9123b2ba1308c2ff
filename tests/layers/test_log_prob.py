"""Every layer's log_prob against SciPy, from the layer's raw inputs on."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import special, stats

DETERMINISTIC = settings(
    derandomize=True, deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def softplus(x):
    return np.logaddexp(x, 0.0)


def categorical_mixture(raw, x):
    logits, components = raw[:3], raw[3:].reshape(3, 4)
    return special.logsumexp(special.log_softmax(logits) + special.log_softmax(components, axis=-1) @ x)


def categorical(raw, x):
    log_probs = special.log_softmax(raw.reshape(2, 3, 4), axis=-1)
    return np.take_along_axis(log_probs, x[..., None].astype(int), axis=-1).sum()


def continuous_bernoulli(raw, x):
    # The continuous Bernoulli of negative logits is an exponential cut off at 1; of positive ones, its mirror image.
    logits = raw.reshape(2, 3)
    rate = np.maximum(np.abs(logits), 1e-9)
    return stats.truncexpon.logpdf(np.where(logits < 0, x, 1 - x), rate, scale=1 / rate).sum()


def discretized_logistic(loc, scale, x):
    low = np.where(x == 0, -np.inf, x - 0.5 / 255)
    high = np.where(x == 1, np.inf, x + 0.5 / 255)
    logistic = stats.logistic(loc, scale)
    # The difference of distribution functions on the side of loc where they are small.
    left = x < loc
    more = np.where(left, logistic.logcdf(high), logistic.logsf(low))
    less = np.where(left, logistic.logcdf(low), logistic.logsf(high))
    return more + np.log1p(-np.exp(less - more))


def mixture_of_discretized_logistics(raw, x):
    logits, loc, raw_scale = np.split(raw.reshape(2, 3, 9), 3, axis=-1)
    components = discretized_logistic(loc, softplus(raw_scale), x[..., None])
    return special.logsumexp(special.log_softmax(logits, axis=-1) + components, axis=-1).sum()


def two(logpdf):
    """Of two parameters a value, the event `[2, 3]`."""
    return lambda raw, x: logpdf(*raw.reshape(2, 2, 3), x).sum()


def mixture_of(logpdf):
    """Of three components, each over the whole event `[2, 3]`, of two parameters a value."""

    def log_prob(raw, x):
        components = [logpdf(*part.reshape(2, 2, 3), x).sum() for part in raw[3:].reshape(3, 12)]
        return special.logsumexp(special.log_softmax(raw[:3]) + components)

    return log_prob


def mixture_of_bernoullis(raw, x):
    components = [stats.bernoulli.logpmf(x, special.expit(part)).sum() for part in raw[3:].reshape(3, 2)]
    return special.logsumexp(special.log_softmax(raw[:3]) + components)


def triangular(raw, x):
    # The order in which TFP fills a triangle, and its softplus + 1e-5 on the diagonal.
    loc, (a, b, c, d, e, f) = raw[:3], raw[3:]
    scale = np.array([[d, 0, 0], [f, e, 0], [c, b, a]])
    np.fill_diagonal(scale, softplus(np.diag(scale)) + 1e-5)
    z = np.linalg.solve(scale, x - loc)
    return stats.norm.logpdf(z).sum() - np.log(np.diag(scale)).sum()


def normal(loc, raw_scale, x):
    return stats.norm.logpdf(x, loc, softplus(raw_scale))


def logistic(loc, raw_scale, x):
    return stats.logistic.logpdf(x, loc, softplus(raw_scale))


SCIPY = {
    "CategoricalMixtureOfOneHotCategorical": categorical_mixture,
    "IndependentBernoulli": lambda raw, x: stats.bernoulli.logpmf(x, special.expit(raw.reshape(2, 3))).sum(),
    "IndependentBeta": two(lambda a, b, x: stats.beta.logpdf(x, softplus(a), softplus(b))),
    "IndependentCategorical": categorical,
    "IndependentContinuousBernoulli": continuous_bernoulli,
    "IndependentDiscretizedLogistic": two(lambda loc, raw, x: discretized_logistic(loc, softplus(raw), x)),
    "IndependentGamma": two(lambda a, b, x: stats.gamma.logpdf(x, softplus(a), scale=1 / softplus(b))),
    "IndependentLogistic": two(logistic),
    "IndependentNegativeBinomial": two(
        lambda n, logits, x: stats.nbinom.logpmf(x, softplus(n), special.expit(-logits))
    ),
    "IndependentNormal": two(normal),
    "IndependentNormalLogVariance": two(
        lambda loc, log_variance, x: stats.norm.logpdf(x, loc, np.exp(log_variance / 2))
    ),
    "IndependentPoisson": lambda raw, x: stats.poisson.logpmf(x, np.exp(raw.reshape(2, 3))).sum(),
    "IndependentStudentT": lambda raw, x: stats.t.logpdf(
        x, 1 + softplus(raw[:6].reshape(2, 3)), raw[6:12].reshape(2, 3), softplus(raw[12:].reshape(2, 3))
    ).sum(),
    "MixtureDiscretizedLogistic": mixture_of_discretized_logistics,
    "MixtureLogistic": mixture_of(logistic),
    "MixtureNormal": mixture_of(normal),
    "MixtureSameFamily": mixture_of_bernoullis,
    "MultivariateNormalDiag": lambda raw, x: stats.norm.logpdf(x, raw[:3], softplus(raw[3:]) + 1e-5).sum(),
    "MultivariateNormalTriL": triangular,
    "OneHotCategorical": lambda raw, x: special.log_softmax(raw) @ x,
    "SphericalNormal": lambda raw, x: stats.norm.logpdf(x, raw.reshape(2, 3), 0.5).sum(),
}


def test_every_named_layer_has_a_reference(named_case_names):
    assert set(SCIPY) == named_case_names


@pytest.mark.rows(named=True)
@DETERMINISTIC
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.0, 3.0))
def test_log_prob_agrees_with_scipy(case, seed, scale):
    rng = np.random.default_rng(seed)
    raw = (scale * rng.normal(size=(4, case.row.size))).astype(np.float32)
    x = case.row.values(rng, (4, *case.row.event_shape)).astype(np.float32)
    found = type(case.layer()).new(raw, *case.row.args(case.layers)).log_prob(x)
    expected = [SCIPY[case.name](*row) for row in zip(raw.astype(np.float64), x.astype(np.float64), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=3e-5, atol=3e-5)


@DETERMINISTIC
@given(loc=st.floats(-1e4, 1e4), log_scale=st.floats(-13.0, 9.0))
def test_discretized_logistic_sums_to_one(loc, log_scale):
    from tfpvae.layers import DiscretizedLogistic

    grid = np.arange(256, dtype=np.float32) / 255
    for center in (loc, loc / 1e4, 0.0, 1.0, 100 / 255):
        log_probs = DiscretizedLogistic(np.float32(center), np.float32(np.exp(log_scale))).log_prob(grid)
        assert special.logsumexp(log_probs.numpy().astype(np.float64)) == pytest.approx(0.0, abs=1e-3)
