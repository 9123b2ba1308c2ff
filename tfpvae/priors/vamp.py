"""A prior that is a mixture of posteriors.

[TW18] Tomczak, Welling: VAE with a VampPrior. AISTATS 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.checks import number, positive_integer
from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.layers.constraints import at_least, at_most
from tfpvae.layers.distribution_tensor import DistributionTensor
from tfpvae.layers.mixture import mixture_distribution
from tfpvae.priors.base import Prior


@register
class VampPrior(Prior):
    """p(z) = 1/K sum_k q(z given u_k), for K learned pseudo-inputs u_k [TW18, eq. 9].

    It uses the encoder of its model, as in `VAE(encoder, decoder, prior=VampPrior(500))`. Its only weights are the
    pseudo-inputs. The encoder takes them in inference mode, once per training step.

    Pseudo-inputs are clipped to the bounds before the encoder takes them, as in the paper's code. That code's clipping
    has gradient zero outside the bounds; here the gradient is one, so that no value gets stuck outside.

    The first uniform of a draw picks the component in exact arithmetic, so every runtime picks the same one.

    Args:
        components: K, the number of pseudo-inputs.
        pseudo_inputs: the initial pseudo-inputs, `[K, *event_shape]`, such as K training examples. They are saved with
            the model as weights, not in `get_config()`.
        mean: without `pseudo_inputs`, the initial values are draws from N(mean, stddev^2). The defaults are those of
            the paper's code for MNIST.
        stddev: see `mean`.
        bounds: the smallest and largest value of a pseudo-input, or None for unbounded data.
        seed: the seed of these draws; None uses Keras's.
        **kwargs: those of `keras.layers.Layer`.

    Raises:
        ModelError: `components` is not an integer of 1 or more; `pseudo_inputs` are not K finite examples within the
            bounds; `stddev` is negative; `bounds` are not two increasing numbers. When the model is built: the shape of
            `pseudo_inputs` is not that of its data, or the prior belongs to another model.

    Attributes:
        event_size: D, taken from the encoder; not available before the model is built.
    """

    shares_encoder = True
    closed_form_kl = False

    def __init__(
        self,
        components: int = 500,
        pseudo_inputs: Any = None,
        mean: float = 0.05,
        stddev: float = 0.01,
        bounds: tuple[float, float] | None = (0.0, 1.0),
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.components = positive_integer("components", components)
        self.mean = number("mean", mean)
        self.stddev = number("stddev", stddev, least=0)
        self.bounds = None if bounds is None else _bounds(bounds)
        self.seed = seed
        self._start = None if pseudo_inputs is None else self._checked(pseudo_inputs)
        self._posterior: Callable[[tf.Tensor], DistributionTensor] | None = None

    def _checked(self, pseudo_inputs: Any) -> np.ndarray:
        start = np.asarray(pseudo_inputs)
        if start.dtype.kind not in "fiub" or start.shape[:1] != (self.components,):
            raise ModelError(
                f"pseudo_inputs must be numbers of shape [K, *event_shape], K = {self.components}. "
                f"Received: shape {list(start.shape)}, dtype {start.dtype}"
            )
        low, high = self.bounds or (-math.inf, math.inf)
        if not np.isfinite(start).all() or start.min() < low or start.max() > high:
            raise ModelError(
                f"pseudo_inputs must be finite and within bounds={self.bounds}. "
                f"Received: values from {start.min()} to {start.max()}"
            )
        return start

    def bind(self, posterior: Callable[[tf.Tensor], DistributionTensor], event_shape: tuple[int, ...]) -> None:
        if self._posterior is not None:
            raise ModelError("A VampPrior must be of one model alone, whose encoder it has. Make a new one.")
        shape = (self.components, *event_shape)
        if self._start is not None and self._start.shape != shape:
            raise ModelError(
                f"pseudo_inputs must have shape [K, *event_shape], {list(shape)}. "
                f"Received: shape {list(self._start.shape)}"
            )
        if self._start is None:
            initializer = keras.initializers.RandomNormal(self.mean, self.stddev, seed=self.seed)
        else:
            initializer = keras.initializers.Constant(self._start)
        self._variable = self.add_weight(name="pseudo_inputs", shape=shape, initializer=initializer, autocast=False)
        # A function: Keras would train and save an encoder attribute a second time.
        self._posterior = posterior
        q = posterior(self.pseudo_inputs[:1])
        self._event_size = q.event_shape[-1]
        n = q.layer.num_uniforms if q.layer is not None and q.named_parameters is not None else None
        self._num_uniforms = None if n is None else 1 + n
        self.built = True

    @property
    def event_size(self) -> int:  # type: ignore[override]
        """D, the number of latent dimensions."""
        self._bound()
        return self._event_size

    def _bound(self) -> Callable[[tf.Tensor], DistributionTensor]:
        if self._posterior is None:
            raise ModelError(
                "A VampPrior must be given to a model, VAE(encoder, decoder, prior=VampPrior(...)), whose encoder it "
                "takes when the model is built. Received: a VampPrior without an encoder"
            )
        return self._posterior

    @property
    def pseudo_inputs(self) -> tf.Tensor:
        """u as the encoder takes them, clipped to the bounds, `[K, *event_shape]`."""
        self._bound()
        u = tf.convert_to_tensor(self._variable)
        return u if self.bounds is None else at_most(at_least(u, self.bounds[0]), self.bounds[1])

    def _posteriors(self) -> DistributionTensor:
        """q(z given u_k), batch `[K]`, event `[D]`."""
        posterior = self._bound()
        return posterior(self.pseudo_inputs)

    def distribution(self) -> tfd.Distribution:
        q = self._posteriors()
        logits = tf.zeros(self.components, q.tensor_distribution.dtype)
        if q.layer is None or q.named_parameters is None:
            return tfd.MixtureSameFamily(tfd.Categorical(logits=logits), q.tensor_distribution)
        return mixture_distribution(logits, q.layer.distribution, q.named_parameters)

    @property
    def num_uniforms(self) -> int | None:
        """One uniform to pick the component, plus those of the posterior; None if it has no fixed number."""
        self._bound()
        return self._num_uniforms

    def draw(self, uniforms: tf.Tensor) -> tf.Tensor:
        q = self._posteriors()
        if self.num_uniforms is None or q.layer is None or q.named_parameters is None:
            return super().draw(uniforms)
        # The product of a multiple of 2^-24 and K is exact in float64.
        index = tf.cast(tf.floor(tf.cast(uniforms[:, 0], tf.float64) * self.components), tf.int32)
        picked = {name: tf.gather(value, index) for name, value in q.named_parameters.items()}
        return q.layer.draw(picked, uniforms[:, 1:])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "components": self.components,
            "mean": self.mean,
            "stddev": self.stddev,
            "bounds": None if self.bounds is None else list(self.bounds),
            "seed": self.seed,
        }


def _bounds(bounds: Any) -> tuple[float, float]:
    if isinstance(bounds, list | tuple) and len(bounds) == 2:
        low, high = (number("bounds", bound) for bound in bounds)
        if low < high:
            return low, high
    raise ModelError(f"bounds must be two rising numbers, such as (0.0, 1.0), or None. Received: bounds={bounds!r}")
