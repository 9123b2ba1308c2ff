"""8-bit images: the logistic distribution in 256 bins [SK17].

[SK17] Salimans, Karpathy, Chen, Kingma: PixelCNN++. ICLR 2017.
"""

from __future__ import annotations

from typing import Any, Final

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfpvae.layers.base import ConvertToTensor, Parameters, register
from tfpvae.layers.constraints import check_size, positive
from tfpvae.layers.independent import IndependentLayer
from tfpvae.layers.mixture import mixture_distribution
from tfpvae.layers.new import new_distribution
from tfpvae.layers.quantiles import categorical_quantile, logistic_quantile, pick
from tfpvae.layers.sizes import EventShape, Size, as_shape, as_size, for_config, num_values, with_axes
from tfpvae.supports import Pixels

LEVELS: Final = 256
"""The values of a pixel of 8 bits."""

WIDTH: Final = 1.0 / (LEVELS - 1)
"""The width of a bin, the distance of two values."""


def discretize(x: tf.Tensor) -> tf.Tensor:
    """Rounds to the grid 0, 1/255, 2/255, ..., 1, whose values are NumPy's to the last bit on every runtime."""
    # By a table: TensorFlow's graph optimizer makes a division by 255 a product with 1/255, which is not the same.
    table = tf.constant([k / (LEVELS - 1) for k in range(LEVELS)], x.dtype)
    return tf.gather(table, tf.cast(tf.clip_by_value(tf.round(x * (LEVELS - 1)), 0.0, LEVELS - 1), tf.int32))


def survival_sum(loc: tf.Tensor, scale: tf.Tensor, moment: int = 1) -> tf.Tensor:
    """E[x^moment] of discretised logistics, as the sum over the grid of (x_(k+1)^moment - x_k^moment) P(x > x_k).

    One value of the grid after the other: all at once would take 255 times the memory of the image.

    Args:
        loc: `[...]`.
        scale: `[...]`.
        moment: 1 for the mean, 2 for the mean square.

    Returns:
        `[...]`.
    """
    start = (loc - 0.5 * WIDTH) / scale
    step = WIDTH / scale
    unrolled = 5  # Five values in each turn: at batch 1 this takes a fifth of the time of one.

    def add(k: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        for _ in range(unrolled):
            rise = WIDTH if moment == 1 else (2.0 * k + 1.0) * WIDTH**2
            total += rise * tf.sigmoid(start - k * step)
            k += 1.0
        return k, total

    _, total = tf.while_loop(
        lambda k, _: k < LEVELS - 1,
        add,
        (tf.zeros([], loc.dtype), tf.zeros_like(loc)),
        maximum_iterations=(LEVELS - 1) // unrolled,
    )
    return total


class DiscretizedLogistic(tfd.Distribution):
    """A logistic distribution rounded to the grid 0, 1/255, ..., 1 of 8-bit pixels [SK17, section 2.1].

    P(k/255) is the mass of the logistic within half a bin, 1/510, of k/255; the first and the last bin also have the
    tail beyond them, so that the 256 probabilities sum to one. `loc` and `scale` are in the pixels' unit.

    `log_prob` off the grid is that of a bin around the value: bring images to the grid for a likelihood in nats.

    Args:
        loc: `[...]`.
        scale: `[...]`, above zero.
        validate_args: whether `loc` and `scale` are checked.
        allow_nan_stats: as for every `tfd.Distribution`.
        name: of the distribution.
    """

    def __init__(
        self,
        loc: tf.Tensor,
        scale: tf.Tensor,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "DiscretizedLogistic",
    ) -> None:
        parameters = {
            "loc": loc,
            "scale": scale,
            "validate_args": validate_args,
            "allow_nan_stats": allow_nan_stats,
            "name": name,
        }
        self._loc = tf.convert_to_tensor(loc)
        self._scale = tf.convert_to_tensor(scale, dtype=self._loc.dtype)
        super().__init__(
            dtype=self._loc.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> dict[str, Any]:
        del num_classes
        return {
            "loc": tfp.util.ParameterProperties(),
            "scale": tfp.util.ParameterProperties(default_constraining_bijector_fn=tfp.bijectors.Softplus),
        }

    @property
    def loc(self) -> tf.Tensor:
        """`[...]`, in pixel units."""
        return self._loc

    @property
    def scale(self) -> tf.Tensor:
        """`[...]`, in pixel units."""
        return self._scale

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([], tf.int32)

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        # With a and b the bin's edges in units of the scale, sigmoid(b) - sigmoid(a) is
        # sigmoid(b) sigmoid(-a) (1 - exp(a - b)): its logarithm has digits, and a gradient, in the farthest tail.
        # As for the last factor, 1 - exp(-d) = tanh(d / 2) (1 + exp(-d)).
        half = 0.5 * WIDTH
        below = -tf.nn.softplus((self._loc - x - half) / self._scale)  # ln P(y < x + half)
        above = -tf.nn.softplus((x - half - self._loc) / self._scale)  # ln P(y > x - half)
        d = WIDTH / self._scale
        inside = below + above + tf.math.log(tf.tanh(0.5 * d)) + tf.nn.softplus(-d)
        return tf.where(x < half, below, tf.where(x > 1.0 - half, above, inside))

    def _cdf(self, x: tf.Tensor) -> tf.Tensor:
        # A thousandth of a bin is far more than rounding, so the grid's own values count.
        edge = (tf.floor(x * (LEVELS - 1) + 1e-3) + 0.5) * WIDTH
        inside = tf.sigmoid((edge - self._loc) / self._scale)
        return tf.where(edge < 0.0, 0.0, tf.where(edge > 1.0, 1.0, inside))

    def _mean(self) -> tf.Tensor:
        return survival_sum(*self._broadcast())

    def _variance(self) -> tf.Tensor:
        loc, scale = self._broadcast()
        return tf.maximum(survival_sum(loc, scale, moment=2) - tf.square(survival_sum(loc, scale)), 0.0)

    def _mode(self) -> tf.Tensor:
        # Not always the bin of loc: the first and the last bin have the tails too.
        nearest = discretize(self._broadcast()[0])
        low, mid, high = (self._log_prob(x) for x in (tf.zeros_like(nearest), nearest, tf.ones_like(nearest)))
        return tf.where((low > mid) & (low >= high), 0.0, tf.where(high > mid, 1.0, nearest))

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        return discretize(tfd.Logistic(*self._broadcast()).sample(n, seed=seed))

    def _broadcast(self) -> tuple[tf.Tensor, tf.Tensor]:
        zero = tf.zeros_like(self._loc) + tf.zeros_like(self._scale)
        return self._loc + zero, self._scale + zero


@register
class IndependentDiscretizedLogistic(IndependentLayer):
    """Independent discretised logistic values: 8-bit images, as floats k/255 in [0, 1] [SK17].

    See `DiscretizedLogistic` for the probabilities.

    Args:
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., 2 event_size]` -> batch `[...]`, event `event_shape`; `scale = softplus(.)`, at least 1e-6, in the
    units of `loc` and of the pixels, [0, 1].
    """

    discrete = True
    params_per_value = 2
    support = Pixels()

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        loc, raw_scale = self.split(inputs)
        return {"loc": loc, "scale": positive(raw_scale)}

    def distribution(self, loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
        return self.independent(DiscretizedLogistic(loc, scale, validate_args=self.validate_args))

    def mean(self, parameters: Parameters) -> tf.Tensor:
        return survival_sum(parameters["loc"], parameters["scale"])

    @property
    def num_uniforms(self) -> int:
        return self.event_size

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        standard = logistic_quantile(self.uniforms_to_event(uniforms))
        return discretize(parameters["loc"] + parameters["scale"] * standard)


@register
class MixtureDiscretizedLogistic(IndependentLayer):
    """Independent values, each a mixture of K discretised logistics of its own: 8-bit images, floats k/255 [SK17].

    A mixture for each value, as in PixelCNN++, not one component for the whole image as in `MixtureLogistic`: an
    image has too many values to come from one of K templates.

    Args:
        num_components: K, the number of components of each mixture.
        event_shape: the shape of one draw.
        convert_to_tensor_fn: see `DistributionLayer`.
        validate_args: whether TFP checks the components' parameters.
        **kwargs: see `DistributionLayer`.

    Call: `[..., event_size 3 K]` -> batch `[...]`, event `event_shape`. The 3 K inputs of a value are side by side, K
    each for logits, loc and scale, so that a convolution with 3 K filters a channel can be flattened into it; `scale`
    as in `IndependentDiscretizedLogistic`. The parameters are `mixture_logits`, `component_loc` and
    `component_scale`, each `[..., *event_shape, K]`.
    """

    discrete = True
    interleaved = True
    support = Pixels()

    def __init__(
        self,
        num_components: int,
        event_shape: EventShape = (),
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        validate_args: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(event_shape, convert_to_tensor_fn, validate_args, **kwargs)
        self.num_components = as_size("num_components", num_components)
        self.params_per_value = 3 * self.num_components

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        check_size(inputs, 3 * self.num_components * self.event_size, self)
        shape = tf.concat([tf.shape(inputs)[:-1], with_axes([], self.event_shape, 3 * self.num_components)], axis=0)
        logits, loc, raw_scale = tf.split(tf.reshape(inputs, shape), 3, axis=-1)
        return {"mixture_logits": logits, "component_loc": loc, "component_scale": positive(raw_scale)}

    def distribution(
        self, mixture_logits: tf.Tensor, component_loc: tf.Tensor, component_scale: tf.Tensor
    ) -> tfd.Distribution:
        def components(loc: tf.Tensor, scale: tf.Tensor) -> tfd.Distribution:
            return DiscretizedLogistic(loc, scale, validate_args=self.validate_args)

        parameters = {"loc": component_loc, "scale": component_scale}
        return self.independent(mixture_distribution(mixture_logits, components, parameters))

    def mean(self, parameters: Parameters) -> tf.Tensor:
        means = survival_sum(parameters["component_loc"], parameters["component_scale"])
        return tf.reduce_sum(tf.nn.softmax(parameters["mixture_logits"], axis=-1) * means, axis=-1)

    @property
    def num_uniforms(self) -> int:
        """Two for each value: one picks the component."""
        return 2 * self.event_size

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        which, where = (self.uniforms_to_event(u) for u in tf.split(uniforms, 2, axis=-1))
        index = categorical_quantile(parameters["mixture_logits"], which)
        loc, scale = (pick(parameters[name], index) for name in ("component_loc", "component_scale"))
        return discretize(loc + scale * logistic_quantile(where))

    @classmethod
    def params_size(  # type: ignore[override]  # the number of components goes first, as in TFP's mixtures
        cls, num_components: int, event_shape: EventShape = (), name: str | None = None
    ) -> Size:
        """How many inputs the layer takes: 3 K for each value."""
        del name
        return 3 * as_size("num_components", num_components) * num_values(as_shape(event_shape))

    @classmethod
    def new(  # type: ignore[override]
        cls,
        params: tf.Tensor,
        num_components: int,
        event_shape: EventShape = (),
        validate_args: bool = False,
        name: str | None = None,
    ) -> tfd.Distribution:
        """The distribution for these inputs, without a layer."""
        return new_distribution(cls, params, num_components, event_shape, validate_args=validate_args, name=name)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_components": for_config("num_components", self.num_components)}
