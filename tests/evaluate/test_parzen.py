"""Parzen windows beside NumPy, and their known weakness."""

import numpy as np
import pytest

from tfpvae.errors import DataError


def by_numpy(samples, x, h):
    from scipy.special import logsumexp

    samples, x = samples.reshape(len(samples), -1), x.reshape(len(x), -1)
    squares = np.square(x[:, None] - samples).sum(axis=2)
    constant = np.log(len(samples)) + x.shape[1] * np.log(h * np.sqrt(2 * np.pi))
    return logsumexp(-0.5 * squares / h**2, axis=1) - constant


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 2, 2)), rng.normal(size=(20, 2, 2)), rng.normal(size=(30, 2, 2))


def test_a_given_bandwidth(arrays):
    from tfpvae.evaluate import parzen_log_likelihood

    samples, x, _ = arrays
    found = parzen_log_likelihood(samples, x, bandwidth=0.4)
    np.testing.assert_allclose(found.log_likelihood, by_numpy(samples, x, 0.4), rtol=1e-6)
    assert found.bandwidth == 0.4
    assert found.mean.value == pytest.approx(by_numpy(samples, x, 0.4).mean())


def test_the_bandwidth_is_that_of_the_best_validation(arrays):
    from tfpvae.evaluate import parzen_log_likelihood
    from tfpvae.evaluate.baselines import BANDWIDTHS

    samples, x, validation = arrays
    candidates = BANDWIDTHS * samples.std()
    best = candidates[np.argmax([by_numpy(samples, validation, h).mean() for h in candidates])]
    found = parzen_log_likelihood(samples, x, validation=validation)
    assert found.bandwidth == pytest.approx(best)
    assert candidates[0] < best < candidates[-1]
    np.testing.assert_allclose(found.log_likelihood, by_numpy(samples, x, best), rtol=1e-6)


def test_its_weakness():
    """In 30 dimensions true samples of the data fall far short of its true log-likelihood."""
    from scipy import stats

    from tfpvae.evaluate import parzen_log_likelihood

    rng = np.random.default_rng(1)
    samples, x, validation = (rng.normal(size=(n, 30)) for n in (2000, 50, 50))
    true = stats.norm.logpdf(x).sum(axis=1).mean()
    assert parzen_log_likelihood(samples, x, validation=validation).mean.value < true - 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Give a bandwidth, or validation"),
        ({"bandwidth": 0.1, "validation": np.ones([2, 2, 2])}, "not both"),
        ({"bandwidth": 0.0}, "above 0"),
        ({"bandwidth": float("nan")}, "above 0"),
        ({"validation": np.ones([2, 3])}, "samples and validation"),
    ],
    ids=["neither", "both", "zero", "nan", "shape"],
)
def test_mistakes_are_named(arrays, options, message):
    from tfpvae.evaluate import parzen_log_likelihood

    with pytest.raises(DataError, match=message):
        parzen_log_likelihood(*arrays[:2], **options)


def test_arrays_must_fit(arrays):
    from tfpvae.evaluate import parzen_log_likelihood

    with pytest.raises(DataError, match="4 and 2 values"):
        parzen_log_likelihood(arrays[0], arrays[1][:, 0], bandwidth=1.0)
    with pytest.raises(DataError, match="samples must be finite"):
        parzen_log_likelihood(arrays[0] * np.nan, arrays[1], bandwidth=1.0)
