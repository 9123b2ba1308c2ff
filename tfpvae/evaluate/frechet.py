"""The Frechet distance between the features of two sets of examples.

[DL82] Dowson, Landau: The Frechet distance between multivariate normal distributions. JMVA 12, 1982.
[HRU+17] Heusel et al.: GANs trained by a two time-scale update rule converge to a local Nash equilibrium. NIPS 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfpvae.checks import positive_integer
from tfpvae.errors import DataError
from tfpvae.evaluate.rows import BATCH_SIZE


def frechet_distance(x: Any, y: Any, features: Callable[[np.ndarray], Any], *, batch_size: int = BATCH_SIZE) -> float:
    """|m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) of the features' means and covariances [DL82, HRU+17, eq. 6].

    This is the squared 2-Wasserstein distance between the two Gaussians with these moments. With Inception's features
    of images it is the FID; with other features it is another number, so name them. It is biased upwards for few
    examples: compare only values that come from the same number of examples.

    Args:
        x: examples, `[N, ...]`, such as data.
        y: examples, `[M, ...]`, such as samples of a model.
        features: maps examples `[B, ...]` to their features, an array or tensor `[B, F]`.
        batch_size: B, how many examples it maps at once.

    Returns:
        The distance, 0 or above, in the unit of the features squared.

    Raises:
        DataError: the features are not finite `[B, F]`, differ in F, or N or M is not above F. The covariance would not
            have full rank, and the distance would depend on N more than on the model.
    """
    a, b = (_features(data, what, features, batch_size) for data, what in ((x, "x"), (y, "y")))
    if a.shape[1] != b.shape[1]:
        raise DataError(f"features must have the same size for x and y. Received: {a.shape[1]} and {b.shape[1]}")
    for what, rows in (("x", a), ("y", b)):
        if len(rows) <= rows.shape[1]:
            raise DataError(
                f"{what} must have more examples than features, or the covariance has not full rank. "
                f"Received: {len(rows)} examples and {rows.shape[1]} features"
            )
    C_x, C_y = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (a, b))
    # tr (C_x C_y)^(1/2) from the symmetric R C_y R, R = C_x^(1/2), which has the same eigenvalues: a square root of
    # C_x C_y itself can have complex numbers.
    root = _root(C_x)
    overlap = np.sqrt(np.clip(np.linalg.eigvalsh(root @ C_y @ root), 0.0, None)).sum()
    gap = a.mean(axis=0) - b.mean(axis=0)
    return float(max(0.0, gap @ gap + np.trace(C_x) + np.trace(C_y) - 2 * overlap))


def _root(C: np.ndarray) -> np.ndarray:
    """The symmetric square root of a covariance."""
    values, vectors = np.linalg.eigh(C)
    return (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T


def _features(data: Any, what: str, features: Callable[[np.ndarray], Any], batch_size: int) -> np.ndarray:
    data = np.asarray(data)
    if data.ndim == 0 or len(data) == 0:
        raise DataError(f"{what} must hold examples [N, ...]. Received: shape {list(data.shape)}")
    rows = []
    for start in range(0, len(data), positive_integer("batch_size", batch_size)):
        batch = data[start : start + batch_size]
        of_batch = np.asarray(features(batch), np.float64)
        if of_batch.ndim != 2 or len(of_batch) != len(batch):
            raise DataError(
                f"features must return [B, F], a row for each example. Received: shape {list(of_batch.shape)} "
                f"for {len(batch)} examples"
            )
        if not np.isfinite(of_batch).all():
            raise DataError(f"features must return finite numbers. Received: NaN or infinity for {what}")
        rows.append(of_batch)
    return np.concatenate(rows)
