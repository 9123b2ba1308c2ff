"""ONNX graphs in float16 and int8 beside those in float32, kept where they are worth it.

int8 weights have a scale for each output channel. On processors without VNNI instructions (x86 before 2019) ONNX
Runtime's products of unsigned and signed bytes may saturate, and the error may be larger than where it was measured.
"""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from tfpvae.errors import ExportError
from tfpvae.export.endpoints import Endpoint, example_inputs
from tfpvae.export.parity import Example, Gap, example, gap_of
from tfpvae.export.profile import Profile
from tfpvae.export.speed import ROWS, Timing, time_runs
from tfpvae.export.targets.onnx import run_onnx
from tfpvae.savedmodel.session import Run
from tfpvae.signatures import CONDITION, graph_file

REDUCIBLE: Final = ("decode", "sample_mean")
"""The signatures that have graphs in float16 and int8: means, of which a rounding is no other sample."""

WORTH: Final = 1.1
"""How many times faster than float32 a graph is, for some number of rows, to be kept."""

_CONVOLUTIONS: Final = ("Conv", "ConvTranspose")
_PRODUCTS: Final = ("MatMul", "Gemm", *_CONVOLUTIONS)
_IN_FLOAT32: Final = [*DEFAULT_OP_BLOCK_LIST, "IsInf"]
"""What has no float16 form: the converter's own list, and what ONNX gave one after our opset, in 20."""


@dataclass(frozen=True)
class Reduced:
    """A graph of lower precision, kept or dropped.

    What was not measured is None: of a graph that could not be written, all of it.

    Attributes:
        signature: its name.
        precision: "float16" or "int8".
        method: how int8 was made: "dynamic", the range of activations measured in each call, or "static", beforehand.
            Of float16 "weights and activations".
        difference: the largest difference from Keras, over 256 rows of the prior and the examples of the parity check.
        mean_difference: the mean one, over the 256 rows.
        tolerance: the profile's, relative to the larger of 1 and the largest output.
        kilobytes: its size.
        speed: how many times faster than the float32 graph, at best.
        speed_rows: the number of rows for which it is so.
        dropped: why it was not kept; None where it was.
    """

    signature: str
    precision: str
    method: str | None = None
    difference: float | None = None
    mean_difference: float | None = None
    tolerance: float | None = None
    kilobytes: int | None = None
    speed: float | None = None
    speed_rows: int | None = None
    dropped: str | None = None


def reduce(
    endpoint: Endpoint,
    latents: Endpoint | None,
    examples: list[Example],
    others: Mapping[str, Run],
    directory: Path,
    profile: Profile,
    progress: Callable[[str], None],
) -> tuple[list[Reduced], list[Timing]]:
    """Writes a signature's graph in lower precision, measures error and speed, and drops what is not worth it.

    Args:
        endpoint: the signature, whose float32 graph lies in `directory`.
        latents: the signature that draws latents, where the model has one.
        examples: what the model itself answers, as in the parity check.
        others: what else runs the signature in float32, to be timed beside, by its name.
        directory: of the graphs.
        profile: what is wanted.
        progress: called with a line for each step.

    Returns:
        What became of each precision, and the times of all that was kept.

    Raises:
        ExportError: what the profile asks for "always" cannot be written, or is further from Keras than it allows.
    """
    name = endpoint.signature.name
    calibration, held_out = (_prior_inputs(endpoint, latents, first) for first in (0, max(ROWS)))
    examples = [*examples, example(endpoint, held_out)]
    runs = {(runtime, "float32"): run for runtime, run in others.items()}
    runs["ONNX Runtime", "float32"] = run_onnx(directory)
    methods: dict[str, str] = {}
    reduced: list[Reduced] = []
    source = directory / graph_file(name)
    wanted = [each for each in ("float16", "int8") if getattr(profile, each) != "never"]
    for precision in wanted if has_weights(source) else []:
        path = directory / graph_file(name, precision)
        progress(f"writing {path.name}")
        try:
            method = write_float16(source, path) if precision == "float16" else write_int8(source, path, calibration)
        except Exception as error:  # noqa: BLE001  ONNX Runtime's tools raise whatever they meet, and it is told.
            path.unlink(missing_ok=True)
            why = f"ONNX Runtime's tools could not write it: {str(error).partition(chr(10))[0] or repr(error)}"
            reduced.append(Reduced(name, precision, dropped=why))
        else:
            methods[precision] = method
            runs["ONNX Runtime", precision] = run_onnx(directory, precision)
    timings: list[Timing] = []
    if len(runs) > 1:
        progress(f"timing {name}")
        timings = time_runs(runs, name, held_out)
    for precision, method in methods.items():
        found = _judged(precision, method, examples, runs["ONNX Runtime", precision], timings, directory, profile)
        reduced.append(found)
        if found.dropped:
            (directory / graph_file(name, precision)).unlink()
            timings = [timing for timing in timings if timing.precision != precision]
    for each in reduced:
        if each.dropped and getattr(profile, each.precision) == "always":
            file = graph_file(name, each.precision)
            raise ExportError(f"{file} was asked for, and cannot be kept: {each.dropped}. Nothing was published.")
        if each.dropped:
            progress(f"dropped {graph_file(name, each.precision)}: {each.dropped}")
    return reduced, timings


def _judged(
    precision: str,
    method: str,
    examples: list[Example],
    run: Run,
    timings: list[Timing],
    directory: Path,
    profile: Profile,
) -> Reduced:
    name = examples[0].endpoint.signature.name
    tolerance: float = getattr(profile, f"{precision}_tolerance")
    gaps: list[Gap] = []
    for each in examples:
        (output, expected), (got,) = *each.expected.items(), run(name, each.inputs).values()
        gaps.append(gap_of(each.endpoint, "ONNX Runtime", output, expected, got, tolerance))
        mean = float(np.abs(expected.astype(np.float64) - got).mean())  # The last example is the prior's.
    finite = all(math.isfinite(gap.difference) for gap in gaps)
    worst = max(gaps, key=lambda gap: gap.difference / gap.allowed if math.isfinite(gap.difference) else math.inf)
    times = {(each.rows, each.precision): each.microseconds for each in timings if each.runtime == "ONNX Runtime"}
    speeds = {rows: times[rows, "float32"] / times[rows, precision] for rows in ROWS}
    rows = max(speeds, key=lambda rows: speeds[rows])
    dropped = None
    if not worst.difference <= worst.allowed:
        dropped = (
            f"it differs from Keras by {worst.difference:.2g}, where {precision}_tolerance = {tolerance:g} allows "
            f"{worst.allowed:.2g}"
        )
    elif speeds[rows] < WORTH and getattr(profile, precision) == "if-faster":
        at_best = f"at best {speeds[rows]:.2f} times as fast as float32, with {rows} row{'s' if rows > 1 else ''}"
        dropped = f'{at_best}, where {WORTH} would be worth it; {precision} = "always" in the profile keeps it'
    return Reduced(
        name,
        precision,
        method,
        difference=max(gap.difference for gap in gaps) if finite else None,  # JSON has no other numbers.
        mean_difference=mean if finite else None,
        tolerance=tolerance,
        kilobytes=(directory / graph_file(name, precision)).stat().st_size // 1000,
        speed=round(speeds[rows], 2),
        speed_rows=rows,
        dropped=dropped,
    )


def _prior_inputs(endpoint: Endpoint, latents: Endpoint | None, first: int) -> dict[str, np.ndarray]:
    """As many rows as are timed at most: seeds from `first` on, their latents, labels in turn."""
    rows = max(ROWS)
    inputs = example_inputs(endpoint, rows, seed=first)
    seeds = np.arange(first, first + rows)
    if CONDITION in inputs and endpoint.num_classes is not None:
        inputs[CONDITION] = seeds % endpoint.num_classes
    if "seed" in inputs:
        inputs["seed"] = seeds
    if "z" in inputs and latents is not None:
        given = {CONDITION: inputs[CONDITION]} if CONDITION in inputs else {}
        inputs["z"] = example(latents, {"seed": seeds, **given}).expected["z"]
    return inputs


def write_float16(graph: Path, path: Path) -> str:
    """Writes a graph with weights and activations in float16; inputs, outputs and random numbers stay float32.

    Args:
        graph: the float32 graph.
        path: the file.

    Returns:
        The method.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(graph))
    before = set(_before_weights(model.graph))
    made = {name for node in model.graph.node if node.name in before for name in node.output}
    given = {value.name for value in model.graph.input}
    used = {name for node in model.graph.node if node.name not in before for name in node.input}
    # The converter rounds whatever passes between the nodes that it is told to leave: it gets the rest alone.
    outputs = [value.name for value in model.graph.output]
    rest = onnx.utils.Extractor(model).extract_model(sorted(used & (made | given)), outputs)
    with _quiet():
        reduced = OnnxModel(convert_float_to_float16(rest, keep_io_types=True, op_block_list=_IN_FLOAT32))
        reduced.topological_sort()  # The casts of the inputs were put last.
    drawn = [value.name for value in reduced.model.graph.input if value.name in made]
    if drawn:
        first = onnx.utils.Extractor(model).extract_model([value.name for value in model.graph.input], drawn)
        unused = given - {name for node in first.graph.node for name in node.input}
        for value in [value for value in first.graph.input if value.name in unused]:
            first.graph.input.remove(value)
        del reduced.model.graph.value_info[:]  # It names inputs, which `add_prefix` would rename.
        second = onnx.compose.add_prefix(reduced.model, "float16/", rename_inputs=False, rename_outputs=False)
        whole = onnx.compose.merge_models(first, second, io_map=[(name, name) for name in drawn])
    else:
        whole = reduced.model
    onnx.checker.check_model(whole, full_check=True)
    onnx.save(whole, path)
    return "weights and activations"


def write_int8(graph: Path, path: Path, inputs: Mapping[str, np.ndarray]) -> str:
    """Writes a graph with the products with weights in int8.

    Convolutions with the ranges of activations from `inputs`, for measuring them in each call costs more than it
    gains; matrix products alone with ranges of each call, which are closer.

    Args:
        graph: the float32 graph.
        path: the file.
        inputs: rows of its inputs by name.

    Returns:
        The method, "dynamic" or "static".
    """
    static = any(node.op_type in _CONVOLUTIONS for node in onnx.load(graph).graph.node)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(graph), str(prepared), skip_symbolic_shape=True)
        if static:
            rows = _Rows(inputs)
            quantize_static(prepared, path, rows, per_channel=True, op_types_to_quantize=list(_PRODUCTS))
        else:
            quantize_dynamic(prepared, path, per_channel=True)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return "static" if static else "dynamic"


class _Rows(CalibrationDataReader):
    """Gives the inputs once."""

    def __init__(self, inputs: Mapping[str, np.ndarray]) -> None:
        self._batches = iter([dict(inputs)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def has_weights(graph: Path) -> bool:
    """Whether a graph has products with weights: without, there is nothing to reduce."""
    model = onnx.load(graph)
    return len(_before_weights(model.graph)) < len(model.graph.node)


def _before_weights(graph: onnx.GraphProto) -> list[str]:
    """The names of the nodes that come before all products with weights, such as those that draw random numbers."""
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 1}
    after: set[str] = set()
    before = []
    for node in graph.node:  # The checker holds graphs to the order of their computation.
        product = node.op_type in _PRODUCTS and not weights.isdisjoint(node.input)
        if product or not after.isdisjoint(node.input):
            after.update(node.output)
        else:
            before.append(node.name)
    return before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice to people that these tools log and warn of."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
