"""The Parzen-window log-likelihood of samples.

[TOB16] Theis, van den Oord, Bethge: A note on the evaluation of generative models. ICLR 2016.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tfpvae._extras import explain_missing
from tfpvae.errors import DataError
from tfpvae.evaluate.baselines import BANDWIDTHS, check_bandwidth, flat
from tfpvae.evaluate.rows import Mean, mean_of


class ParzenLogLikelihood(NamedTuple):
    """A Parzen-window estimate, and the bandwidth of its windows."""

    log_likelihood: np.ndarray
    """The log-density of each example under the windows, float64 `[N]`, in nats."""
    bandwidth: float
    """The standard deviation of the windows, in the unit of x."""

    @property
    def mean(self) -> Mean:
        """The mean over the examples."""
        return mean_of(self.log_likelihood)


def parzen_log_likelihood(
    samples: Any, x: Any, bandwidth: float | None = None, validation: Any = None
) -> ParzenLogLikelihood:
    """log 1/S sum_s N(x; x_s, h^2 I): the log-density of data under Gaussian windows around a model's samples.

    **Its known weakness** [TOB16, sections 3.2 and 4]. It is not the model's log-likelihood, nor close to it in more
    than a few dimensions: for 6x6 pixels and a million samples it is still tens of nats too low. It also ranks models
    wrongly: the centroids of k-means score above true samples of the data, and a model that repeats its training images
    scores high. It is here because papers report it. To rank models with a likelihood, use `importance_log_marginal`.

    Args:
        samples: a model's samples, `[S, *event_shape]`.
        x: `[N, *event_shape]`.
        bandwidth: h, the standard deviation of the windows. None tries `BANDWIDTHS` times the standard deviation of the
            samples, and takes the one under which `validation` is most probable.
        validation: data to choose the bandwidth by, `[M, *event_shape]`; not the data that is measured.

    Raises:
        DataError: the arrays do not fit or are not finite, the bandwidth is not above 0, or there is neither bandwidth
            nor validation, or both.
    """
    samples, x = flat(samples, "samples"), flat(x, "x")
    if x.shape[1] != samples.shape[1]:
        raise DataError(
            f"samples and x must be of the same shape. Received: {samples.shape[1]} and {x.shape[1]} values each"
        )
    if (bandwidth is None) == (validation is None):
        raise DataError("Give a bandwidth, or validation data to choose it by, and not both.")
    with explain_missing("tfpvae.evaluate.parzen_log_likelihood"):
        from sklearn.neighbors import KernelDensity

    def score(h: float, data: np.ndarray) -> np.ndarray:
        return KernelDensity(kernel="gaussian", bandwidth=h).fit(samples).score_samples(data)

    if bandwidth is None:
        held_out = flat(validation, "validation")
        if held_out.shape[1] != samples.shape[1]:
            raise DataError(
                "samples and validation must be of the same shape. "
                f"Received: {samples.shape[1]} and {held_out.shape[1]} values each"
            )
        bandwidth = max(BANDWIDTHS * (samples.std() or 1.0), key=lambda h: score(h, held_out).mean())
    h = check_bandwidth(bandwidth)
    return ParzenLogLikelihood(score(h, x), h)
