"""The signatures that a model can have, as functions of tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from tfpvae.batch import Batch, Latents
from tfpvae.errors import ExportError
from tfpvae.layers.distribution_tensor import DistributionTensor, wrap
from tfpvae.models import ConditionalDensity, DistributionModel, LatentVariableModel, sampling
from tfpvae.signatures import CONDITION, OBSERVED_SIGNATURES, SIGNATURES, Signature
from tfpvae.supports import Support, UnitInterval


@dataclass(frozen=True)
class Endpoint:
    """One signature of one model.

    Attributes:
        signature: what it is.
        function: takes the inputs by name, returns the outputs by name.
        input_signature: the inputs' specs, in order, named; the batch is free.
        discrete: whether its outputs are draws of whole numbers.
        num_classes: how many labels y has, where it is a label.
        support: what data x is, one of `tfpvae.supports`: elsewhere its density may be infinite.
    """

    signature: Signature
    function: Callable[..., dict[str, tf.Tensor]]
    input_signature: tuple[tf.TensorSpec, ...]
    discrete: bool = False
    num_classes: int | None = None
    support: Support = field(default_factory=UnitInterval)


def endpoints(model: DistributionModel) -> tuple[dict[str, Endpoint], dict[str, str]]:
    """The signatures that a model can have, and why it lacks the others.

    Args:
        model: a built model.

    Returns:
        The endpoints by name, in the order of `SIGNATURES`, and the reasons for the absent ones by name.

    Raises:
        ExportError: it can have none.
    """
    present, absent = _of_latents(model) if isinstance(model, LatentVariableModel) else _of_density(model)
    if not present:
        reasons = "; ".join(f"no {name}, for {reason}" for name, reason in absent.items())
        raise ExportError(f"The model must have a signature that can be exported. Received: {reasons}")
    return present, absent


def likelihood_of_one(model: DistributionModel) -> DistributionTensor:
    """The distribution of what the model is about, for one row of zeros."""
    if isinstance(model, LatentVariableModel):
        return wrap(model.likelihood(Latents(tf.zeros([1, model.latent_size]), _condition_of_zeros(model))))
    return wrap(model.likelihood(tf.zeros([1, *model.input_shape_of_x])))


def _condition_of_zeros(model: LatentVariableModel) -> tf.Tensor | None:
    condition = model.condition
    return None if condition is None else tf.zeros([1, *condition.shape[1:]], condition.dtype)


def _of_latents(model: LatentVariableModel) -> tuple[dict[str, Endpoint], dict[str, str]]:
    x = tf.zeros([1, *model.event_shape])
    q, p_x = wrap(model.posterior(Batch(x, _condition_of_zeros(model)))), likelihood_of_one(model)
    absent = _absent(model, q, p_x)
    specs = {
        "z": tf.TensorSpec([None, model.latent_size], tf.float32, name="z"),
        "x": tf.TensorSpec([None, *model.event_shape], tf.float32, name="x"),
        "seed": tf.TensorSpec([None], tf.int64, name="seed"),
    }
    beside = () if model.condition is None else (model.condition,)
    inputs = {name: (*(specs[i] for i in signature.inputs), *beside) for name, signature in SIGNATURES.items()}
    present = {
        name: Endpoint(
            signature,
            _by_name(sampling.LATENT_FUNCTIONS[name], model, inputs[name]),
            inputs[name],
            discrete=name == "sample" and _discrete(p_x),
            num_classes=model.num_classes,
            support=p_x.support or UnitInterval(),
        )
        for name, signature in SIGNATURES.items()
        if name not in absent
    }
    return present, absent


def _of_density(model: ConditionalDensity) -> tuple[dict[str, Endpoint], dict[str, str]]:
    specs = {
        "x": tf.TensorSpec([None, *model.input_shape_of_x], tf.float32, name="x"),
        "seed": tf.TensorSpec([None], tf.int64, name="seed"),
    }
    absent = dict.fromkeys(SIGNATURES.keys() - OBSERVED_SIGNATURES.keys(), "the model has no latents")
    p_y = likelihood_of_one(model)
    if p_y.named_parameters is None:
        absent["likelihood"] = _NO_PARAMETERS
    if not _has(sampling.mean, p_y):
        absent["decode"] = f"p(y given x) {_NO_MEAN}"
    if not _drawable(p_y):
        absent["sample"] = "p(y given x) cannot be drawn from a fixed number of uniforms"
    inputs = {name: tuple(specs[i] for i in signature.inputs) for name, signature in OBSERVED_SIGNATURES.items()}
    present = {
        name: Endpoint(
            signature,
            _by_name(sampling.OBSERVED_FUNCTIONS[name], model, inputs[name]),
            inputs[name],
            discrete=name == "sample" and _discrete(p_y),
        )
        for name, signature in OBSERVED_SIGNATURES.items()
        if name not in absent
    }
    return present, {name: absent[name] for name in SIGNATURES if name in absent}


def _by_name(
    function: Callable[..., dict[str, tf.Tensor]], model: DistributionModel, specs: tuple[tf.TensorSpec, ...]
) -> Callable[..., dict[str, tf.Tensor]]:
    """A signature's computing function, as one that takes its inputs one by one: `tf.function` wants them so."""
    names = [spec.name for spec in specs]

    def compute(*inputs: tf.Tensor, **named: tf.Tensor) -> dict[str, tf.Tensor]:
        return function(model, dict(zip(names, inputs, strict=False)) | named)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    compute.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    return compute


def _absent(model: LatentVariableModel, q: DistributionTensor, p_x: DistributionTensor) -> dict[str, str]:
    absent = {}
    for name, rv in (("encode", q), ("likelihood", p_x)):
        if rv.named_parameters is None:
            absent[name] = _NO_PARAMETERS
    if not _drawable(q):
        absent["score"] = "q(z given x) cannot be drawn from a fixed number of uniforms"
    if not _has(sampling.center, q):
        absent["reconstruct"] = f"q(z given x) {_NO_MEAN}"
    if not _has(sampling.mean, p_x):
        absent |= dict.fromkeys(("decode", "sample_mean", "sample_png", "reconstruct"), f"p(x given z) {_NO_MEAN}")
    if not _drawable(p_x):
        absent["sample"] = "p(x given z) cannot be drawn from a fixed number of uniforms"
    if model.prior.num_uniforms is None:
        reason = "the prior cannot be drawn from a fixed number of uniforms"
        absent |= dict.fromkeys(("sample_latent", "sample_mean", "sample", "sample_png"), reason)
    if len(model.event_shape) != 3 or model.event_shape[-1] not in sampling.PNG_CHANNELS:
        absent["sample_png"] = "the event is no image [H, W, C] of 1, 3 or 4 channels"
    return {name: absent[name] for name in SIGNATURES if name in absent}


_NO_PARAMETERS = "the distribution has no named parameters"
_NO_MEAN = "has no finite mean in closed form"


def _has(point: Callable[[DistributionTensor], tf.Tensor], rv: DistributionTensor) -> bool:
    """Whether a distribution has a mean, or what stands for it."""
    try:
        value = point(rv)
    except NotImplementedError:
        return False
    # A named layer's mean is finite by construction: what is not then is the model itself, and is no reason.
    return rv.named_parameters is not None or bool(tf.reduce_all(tf.math.is_finite(value)))


def _discrete(rv: DistributionTensor) -> bool:
    return rv.layer is not None and rv.layer.discrete


def _drawable(rv: DistributionTensor) -> bool:
    return rv.layer is not None and rv.layer.num_uniforms is not None


EDGE_SEEDS = (0, 1, -1, 2**63 - 1, -(2**63))
"""Seeds at the ends of int64, tried in every parity check."""


def example_inputs(endpoint: Endpoint, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs to try an endpoint with: latents from N(0, I), data of its support, seeds with the int64 extremes.

    Labels go one beyond the classes on either side.

    Args:
        endpoint: the endpoint.
        rows: B, the rows of each input.
        seed: of the inputs themselves.

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
