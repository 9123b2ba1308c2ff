"""What data a TFP distribution is over, where no layer of tfpvae says it."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae import supports
from tfpvae.supports import Support


def support_of(distribution: tfd.Distribution) -> Support | None:
    """The support of a distribution whose values are of a known kind; None for all others.

    Of independent values, draws and mixtures it is that of one value.
    """
    while isinstance(distribution, tfd.Independent | tfd.Sample | tfd.MixtureSameFamily):
        mixture = isinstance(distribution, tfd.MixtureSameFamily)
        distribution = distribution.components_distribution if mixture else distribution.distribution
    if isinstance(distribution, tfd.Categorical | tfd.OneHotCategorical):
        size = tf.get_static_value(distribution.logits_parameter().shape[-1])
        if size is None:
            return None
        one_hot = isinstance(distribution, tfd.OneHotCategorical)
        return supports.OneHot(size) if one_hot else supports.Categories(size)
    return next((support for kinds, support in _SUPPORTS if isinstance(distribution, kinds)), None)


def serialize_support(support: Support | None) -> dict[str, Any] | None:
    """A support as plain JSON; one of a user's own class as Keras serialises it."""
    if support is None or type(support).__module__ == supports.__name__:
        return None if support is None else support.to_json()
    return keras.saving.serialize_keras_object(support)


def deserialize_support(config: dict[str, Any] | None) -> Support | None:
    """The inverse of `serialize_support`."""
    if config is None:
        return None
    return keras.saving.deserialize_keras_object(config) if "class_name" in config else supports.from_json(config)


_SUPPORTS: list[tuple[tuple[type, ...], Support]] = [
    ((tfd.Bernoulli,), supports.Binary()),
    ((tfd.ContinuousBernoulli,), supports.UnitInterval()),
    ((tfd.Beta,), supports.UnitInterval(open=True)),
    ((tfd.Exponential,), supports.Interval(low=0.0)),  # Of TFP's gammas the one that has a density at 0.
    ((tfd.Gamma,), supports.Positive()),
    ((tfd.Poisson, tfd.NegativeBinomial), supports.Counts()),
]
