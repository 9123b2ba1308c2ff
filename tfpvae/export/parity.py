"""Compares the outputs of exported files with those of the model."""

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
from tfpvae.manifest import Gap
from tfpvae.signatures import Run

BATCH_SIZES: Final = (1, 2, 33)
FLIPS: Final = 1e-5
"""The share of discrete draws that may differ, because a rounded probability can flip a draw close to it."""


@dataclass(frozen=True)
class Example:
    """Inputs of an endpoint and the model's own outputs for them.

    Attributes:
        endpoint: the endpoint.
        inputs: the inputs by name.
        expected: the outputs by name, computed eagerly.
    """

    endpoint: Endpoint
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]


def examples(endpoints: Iterable[Endpoint]) -> list[Example]:
    """Examples of every endpoint for several batch sizes."""
    answered: list[Example] = []
    for endpoint in endpoints:
        answered += [example(endpoint, example_inputs(endpoint, rows)) for rows in BATCH_SIZES]
    return answered


def examples_of(answered: Iterable[Example], names: Collection[str]) -> list[Example]:
    """The examples of the signatures with these names."""
    return [example for example in answered if example.endpoint.signature.name in names]


def example(endpoint: Endpoint, inputs: dict[str, np.ndarray]) -> Example:
    """The model's own outputs for these inputs, as an example."""
    outputs = endpoint.function(**{k: tf.constant(v) for k, v in inputs.items()})
    return Example(endpoint, inputs, {k: v.numpy() for k, v in outputs.items()})


def check_parity(examples: Iterable[Example], runtime: str, run: Run, tolerance: float) -> list[Gap]:
    """Compares a runtime's outputs with the model's, as `compare` does.

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
    examples: Iterable[Example],
    runtime: str,
    run: Run,
    tolerance: float,
    errors: tuple[type[Exception], ...] = (),
    reference: str = "Keras",
) -> tuple[list[Gap], dict[str, str]]:
    """Compares a runtime's answers with those of a reference.

    A signature is not compared further once something is wrong with it.

    Args:
        examples: inputs, and what the reference answers to them.
        runtime: its name, for the report.
        run: runs a signature in it.
        tolerance: the allowed difference, relative to the larger of 1 and the largest output.
        errors: what the runtime raises where it cannot run a signature; that is then reported as well.
        reference: the name of what answered the examples.

    Returns:
        The largest gap of each output, and by signature what is wrong with it: a difference that is larger than
        allowed, an output of another name or shape, or an error.
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
            wrong[name] = f"{runtime} cannot run it: {first_line(error)}"
            continue
        why = _other_shapes(example, runtime, got, reference)
        if why is not None:
            wrong[name] = why
            continue
        for output, value in example.expected.items():
            gap = gap_of(example.endpoint, runtime, output, value, got[output], tolerance)
            if (name, output) not in worst or not gap.difference <= worst[name, output].difference:
                worst[name, output] = gap
            if not gap.difference <= gap.allowed and name not in wrong:
                wrong[name] = (
                    f"Output {output!r} of signature {name!r} in {runtime} differs from {reference} by "
                    f"{gap.difference:.1e} at batch {len(value)}; allowed {gap.allowed:.1e}."
                )
    return list(worst.values()), wrong


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).strip().partition("\n")[0] or repr(error)


def _other_shapes(example: Example, runtime: str, got: dict[str, np.ndarray], reference: str) -> str | None:
    """What is wrong with the outputs' names and shapes; None where nothing is."""
    name = example.endpoint.signature.name
    rows = len(next(iter(example.inputs.values())))
    for output, value in example.expected.items():
        if len(value) != rows:
            return (
                f"Output {output!r} of signature {name!r} in {reference} must have {rows} rows, as its inputs have. "
                f"Received: {len(value)}."
            )
    if shapes_of(got) == shapes_of(example.expected):
        return None
    return (
        f"Signature {name!r} in {runtime} must give {shapes_of(example.expected)}, as in {reference}. "
        f"Received: {shapes_of(got)}."
    )


def shapes_of(outputs: dict[str, np.ndarray]) -> dict[str, list[int]]:
    """The shape of each output by name."""
    return {k: list(v.shape) for k, v in outputs.items()}


def gap_of(
    endpoint: Endpoint, runtime: str, output: str, expected: np.ndarray, got: np.ndarray, tolerance: float
) -> Gap:
    """How far one output of a runtime is from the expected one, and how far it may be."""
    if expected.dtype == object:
        # A mean next to a half may round to either side: one level of 255.
        levels = float(np.abs(_levels(expected) - _levels(got)).max())
        return Gap(runtime, endpoint.signature.name, output, levels / 255.0, 1.0 / 255.0)
    if endpoint.discrete:
        flipped = int((expected != got).sum())
        # Probabilities that differ by the tolerance flip that share of the draws. One flipped draw always passes.
        allowed = math.ceil(max(FLIPS, tolerance) * expected.size) / expected.size
        return Gap(runtime, endpoint.signature.name, output, flipped / expected.size, allowed)
    allowed = tolerance * max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(expected.astype(np.float64) - got.astype(np.float64)).max())
    return Gap(runtime, endpoint.signature.name, output, difference, allowed)


def _levels(pngs: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(Image.open(io.BytesIO(png)), np.float64) for png in pngs])
