"""A model whose every figure is known in closed form: probabilistic PCA."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

if TYPE_CHECKING:
    from tfpvae import VAE


class LinearGaussian(NamedTuple):
    """z ~ N(0, I), x given z ~ N(W z + mu, sigma^2 I), and q(z given x) = N(A (x - mu), diag(s^2)); x are draws."""

    vae: VAE
    x: np.ndarray
    W: np.ndarray
    mu: np.ndarray
    sigma: float
    A: np.ndarray
    s: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """Of q, `[N, D]`."""
        return (self.x - self.mu) @ self.A.T

    @property
    def kl(self) -> np.ndarray:
        """KL(q || p) of each latent, `[N, D]`."""
        return 0.5 * (self.s**2 + self.means**2 - 1) - np.log(self.s)

    @property
    def expected_log_likelihood(self) -> np.ndarray:
        """E_q[log p(x given z)], `[N]`."""
        squares = np.square(self.x - self.mu - self.means @ self.W.T).sum(axis=1) + (self.W**2 @ self.s**2).sum()
        return -0.5 * squares / self.sigma**2 - self.x.shape[1] * np.log(self.sigma * np.sqrt(2 * np.pi))

    @property
    def covariance(self) -> np.ndarray:
        """Of x, `[F, F]`."""
        return self.W @ self.W.T + self.sigma**2 * np.eye(len(self.W))


@pytest.fixture(scope="session")
def linear_gaussian() -> LinearGaussian:
    """Three latents, of which one is not used, eight values, 400 examples. Shared by every test: do not train it."""
    import keras

    import tfpvae
    from tfpvae import layers

    rng = np.random.default_rng(0)
    sigma, mu = 0.5, rng.normal(size=8)
    # Columns at right angles: the true posterior has independent latents, and q is that posterior.
    W = np.linalg.qr(rng.normal(size=(8, 3)))[0] * [2.0, 1.0, 0.0]
    variance = 1 / (1 + np.square(W).sum(axis=0) / sigma**2)
    A, s = variance[:, None] * W.T / sigma**2, np.sqrt(variance)
    x = rng.normal(size=(400, 3)) @ W.T + mu + sigma * rng.normal(size=(400, 8))

    params, loc = keras.layers.Dense(6), keras.layers.Dense(8)
    encoder = keras.Sequential([keras.Input((8,)), params, layers.MultivariateNormalDiag(3)])
    decoder = keras.Sequential([keras.Input((3,)), loc, layers.SphericalNormal((8,), scale=sigma)])
    vae = tfpvae.VAE(encoder, decoder, name="linear")
    kernel = np.concatenate([A.T, np.zeros((8, 3))], axis=1)
    params.set_weights([kernel, np.concatenate([-A @ mu, np.log(np.expm1(s))])])
    loc.set_weights([W.T, mu])
    return LinearGaussian(vae, x.astype(np.float32), W, mu, sigma, A, s)
