"""The Frechet distance beside closed forms and SciPy."""

import numpy as np
import pytest

from tfpvae.errors import DataError


def identity(x):
    return x


def with_moments(rng, n, mean, covariance):
    """n examples whose sample mean and covariance are exactly these."""
    x = rng.normal(size=(n, len(mean)))
    x -= x.mean(axis=0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_closed_form_of_gaussians_with_independent_values():
    from tfpvae.evaluate import frechet_distance

    rng = np.random.default_rng(0)
    m, s = np.array([[1.0, -2.0, 0.5], [0.0, 1.0, 3.0]]), np.array([[1.0, 2.0, 0.1], [3.0, 0.5, 0.1]])
    x, y = (with_moments(rng, 50, m[i], np.diag(s[i] ** 2)) for i in range(2))
    expected = np.square(m[0] - m[1]).sum() + np.square(s[0] - s[1]).sum()
    assert frechet_distance(x, y, identity) == pytest.approx(expected, rel=1e-9)


def test_full_covariances_beside_scipy():
    from scipy import linalg

    from tfpvae.evaluate import frechet_distance

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    C_x, C_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    gap = x.mean(axis=0) - y.mean(axis=0)
    expected = gap @ gap + np.trace(C_x + C_y - 2 * linalg.sqrtm(C_x @ C_y).real)
    assert frechet_distance(x, y, identity) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(y, x, identity) == pytest.approx(expected, rel=1e-6)


def test_nothing_apart_from_itself_even_if_a_feature_never_changes():
    from tfpvae.evaluate import frechet_distance

    x = np.random.default_rng(2).normal(size=(40, 4))
    x[:, 3] = 7.0
    assert frechet_distance(x, x, identity) == pytest.approx(0, abs=1e-8)


def test_features_are_the_users_and_come_in_batches():
    from tfpvae.evaluate import frechet_distance

    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(30, 2, 2)), rng.normal(size=(25, 2, 2))
    sizes = []

    def features(batch):
        sizes.append(len(batch))
        return batch.mean(axis=(1, 2))[:, None]

    found = frechet_distance(x, y, features, batch_size=20)
    assert sizes == [20, 10, 20, 5]
    a, b = x.mean(axis=(1, 2)), y.mean(axis=(1, 2))
    assert found == pytest.approx((a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2, rel=1e-9)


@pytest.mark.parametrize(
    ("n", "features", "message"),
    [
        (4, identity, r"more examples than features.*4 examples and 4 features"),
        (10, lambda x: x[:, 0], r"return \[B, F\].*shape \[10\]"),
        (10, lambda x: x / 0.0, "finite numbers"),
        (10, lambda x: x[:3], "for 10 examples"),
    ],
    ids=["too few", "no matrix", "infinite", "too few rows"],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_mistakes_are_named(n, features, message):
    from tfpvae.evaluate import frechet_distance

    x = np.random.default_rng(4).normal(size=(n, 4))
    with pytest.raises(DataError, match=message):
        frechet_distance(x, x, features)


def test_features_of_different_number():
    from tfpvae.evaluate import frechet_distance

    x = np.ones([9, 3])
    with pytest.raises(DataError, match=r"same size for x and y\. Received: 3 and 2"):
        frechet_distance(x, x[:, :2], identity)
    with pytest.raises(DataError, match="must hold examples"):
        frechet_distance(np.zeros([0, 3]), x, identity)
