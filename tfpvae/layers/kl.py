"""KL divergences in closed form, for every pair of Gaussians and for the pairs that TFP has registered.

TFP knows the divergence between two multivariate normals and between two `Independent`s, but not between the two kinds,
although `Independent(Normal)` is how its own tutorials write the prior of a multivariate normal posterior. Importing
this module registers the missing pairs, so `tfd.kl_divergence` finds them too.

[KW14] Kingma, Welling: Auto-encoding variational Bayes. ICLR 2014.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfpvae.errors import ModelError
from tfpvae.layers.distribution_tensor import unwrap
from tfpvae.layers.flows import FlowBijector

# `tfd.Independent(d)` and the like make an object of a base class of theirs where `d` is no composite tensor.
_INDEPENDENT = tfd.Independent.__mro__[1]
_SAMPLE = tfd.Sample.__mro__[1]
_TRANSFORMED = tfd.TransformedDistribution.__mro__[1]
_BATCH_BROADCAST = tfd.BatchBroadcast.__mro__[1]
_MULTIVARIATE_NORMAL = tfd.MultivariateNormalLinearOperator
# Normals that are given by their covariance, or by the inverse of it.
_NORMAL_BY_COVARIANCE = (
    tfd.MultivariateNormalDiagPlusLowRankCovariance,
    tfp.experimental.distributions.MultivariateNormalPrecisionFactorLinearOperator,
)

_DIAGONAL_OPERATORS = (
    tf.linalg.LinearOperatorDiag,
    tf.linalg.LinearOperatorIdentity,
    tf.linalg.LinearOperatorScaledIdentity,
)


def is_diagonal_gaussian(distribution: tfd.Distribution) -> bool:
    """Whether it is Gaussian with independent values: `Normal`, `Independent` or `Sample` of it, diagonal normals."""
    if isinstance(distribution, _INDEPENDENT | _SAMPLE):
        return is_diagonal_gaussian(unwrap(distribution.distribution))
    if isinstance(distribution, _MULTIVARIATE_NORMAL):
        return isinstance(distribution.scale, _DIAGONAL_OPERATORS)
    return isinstance(distribution, tfd.Normal)


class Gaussian(NamedTuple):
    """N(loc, scale scale^T) over events of any rank: the common form of all Gaussians here.

    Attributes:
        loc: `[*batch_shape, *event_shape]`.
        scale: standard deviations, of the same shape or one that broadcasts to it; or an operator on the event's last
            axis, of batch shape `[*batch_shape, *event_shape[:-1]]` or one that broadcasts to it.
        event_rank: how many axes an event has.
    """

    loc: tf.Tensor
    scale: tf.Tensor | tf.linalg.LinearOperator
    event_rank: int

    @property
    def diagonal(self) -> bool:
        """Whether its values are independent, so that `scale` holds standard deviations."""
        return not isinstance(self.scale, tf.linalg.LinearOperator)

    @property
    def operator(self) -> tf.linalg.LinearOperator:
        """The scale as an operator."""
        return tf.linalg.LinearOperatorDiag(self.scale) if self.diagonal else self.scale


def as_gaussian(distribution: tfd.Distribution) -> Gaussian | None:
    """A distribution as a `Gaussian`, or None where it is not known to be one.

    Known are `Normal`, every multivariate normal, and `Independent`, `Sample`, `BatchBroadcast` and affine
    `TransformedDistribution` (`Shift`, `Scale`, `ScaleMatvec...`, their inverses and chains) of what is known.
    """
    distribution = unwrap(distribution)
    if isinstance(distribution, tfd.Normal):
        return Gaussian(distribution.mean(), distribution.stddev(), 0)
    if isinstance(distribution, _MULTIVARIATE_NORMAL):
        diagonal = isinstance(distribution.scale, _DIAGONAL_OPERATORS)
        return Gaussian(distribution.mean(), distribution.stddev() if diagonal else distribution.scale, 1)
    if isinstance(distribution, _NORMAL_BY_COVARIANCE):
        cholesky = tf.linalg.cholesky(distribution.covariance())
        return Gaussian(distribution.mean(), tf.linalg.LinearOperatorLowerTriangular(cholesky), 1)
    if not isinstance(distribution, _INDEPENDENT | _SAMPLE | _TRANSFORMED | _BATCH_BROADCAST):
        return None
    inner = as_gaussian(distribution.distribution)
    if inner is None or distribution.event_shape.rank is None:
        return None
    if isinstance(distribution, _INDEPENDENT):
        return inner._replace(event_rank=distribution.event_shape.rank)
    if isinstance(distribution, _SAMPLE):
        return _repeat(inner, distribution)
    if isinstance(distribution, _BATCH_BROADCAST):
        shape = tf.concat([distribution.batch_shape_tensor(), distribution.event_shape_tensor()], axis=0)
        return inner._replace(loc=tf.broadcast_to(inner.loc, shape))
    return _push(inner, distribution.bijector) if distribution.event_shape.rank == inner.event_rank else None


def _repeat(gaussian: Gaussian, sample: tfd.Sample) -> Gaussian:
    """The Gaussian of `Sample(distribution, sample_shape)`: its axes come between the batch's and the event's."""
    batch, event = sample.distribution.batch_shape_tensor(), sample.distribution.event_shape_tensor()
    repeats = sample.event_shape_tensor()[: sample.event_shape.rank - gaussian.event_rank]

    def insert(tensor: tf.Tensor, tail: tf.Tensor) -> tf.Tensor:
        tensor = tf.reshape(
            tf.broadcast_to(tensor, tf.concat([batch, tail], axis=0)),
            tf.concat([batch, tf.ones_like(repeats), tail], axis=0),
        )
        return tf.broadcast_to(tensor, tf.concat([batch, repeats, tail], axis=0))

    if gaussian.diagonal:
        scale = insert(gaussian.scale, event)
    else:
        scale = _matrix(insert(gaussian.scale.to_dense(), tf.concat([event, event[-1:]], axis=0)), gaussian.scale)
    return Gaussian(insert(gaussian.loc, event), scale, sample.event_shape.rank)


def _matrix(dense: tf.Tensor, *like: tf.linalg.LinearOperator) -> tf.linalg.LinearOperator:
    """A matrix as an operator, triangular if all its factors are."""
    triangular = tf.linalg.LinearOperatorLowerTriangular
    kind = triangular if all(isinstance(m, (triangular, *_DIAGONAL_OPERATORS)) for m in like) else None
    return (kind or tf.linalg.LinearOperatorFullMatrix)(dense)


def _push(gaussian: Gaussian, bijector: tfb.Bijector) -> Gaussian | None:
    """The Gaussian after an affine bijector, or None if the bijector is not known to be affine."""
    if isinstance(bijector, tfb.Chain):
        pushed: Gaussian | None = gaussian
        for part in reversed(bijector.bijectors):
            pushed = None if pushed is None else _push(pushed, part)
        return pushed
    inverse = isinstance(bijector, tfb.Invert)
    if inverse:
        bijector = bijector.bijector
    loc = gaussian.loc
    if isinstance(bijector, tfb.Identity):
        return gaussian
    if isinstance(bijector, tfb.Shift):
        return gaussian._replace(loc=loc - bijector.shift if inverse else loc + bijector.shift)
    if isinstance(bijector, tfb.Scale):
        factor = tf.exp(bijector.log_scale) if bijector.scale is None else tf.convert_to_tensor(bijector.scale)
        return _scaled(gaussian, 1 / factor if inverse else factor)
    if isinstance(bijector, tfb.ScaleMatvecLinearOperator) and not bijector.adjoint and gaussian.event_rank:
        return _multiplied(gaussian, bijector.scale.inverse() if inverse else bijector.scale)
    return None


def _scaled(gaussian: Gaussian, factor: tf.Tensor) -> Gaussian:
    """The Gaussian of `factor x`."""
    loc, scale, _ = gaussian
    if gaussian.diagonal:
        return gaussian._replace(loc=loc * factor, scale=scale * tf.abs(factor))
    return gaussian._replace(loc=loc * factor, scale=_matrix(factor[..., tf.newaxis] * scale.to_dense(), scale))


def _multiplied(gaussian: Gaussian, matrix: tf.linalg.LinearOperator) -> Gaussian:
    """The Gaussian of `matrix x`."""
    loc, scale, _ = gaussian
    if gaussian.diagonal and isinstance(matrix, _DIAGONAL_OPERATORS):
        return gaussian._replace(loc=matrix.matvec(loc), scale=tf.abs(matrix.diag_part()) * scale)
    operator = gaussian.operator
    product = _matrix(matrix.matmul(operator.to_dense()), matrix, operator)
    return gaussian._replace(loc=matrix.matvec(loc), scale=product)


def _diagonal_kl(q: Gaussian, p: Gaussian) -> tf.Tensor:
    """1/2 (r^2 + ((mu_q - mu_p) / sigma_p)^2 - 1) - ln r, r = sigma_q / sigma_p, for each value [KW14, appendix B]."""
    ratio = q.scale / p.scale
    return 0.5 * (tf.square(ratio) + tf.square((q.loc - p.loc) / p.scale) - 1.0) - tf.math.log(ratio)


def _full_kl(q: Gaussian, p: Gaussian) -> tf.Tensor:
    """ln |L_p| / |L_q| + 1/2 (|L_p^-1 L_q|^2 + |L_p^-1 (mu_q - mu_p)|^2 - D), for each vector of the event."""
    a, b = q.operator, p.operator
    gap = b.solve((q.loc - p.loc)[..., tf.newaxis])
    squares = tf.reduce_sum(tf.square(b.solve(a.to_dense())), [-2, -1]) + tf.reduce_sum(tf.square(gap), [-2, -1])
    size = tf.cast(a.domain_dimension_tensor(), squares.dtype)
    return b.log_abs_determinant() - a.log_abs_determinant() + 0.5 * (squares - size)


def _sum_last(tensor: tf.Tensor, axes: int) -> tf.Tensor:
    return tf.reduce_sum(tensor, axis=list(range(-axes, 0))) if axes else tensor


def gaussian_kl(q: tfd.Distribution, p: tfd.Distribution) -> tf.Tensor:
    """KL(q || p) of two Gaussians over events of the same rank.

    Returns:
        `[*batch_shape]`, in nats.

    Raises:
        NotImplementedError: one of them is not known to be Gaussian.
    """
    a, b = as_gaussian(q), as_gaussian(p)
    if a is None or b is None or a.event_rank != b.event_rank:
        raise NotImplementedError(f"No closed-form KL between {_describe(q)} and {_describe(p)}.")
    if a.diagonal and b.diagonal:
        return _sum_last(_diagonal_kl(a, b), a.event_rank)
    return _sum_last(_full_kl(a, b), a.event_rank - 1)


def kl_per_value(q: tfd.Distribution, p: tfd.Distribution) -> tf.Tensor | None:
    """KL(q || p) of each value of the event, for Gaussians with independent values: `[*batch_shape, *event_shape]`.

    Returns:
        In nats; it sums to `gaussian_kl`. None if one of them is no such Gaussian.
    """
    a, b = as_gaussian(q), as_gaussian(p)
    if a is None or b is None or a.event_rank != b.event_rank or not (a.diagonal and b.diagonal):
        return None
    return _diagonal_kl(a, b)


def _registered(q: tfd.Distribution, p: tfd.Distribution, name: str | None = None) -> tf.Tensor:
    with tf.name_scope(name or "gaussian_kl"):
        return gaussian_kl(q, p)


# What TFP registers itself: two of a kind, and a multivariate normal as the transformed distribution that it is.
_BY_COVARIANCE = _NORMAL_BY_COVARIANCE[0]
for _pair in (
    *itertools.permutations(
        (_MULTIVARIATE_NORMAL, _BY_COVARIANCE, _INDEPENDENT, _SAMPLE, _TRANSFORMED, _BATCH_BROADCAST), 2
    ),
    (_BY_COVARIANCE, _BY_COVARIANCE),
    (_BATCH_BROADCAST, _BATCH_BROADCAST),
    (tfd.Normal, _TRANSFORMED),
    (_TRANSFORMED, tfd.Normal),
):
    tfd.RegisterKL(*_pair)(_registered)


def exact_kl(q: tfd.Distribution, p: tfd.Distribution) -> tf.Tensor | None:
    """KL(q || p) in closed form `[*batch_shape]`, in nats, or None where there is none."""
    q, p = unwrap(q), unwrap(p)
    for divergence in (gaussian_kl, tfd.kl_divergence):
        try:
            return divergence(q, p)
        except NotImplementedError:
            continue
    return None


def monte_carlo_kl(q: tfd.Distribution, p: tfd.Distribution, z: tf.Tensor) -> tf.Tensor:
    """log q(z) - log p(z), whose expectation under q is KL(q || p).

    Args:
        q: batch `[B]`.
        p: batch `[]` or `[B]`.
        z: draws from q, `[..., B, *event_shape]`.

    Returns:
        `[..., B]`, in nats.
    """
    return q.log_prob(z) - p.log_prob(z)


def check_same_event(q: tfd.Distribution, p: tfd.Distribution) -> None:
    """Refuses two distributions over different events: their KL would be of the wrong shape, without an error.

    Raises:
        ModelError: the event shapes differ.
    """
    if isinstance(q.event_shape, tf.TensorShape) and not q.event_shape.is_compatible_with(p.event_shape):
        raise ModelError(
            "The two distributions of a KL must be over the same event; wrap one in tfd.Independent if its event is "
            f"its batch. Received: {_describe(q)} with batch shape {q.batch_shape} and event shape {q.event_shape}, "
            f"{_describe(p)} with batch shape {p.batch_shape} and event shape {p.event_shape}"
        )


def _describe(distribution: tfd.Distribution) -> str:
    distribution = unwrap(distribution)
    name = type(distribution).__name__.lstrip("_")
    if isinstance(distribution, _INDEPENDENT | _SAMPLE | _BATCH_BROADCAST) or name == "TransformedDistribution":
        return f"{name}({_describe(distribution.distribution)})"
    return name


def _is_flow(distribution: tfd.Distribution) -> bool:
    """Whether it comes from a flow, which has no closed form."""
    return isinstance(getattr(unwrap(distribution), "bijector", None), FlowBijector)


_warned: set[tuple[str, str]] = set()


def kl_divergence(
    q: tfd.Distribution, p: tfd.Distribution, z: tf.Tensor | Callable[[tfd.Distribution], tf.Tensor]
) -> tf.Tensor:
    """KL(q || p): exact where there is a closed form, else the Monte Carlo estimate at `z`, with one warning.

    Flows never have a closed form, and cause no warning.

    Args:
        q: batch `[B]`.
        p: batch `[]` or `[B]`.
        z: a draw from q, `[B, *event_shape]`, or a function from q to it; used only where there is no closed form.

    Returns:
        `[B]`, in nats.

    Raises:
        ModelError: q and p are over different events.
    """
    check_same_event(q, p)
    exact = exact_kl(q, p)
    if exact is not None:
        return exact
    pair = (_describe(q), _describe(p))
    if pair not in _warned and not _is_flow(q) and not _is_flow(p):
        _warned.add(pair)
        warnings.warn(
            f"There is no closed-form KL between {pair[0]} and {pair[1]}: it is estimated by Monte Carlo, "
            "which is unbiased but noisy.",
            stacklevel=3,
        )
    return monte_carlo_kl(q, p, z(q) if callable(z) else z)
