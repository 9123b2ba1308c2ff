"""The signatures that a model can have, as functions of tensors."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from tfpvae.batch import Latents
from tfpvae.errors import ExportError, UnavailableError
from tfpvae.export.groups import groups_apart
from tfpvae.layers.distribution_tensor import DistributionTensor, wrap
from tfpvae.models import DistributionModel, LatentVariableModel, sampling
from tfpvae.signatures import CONDITION, OBSERVED_SIGNATURES, SIGNATURES, Compute, Signature
from tfpvae.supports import Support, UnitInterval


@dataclass(frozen=True)
class Endpoint:
    """One signature of one model.

    Attributes:
        signature: its description.
        function: takes the inputs by name, returns the outputs by name.
        input_signature: the named specs of the inputs, in order; the batch is free.
        discrete: whether its outputs are draws of integers.
        num_classes: the number of labels, if y is a label.
        support: the support of x, one of `tfpvae.supports`. Outside it the density may be infinite.
    """

    signature: Signature
    function: Callable[..., dict[str, tf.Tensor]]
    input_signature: tuple[tf.TensorSpec, ...]
    discrete: bool = False
    num_classes: int | None = None
    support: Support = field(default_factory=UnitInterval)

    @functools.cached_property
    def tf_function(self) -> tf.types.experimental.PolymorphicFunction:
        """The function as TensorFlow's, traced once for whoever writes it."""
        return tf.function(self.function, input_signature=list(self.input_signature), autograph=False)

    @property
    def concrete_function(self) -> tf.types.experimental.ConcreteFunction:
        """Its trace."""
        return self.tf_function.get_concrete_function()


def endpoints(model: DistributionModel) -> tuple[dict[str, Endpoint], dict[str, str]]:
    """The signatures that a model can have, and the reasons why it lacks others.

    Each signature is computed once for a row of zeros. Its function raises `UnavailableError` if the model cannot have
    it.

    Args:
        model: a built model.

    Returns:
        The endpoints by name, in the order of `SIGNATURES`, and the reasons for the absent ones by name.

    Raises:
        ExportError: the model can have no signature.
    """
    has_latents = isinstance(model, LatentVariableModel)
    table = SIGNATURES if has_latents else OBSERVED_SIGNATURES
    likelihood = likelihood_of_one(model)
    present: dict[str, Endpoint] = {}
    absent: dict[str, str] = {}
    for name in {**SIGNATURES, **table}:
        if name not in table:
            absent[name] = "the model has no latents"
            continue
        endpoint = _endpoint(model, table[name], likelihood)
        reason = _why_absent(endpoint)
        if reason is None:
            present[name] = endpoint
        else:
            absent[name] = reason
    if not present:
        reasons = "; ".join(f"no {name}, for {reason}" for name, reason in absent.items())
        raise ExportError(f"The model must have a signature that can be exported. Received: {reasons}")
    return present, absent


def likelihood_of_one(model: DistributionModel) -> DistributionTensor:
    """The distribution of what the model is about, for one row of zeros."""
    if isinstance(model, LatentVariableModel):
        y = None if model.condition is None else _zeros(model.condition)
        return wrap(model.likelihood(Latents(tf.zeros([1, model.latent_size]), y)))
    return wrap(model.likelihood(tf.zeros([1, *model.input_shape_of_x])))


def _endpoint(model: DistributionModel, signature: Signature, likelihood: DistributionTensor) -> Endpoint:
    has_latents = isinstance(model, LatentVariableModel)
    functions = sampling.LATENT_FUNCTIONS if has_latents else sampling.OBSERVED_FUNCTIONS
    compute = signature.compute or functions[signature.name]
    specs = {"seed": tf.TensorSpec([None], tf.int64, name="seed")}
    if has_latents:
        specs["z"] = tf.TensorSpec([None, model.latent_size], tf.float32, name="z")
        specs["x"] = tf.TensorSpec([None, *model.event_shape], tf.float32, name="x")
    else:
        specs["x"] = tf.TensorSpec([None, *model.input_shape_of_x], tf.float32, name="x")
    condition = () if model.condition is None else (model.condition,)
    input_signature = (*(specs[name] for name in signature.inputs), *condition)
    return Endpoint(
        signature,
        _by_name(compute, model, input_signature),
        input_signature,
        discrete=signature.draws and likelihood.layer is not None and likelihood.layer.discrete,
        num_classes=model.num_classes,
        # The support of a model without latents is that of y, and x may be anything.
        support=(likelihood.support if has_latents else None) or UnitInterval(),
    )


def _by_name(
    function: Compute, model: DistributionModel, specs: tuple[tf.TensorSpec, ...]
) -> Callable[..., dict[str, tf.Tensor]]:
    """A signature's computing function, as one that takes its inputs one by one: `tf.function` wants them so."""
    names = [spec.name for spec in specs]

    def compute(*inputs: tf.Tensor, **named: tf.Tensor) -> dict[str, tf.Tensor]:
        with groups_apart(model):
            return dict(function(model, dict(zip(names, inputs, strict=False)) | named))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    compute.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    return compute


def _why_absent(endpoint: Endpoint) -> str | None:
    """Why the model cannot have a signature; None where it can."""
    try:
        endpoint.function(**{spec.name: _zeros(spec) for spec in endpoint.input_signature})
    except UnavailableError as error:
        return error.reason
    return None


def _zeros(spec: tf.TensorSpec) -> tf.Tensor:
    return tf.zeros([1, *spec.shape[1:]], spec.dtype)


EDGE_SEEDS = (0, 1, -1, 2**63 - 1, -(2**63))
"""Seeds at the ends of int64, tried in every parity check."""


def example_inputs(endpoint: Endpoint, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs to test an endpoint: latents from N(0, I), data in its support, seeds with the int64 extremes.

    Labels include one value below and one above the valid classes.

    Args:
        endpoint: the endpoint.
        rows: B, the number of rows of each input.
        seed: the seed for generating the inputs.

    Returns:
        The inputs by name.
    """
    rng = np.random.default_rng(seed)
    inputs: dict[str, np.ndarray] = {}
    for spec in endpoint.input_signature:
        shape = (rows, *spec.shape[1:])
        if spec.name == CONDITION and endpoint.num_classes is not None:
            inputs[spec.name] = rng.integers(-1, endpoint.num_classes + 1, shape)
        elif spec.dtype == tf.int64:
            inputs[spec.name] = np.resize(np.array([*EDGE_SEEDS, *range(2, rows)], np.int64), shape)
        elif spec.name == "x":
            inputs[spec.name] = endpoint.support.examples(rng, shape).astype(np.float32)
        else:
            inputs[spec.name] = rng.standard_normal(shape, np.float32)
    return inputs
