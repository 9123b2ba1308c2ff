"""The Gaussian likelihood with one variance for every value: N(loc, gamma I).

[Doe16] Doersch: Tutorial on variational autoencoders. arXiv:1606.05908, 2016.
[DW19] Dai, Wipf: Diagnosing and enhancing VAE models. ICLR 2019.
"""

from __future__ import annotations

import math
from typing import Any, Final

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.checks import number
from tfpvae.layers.base import ConvertToTensor, Parameters, register
from tfpvae.layers.constraints import SMALLEST, at_least
from tfpvae.layers.independent import IndependentNormal
from tfpvae.layers.new import new_distribution
from tfpvae.layers.sizes import EventShape, num_axes

STRIDE: Final = 3.0
"""How much the log of a learned scale changes when its weight changes by 1. Adam moves a weight by about its learning
rate in each step: at rate 1e-3 the scale falls from 1 to 0.1 in 770 steps; with the log itself as the weight in 2300.
A larger stride does harm: latents are best found one by one, while the scale falls."""


@register
class SphericalNormal(IndependentNormal):
    """N(loc, gamma I): a Gaussian with the same variance gamma in every value, given [Doe16] or learned [DW19].

    A given gamma sets how much detail the latents carry: smaller variation is cheaper to treat as noise. A learned
    gamma falls to the variance that the decoder cannot explain, which is the noise of the data if the networks are
    large enough and trained long enough. Superfluous latents return to the prior; `tfpvae.evaluate.manifold_dimension`
    counts the others. Gamma is one number for the whole model, a weight of this layer, trained and saved with the rest.

    Start it well above the noise, at the scale of the data: a start near the noise makes every latent carry some of it
    before the decoder has learnt anything, and they unlearn it slowly. A learning rate that decays to 0 lets gamma
    settle.
    The log-density of data without noise has no upper bound, so a learned scale stops at 1e-6.

    Args:
        event_shape: the shape of one draw.
        scale: sqrt(gamma), or where it starts if it is learned.
        learn_scale: whether gamma is learned.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: loc `[..., event_size]` -> batch `[...]`, event `event_shape`. The parameter `scale` is `[..., 1, ..., 1]`,
    one for each row, as exported signatures have a batch axis everywhere.

    Raises:
        ModelError: `scale` is not a finite number of at least 1e-6.
    """

    params_per_value = 1

    def __init__(
        self,
        event_shape: EventShape = (),
        scale: float = 1.0,
        learn_scale: bool = False,
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        self.initial_scale = number("scale", scale, least=SMALLEST)
        self.learn_scale = bool(learn_scale)
        self.raw_scale = None
        if self.learn_scale:
            start = keras.initializers.Constant(math.log(self.initial_scale) / STRIDE)
            self.raw_scale = self.add_weight(name="raw_scale", shape=(), initializer=start, autocast=False)

    @property
    def gamma(self) -> float:
        """The present variance."""
        return float(self._scale()) ** 2

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        (loc,) = self.split(inputs)
        shape = tf.concat([tf.shape(inputs)[:-1], tf.ones([num_axes(self.event_shape)], tf.int32)], axis=0)
        return {"loc": loc, "scale": tf.fill(shape, tf.cast(self._scale(), loc.dtype))}

    def _scale(self) -> tf.Tensor:
        if self.raw_scale is None:
            return tf.constant(self.initial_scale, self.variable_dtype)
        return tf.exp(at_least(STRIDE * tf.convert_to_tensor(self.raw_scale), math.log(SMALLEST)))

    @classmethod
    def new(  # type: ignore[override]
        cls,
        params: tf.Tensor,
        event_shape: EventShape = (),
        scale: float = 1.0,
        validate_args: bool = False,
        name: str | None = None,
    ) -> tfd.Distribution:
        """The distribution for these inputs and a given scale, without a layer."""
        return new_distribution(cls, params, event_shape, scale, validate_args=validate_args, name=name)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.initial_scale, "learn_scale": self.learn_scale}
