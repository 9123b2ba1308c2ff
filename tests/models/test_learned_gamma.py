"""One learned variance: it recovers a planted noise, and the latents in use are a planted manifold's [DW19].

[DW19] Dai, Wipf: Diagnosing and enhancing VAE models. ICLR 2019.
[TB99] Tipping, Bishop: Probabilistic principal component analysis. JRSS B 61(3), 1999.
"""

from __future__ import annotations

import numpy as np
import pytest

AMBIENT, LATENT, HIDDEN, NOISE = 64, 24, 128, 0.15


def plant(r: int, curved: bool = False, seed: int = 0, n: int = 4000) -> np.ndarray:
    """x near a manifold of r dimensions: the image of N(0, I_r) in 64 dimensions, and noise; float32 `[n, 64]`.

    The image is linear, r orthogonal directions of standard deviations from 2.5 to 0.7; or curved, as tanh bends a
    linear one in every coordinate.
    """
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(n, r))
    if curved:
        image = np.tanh(u @ rng.normal(size=(r, AMBIENT)) / np.sqrt(2 * r))
    else:
        directions, _ = np.linalg.qr(rng.normal(size=(AMBIENT, r)))
        image = u * np.linspace(2.5, 0.7, r) @ directions.T
    return (image + NOISE * rng.normal(size=image.shape)).astype(np.float32)


def train(x: np.ndarray, learn_scale: bool, epochs: int, seed: int = 0):
    """A VAE of one hidden layer on either side, its variance started, or fixed, at 1; its learning rate falls to 0."""
    import keras
    import tensorflow as tf

    from tfpvae import VAE
    from tfpvae.layers import MultivariateNormalDiag, SphericalNormal

    keras.utils.set_random_seed(seed)
    dense = keras.layers.Dense
    encoder = keras.Sequential(
        [keras.Input((AMBIENT,)), dense(HIDDEN, "swish"), dense(2 * LATENT), MultivariateNormalDiag(LATENT)]
    )
    decoder = keras.Sequential(
        [
            keras.Input((LATENT,)),
            dense(HIDDEN, "swish"),
            dense(AMBIENT),
            SphericalNormal(AMBIENT, learn_scale=learn_scale),
        ]
    )
    vae = VAE(encoder, decoder)
    batches = tf.data.Dataset.from_tensor_slices(x).cache().shuffle(len(x), seed=seed).batch(200, drop_remainder=True)
    rate = keras.optimizers.schedules.CosineDecay(5e-3, epochs * len(batches))
    vae.compile(keras.optimizers.Adam(rate), steps_per_execution=20)
    vae.fit(batches, epochs=epochs, verbose=0)
    return vae


def eigenvalues(x: np.ndarray) -> np.ndarray:
    """Of the data's covariance, the largest first, `[64]`."""
    return np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]


def check_recovers(x: np.ndarray, r: int, seed: int) -> None:
    """Learned, the noise is the planted one, and the dimension r; both as probabilistic PCA has them in closed form.

    With orthogonal directions the optimum is that of probabilistic PCA: gamma is the mean of the eigenvalues that are
    left out [TB99, eq. 8], and the posterior variances are gamma over each of the others.
    """
    from tfpvae.evaluate import manifold_dimension

    vae = train(x, learn_scale=True, epochs=50, seed=seed)
    found = manifold_dimension(vae, x)
    assert found.dimension == r
    np.testing.assert_allclose(np.sqrt(found.gamma), NOISE, rtol=0.05)
    np.testing.assert_allclose(found.gamma, vae.decoder.layers[-1].gamma, rtol=1e-6)
    values = eigenvalues(x)
    np.testing.assert_allclose(found.gamma, values[r:].mean(), rtol=0.05)
    variances = np.sort(found.variances)
    np.testing.assert_allclose(variances[:r], found.gamma / values[:r], atol=0.03)
    assert (variances[r:] > 0.9).all()


@pytest.mark.slow
@pytest.mark.parametrize("r", [3, 8, 16])
def test_a_learned_gamma_recovers_the_noise_and_the_dimension(r):
    check_recovers(plant(r), r, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("r", [3, 8, 16])
def test_a_learned_gamma_recovers_the_noise_and_the_dimension_from_every_seed(r, seed):
    check_recovers(plant(r, seed=seed), r, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_a_curved_manifold_too(seed):
    from tfpvae.evaluate import manifold_dimension

    x = plant(3, curved=True, seed=seed)
    found = manifold_dimension(train(x, learn_scale=True, epochs=150, seed=seed), x, threshold=0.1)
    assert found.dimension == 3
    # The decoder is not exact yet: other latents still help it in places, but each holds far less than the three.
    assert found.gap[1] > 10 * found.gap[0]
    np.testing.assert_allclose(np.sqrt(found.gamma), NOISE, rtol=0.05)
    assert np.sqrt(eigenvalues(x)[3:].mean()) > 1.08 * NOISE  # What a flat manifold leaves over.


@pytest.mark.slow
@pytest.mark.parametrize("r", [3, 8, 16])
def test_a_variance_fixed_at_one_recovers_neither(r):
    from tfpvae.evaluate import manifold_dimension

    x = plant(r)
    vae = train(x, learn_scale=False, epochs=15)
    found = manifold_dimension(vae, x)
    assert found.gamma == 1.0
    # What varies less than the assumed noise is left to it: latents hold the other directions at most.
    assert found.dimension <= (eigenvalues(x) > 1).sum() < r
