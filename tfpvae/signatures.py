"""The signatures of an exported model, as data.

The exporter writes them, the server serves them, the client and the edge runtime call them, and the names mean the
same in all four. Every input and output is batched on its first axis. TensorFlow Serving answers a single output as
a bare tensor and ignores `output_filter`, so a signature has one output wherever that is possible.

A conditional model has the same signatures, and each takes `y` as well (`CONDITION`). A model p(y given x) without
latents has those of `OBSERVED_SIGNATURES`: its x stands where z does elsewhere. The manifest of a version and the
metadata of its server say which inputs it takes.

What a signature computes is a function of `tfpvae.models.sampling`, or the one that it was registered with.

Nothing here imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tfpvae.errors import ExportError

Run = Callable[[str, dict[str, np.ndarray]], dict[str, np.ndarray]]
"""Runs a signature by name on inputs by name."""

Compute = Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]
"""What a signature computes: of a model and tensors by name, tensors by name."""


@dataclass(frozen=True)
class Signature:
    """One entry point of an exported model.

    Attributes:
        name: its name in the SavedModel, the file stem of its ONNX graph, and the method's name in Python.
        inputs: the names of its inputs: `z` `[B, D]` float32, `x` `[B, *event_shape]` float32, `seed` `[B]` int64. A
            conditional model's take `y` beside.
        outputs: the names of its outputs, or None where they are the names of a distribution's parameters.
        meaning: what it computes, in one line.
        draws: whether its outputs are draws of the data, and so are whole numbers where the data are.
        compute: its computing function, of a model and the inputs by name; None where it is that of the same name in
            `tfpvae.models.sampling`.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] | None
    meaning: str
    draws: bool = False
    compute: Compute | None = None

    @property
    def gives_files(self) -> bool:
        """Whether an output is a file's bytes, such as a PNG: its name then ends in `_bytes`."""
        return any(output.endswith("_bytes") for output in self.outputs or ())


SIGNATURES: Final[dict[str, Signature]] = {
    signature.name: signature
    for signature in (
        Signature("decode", ("z",), ("mean",), "E[x given z]"),
        Signature("likelihood", ("z",), None, "the parameters of p(x given z)"),
        Signature("sample_latent", ("seed",), ("z",), "z from the model's own prior"),
        Signature("sample_mean", ("seed",), ("mean",), "decode(sample_latent(seed))"),
        Signature("sample", ("seed",), ("sample",), "x ~ p(x given z), z = sample_latent(seed)", draws=True),
        Signature("sample_png", ("seed",), ("image_bytes",), "PNG of sample_mean(seed)"),
        Signature("encode", ("x",), None, "the parameters of q(z given x)"),
        Signature("reconstruct", ("x",), ("mean",), "decode(mean of q(z given x))"),
        Signature("score", ("x", "seed"), ("elbo", "log_likelihood", "kl"), "the bound and its terms, in nats"),
    )
}
"""Every signature by name, in the order in which they are written."""

OBSERVED_SIGNATURES: Final[dict[str, Signature]] = {
    signature.name: signature
    for signature in (
        Signature("decode", ("x",), ("mean",), "E[y given x]"),
        Signature("likelihood", ("x",), None, "the parameters of p(y given x)"),
        Signature("sample", ("x", "seed"), ("sample",), "y ~ p(y given x)", draws=True),
    )
}
"""Those of a model without latents, by the same names: what is drawn from is given by x, and there is no prior."""

METHODS: Final = frozenset(SIGNATURES)
"""The signatures that models, client and edge runtime have a method for. The others are called by name: `call`."""

INPUTS: Final = ("z", "x", "seed")
"""The inputs that a signature may have, beside `CONDITION`."""


def register_signature(signature: Signature, *, observed: bool = False) -> Signature:
    """Makes a signature known: every later export writes it, of the models that can have it.

    ```python
    def stddev(model, inputs):
        return {"stddev": model.decode(inputs["z"]).stddev()}

    register_signature(Signature("stddev", ("z",), ("stddev",), "the deviation of p(x given z)", compute=stddev))
    ```

    Its function takes the model and the inputs by name, and returns the outputs by name; where a model cannot have the
    signature, it raises `tfpvae.errors.UnavailableError` with the reason. Each row of an output depends on that row of
    the inputs alone. The client and the edge runtime call it by name: `client.call("stddev", z=z)`.

    Args:
        signature: the signature, with its computing function. Another one of the same name is replaced, except
            tfpvae's own.
        observed: whether it is one of models p(y given x) without latents.

    Raises:
        ExportError: it has no computing function, other inputs than `INPUTS`, no named outputs, or a name that is
            taken or is no name in Python.
    """
    if signature.compute is None or not signature.outputs:
        raise ExportError(f"A signature must have outputs and a function that computes them. Received: {signature!r}")
    if not signature.inputs or not set(signature.inputs) <= set(INPUTS):
        raise ExportError(f"inputs must be some of {', '.join(INPUTS)}. Received: inputs={signature.inputs!r}")
    if not signature.name.isidentifier() or signature.name in {*METHODS, DEFAULT_SIGNATURE}:
        raise ExportError(
            f"The name of a signature must be an identifier other than {', '.join(sorted(METHODS))} and "
            f"{DEFAULT_SIGNATURE}. Received: name={signature.name!r}"
        )
    (OBSERVED_SIGNATURES if observed else SIGNATURES)[signature.name] = signature
    return signature


CONDITION: Final = "y"
"""The last input of every signature of a conditional model: labels `[B]` int64, or float32 `[B, *y_shape]`.

`sample_latent` takes it too, whether the prior depends on it or not: callers need not know that. For a label outside
the classes the networks see a row of zeros in place of a one-hot one: a graph cannot refuse one row of a batch. The
edge runtime, which has the manifest, refuses it beforehand.
"""

DEFAULT_SIGNATURE: Final = "serving_default"
"""TensorFlow Serving's name for the signature of a request that names none."""

DEFAULT_ALIAS_OF: Final = "decode"
"""The signature that `serving_default` is another name for."""

SAVED_MODEL: Final = "saved_model.pb"
"""The file of a version directory that holds the graph for TensorFlow Serving."""

ONNX_DIRECTORY: Final = "onnx"
"""The folder of a version directory that holds one `<signature>.onnx` for each signature with an ONNX form."""

PRECISIONS: Final = ("float32", "float16", "int8")
"""What weights and activations of a graph are. Inputs and outputs are float32 in all."""


WEIGHTS_FILE: Final = "weights.bin"
"""The file in that folder with the weights of all graphs, where the model is large; a graph needs it beside it."""


def graph_file(signature: str, precision: str = "float32") -> str:
    """The name of a graph's file: `decode.onnx` in float32, else `decode.int8.onnx`."""
    return f"{signature}.onnx" if precision == "float32" else f"{signature}.{precision}.onnx"


def graph_of(file: str) -> tuple[str, str]:
    """The signature and the precision of a graph's file."""
    signature, _, precision = file.removesuffix(".onnx").partition(".")
    return signature, precision or "float32"
