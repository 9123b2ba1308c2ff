"""Baselines for the log-likelihood of a VAE: densities and probability masses without latents.

All have `fit(x)`, `log_prob(x)` `[N]` in nats, `name`, the `support` of x, and `discrete`, which says whether
`log_prob` is that of a probability mass. They flatten examples of any shape.

[AA76] Aitchison, Aitken: Multivariate binary discrimination by the kernel method. Biometrika 63, 1976.
[LW04] Ledoit, Wolf: A well-conditioned estimator for large-dimensional covariance matrices. JMVA 88, 2004.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Self

import numpy as np

from tfpvae._extras import explain_missing
from tfpvae.checks import positive_integer
from tfpvae.errors import DataError, ModelError
from tfpvae.supports import Binary, Real, Support

BANDWIDTHS: Final = np.geomspace(0.02, 2.0, 21)
"""The bandwidths of a kernel that are tried, in standard deviations of the data."""

_FLIPS: Final = np.geomspace(1e-3, 0.4, 40)
"""The probabilities that a kernel flips a value that are tried."""

_CHUNK: Final = 512


class Baseline:
    """log p(x) of a model without latents: abstract.

    Attributes:
        name: its name in tables.
        support: the data that it is over.
    """

    name: str
    support: ClassVar[Support] = Real()
    _size: int | None = None

    @property
    def discrete(self) -> bool:
        """Whether `log_prob` is of a probability mass, and not of a density."""
        return self.support.discrete

    def fit(self, x: Any) -> Self:
        """Fits it to data `[N, ...]`.

        Raises:
            DataError: x is not finite, or for a probability mass not binary.
        """
        x = self._checked(x, "x")
        self._fit(x)
        self._size = x.shape[1]
        return self

    def log_prob(self, x: Any) -> np.ndarray:
        """log p(x) of each example `[N, ...]`: float64 `[N]`, in nats.

        Raises:
            DataError: x is not as `fit` wants it, or of another shape than what it was fitted to.
            ModelError: it was not fitted.
        """
        if self._size is None:
            raise ModelError(f"{type(self).__name__} must be fitted before it has a log_prob: call fit(x).")
        x = self._checked(x, "x")
        if x.shape[1] != self._size:
            raise DataError(
                f"x must have {self._size} values an example, as what {type(self).__name__} was fitted to. "
                f"Received: {x.shape[1]}"
            )
        return self._log_prob(x)

    def _checked(self, x: Any, what: str) -> np.ndarray:
        x = flat(x, what)
        possible = self.support.possible(x)
        if not possible.all():
            raise DataError(
                f"{what} must be binary for {type(self).__name__}, a probability mass over 0 and 1. Received: "
                f"values such as {x[~possible][0]}"
            )
        return x

    def _fit(self, x: np.ndarray) -> None:
        raise NotImplementedError

    def _log_prob(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class GaussianDensity(Baseline):
    """One Gaussian with a full covariance, shrunk towards a multiple of I [LW04], which keeps it of full rank.

    Args:
        shrinkage: from 0, the sample covariance, to 1; None is Ledoit and Wolf's optimum.
    """

    name = "Gaussian"

    def __init__(self, shrinkage: float | None = None) -> None:
        if shrinkage is not None and not 0 <= shrinkage <= 1:
            raise ModelError(f"shrinkage must lie in [0, 1]. Received: shrinkage={shrinkage!r}")
        self.shrinkage = shrinkage

    def _fit(self, x: np.ndarray) -> None:
        with explain_missing("tfpvae.evaluate.GaussianDensity"):
            from sklearn.covariance import LedoitWolf, ShrunkCovariance
        estimator = LedoitWolf() if self.shrinkage is None else ShrunkCovariance(shrinkage=self.shrinkage)
        covariance = estimator.fit(x).covariance_
        try:
            self._factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError as error:
            raise DataError(
                "The data's covariance is singular: some values are the same in all examples, or linear functions of "
                "others. Such data has no density; give a shrinkage above 0, or add noise."
            ) from error
        self._mean = x.mean(axis=0)

    def _log_prob(self, x: np.ndarray) -> np.ndarray:
        white = np.linalg.solve(self._factor, (x - self._mean).T)
        log_det = 2 * np.log(np.diag(self._factor)).sum()
        return -0.5 * (np.square(white).sum(axis=0) + log_det + x.shape[1] * np.log(2 * np.pi))


class GaussianMixtureDensity(Baseline):
    """A mixture of K Gaussians by expectation maximisation: scikit-learn's `GaussianMixture`.

    Args:
        num_components: K.
        covariance_type: as of `GaussianMixture`: "full", "tied", "diag" or "spherical".
        seed: the seed of the starting values.
    """

    def __init__(self, num_components: int = 10, covariance_type: str = "full", seed: int = 0) -> None:
        self.num_components = positive_integer("num_components", num_components)
        self.covariance_type, self.seed = covariance_type, seed
        self.name = f"mixture of {num_components} Gaussians"

    def _fit(self, x: np.ndarray) -> None:
        with explain_missing("tfpvae.evaluate.GaussianMixtureDensity"):
            from sklearn.mixture import GaussianMixture
        mixture = GaussianMixture(self.num_components, covariance_type=self.covariance_type, random_state=self.seed)
        try:
            self._mixture = mixture.fit(x)
        except ValueError as error:
            raise DataError(f"The mixture cannot be fitted: {error}") from error

    def _log_prob(self, x: np.ndarray) -> np.ndarray:
        return self._mixture.score_samples(x)


class KernelDensity(Baseline):
    """Gaussian windows around the training data: scikit-learn's `KernelDensity`.

    Args:
        bandwidth: the standard deviation of the windows. None tries `BANDWIDTHS` times the standard deviation of the
            data, and takes the one under which a tenth of the data, held out, is most probable.
        seed: chooses the tenth.
    """

    name = "kernel density"

    def __init__(self, bandwidth: float | None = None, seed: int = 0) -> None:
        self.bandwidth = None if bandwidth is None else check_bandwidth(bandwidth)
        self.seed = seed

    def _fit(self, x: np.ndarray) -> None:
        with explain_missing("tfpvae.evaluate.KernelDensity"):
            from sklearn import neighbors

        def fitted(h: float, data: np.ndarray) -> Any:
            return neighbors.KernelDensity(kernel="gaussian", bandwidth=h).fit(data)

        bandwidth = self.bandwidth
        if bandwidth is None:
            if len(x) < 2:
                raise DataError("A bandwidth is chosen on held-out data: x must have at least 2 examples. Received: 1")
            order = np.random.default_rng(self.seed).permutation(len(x))
            held_out, rest = np.split(x[order], [max(1, len(x) // 10)])
            candidates = BANDWIDTHS * (x.std() or 1.0)
            bandwidth = float(max(candidates, key=lambda h: fitted(h, rest).score(held_out)))
        self.fitted_bandwidth = bandwidth
        self._density = fitted(bandwidth, x)

    def _log_prob(self, x: np.ndarray) -> np.ndarray:
        return self._density.score_samples(x)


class FactorizedBernoulli(Baseline):
    """Independent Bernoulli values: how often each value is 1, and no dependence between values.

    Args:
        pseudocount: added to the count of each outcome, so that an outcome that the training data lacks is possible.
    """

    name = "factorised Bernoulli"
    support = Binary()

    def __init__(self, pseudocount: float = 1.0) -> None:
        if not pseudocount > 0:
            raise ModelError(f"pseudocount must be above 0. Received: pseudocount={pseudocount!r}")
        self.pseudocount = pseudocount

    def _fit(self, x: np.ndarray) -> None:
        self.probs = (x.sum(axis=0) + self.pseudocount) / (len(x) + 2 * self.pseudocount)

    def _log_prob(self, x: np.ndarray) -> np.ndarray:
        return x @ np.log(self.probs) + (1 - x) @ np.log1p(-self.probs)


class BernoulliKernel(Baseline):
    """A kernel estimate for binary data [AA76]: each training example with every value flipped with probability e.

    log 1/N sum_n (1 - e)^(F - d_n) e^(d_n), d_n the number of values in which x differs from training example n.

    Args:
        flip: e, above 0 and below 1/2. None takes the one under which the training examples are most probable, each
            given the others.
    """

    name = "Bernoulli kernel"
    support = Binary()

    def __init__(self, flip: float | None = None) -> None:
        if flip is not None and not 0 < flip < 0.5:
            raise ModelError(f"flip must be above 0 and below 1/2. Received: flip={flip!r}")
        self.flip = flip

    def _fit(self, x: np.ndarray) -> None:
        self._train = x.astype(np.float32)
        if self.flip is not None:
            self.fitted_flip = self.flip
            return
        if len(x) < 2:
            raise DataError("flip is chosen by leaving one example out: x must have at least 2. Received: 1")
        total = np.zeros(len(_FLIPS))
        for start in range(0, len(x), _CHUNK):
            distance = self._distances(x[start : start + _CHUNK])
            distance[np.arange(len(distance)), start + np.arange(len(distance))] = np.inf  # Not itself.
            total += [self._log_mean(distance, flip, len(x) - 1).sum() for flip in _FLIPS]
        self.fitted_flip = float(_FLIPS[total.argmax()])

    def _log_prob(self, x: np.ndarray) -> np.ndarray:
        chunks = (x[start : start + _CHUNK] for start in range(0, len(x), _CHUNK))
        return np.concatenate(
            [self._log_mean(self._distances(chunk), self.fitted_flip, len(self._train)) for chunk in chunks]
        )

    def _distances(self, x: np.ndarray) -> np.ndarray:
        """The number of values in which each example differs from each training example: float64 `[B, N]`."""
        x = x.astype(np.float32)  # Counts up to 2^24 are exact.
        product = x @ self._train.T
        return (x.sum(axis=1)[:, None] + self._train.sum(axis=1) - 2 * product).astype(np.float64)

    def _log_mean(self, distance: np.ndarray, flip: float, n: int) -> np.ndarray:
        """log of the mean over n kernels, `[B]`. The nearest kernel is factored out, which keeps the sum in range."""
        nearest = distance.min(axis=1)
        ratio = np.log(flip) - np.log1p(-flip)
        rest = np.log(np.exp((distance - nearest[:, None]) * ratio).sum(axis=1) / n)
        return self._train.shape[1] * np.log1p(-flip) + nearest * ratio + rest


def flat(x: Any, what: str) -> np.ndarray:
    """Examples `[N, ...]` as float64 `[N, F]`.

    Raises:
        DataError: there are none, or they are not finite numbers.
    """
    array = np.asarray(x)
    if array.ndim < 2 or array.size == 0 or array.dtype.kind not in "fiub":
        raise DataError(
            f"{what} must be an array [N, ...] of numbers. Received: shape {list(array.shape)}, dtype {array.dtype}"
        )
    array = array.reshape(len(array), -1).astype(np.float64)
    if not np.isfinite(array).all():
        raise DataError(f"{what} must be finite. Received: NaN or infinity")
    return array


def check_bandwidth(bandwidth: Any) -> float:
    """The bandwidth as a float.

    Raises:
        DataError: it is not a finite number above 0.
    """
    if isinstance(bandwidth, bool) or not np.isscalar(bandwidth) or not 0 < float(bandwidth) < np.inf:  # type: ignore[arg-type]
        raise DataError(f"bandwidth must be a finite number above 0. Received: bandwidth={bandwidth!r}")
    return float(bandwidth)  # type: ignore[arg-type]
