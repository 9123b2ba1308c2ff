"""Baselines beside SciPy and NumPy; what is a probability mass sums to one."""

import itertools

import numpy as np
import pytest

from tfpvae.errors import DataError, ModelError


@pytest.fixture
def real():
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(3, 3))
    return rng.normal(size=(80, 3)) @ mix + 1.0, rng.normal(size=(20, 3)) @ mix + 1.0


@pytest.fixture
def binary():
    rng = np.random.default_rng(1)
    # Two prototypes with noise, five values.
    prototypes = np.array([[1, 1, 0, 0, 1], [0, 0, 1, 1, 1]])
    return (prototypes[rng.integers(2, size=40)] ^ (rng.random((40, 5)) < 0.1)).astype(np.float32)


EVERY = np.array(list(itertools.product([0, 1], repeat=5)), np.float32)


class TestDensities:
    def test_gaussian(self, real):
        from scipy import stats
        from sklearn.covariance import LedoitWolf

        from tfpvae.evaluate import GaussianDensity

        train, x = real
        covariance = LedoitWolf().fit(train).covariance_
        expected = stats.multivariate_normal(train.mean(axis=0), covariance).logpdf(x)
        np.testing.assert_allclose(GaussianDensity().fit(train).log_prob(x), expected, rtol=1e-9)

        sample = stats.multivariate_normal(train.mean(axis=0), np.cov(train, rowvar=False, bias=True)).logpdf(x)
        np.testing.assert_allclose(GaussianDensity(shrinkage=0).fit(train).log_prob(x), sample, rtol=1e-9)

    def test_gaussian_without_a_density(self, real):
        from tfpvae.evaluate import GaussianDensity

        train = np.hstack([real[0], np.zeros([80, 1])])
        with pytest.raises(DataError, match="singular"):
            GaussianDensity(shrinkage=0).fit(train)
        assert np.isfinite(GaussianDensity().fit(train).log_prob(train)).all()

    def test_a_mixture_of_one_is_the_gaussian(self, real):
        from tfpvae.evaluate import GaussianDensity, GaussianMixtureDensity

        train, x = real
        one = GaussianMixtureDensity(1).fit(train).log_prob(x)
        np.testing.assert_allclose(one, GaussianDensity(shrinkage=0).fit(train).log_prob(x), atol=1e-3)

    def test_a_mixture_by_its_components(self, real):
        from scipy import stats
        from scipy.special import logsumexp

        from tfpvae.evaluate import GaussianMixtureDensity

        train, x = real
        density = GaussianMixtureDensity(2).fit(train)
        parts = [
            np.log(w) + stats.multivariate_normal(m, c).logpdf(x)
            for w, m, c in zip(
                density._mixture.weights_, density._mixture.means_, density._mixture.covariances_, strict=True
            )
        ]
        np.testing.assert_allclose(density.log_prob(x), logsumexp(parts, axis=0), rtol=1e-8)
        with pytest.raises(DataError, match="cannot be fitted"):
            GaussianMixtureDensity(100).fit(train)

    def test_kernel_density(self, real):
        from scipy.special import logsumexp

        from tfpvae.evaluate import KernelDensity

        train, x = real

        def by_numpy(h):
            squares = np.square(x[:, None] - train).sum(axis=2)
            return logsumexp(-0.5 * squares / h**2, axis=1) - np.log(80) - 3 * np.log(h * np.sqrt(2 * np.pi))

        np.testing.assert_allclose(KernelDensity(0.3).fit(train).log_prob(x), by_numpy(0.3), rtol=1e-6)
        chosen = KernelDensity().fit(train)
        np.testing.assert_allclose(chosen.log_prob(x), by_numpy(chosen.fitted_bandwidth), rtol=1e-6)
        # Chosen well: much narrower and much wider windows are worse on other data.
        h = chosen.fitted_bandwidth
        assert by_numpy(h).mean() > max(by_numpy(h / 4).mean(), by_numpy(4 * h).mean())


class TestMasses:
    def test_factorised_bernoulli(self, binary):
        from scipy import stats

        from tfpvae.evaluate import FactorizedBernoulli

        baseline = FactorizedBernoulli().fit(binary)
        probs = (binary.sum(axis=0) + 1) / 42
        np.testing.assert_allclose(baseline.log_prob(EVERY), stats.bernoulli.logpmf(EVERY, probs).sum(axis=1))
        assert np.exp(baseline.log_prob(EVERY)).sum() == pytest.approx(1)

    def test_kernel(self, binary):
        from tfpvae.evaluate import BernoulliKernel

        baseline = BernoulliKernel(flip=0.2).fit(binary)
        differ = (EVERY[:, None] != binary).sum(axis=2)
        expected = np.log(np.mean(0.8 ** (5 - differ) * 0.2**differ, axis=1))
        np.testing.assert_allclose(baseline.log_prob(EVERY), expected, rtol=1e-10)
        assert np.exp(baseline.log_prob(EVERY)).sum() == pytest.approx(1)

    def test_the_kernels_flip_is_chosen_by_leaving_one_out(self, binary):
        from tfpvae.evaluate import BernoulliKernel
        from tfpvae.evaluate.baselines import _FLIPS

        def left_out(flip):
            return sum(
                BernoulliKernel(flip).fit(np.delete(binary, i, axis=0)).log_prob(binary[i : i + 1])[0]
                for i in range(len(binary))
            )

        best = _FLIPS[np.argmax([left_out(flip) for flip in _FLIPS])]
        baseline = BernoulliKernel().fit(binary)
        assert baseline.fitted_flip == best
        assert _FLIPS[0] < best < _FLIPS[-1]

    def test_more_rows_than_a_chunk(self):
        from tfpvae.evaluate import BernoulliKernel

        x = (np.random.default_rng(2).random((1100, 6)) < 0.3).astype(np.float32)
        baseline = BernoulliKernel().fit(x)
        np.testing.assert_allclose(baseline.log_prob(x)[900:], baseline.log_prob(x[900:]), rtol=1e-12)
        differ = (x[:3, None] != x).sum(axis=2)
        flip = baseline.fitted_flip
        expected = np.log(np.mean((1 - flip) ** (6 - differ) * flip**differ, axis=1))
        np.testing.assert_allclose(baseline.log_prob(x[:3]), expected, rtol=1e-9)

    def test_far_from_all_examples_is_no_minus_infinity(self):
        from tfpvae.evaluate import BernoulliKernel

        found = BernoulliKernel(flip=0.001).fit(np.zeros([2, 500])).log_prob(np.ones([1, 500]))
        assert found[0] == pytest.approx(500 * np.log(0.001))


@pytest.mark.parametrize("name", ["FactorizedBernoulli", "BernoulliKernel"])
def test_masses_refuse_what_is_not_binary(name, binary):
    from tfpvae import evaluate

    baseline = getattr(evaluate, name)()
    assert baseline.discrete
    with pytest.raises(DataError, match=r"must be binary.*0\.5"):
        baseline.fit(binary * 0.5)


@pytest.mark.parametrize(
    "name", ["GaussianDensity", "GaussianMixtureDensity", "KernelDensity", "FactorizedBernoulli", "BernoulliKernel"]
)
def test_before_fit_and_with_other_data(name, binary):
    from tfpvae import evaluate

    baseline = getattr(evaluate, name)(*([2] if name == "GaussianMixtureDensity" else []))
    assert baseline.name
    with pytest.raises(ModelError, match="must be fitted"):
        baseline.log_prob(binary)
    baseline.fit(binary.reshape(40, 5, 1))
    assert baseline.log_prob(binary).shape == (40,)  # Flattened.
    with pytest.raises(DataError, match="5 values an example"):
        baseline.log_prob(binary[:, :4])
    with pytest.raises(DataError, match="finite"):
        baseline.fit(binary * np.nan)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("GaussianDensity", {"shrinkage": 2}),
        ("GaussianMixtureDensity", {"num_components": 0}),
        ("KernelDensity", {"bandwidth": -1}),
        ("FactorizedBernoulli", {"pseudocount": 0}),
        ("BernoulliKernel", {"flip": 0.5}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_settings_are_named(name, options):
    from tfpvae import evaluate

    (key,) = options
    with pytest.raises((ModelError, DataError), match=f"{key}="):
        getattr(evaluate, name)(**options)
