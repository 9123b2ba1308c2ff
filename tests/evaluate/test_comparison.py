"""One table of log p(x): who may stand in it, and what it says."""

from types import SimpleNamespace

import numpy as np
import pytest

from tfpvae.errors import DataError, ModelError


def test_a_density_beside_others(linear_gaussian):
    from scipy import stats

    from tfpvae.evaluate import GaussianDensity, KernelDensity, compare

    train, x = linear_gaussian.x[:300], linear_gaussian.x[300:]
    gaussian, windows = GaussianDensity().fit(train), KernelDensity().fit(train)
    table = compare([windows, linear_gaussian.vae, gaussian], x, samples=50)
    assert [entry.name for entry in table.entries] == ["linear", "Gaussian", "kernel density"]
    assert table.discrete is False
    assert table.n == 100
    # The VAE's q is the true posterior, and its parameters the true ones.
    exact = stats.multivariate_normal(linear_gaussian.mu, linear_gaussian.covariance).logpdf(x)
    first, second, third = table.entries
    assert first.log_prob.value == pytest.approx(exact.mean(), abs=1e-4)
    assert first.log_prob.standard_error == pytest.approx(exact.std(ddof=1) / 10, rel=1e-4)
    assert first.behind == (0, 0)
    assert second.log_prob.value == pytest.approx(gaussian.log_prob(x).mean())
    # The difference has a standard error of its own: the examples are the same.
    behind = exact - windows.log_prob(x)
    assert third.behind.value == pytest.approx(behind.mean(), abs=1e-4)
    assert third.behind.standard_error == pytest.approx(behind.std(ddof=1) / 10, rel=1e-3)
    assert third.behind.standard_error < first.log_prob.standard_error

    lines = str(table).splitlines()
    assert "a density, of 100 examples" in lines[0]
    assert lines[3].split()[:3] == ["kernel", "density", f"{third.log_prob.value:.2f}"]
    assert "behind" not in lines[1]
    assert f"| Gaussian | {second.log_prob.value:.2f} ± " in table.markdown()


def test_masses(vae, digits):
    from tfpvae.evaluate import BernoulliKernel, FactorizedBernoulli, compare, importance_log_marginal

    x = digits.test[:60]
    baselines = [FactorizedBernoulli().fit(digits.train), BernoulliKernel().fit(digits.train)]
    table = compare([vae, *baselines], x, samples=100, seed=4)
    assert table.discrete is True
    assert "a probability mass" in str(table)
    by_name = {entry.name: entry.log_prob.value for entry in table.entries}
    assert by_name[vae.name] == pytest.approx(importance_log_marginal(vae, x, 100, 4).log_marginal.mean())
    assert by_name["Bernoulli kernel"] == pytest.approx(baselines[1].log_prob(x).mean())
    assert by_name[vae.name] > by_name["factorised Bernoulli"]


def test_a_density_beside_a_mass_is_refused(vae, digits):
    from tfpvae.evaluate import KernelDensity, compare

    windows = KernelDensity(0.1).fit(digits.train[:100])
    with pytest.raises(ModelError, match=r"unit of 1/x.*probability mass, kernel density: density"):
        compare([vae, windows], digits.test)


def test_grey_values_under_bernoulli_are_refused(vae, digits):
    from tfpvae.evaluate import compare

    with pytest.raises(DataError, match="cross-entropy, not the likelihood of any data"):
        compare([vae], digits.test * 0.5)


def test_whatever_has_a_log_prob_may_enter():
    from tfpvae.evaluate import compare

    fair = SimpleNamespace(name="fair coins", discrete=True, log_prob=lambda x: np.full(len(x), 3 * np.log(0.5)))
    table = compare([fair], np.ones([5, 3]))
    assert table.entries[0].log_prob == pytest.approx((3 * np.log(0.5), 0))


def test_an_empty_table_is_refused():
    from tfpvae.evaluate import compare

    with pytest.raises(ModelError, match="at least one model"):
        compare([], np.ones([5, 3]))
