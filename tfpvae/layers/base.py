"""The base of every distribution layer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae._compat.keras import in_stateless_scope
from tfpvae._registry import register as register
from tfpvae.errors import ModelError
from tfpvae.layers.activations import warn_of_activation
from tfpvae.layers.distribution_tensor import DistributionTensor, unwrap
from tfpvae.layers.lambdas import METHOD, is_lambda, lambda_config, method_config, method_of, with_what_it_names
from tfpvae.layers.replicas import hand_distributions_to_losses
from tfpvae.layers.symbolic import give_distributions_to_layers
from tfpvae.supports import Real, Support

Parameters = dict[str, tf.Tensor]
ConvertToTensor = Callable[[tfd.Distribution], Any]


class Attribute:
    """Takes an attribute off a distribution: `Attribute("logits")(d)` is `d.logits`.

    A distribution that wraps another, such as `Independent`, and lacks the attribute gives the inner one's.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, distribution: tfd.Distribution) -> tf.Tensor:
        distribution = unwrap(distribution)
        while not hasattr(distribution, self.name) and isinstance(
            getattr(distribution, "distribution", None), tfd.Distribution
        ):
            distribution = unwrap(distribution.distribution)
        value = getattr(distribution, self.name)
        # `Bernoulli(probs=...).logits` is None; `logits_parameter()` works them out.
        return getattr(distribution, f"{self.name}_parameter")() if value is None else value


def _is_method(name: str) -> bool:
    return not name.startswith("_") and callable(getattr(tfd.Distribution, name, None))


def _is_attribute(name: str) -> bool:
    classes = (getattr(tfd, c) for c in tfd.__all__ if c[:1].isupper())
    return not name.startswith("_") and any(isinstance(getattr(c, name, None), property) for c in classes)


def resolve_convert_to_tensor_fn(fn: str | ConvertToTensor | property) -> ConvertToTensor:
    """The function that a name stands for: `"mean"` for `tfd.Distribution.mean`. A callable stays as it is.

    The name of an attribute of TFP's distributions, `"logits"`, and the attribute itself, `tfd.Bernoulli.logits`, are
    taken too.

    Raises:
        ModelError: `fn` is neither a name of these nor callable.
    """
    if isinstance(fn, property) and fn.fget is not None:
        return Attribute(fn.fget.__name__)
    if isinstance(fn, str):
        if _is_method(fn):
            return getattr(tfd.Distribution, fn)
        if _is_attribute(fn):
            return Attribute(fn)
    elif callable(fn):
        return fn
    raise ModelError(
        "convert_to_tensor_fn must be a callable that takes a distribution, or the name of a method of "
        f"tfd.Distribution, such as 'sample', 'mean' or 'mode'. Received: convert_to_tensor_fn={fn!r}"
    )


def serialize_callable(fn: Callable[..., Any]) -> Any:
    """A method or attribute of TFP's distributions as its name; anything else as Keras serialises it.

    Functions are written by their registered name, and methods of a registered class by the class's. A lambda is
    written as Keras writes it, with Keras's warning and with what it names: a model with a lambda loads only with
    `safe_mode=False`.

    Raises:
        ModelError: it is a lambda that names what cannot be written; or it is neither a registered function, a plain
            function, nor a lambda.
    """
    if isinstance(fn, Attribute):
        return fn.name
    name = getattr(fn, "__name__", "")
    if name and getattr(tfd.Distribution, name, None) is fn:
        return name
    if isinstance(fn, functools.partial) or not (name or hasattr(fn, "get_config")):
        raise ModelError(
            "A function must have a name to be saved: register a `def` with "
            f"keras.saving.register_keras_serializable. Received: {fn!r}"
        )
    if is_lambda(fn):
        return lambda_config(fn)
    return method_config(fn) or keras.saving.serialize_keras_object(fn)


def deserialize_callable(config: Any) -> Any:
    """The inverse of `serialize_callable`. Names stay names.

    Raises:
        ModelError: it is a lambda, and lambdas were not allowed by `safe_mode=False`; or it names an unknown function.
    """
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == METHOD:
        return method_of(config)
    try:
        function = keras.saving.deserialize_keras_object(config)
    except (TypeError, ValueError) as error:
        if config.get("class_name") == "__lambda__":
            raise ModelError(
                "The model was saved with a lambda, whose code is run when it is loaded. If you trust where it comes "
                "from, load it with keras.models.load_model(path, safe_mode=False). To save it so that it loads "
                "safely, replace the lambda by a function registered with keras.saving.register_keras_serializable, "
                "or, for convert_to_tensor_fn, by the name of a method, such as 'mean'."
            ) from error
        raise ModelError(
            "A function that the model was saved with must be imported, and registered with "
            f"keras.saving.register_keras_serializable, before the model is loaded. Received: {config}"
        ) from error
    return with_what_it_names(function, config) if is_lambda(function) else function


def in_float32(inputs: Any) -> Any:
    """Casts tensors of half precision to float32, also inside lists and dicts."""

    def cast(x: Any) -> Any:
        return tf.cast(x, tf.float32) if tf.is_tensor(x) and x.dtype in (tf.float16, tf.bfloat16) else x

    return keras.tree.map_structure(cast, inputs)


def stateless_seed(generator: keras.random.SeedGenerator) -> tf.Tensor:
    """The generator's next seed as TFP takes stateless seeds, int32 `[2]`; another one on each replica."""
    # Keras's dtype differs by version. The cast keeps the low bits.
    seed = tf.cast(generator.next(), tf.int32)
    replica = tf.distribute.get_replica_context()
    if replica is not None and replica.num_replicas_in_sync > 1:
        seed += tf.stack([tf.cast(replica.replica_id_in_sync_group, tf.int32), 0])
    return seed


class DistributionLayer(keras.layers.Layer):
    """A Keras layer that returns a distribution: abstract.

    A subclass splits the work in two, so that what is exported is plain tensors with names:

    - `parameters(inputs)` gives the named tensors;
    - `distribution(**parameters)` makes the TFP distribution from them.

    Calling the layer returns a `DistributionTensor`: a `tfd.Distribution` that Keras takes for a tensor.

    A subclass whose distribution can be drawn in an exported graph also defines `num_uniforms` and `draw`.

    Args:
        convert_to_tensor_fn: how the distribution becomes a tensor where a tensor is needed: a callable, or the name
            of a method of `tfd.Distribution`. Called once per call of the layer, at most.
        activity_regularizer: a function of the distribution that returns a scalar, such as
            `KLDivergenceRegularizer`. It is added to the model's losses as it is, once per call: Keras's own handling
            divides by the first axis of the output in some versions and not in others.
        **kwargs: those of `keras.layers.Layer`.
    """

    mean_parameter: ClassVar[str | None] = None
    """The parameter that is the mean, for the layers where one is."""

    discrete: ClassVar[bool] = False
    """Whether draws are whole numbers, so that a rounding difference can flip one."""

    takes_any_real: ClassVar[bool] = True
    """Whether its parameters are made of any real numbers, so that an activation before the layer restricts them."""

    support: Support = Real()
    """What data it is over; `fit` refuses all other. Where it depends on the arguments, set it in `__init__`."""

    def __init__(
        self,
        convert_to_tensor_fn: str | ConvertToTensor = tfd.Distribution.sample,
        *,
        activity_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        give_distributions_to_layers()
        super().__init__(**kwargs)
        self.seed_generator: keras.random.SeedGenerator | None = None
        self._warned_of_activation = False
        self.convert_to_tensor_fn = resolve_convert_to_tensor_fn(convert_to_tensor_fn)
        self.distribution_regularizer = keras.regularizers.get(activity_regularizer)
        # Trained and saved with this layer: what the regulariser's prior owns.
        self.regularizer_variables = getattr(self.distribution_regularizer, "owned_variables", None)
        if tf.distribute.has_strategy():
            hand_distributions_to_losses()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.takes_any_real and args and not self._warned_of_activation:
            self._warned_of_activation = warn_of_activation(self, args[0])
        if not self.built and args and tf.is_tensor(args[0]) and args[0].shape.rank is None:
            # Keras would build it by the shape, which it takes to have a rank.
            self.build((None,))
        return super().__call__(*args, **kwargs)

    def build(self, input_shape: Any) -> None:
        # A layer that is made inside a tf.function, such as one in a loss, can have no variable.
        if not tf.inside_function() or in_stateless_scope():
            self.seed_generator = keras.random.SeedGenerator()
        super().build(input_shape)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        # By calling it: Keras would go by `compute_output_shape`, which cannot tell a distribution.
        return keras.Operation.compute_output_spec(self, *args, **kwargs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        # Wrappers, such as `TimeDistributed`, ask for it.
        inputs = keras.tree.map_shape_structure(keras.KerasTensor, input_shape)
        return keras.tree.map_structure(lambda output: tuple(output.shape), self.compute_output_spec(inputs))

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        """The named parameters of the distribution, made from the previous layer's output."""
        raise NotImplementedError

    def distribution(self, *args: Any, **parameters: Any) -> tfd.Distribution:
        """The distribution with these parameters."""
        raise NotImplementedError

    def mean(self, parameters: Parameters) -> tf.Tensor:
        """E of the distribution with these parameters, in operations that export."""
        if self.mean_parameter is not None:
            return parameters[self.mean_parameter]
        return self.distribution(**parameters).mean()

    def center(self, parameters: Parameters) -> tf.Tensor:
        """One point that stands for the distribution, as reconstructions need it: its mean."""
        return self.mean(parameters)

    @property
    def num_uniforms(self) -> int | None:
        """How many uniform numbers one draw takes, or None if it cannot be drawn from a fixed number of them."""
        return None

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        """One draw per row, as a pure function of uniform numbers, in operations that export.

        Args:
            parameters: as from `parameters`.
            uniforms: float32 `[B, num_uniforms]` in [0, 1).

        Returns:
            `[B, *event_shape]`.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be drawn from a fixed number of uniforms.")

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> DistributionTensor:
        # log_prob needs float32: eight or eleven bits of mantissa do not resolve a sum over pixels.
        named = self.parameters(in_float32(tf.convert_to_tensor(inputs)))
        return self.random_variable(self.distribution(**named), named, training)

    def random_variable(
        self,
        distribution: tfd.Distribution,
        named: Parameters | Callable[[], Parameters] | None = None,
        training: bool | None = None,
    ) -> DistributionTensor:
        """What `call` returns for a distribution, after the regulariser's loss has been added.

        Args:
            distribution: the distribution.
            named: its parameters by name, if it has any, or a function that makes them when they are needed.
            training: whether the call is part of a training step, which schedules count.
        """
        layer = None if named is None else self
        distribution = unwrap(distribution)
        support = self.support_for(distribution)
        rv = DistributionTensor(distribution, self.convert_to_tensor_fn, layer, named, self.next_seed, support)
        self.regularize(rv, training)
        return rv

    def support_for(self, distribution: tfd.Distribution) -> Support | None:
        """The data that a distribution of this layer is over; None where that is not known."""
        del distribution
        return self.support

    def next_seed(self) -> tf.Tensor:
        """A new stateless seed, int32 `[2]`; another one on each replica."""
        if self.seed_generator is None:
            return tf.random.uniform([2], tf.int32.min, tf.int32.max, tf.int32)
        return stateless_seed(self.seed_generator)

    def regularize(self, rv: DistributionTensor, training: bool | None = None) -> None:
        """Adds the regulariser's loss, if there is one."""
        if self.distribution_regularizer is None:
            return
        self.add_loss(self.distribution_regularizer(rv))
        if training and hasattr(self.distribution_regularizer, "count_step"):
            self.distribution_regularizer.count_step()

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "convert_to_tensor_fn": serialize_callable(self.convert_to_tensor_fn),
            "activity_regularizer": keras.regularizers.serialize(self.distribution_regularizer)
            if self.distribution_regularizer is not None
            else None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        config = dict(config)
        config["convert_to_tensor_fn"] = deserialize_callable(config.get("convert_to_tensor_fn", "sample"))
        if isinstance(config.get("activity_regularizer"), dict):
            config["activity_regularizer"] = keras.saving.deserialize_keras_object(config["activity_regularizer"])
        return super().from_config(config)
