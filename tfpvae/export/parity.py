"""Whether what was written computes what the model computes."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import tensorflow as tf
from PIL import Image

from tfpvae.errors import ExportError
from tfpvae.export.endpoints import Endpoint, example_inputs
from tfpvae.savedmodel.session import Run

BATCH_SIZES: Final = (1, 2, 33)
FLIPS: Final = 1e-5
"""Of discrete draws, the share that may differ: a probability that rounds differently flips a draw next to it."""


@dataclass(frozen=True)
class Gap:
    """The largest difference between a runtime and Keras in one output, over all batch sizes.

    Attributes:
        runtime: "SavedModel", "SavedModel (v1)", "LiteRT" or "ONNX Runtime".
        signature: its name.
        output: its name.
        difference: the largest absolute difference; of discrete draws the share that differs.
        allowed: the largest difference that passes.
    """

    runtime: str
    signature: str
    output: str
    difference: float
    allowed: float


@dataclass(frozen=True)
class Example:
    """Inputs of an endpoint, and what the model itself answers to them.

    Attributes:
        endpoint: the endpoint.
        inputs: by name.
        expected: the outputs by name, computed eagerly.
    """

    endpoint: Endpoint
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]


def examples(endpoints: Iterable[Endpoint]) -> list[Example]:
    """Examples of every endpoint for several batch sizes."""
    made: list[Example] = []
    for endpoint in endpoints:
        made += [example(endpoint, example_inputs(endpoint, rows)) for rows in BATCH_SIZES]
    return made


def examples_of(made: Iterable[Example], names: Collection[str]) -> list[Example]:
    """Those of the signatures with these names."""
    return [example for example in made if example.endpoint.signature.name in names]


def example(endpoint: Endpoint, inputs: dict[str, np.ndarray]) -> Example:
    """What the model itself answers to these inputs."""
    outputs = endpoint.function(**{k: tf.constant(v) for k, v in inputs.items()})
    return Example(endpoint, inputs, {k: v.numpy() for k, v in outputs.items()})


def check_parity(examples: Iterable[Example], runtime: str, run: Run, tolerance: float) -> list[Gap]:
    """Compares a runtime's answers with the model's own, as `compare` does.

    Returns:
        The largest gap of each output.

    Raises:
        ExportError: a difference is larger than allowed, or an output has another name or shape.
    """
    gaps, wrong = compare(examples, runtime, run, tolerance)
    for why in wrong.values():
        raise ExportError(f"{why} Nothing was published.")
    return gaps


def compare(
    examples: Iterable[Example], runtime: str, run: Run, tolerance: float, errors: tuple[type[Exception], ...] = ()
) -> tuple[list[Gap], dict[str, str]]:
    """Compares a runtime's answers with the model's own.

    Args:
        examples: what to compare.
        runtime: its name, for the report.
        run: runs a signature in it.
        tolerance: the allowed difference, relative to the larger of 1 and the largest output.
        errors: what the runtime raises of a signature that it cannot run, to be reported as well.

    Returns:
        The largest gap of each output, and by signature what is first wrong with it: a difference that is larger than
        allowed, or an output of another name or shape.
    """
    worst: dict[tuple[str, str], Gap] = {}
    wrong: dict[str, str] = {}
    for example in examples:
        name = example.endpoint.signature.name
        if name in wrong:
            continue
        try:
            got = run(name, example.inputs)
        except errors as error:
            wrong[name] = f"{runtime} cannot run it: {str(error).partition(chr(10))[0]}"
            continue
        if shapes_of(got) != shapes_of(example.expected):
            wrong[name] = (
                f"Signature {name!r} in {runtime} must give {shapes_of(example.expected)}. Received: {shapes_of(got)}."
            )
            continue
        for output, value in example.expected.items():
            gap = gap_of(example.endpoint, runtime, output, value, got[output], tolerance)
            if not gap.difference <= gap.allowed:
                wrong[name] = (
                    f"Output {output!r} of signature {name!r} in {runtime} differs from Keras by "
                    f"{gap.difference:.1e} at batch {len(value)}; allowed {gap.allowed:.1e}."
                )
                break
            if (name, output) not in worst or gap.difference > worst[name, output].difference:
                worst[name, output] = gap
    return list(worst.values()), wrong


def shapes_of(outputs: dict[str, np.ndarray]) -> dict[str, list[int]]:
    """The shape of each output by name."""
    return {k: list(v.shape) for k, v in outputs.items()}


def gap_of(
    endpoint: Endpoint, runtime: str, output: str, expected: np.ndarray, got: np.ndarray, tolerance: float
) -> Gap:
    """How far one output of a runtime is from the expected one, and how far it may be."""
    if expected.dtype == object:
        expected, got = _pixels(expected), _pixels(got)
        allowed = 1.0 / 255.0  # A mean next to a half rounds to either side.
    elif endpoint.discrete:
        flipped = int((expected != got).sum())
        # One element may flip in a small batch too.
        allowed = math.ceil(FLIPS * expected.size) / expected.size
        return Gap(runtime, endpoint.signature.name, output, flipped / expected.size, allowed)
    else:
        allowed = tolerance * max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(expected.astype(np.float64) - got.astype(np.float64)).max())
    return Gap(runtime, endpoint.signature.name, output, difference, allowed)


def _pixels(pngs: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(png)), np.float64) / 255.0 for png in pngs])
