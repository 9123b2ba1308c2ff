"""Model repositories for servers that have no signatures: Triton, and OpenVINO Model Server.

There each ONNX graph is a servable of its own, `<name>_<signature>`:

    models/mnist_decode/1/model.onnx
    models/mnist_decode/config.pbtxt        Triton's
    models/mnist_sample_mean/1/model.onnx
    ...
    models/config.json                      OpenVINO Model Server's

`sample_png` is left out: ONNX has no PNG. OpenVINO's CPU plugin turns int64 into 32 bits (seen in OpenVINO 2026.4):
seeds from -2^31 to 2^31 - 1 give the samples that they give everywhere else, and no others do. It also rounds where
TensorFlow does not, as in the softplus of a very small scale, and cannot open some graphs that hold loops: where
OpenVINO is installed, each graph is compared in it with Keras, and left out with the reason if it fails.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfpvae.checks import one_of
from tfpvae.errors import ExportError
from tfpvae.export.endpoints import endpoints, example_inputs
from tfpvae.export.exporter import export_model
from tfpvae.export.parity import BATCH_SIZES, Example, compare, example
from tfpvae.export.profile import Profile
from tfpvae.export.repository import LAYOUTS
from tfpvae.export.repository.model_config import replace_text
from tfpvae.export.repository.versions import publishing, versions
from tfpvae.export.targets.onnx_weights import write_alone
from tfpvae.files import local_path
from tfpvae.manifest import SignatureEntry, read_manifest
from tfpvae.models import DistributionModel
from tfpvae.signatures import ONNX_DIRECTORY, Run, graph_of

MAX_BATCH_SIZE: Final = 64
"""The rows that Triton computes at once at most; it joins requests up to there."""

_TRITON_TYPES: Final = {"float32": "TYPE_FP32", "int64": "TYPE_INT64"}
_SETTINGS: Final = {"INFERENCE_PRECISION_HINT": "f32"}
"""By default OpenVINO computes in bfloat16 where the processor can, without a word."""

_OPENVINO_MOUNT: Final = "/models"
"""Where OpenVINO Model Server's container finds the repository: its `config.json` needs whole paths."""


def export_layout(
    model: DistributionModel,
    directory: str | Path,
    layout: str,
    *,
    version: int | None = None,
    profile: Profile | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> tuple[Path, ...]:
    """Writes a model's ONNX graphs as servables, compared with Keras as `export_model` does.

    Each servable's version appears whole, by a rename, all of them one after the other when all are written. A server's
    file that is there already is kept: Triton's of a servable as it is, OpenVINO's with entries added.

    Args:
        model: a trained model.
        directory: `models/mnist` gives the servables `mnist_decode` and so on in the repository `models`.
        layout: "triton" or "openvino".
        version: of each servable; None is the next number that is free in all.
        profile, progress: as of `export_model`; no SavedModel is written.

    Returns:
        The version directories.

    Raises:
        ExportError: as `export_model`; or there is no such layout, the repository's `config.json` cannot be read, or
            the model has no ONNX graph.
    """
    one_of("layout", layout, LAYOUTS, ExportError)
    directory = local_path(directory, ExportError)
    name, repository = Path(os.path.abspath(directory)).name, directory.parent  # noqa: PTH100  As export_model.
    config = _read_config(repository) if layout == "openvino" else {}
    profile = replace(
        profile or Profile(), saved_model=False, onnx=True, litert=False, targets=(), model_card=False, samples=False
    )
    with tempfile.TemporaryDirectory() as folder:
        export = export_model(model, Path(folder) / name, profile=profile, progress=progress)
        manifest = read_manifest(export.path)
        no_graph = dict(manifest.targets["onnx"].left_out)
        graphs = {
            f"{name}_{graph.stem.replace('.', '_')}": graph
            for graph in sorted((export.path / ONNX_DIRECTORY).glob("*.onnx"))
        }
        if layout == "openvino":
            wrong = _wrong_in_openvino(model, graphs, profile, progress)
            for servable, why in wrong.items():
                progress(f"left out {servable}: {why}")
                del graphs[servable]
            no_graph |= wrong
            if any("seed" in manifest.signatures[graph_of(graph.name)[0]].inputs for graph in graphs.values()):
                progress("seeds are those of 32 bits there, -2147483648 to 2147483647: OpenVINO reads no more of them")
        if not graphs:
            raise ExportError(f"The model has no ONNX graph for this server: {no_graph}")
        if version is None:
            version = 1 + max((number for servable in graphs for number in versions(repository / servable)), default=0)
        progress(f"publishing version {version} of {len(graphs)} servables")
        with ExitStack() as stack:
            publications = {each: stack.enter_context(publishing(repository / each, version)) for each in graphs}
            for servable, graph in graphs.items():
                write_alone(graph, publications[servable].building / "model.onnx")
                if layout == "triton" and not (repository / servable / "config.pbtxt").exists():
                    signature = manifest.signatures[graph_of(graph.name)[0]]
                    replace_text(repository / servable / "config.pbtxt", triton_config(servable, signature))
            if layout == "openvino":
                replace_text(repository / "config.json", openvino_config(config, graphs))
    paths = [publication.path for publication in publications.values()]
    return tuple(path for path in paths if path is not None)


def triton_config(servable: str, signature: SignatureEntry) -> str:
    """Triton's `config.pbtxt` (its `ModelConfig`) of a servable.

    Triton keeps the batch to itself. What has no axis but the batch, such as a seed, is `[1]` in a request and is
    reshaped to nothing.

    Args:
        servable: its name.
        signature: as in the manifest.
    """
    lines = [f"name: {json.dumps(servable)}", 'backend: "onnxruntime"', f"max_batch_size: {MAX_BATCH_SIZE}"]
    for role, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for key, spec in specs.items():
            shape = spec.shape[1:]
            lines += [
                f"{role} {{",
                f"  name: {json.dumps(key)}",
                f"  data_type: {_TRITON_TYPES[spec.dtype]}",
                f"  dims: [ {', '.join(map(str, shape or [1]))} ]",
                *([] if shape else ["  reshape: { shape: [ ] }"]),
                "}",
            ]
    return "\n".join([*lines, "dynamic_batching { }", ""])


def openvino_config(config: Mapping[str, Any], servables: Mapping[str, Any]) -> str:
    """OpenVINO Model Server's `config.json` with these servables added.

    Args:
        config: the present content.
        servables: by name.
    """
    entries = config.get("model_config_list", [])
    known = {entry["config"]["name"] for entry in entries}
    new = [
        {
            "config": {
                "name": servable,
                "base_path": f"{_OPENVINO_MOUNT}/{servable}",
                "plugin_config": _SETTINGS,
            }
        }
        for servable in servables
        if servable not in known
    ]
    return json.dumps({**config, "model_config_list": [*entries, *new]}, indent=2) + "\n"


def _wrong_in_openvino(
    model: DistributionModel, graphs: Mapping[str, Path], profile: Profile, progress: Callable[[str], None]
) -> dict[str, str]:
    """What OpenVINO does not compute as Keras does, or does not open, and why, by servable."""
    try:
        import openvino
    except ModuleNotFoundError:
        progress("OpenVINO is not installed, and was not compared with Keras: pip install openvino, and export again")
        return {}
    progress("comparing OpenVINO with Keras")
    core = openvino.Core()
    present, _ = endpoints(model)
    wrong: dict[str, str] = {}
    answered: dict[str, list[Example]] = {}
    for servable, graph in graphs.items():
        name, precision = graph_of(graph.name)
        tolerance = profile.tolerance if precision == "float32" else getattr(profile, f"{precision}_tolerance")
        if name not in answered:
            answered[name] = [
                example(present[name], _of_32_bits(example_inputs(present[name], rows))) for rows in BATCH_SIZES
            ]
        expected = answered[name]
        try:
            served = core.compile_model(graph, "CPU", _SETTINGS)
            _, far = compare(expected, "OpenVINO", _run_openvino(served, list(expected[0].expected)), tolerance)
        except RuntimeError as error:  # Its last line names the operator.
            far = {name: f"OpenVINO cannot run it: {str(error).strip().splitlines()[-1]}"}
        if far:
            wrong[servable] = far[name]
    return wrong


def _run_openvino(served: Any, outputs: list[str]) -> Run:
    def run(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        del name  # A graph is one signature.
        answer = served(inputs)
        return {output: answer[output] for output in outputs}

    return run


def _of_32_bits(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k: v.astype(np.int32).astype(np.int64) if k == "seed" else v for k, v in inputs.items()}


def _read_config(repository: Path) -> dict[str, Any]:
    path = repository / "config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        names = [entry["config"]["name"] for entry in config.get("model_config_list", [])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{path} is no configuration of OpenVINO Model Server: {error!r}") from error
    if len(names) != len(set(names)):
        raise ExportError(f"{path} names a model twice: {', '.join(sorted(names))}")
    return dict(config)
