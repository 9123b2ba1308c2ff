"""The signatures of an exported model, as data.

The exporter writes them, the server serves them, the client and the edge runtime call them, and the names mean the
same in all four. Every input and output is batched on its first axis. TensorFlow Serving answers a single output as
a bare tensor and ignores `output_filter`, so a signature has one output wherever that is possible.

A conditional model has the same signatures, and each takes `y` beside its other inputs (`CONDITION`). A fully observed
conditional model, p(y given x) without latents, has those of `OBSERVED_SIGNATURES`: its x stands where z does
elsewhere. What a version takes, its manifest and its server's metadata say.

Nothing here imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

Run = Callable[[str, dict[str, np.ndarray]], dict[str, np.ndarray]]
"""Runs a signature by name on inputs by name."""


@dataclass(frozen=True)
class Signature:
    """One entry point of an exported model.

    Attributes:
        name: its name in the SavedModel, the file stem of its ONNX graph, and the method's name in Python.
        inputs: the names of its inputs: `z` `[B, D]` float32, `x` `[B, *event_shape]` float32, `seed` `[B]` int64. A
            conditional model's take `y` beside.
        outputs: the names of its outputs, or None where they are the names of a distribution's parameters.
        meaning: what it computes, in one line.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] | None
    meaning: str

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
        Signature("sample", ("seed",), ("sample",), "x ~ p(x given z), z = sample_latent(seed)"),
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
        Signature("sample", ("x", "seed"), ("sample",), "y ~ p(y given x)"),
    )
}
"""Those of a model without latents, by the same names: what is drawn from is given by x, and there is no prior."""

CONDITION: Final = "y"
"""The input that every signature of a conditional model has beside, last: labels `[B]` int64, or float32
`[B, *y_shape]`.

`sample_latent` takes it too, though it does not depend on it: callers need not know that. For a label outside the
classes the networks see a row of zeros in place of a one-hot one: a graph cannot refuse one row of a batch. The edge
runtime, which has the manifest, refuses it beforehand.
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


def graph_file(signature: str, precision: str = "float32") -> str:
    """The name of a graph's file: `decode.onnx` in float32, else `decode.int8.onnx`."""
    return f"{signature}.onnx" if precision == "float32" else f"{signature}.{precision}.onnx"


def graph_of(file: str) -> tuple[str, str]:
    """The signature and the precision of a graph's file."""
    signature, _, precision = file.removesuffix(".onnx").partition(".")
    return signature, precision or "float32"
