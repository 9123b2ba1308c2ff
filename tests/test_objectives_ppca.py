"""The bounds on probabilistic PCA, where log p(x) and p(z|x) are known: NumPy in float64 is the second route."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats


class Gaussian(NamedTuple):
    """N(loc, scale_tril scale_tril^T): `[B, D]` and `[D, D]`."""

    loc: np.ndarray
    scale_tril: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        return self.scale_tril @ self.scale_tril.T


class Ppca:
    """z ~ N(0, I), x given z ~ N(W z + mu, sigma^2 I); q is the posterior, moved and widened. All in float64."""

    def __init__(self, latents: int, pixels: int, sigma: float = 0.7, move: float = 0.0, widen: float = 1.0) -> None:
        rng = np.random.default_rng(latents)
        self.W, self.mu, self.sigma = rng.normal(size=(pixels, latents)), rng.normal(size=pixels), sigma
        self.move, self.widen = move, widen
        self.x = rng.normal(size=(4, latents)) @ self.W.T + self.mu + sigma * rng.normal(size=(4, pixels))

    @property
    def latents(self) -> int:
        return self.W.shape[1]

    @property
    def log_marginal(self) -> np.ndarray:
        covariance = self.W @ self.W.T + self.sigma**2 * np.eye(len(self.mu))
        return stats.multivariate_normal(self.mu, covariance).logpdf(self.x)

    @property
    def precision(self) -> np.ndarray:
        return self.W.T @ self.W / self.sigma**2 + np.eye(self.latents)

    def true_posterior(self) -> Gaussian:
        covariance = np.linalg.inv(self.precision)
        return Gaussian((self.x - self.mu) @ self.W @ covariance / self.sigma**2, np.linalg.cholesky(covariance))

    def q(self) -> Gaussian:
        loc, scale_tril = self.true_posterior()
        return Gaussian(loc + self.move, self.widen * scale_tril)

    def expected_log_likelihood(self) -> np.ndarray:
        """E_q[log p(x given z)] in closed form: the density at the mean, less half the trace of the covariance."""
        loc, _ = q = self.q()
        at_mean = stats.norm(loc @ self.W.T + self.mu, self.sigma).logpdf(self.x).sum(-1)
        return at_mean - 0.5 * np.trace(self.W @ q.covariance @ self.W.T) / self.sigma**2

    def elbo(self) -> np.ndarray:
        """E_q[log p(x given z)] - KL(q || N(0, I)) in closed form."""
        prior = Gaussian(np.zeros(self.latents), np.eye(self.latents))
        return self.expected_log_likelihood() - kl(self.q(), prior)


def kl(q: Gaussian, p: Gaussian) -> np.ndarray:
    """KL(q || p) `[B]`."""
    inverse = np.linalg.inv(p.covariance)
    gap = q.loc - p.loc
    trace = np.trace(inverse @ q.covariance) + np.einsum("bi,ij,bj->b", gap, inverse, gap)
    log_determinants = np.linalg.slogdet(p.covariance)[1] - np.linalg.slogdet(q.covariance)[1]
    return 0.5 * (trace - q.loc.shape[-1] + log_determinants)


def tensors(ppca: Ppca, prior=None):
    """The same model as `objectives` sees it, in float32; `shift` is a variable of its q."""
    import tensorflow as tf
    import tensorflow_probability as tfp

    from tfpvae.batch import Batch, Latents
    from tfpvae.priors import StandardNormal

    tfd = tfp.distributions
    W, mu, scale = (np.float32(a) for a in (ppca.W, ppca.mu, ppca.q().scale_tril))
    matrix = np.float32(np.linalg.inv(ppca.precision) @ ppca.W.T / ppca.sigma**2)

    class Model:
        def __init__(self):
            self.prior = prior or StandardNormal(ppca.latents)
            self.shift = tf.Variable(np.full(ppca.latents, ppca.move, np.float32))

        def prior_distribution(self, y=None, training=False):
            return self.prior.distribution()

        def posterior(self, batch, training=False):
            loc = tf.matmul(Batch.of(batch).x - mu, matrix, transpose_b=True) + self.shift
            return tfd.MultivariateNormalTriL(loc, tf.constant(scale))

        def likelihood(self, latents, training=False):
            z = Latents.of(latents).z
            assert z.shape.rank == 2  # As decoders have it.
            return tfd.Independent(tfd.Normal(tf.matmul(z, W, transpose_b=True) + mu, np.float32(ppca.sigma)), 1)

    return Model()


def repeated(ppca: Ppca, times: int):
    """Each row of x, `times` times: `[4 * times, P]`."""
    return np.repeat(np.float32(ppca.x), times, axis=0)


def mean_and_error(values, rows: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each row's values, `[rows]`, and its standard error."""
    values = np.asarray(values, np.float64).reshape(rows, -1)
    return values.mean(1), values.std(1, ddof=1) / np.sqrt(values.shape[1])


@pytest.fixture
def ppca() -> Ppca:
    """Three latents, and a q that is not the posterior."""
    return Ppca(3, 6, move=0.2, widen=1.3)


@pytest.mark.parametrize(("move", "widen"), [(0.0, 1.0), (0.2, 1.3), (-0.5, 0.6)])
def test_log_marginal_is_the_elbo_and_the_gap(move, widen):
    """log p(x) = ELBO + KL(q || p(z|x)), both divergences by the library in float64, the expectation by NumPy."""
    from tensorflow_probability import distributions as tfd

    from tfpvae.layers.kl import exact_kl

    ppca = Ppca(3, 6, move=move, widen=widen)
    q, posterior = (tfd.MultivariateNormalTriL(*g) for g in (ppca.q(), ppca.true_posterior()))
    prior = tfd.MultivariateNormalDiag(np.zeros(3), np.ones(3))
    elbo = ppca.expected_log_likelihood() - exact_kl(q, prior).numpy()
    gap = exact_kl(q, posterior).numpy()
    np.testing.assert_allclose(elbo + gap, ppca.log_marginal, rtol=0, atol=1e-4)

    np.testing.assert_allclose(elbo, ppca.elbo(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(gap, kl(ppca.q(), ppca.true_posterior()), rtol=0, atol=1e-9)
    assert (gap > 0.1).all() if move else (np.abs(gap) < 1e-9).all()


@pytest.mark.parametrize(("move", "widen"), [(0.0, 1.0), (0.2, 1.3)])
def test_the_elbo_averages_to_its_closed_form(move, widen):
    import tensorflow as tf

    from tfpvae.objectives import elbo

    ppca = Ppca(3, 6, move=move, widen=widen)
    terms = elbo(tensors(ppca), tf.constant(repeated(ppca, 4000)), tf.constant([1, 2]))
    mean, error = mean_and_error(terms.elbo)
    assert (np.abs(mean - ppca.elbo()) < 3 * error).all()


def test_log_joint_is_the_density_of_the_joint_gaussian(ppca):
    import tensorflow as tf

    from tfpvae.objectives import log_joint, log_likelihood

    # (z, x) is one Gaussian, with covariance [[I, W^T], [W, W W^T + sigma^2 I]].
    W, eye = ppca.W, np.eye(3)
    covariance = np.block([[eye, W.T], [W, W @ W.T + ppca.sigma**2 * np.eye(6)]])
    joint = stats.multivariate_normal(np.concatenate([np.zeros(3), ppca.mu]), covariance)
    z = np.random.default_rng(0).normal(size=(5, 4, 3))
    expected = np.stack([joint.logpdf(np.concatenate([draw, ppca.x], axis=-1)) for draw in z])

    model, x = tensors(ppca), tf.constant(np.float32(ppca.x))
    values = log_joint(model, x, tf.constant(np.float32(z)))
    assert values.shape == (5, 4)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)
    one = log_joint(model, x, tf.constant(np.float32(z[2])))
    assert one.shape == (4,)
    np.testing.assert_allclose(one, expected[2], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        log_likelihood(model, x, tf.constant(np.float32(z))),
        expected - stats.norm.logpdf(z).sum(-1),
        rtol=1e-4,
        atol=1e-4,
    )


def test_log_joint_of_images_and_of_unknown_sizes(vae, digits):
    """Events of any rank, and a graph in which neither k nor B is known."""
    import tensorflow as tf

    from tfpvae.objectives import log_joint

    x, z = tf.constant(digits.test[:3]), tf.random.stateless_normal([2, 3, 4], [1, 2])
    expected = [vae.likelihood(draw).log_prob(x) + vae.prior.distribution().log_prob(draw) for draw in z]
    np.testing.assert_allclose(log_joint(vae, x, z), expected, rtol=1e-5)
    unknown = [tf.TensorSpec([None, 8, 8, 1]), tf.TensorSpec([None, None, 4])]
    in_graph = tf.function(lambda x, z: log_joint(vae, x, z), input_signature=unknown)
    np.testing.assert_allclose(in_graph(x, z), expected, rtol=1e-5)


def test_the_terms_of_the_iwae_bound_are_those_of_its_weights(ppca):
    import tensorflow as tf
    from scipy.special import logsumexp

    from tfpvae.objectives import Terms, iwae, log_joint, log_weights

    model, x, seed = tensors(ppca), tf.constant(np.float32(ppca.x)), tf.constant([3, 4])
    weights = log_weights(model, x, 7, seed)
    assert weights.shape == (7, 4)
    q = model.posterior(x)
    z = q.sample(7, seed=seed)
    np.testing.assert_allclose(weights, log_joint(model, x, z) - q.log_prob(z), rtol=1e-5, atol=1e-5)

    bound = iwae(model, x, 7, seed)
    assert isinstance(bound, Terms)
    assert [term.shape for term in bound] == [(4,)] * 3
    np.testing.assert_allclose(bound.bound, logsumexp(weights, axis=0) - np.log(7), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        bound.log_likelihood, np.mean([model.likelihood(d).log_prob(x) for d in z], 0), rtol=1e-5
    )
    np.testing.assert_allclose(bound.kl, kl(ppca.q(), Gaussian(np.zeros(3), np.eye(3))), rtol=1e-5)


def test_iwae_bounds_rise_with_k_and_never_exceed_log_marginal(ppca):
    import tensorflow as tf

    from tfpvae.objectives import elbo, iwae

    model = tensors(ppca)
    bounds = [mean_and_error(elbo(model, tf.constant(repeated(ppca, 3000)), tf.constant([0, 9])).elbo)]
    for k, times in ((1, 3000), (5, 3000), (50, 1000)):
        bounds.append(mean_and_error(iwae(model, tf.constant(repeated(ppca, times)), k, tf.constant([k, 9])).bound))
    (elbo_mean, elbo_error), (first, first_error), *rest = bounds
    assert (np.abs(first - elbo_mean) < 3 * np.hypot(first_error, elbo_error)).all()  # k = 1 is the ELBO.
    low, low_error = first, first_error
    for mean, error in rest:
        assert (mean - low > 3 * np.hypot(error, low_error)).all()
        low, low_error = mean, error
    for mean, error in bounds:
        assert (mean < ppca.log_marginal + 3 * error).all()
    assert (ppca.log_marginal - low < 0.1 * (ppca.log_marginal - first)).all()  # And k = 50 is near.


def test_the_iwae_bound_of_two_draws_is_that_of_quadrature():
    """With one latent, E[log (w_1 + w_2) / 2] is an integral over a plane, by Gauss and Hermite."""
    import tensorflow as tf

    from tfpvae.objectives import iwae

    ppca = Ppca(1, 3, move=0.3, widen=1.5)
    nodes, masses = np.polynomial.hermite_e.hermegauss(80)
    loc, scale = ppca.q()
    z = loc + scale * nodes  # [4, 80]
    log_p = stats.norm(z[..., None] * ppca.W[:, 0] + ppca.mu, ppca.sigma).logpdf(ppca.x[:, None]).sum(-1)
    log_w = log_p + stats.norm.logpdf(z) - stats.norm(loc, scale).logpdf(z)
    pairs = np.logaddexp(log_w[:, :, None], log_w[:, None, :]) - np.log(2)
    expected = np.einsum("bij,i,j->b", pairs, masses, masses) / (2 * np.pi)

    mean, error = mean_and_error(iwae(tensors(ppca), tf.constant(repeated(ppca, 20_000)), 2, tf.constant([5, 6])).bound)
    assert (np.abs(mean - expected) < 3 * error).all()
    assert (error < 0.01).all()


@pytest.mark.parametrize("k", [1, 8])
def test_at_the_true_posterior_every_draw_gives_log_marginal(k):
    import tensorflow as tf

    from tfpvae.objectives import iwae, log_weights

    ppca = Ppca(3, 6)
    model, x = tensors(ppca), tf.constant(np.float32(ppca.x))
    np.testing.assert_allclose(iwae(model, x, k, tf.constant([1, 2])).bound, ppca.log_marginal, rtol=0, atol=1e-4)
    weights = log_weights(model, x, k, tf.constant([1, 2]))
    np.testing.assert_allclose(weights, np.tile(ppca.log_marginal, (k, 1)), rtol=0, atol=1e-4)


def test_the_gradient_of_the_bound_is_that_of_finite_differences(ppca):
    import tensorflow as tf

    from tfpvae.objectives import iwae

    model, x = tensors(ppca), tf.constant(np.float32(ppca.x))

    def bound(shift):
        model.shift.assign(shift)
        return float(tf.reduce_sum(iwae(model, x, 6, tf.constant([2, 8])).bound))

    with tf.GradientTape() as tape:
        value = tf.reduce_sum(iwae(model, x, 6, tf.constant([2, 8])).bound)
    gradient = tape.gradient(value, model.shift).numpy()
    start, step = model.shift.numpy(), 1e-2
    differences = [
        (bound(start + step * e) - bound(start - step * e)) / (2 * step) for e in np.eye(3, dtype=np.float32)
    ]
    np.testing.assert_allclose(gradient, differences, rtol=0.02, atol=0.02)


def test_the_kl_of_a_prior_without_a_closed_form_is_the_mean_of_its_draws(ppca):
    import tensorflow as tf
    from tensorflow_probability import distributions as tfd

    from tfpvae.objectives import iwae
    from tfpvae.priors import DistributionPrior

    parts = tfd.MultivariateNormalDiag(np.float32([[-1.0] * 3, [1.0] * 3]), np.ones((2, 3), np.float32))
    prior = DistributionPrior(tfd.MixtureSameFamily(tfd.Categorical(probs=np.float32([0.5, 0.5])), parts))
    model, x, seed = tensors(ppca, prior), tf.constant(np.float32(ppca.x)), tf.constant([3, 4])
    q = model.posterior(x)
    z = q.sample(5, seed=seed)
    expected = tf.reduce_mean(q.log_prob(z) - prior.distribution().log_prob(z), axis=0)
    np.testing.assert_allclose(iwae(model, x, 5, seed).kl, expected, rtol=1e-5)


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None])
def test_k_must_be_a_count(ppca, k):
    from tfpvae.errors import ModelError
    from tfpvae.objectives import iwae, log_weights

    for function in (iwae, log_weights):
        with pytest.raises(ModelError, match=r"k must be an integer of at least 1\. Received: k="):
            function(tensors(ppca), np.float32(ppca.x), k)


@pytest.mark.parametrize("shape", [(3,), (8, 3), (2, 2, 3), (1, 1, 4, 3)])
def test_latents_that_are_not_one_for_each_row_are_refused(ppca, shape):
    from tfpvae.errors import ModelError
    from tfpvae.objectives import log_joint

    with pytest.raises(ModelError, match=r"z must have shape \[B, D\] or \[k, B, D\]"):
        log_joint(tensors(ppca), np.float32(ppca.x), np.zeros(shape, np.float32))


def test_dreg_is_the_iwae_bound_with_another_gradient_of_the_same_expectation():
    """Value for value the same; the encoder's gradients agree within their noise, and DReG's is the quieter one."""
    import tensorflow as tf

    from tfpvae.objectives import dreg, iwae

    ppca, k, times = Ppca(3, 6, move=0.2, widen=1.3), 16, 400
    model = tensors(ppca)
    x, seed = tf.constant(repeated(ppca, times)), tf.constant([4, 5])
    shifts = tf.Variable(tf.zeros([len(x), 3]))  # One q for each row, so that one pass gives a gradient for each.
    posterior = model.posterior

    def shifted(x, training=False):
        q = posterior(x)
        return type(q)(q.loc + shifts, scale_tril=q.scale_tril)

    model.posterior = shifted
    gradients, bounds = {}, {}
    for bound in (iwae, dreg):
        with tf.GradientTape() as tape:
            value = bound(model, x, k, seed).bound
        bounds[bound] = value.numpy()
        gradients[bound] = tape.gradient(value, shifts).numpy().astype(np.float64).reshape(4, times, 3)
    np.testing.assert_allclose(bounds[dreg], bounds[iwae], rtol=1e-5, atol=1e-5)
    (plain, plain_error), (double, double_error) = (
        (g.mean(1), g.std(1, ddof=1) / np.sqrt(times)) for g in (gradients[iwae], gradients[dreg])
    )
    assert (np.abs(plain - double) < 4 * np.hypot(plain_error, double_error)).all()
    assert (np.abs(double) > 4 * double_error).any()  # There is a gradient to be right about.
    assert double_error.mean() < 0.5 * plain_error.mean()


def test_the_decoders_gradient_of_dreg_is_that_of_iwae(vae, digits):
    import tensorflow as tf

    from tfpvae.objectives import dreg, iwae

    x, seed = tf.constant(digits.test[:5]), tf.constant([1, 2])
    gradients = []
    for bound in (iwae, dreg):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(bound(vae, x, 4, seed).bound)
        gradients.append(tape.gradient(value, vae.decoder.trainable_variables))
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_at_the_true_posterior_dreg_has_no_gradient_at_all():
    import tensorflow as tf

    from tfpvae.objectives import dreg, iwae

    ppca = Ppca(3, 6)
    model, x = tensors(ppca), tf.constant(np.float32(ppca.x))
    sizes = {}
    for bound in (iwae, dreg):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(bound(model, x, 4, tf.constant([1, 2])).bound)
        sizes[bound] = np.abs(tape.gradient(value, model.shift)).max()
    assert sizes[dreg] < 1e-3 < 0.1 < sizes[iwae]
