"""How the signatures of a version are called: the lines of code in a model card."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from tfpvae.manifest import Manifest
from tfpvae.signatures import CONDITION, METHODS, OBSERVED_SIGNATURES

URL: Final = "http://localhost:8501"
"""Where the examples find a server."""

SEED: Final = 7
"""The seed of the examples' first row."""

_ROWS: Final = 2
_INLINE: Final = 40
"""The most numbers of a request that are written out; larger ones are made by a line of Python."""


def curl(manifest: Manifest, served_as: str, name: str) -> list[str]:
    """A command that asks a server for two rows of a signature, as lines."""
    specs = manifest.signatures[name].inputs
    url = shlex.quote(f"{URL}/v1/models/{served_as}:predict")
    if sum(math.prod(spec.row_shape) for spec in specs.values()) <= _INLINE:
        instances = [
            {key: np.full(spec.row_shape, _fill(manifest, key, row)).tolist() for key, spec in specs.items()}
            for row in range(_ROWS)
        ]
        body = json.dumps({"signature_name": name, "instances": instances})
        return [f"curl -d {shlex.quote(body)} {url}"]
    rows = (
        ", ".join(f'"{key}": {_repeated(_fill(manifest, key, row), spec.row_shape)}' for key, spec in specs.items())
        for row in range(_ROWS)
    )
    body = f'{{"signature_name": "{name}", "instances": [{", ".join(f"{{{row}}}" for row in rows)}]}}'
    return [f"python3 -c 'import json; print(json.dumps({body}))' |", f"  curl -d @- {url}"]


def python_calls(manifest: Manifest, name: str) -> list[str]:
    """Lines that ask for two rows of a signature, by the names of the card's first example."""
    signature = manifest.signatures[name]
    inputs = tuple(signature.inputs)
    if name in METHODS:
        call = f"{name}({', '.join(_arguments(name, inputs))})"
    else:
        call = f"call({', '.join([json.dumps(name), *(f'{key}={key}' for key in inputs)])})"
    lines = []
    if manifest.holds("saved_model"):
        lines.append(f"client.{call}")
    # PNG has no ONNX form, and tfpvae.edge makes it of the means.
    drawn_of = "sample_mean" if name == "sample_png" else name
    if manifest.holds("onnx", drawn_of):
        lines.append(f"edge.{call}")
    if manifest.holds("onnx", name):
        lines.append(f"run({', '.join([json.dumps(name), *(f'{key}={key}' for key in signature.inputs)])})")
    return lines


def _arguments(name: str, inputs: Sequence[str]) -> Iterator[str]:
    """Those of the call in Python, `tfpvae.client.Sampler`'s."""
    if "x" in inputs:
        yield "x=x" if name in OBSERVED_SIGNATURES else "x"  # Where z stands first in all other models.
    elif "z" in inputs:
        yield "z"
    else:
        yield str(_ROWS)
    if "seed" in inputs:
        yield f"seed={SEED}"
    if CONDITION in inputs:
        yield f"{CONDITION}={CONDITION}"


def arrays(manifest: Manifest) -> Iterator[str]:
    """The inputs of all examples, as lines of Python."""
    specs = {key: spec for signature in manifest.signatures.values() for key, spec in signature.inputs.items()}
    for key, spec in specs.items():
        fills = [_fill(manifest, key, row) for row in range(_ROWS)]
        if len(spec.shape) == 1:
            yield f"{key} = np.array({fills}, np.{spec.dtype})"
        else:
            yield f"{key} = np.full({(_ROWS, *spec.row_shape)}, {fills[0]}, np.{spec.dtype})"


def _fill(manifest: Manifest, key: str, row: int) -> int | float:
    """The number that an input of the examples is full of, in one of its rows."""
    if key == "seed":
        return SEED + row
    if key == CONDITION and manifest.condition is not None and manifest.condition.num_classes is not None:
        return row % manifest.condition.num_classes
    support = None if manifest.observed else manifest.data_support
    return support.filler if key == "x" and support is not None else 0.0


def _repeated(number: float, shape: Sequence[int]) -> str:
    """An array that is full of a number, as an expression in Python."""
    text = str(number)
    for size in reversed(shape):
        text = f"[{text}] * {size}" if size > 1 else f"[{text}]"
    return text
