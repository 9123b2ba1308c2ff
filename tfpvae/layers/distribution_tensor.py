"""What a distribution layer returns: a TFP distribution that Keras 3 and TensorFlow take for a tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae._compat.tensorflow import CompositeTensor, TensorLike, register_dispatchable_type
from tfpvae._compat.tfp import METHODS_BEHIND_THE_PUBLIC_ONES
from tfpvae.layers.tracing import ArgumentType, Signature
from tfpvae.supports import Support


class DistributionMaker(Protocol):
    """What a distribution tensor offers of the layer that made it; a `DistributionLayer` is one."""

    @property
    def discrete(self) -> bool: ...

    @property
    def num_uniforms(self) -> int | None: ...

    def distribution(self, *args: Any, **parameters: Any) -> tfd.Distribution: ...

    def mean(self, parameters: dict[str, tf.Tensor]) -> tf.Tensor: ...

    def center(self, parameters: dict[str, tf.Tensor]) -> tf.Tensor: ...

    def draw(self, parameters: dict[str, tf.Tensor], uniforms: tf.Tensor) -> tf.Tensor: ...


@register_dispatchable_type
class DistributionTensor(tfd.Distribution, TensorLike):
    """A `tfd.Distribution` that is also the tensor it converts to.

    Public methods and attributes are those of `tensor_distribution`, except `shape`, `ndim`, `dtype` and the operators,
    which are the tensor's. The conversion is made once, when first needed, and kept: `rv + 0.0` and
    `tf.convert_to_tensor(rv)` see the same draw. The tensor of a joint distribution is its last part.

    Keras's losses cast their arguments and level their ranks: `tf.cast`, `tf.squeeze` and `tf.expand_dims` of a
    `DistributionTensor` change the tensor and keep the distribution. Methods that take a value, such as `log_prob`,
    take it in the shape of the data: a value `[B, 1]` becomes `[B]`, or the reverse, as the distribution needs it,
    where TFP would broadcast to `[B, B]`. `tensor_distribution` behaves exactly as in TFP.

    Args:
        distribution: the distribution.
        convert_to_tensor_fn: takes the distribution, returns the tensor.
        layer: the layer that made it, if any.
        named_parameters: the tensors that `layer.parameters` made, by name; or a function that makes them, which is
            called when they are first asked for.
        next_seed: returns a new stateless seed, int32 `[2]`: inside a `tf.function` what is drawn without a seed is
            drawn with these seeds. So a run can be repeated, compiled by XLA or not.
        support: what data the distribution is over, if it is known.

    Attributes:
        tensor_distribution: the distribution itself, as TFP made it.
    """

    def __init__(
        self,
        distribution: tfd.Distribution,
        convert_to_tensor_fn: Callable[[tfd.Distribution], tf.Tensor] = tfd.Distribution.sample,
        layer: DistributionMaker | None = None,
        named_parameters: dict[str, tf.Tensor] | Callable[[], dict[str, tf.Tensor]] | None = None,
        next_seed: Callable[[], tf.Tensor] | None = None,
        support: Support | None = None,
    ) -> None:
        self._convert_to_tensor_fn = convert_to_tensor_fn
        self._concrete_value: tf.Tensor | None = None
        self._next_seed = next_seed
        self.tensor_distribution = distribution
        self.layer = layer
        self._named_parameters = named_parameters
        self.support = support
        super().__init__(
            dtype=distribution.dtype,
            reparameterization_type=distribution.reparameterization_type,
            validate_args=distribution.validate_args,
            allow_nan_stats=distribution.allow_nan_stats,
            parameters=distribution.parameters,
        )

    @property
    def named_parameters(self) -> dict[str, tf.Tensor] | None:
        """The parameters by name; None where the distribution has no layer that names them."""
        if callable(self._named_parameters):
            self._named_parameters = self._named_parameters()
        return self._named_parameters

    def _value(self) -> tf.Tensor:
        if self._concrete_value is None:
            value = self._convert(self._convert_to_tensor_fn)
            if isinstance(self.tensor_distribution.dtype, dict | list | tuple) and not tf.is_tensor(value):
                value = tf.nest.flatten(value)[-1]
            self._concrete_value = tf.convert_to_tensor(value)
        return self._concrete_value

    def _convert(self, fn: Callable[[tfd.Distribution], Any]) -> Any:
        # A method of tfd.Distribution works by the distribution's private methods, which only the inner one has.
        name = getattr(fn, "__name__", "")
        if name and getattr(tfd.Distribution, name, None) is fn:
            return getattr(self, name)()
        return fn(self)

    def sample(self, sample_shape: Any = (), seed: Any = None, name: str = "sample", **kwargs: Any) -> Any:
        """As `tfd.Distribution.sample`."""
        if seed is None and self._next_seed is not None and not tf.executing_eagerly():
            seed = self._next_seed()
        return self.tensor_distribution.sample(sample_shape, seed=seed, name=name, **kwargs)

    def _changed(self, value: tf.Tensor) -> DistributionTensor:
        """The same distribution with another tensor."""
        changed = DistributionTensor(
            self.tensor_distribution,
            self._convert_to_tensor_fn,
            self.layer,
            self._named_parameters,
            self._next_seed,
            self.support,
        )
        changed._concrete_value = value
        return changed

    def _parts(self) -> list[Any]:
        """What a `tf.function` takes of it: the tensor, the named parameters, and the distribution if it can."""
        inner = [self.tensor_distribution] if isinstance(self.tensor_distribution, CompositeTensor) else []
        named = (self.named_parameters or {}).values()
        return [self._value(), *map(tf.convert_to_tensor, named), *inner]

    def __tf_tracing_type__(self, context: Any) -> ArgumentType:
        del context
        frame = _Frame(
            # A distribution that TensorFlow cannot take apart belongs to the trace.
            None if isinstance(self.tensor_distribution, CompositeTensor) else self.tensor_distribution,
            self._convert_to_tensor_fn,
            self.layer,
            None if self.named_parameters is None else tuple(self.named_parameters),
            self._next_seed,
            self.support,
        )
        return frame.argument_type(list(map(tf.type_spec_from_value, self._parts())))

    def _aligned(self, value: Any) -> Any:
        """A value of the data, in the rank and dtype that the distribution is over."""
        dtype = self.tensor_distribution.dtype
        if not isinstance(dtype, tf.DType):
            return value
        value = tf.convert_to_tensor(value, dtype_hint=dtype)
        if value.dtype != dtype and dtype.is_floating and not value.dtype.is_complex:
            value = tf.cast(value, dtype)
        if value.shape.rank is None or self.batch_shape.rank is None or self.event_shape.rank is None:
            return value
        own = [*self.batch_shape, *self.event_shape]
        given = value.shape.as_list()
        if _same(given[-len(own) :], own) if own else True:
            return value
        if given and own[-1] == 1 and _same(given, own[:-1]):
            return value[..., tf.newaxis]
        if given[-1:] == [1] and _same(given[:-1], own):
            return value[..., 0]
        return value

    @property
    def shape(self) -> tf.TensorShape:
        # Keras asks every output of a layer, while it builds a model: a draw in a graph of its own costs 0.1 s.
        if self._concrete_value is None and self._convert_to_tensor_fn is tfd.Distribution.sample:
            shape = self.tensor_distribution.batch_shape + self.tensor_distribution.event_shape
            if isinstance(shape, tf.TensorShape) and shape.rank is not None and None not in shape[1:]:
                return shape
        return self._value().shape

    @property
    def ndim(self) -> int | None:
        return self.shape.rank

    @property
    def dtype(self) -> tf.DType:
        # Keras asks every input of a layer: one that takes the distribution itself must not cost a draw.
        drawn = self._convert_to_tensor_fn is tfd.Distribution.sample
        if self._concrete_value is None and drawn and isinstance(self.tensor_distribution.dtype, tf.DType):
            return self.tensor_distribution.dtype
        return self._value().dtype

    def get_shape(self) -> tf.TensorShape:
        return self.shape

    def numpy(self) -> np.ndarray:
        return self._value().numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._value().__array__(), dtype)

    def __len__(self) -> int:
        return len(self._value())

    def __bool__(self) -> bool:
        return bool(self._value())

    def __iter__(self) -> Any:
        return iter(self._value())

    def __getattr__(self, name: str) -> Any:
        # Reached only where ordinary look-up fails: `loc`, `components_distribution` and the like are the inner
        # distribution's. Keras and tf.Module probe for private marks, which must not be found there.
        if name.startswith("_") or "tensor_distribution" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.tensor_distribution, name)

    def __repr__(self) -> str:
        return f"<tfpvae.layers.DistributionTensor of {self.tensor_distribution!r}>"

    __str__ = __repr__


class _Frame(NamedTuple):
    """All of a `DistributionTensor` but its tensors."""

    distribution: tfd.Distribution | None
    convert_to_tensor_fn: Callable[[tfd.Distribution], tf.Tensor]
    layer: DistributionMaker | None
    names: tuple[str, ...] | None
    next_seed: Callable[[], tf.Tensor] | None
    support: Support | None

    def argument_type(self, types: Sequence[Any]) -> ArgumentType:
        """The type of the distribution tensors that have parts of these types."""
        return ArgumentType(types, self, DistributionTensor._parts, self.filled)

    def filled(self, parts: Sequence[Any]) -> DistributionTensor:
        """The distribution tensor with these parts, in the order of `DistributionTensor._parts`."""
        parts = list(parts)
        distribution = parts[-1] if self.distribution is None else self.distribution
        named = None if self.names is None else dict(zip(self.names, parts[1:], strict=False))
        argument = _Argument(distribution, self.convert_to_tensor_fn, self.layer, named, self.next_seed, self.support)
        argument._concrete_value = parts[0]
        argument._frame = self
        return argument


class _Argument(DistributionTensor):
    """What a `tf.function` that was given a distribution tensor sees."""

    _frame: _Frame

    def __tf_flatten__(self) -> tuple[_Frame, tuple[Any, ...]]:
        return self._frame, tuple(self._parts())

    @classmethod
    def __tf_unflatten__(cls, frame: _Frame, parts: tuple[Any, ...]) -> Any:
        # TensorFlow keeps the types of arguments in the place of the arguments.
        if any(isinstance(part, tf.TypeSpec) for part in parts):
            return Signature(parts, frame.argument_type(parts))
        return frame.filled(parts)


def _same(a: list[int | None], b: list[int | None]) -> bool:
    """Whether two static shapes are the same as far as is known; 1 is no size that an unknown one is taken for."""
    return len(a) == len(b) and all(
        m == n or (m is None and n != 1) or (n is None and m != 1) for m, n in zip(a, b, strict=True)
    )


def _delegate(name: str) -> property:
    return property(lambda self: getattr(self.tensor_distribution, name))


def _delegate_with_value(name: str) -> Callable[..., Any]:
    def method(self: DistributionTensor, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1:
            args = (self._aligned(*args),)
        elif not args and "value" in kwargs:
            kwargs["value"] = self._aligned(kwargs["value"])
        return getattr(self.tensor_distribution, name)(*args, **kwargs)

    method.__name__ = name
    method.__doc__ = f"As `tfd.Distribution.{name}`, of a value in the shape of the data."
    return method


def _operate(name: str) -> Callable[..., Any]:
    def operator(self: DistributionTensor, *args: Any) -> Any:
        return getattr(tf.convert_to_tensor(self), name)(*args)

    operator.__name__ = name
    return operator


for _name in METHODS_BEHIND_THE_PUBLIC_ONES:
    setattr(DistributionTensor, _name, _delegate(_name))

for _name in (
    "log_prob",
    "prob",
    "unnormalized_log_prob",
    "log_cdf",
    "cdf",
    "log_survival_function",
    "survival_function",
):
    setattr(DistributionTensor, _name, _delegate_with_value(_name))

for _name in dir(tfd.Distribution):
    if not _name.startswith("_") and _name not in vars(DistributionTensor):
        setattr(DistributionTensor, _name, _delegate(_name))

# Equality stays identity, as for every distribution: Keras compares and hashes what layers return.
for _name in set(tf.Tensor.OVERLOADABLE_OPERATORS) - {"__eq__", "__ne__"}:
    setattr(DistributionTensor, _name, _operate(_name))


def _convert(
    value: DistributionTensor, dtype: tf.DType | None = None, name: str | None = None, as_ref: bool = False
) -> tf.Tensor:
    del name, as_ref
    tensor = value._value()
    if dtype is not None and not dtype.is_compatible_with(tensor.dtype):
        return NotImplemented
    return tensor


tf.register_tensor_conversion_function(DistributionTensor, _convert)


@tf.experimental.dispatch_for_api(tf.cast, {"x": DistributionTensor})
def _cast(x: DistributionTensor, dtype: tf.DType, name: str | None = None) -> DistributionTensor:
    return x._changed(tf.cast(x._value(), dtype, name=name))


@tf.experimental.dispatch_for_api(tf.squeeze, {"input": DistributionTensor})
def _squeeze(input: DistributionTensor, axis: Any = None, name: str | None = None) -> DistributionTensor:
    return input._changed(tf.squeeze(input._value(), axis, name=name))


@tf.experimental.dispatch_for_api(tf.expand_dims, {"input": DistributionTensor})
def _expand_dims(input: DistributionTensor, axis: int, name: str | None = None) -> DistributionTensor:
    return input._changed(tf.expand_dims(input._value(), axis, name=name))


@tfd.RegisterKL(DistributionTensor, tfd.Distribution)
def _kl_tensor_any(a: DistributionTensor, b: tfd.Distribution, name: str | None = None) -> tf.Tensor:
    return tfd.kl_divergence(a.tensor_distribution, b, name=name)


@tfd.RegisterKL(tfd.Distribution, DistributionTensor)
def _kl_any_tensor(a: tfd.Distribution, b: DistributionTensor, name: str | None = None) -> tf.Tensor:
    return tfd.kl_divergence(a, b.tensor_distribution, name=name)


@tfd.RegisterKL(DistributionTensor, DistributionTensor)
def _kl_tensor_tensor(a: DistributionTensor, b: DistributionTensor, name: str | None = None) -> tf.Tensor:
    return tfd.kl_divergence(a.tensor_distribution, b.tensor_distribution, name=name)


def unwrap(distribution: tfd.Distribution) -> tfd.Distribution:
    """The TFP distribution inside a `DistributionTensor`; any other distribution as it is."""
    return distribution.tensor_distribution if isinstance(distribution, DistributionTensor) else distribution


def wrap(distribution: tfd.Distribution) -> DistributionTensor:
    """A distribution as a `DistributionTensor`; one that is it already as it is."""
    return distribution if isinstance(distribution, DistributionTensor) else DistributionTensor(distribution)
