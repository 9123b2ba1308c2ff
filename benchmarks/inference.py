"""How long a decoder takes in every runtime that can run an export.

    python benchmarks/inference.py [--threads 1] [--seconds 1] [--only dense]

It exports a dense (32-512-512-784) and a convolutional decoder (32-7x7x64, two transposed convolutions) of 28x28
Bernoulli images in all precisions, and measures `decode` and `sample_mean` with 1, 16 and 256 rows. The runtimes are
measured in turns. For each it prints the median time of one call in process, and the speed relative to the SavedModel's
signature, which is what TensorFlow Serving computes. OpenVINO is measured if it is installed (`pip install openvino`).
With its default settings it computes in bfloat16 where the processor can; only `decode` is measured so, because
bfloat16 would round the random numbers of `sample_mean`. The models are not trained: weights do not change the speed,
and each export measures its own errors.

A run without options writes its tables into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnxruntime
import tensorflow as tf

import tfpvae
from tfpvae import layers as tfpl
from tfpvae.export import Profile
from tfpvae.export.speed import ROWS, medians
from tfpvae.export.targets.litert import LITERT, run_litert
from tfpvae.models import VAE, sampling
from tfpvae.signatures import ONNX_DIRECTORY, graph_file

RESULTS: Final = Path(__file__).parent / "RESULTS.md"
SHAPE: Final = (28, 28, 1)
LATENT: Final = 32
SIGNATURES: Final = ("decode", "sample_mean")
SAVED_MODEL: Final = "SavedModel signature"
"""The runtime that the others are compared with."""

Call = Callable[[dict[str, np.ndarray]], Any]


def dense() -> VAE:
    encoder = [keras.layers.Flatten(), keras.layers.Dense(512, "relu"), keras.layers.Dense(512, "relu")]
    decoder = [keras.layers.Dense(512, "relu"), keras.layers.Dense(512, "relu"), keras.layers.Dense(784)]
    return _vae(encoder, decoder)


def convolutional() -> VAE:
    encoder = [
        keras.layers.Conv2D(32, 3, 2, "same", activation="relu"),
        keras.layers.Conv2D(64, 3, 2, "same", activation="relu"),
        keras.layers.Flatten(),
    ]
    decoder = [
        keras.layers.Dense(7 * 7 * 64, "relu"),
        keras.layers.Reshape((7, 7, 64)),
        keras.layers.Conv2DTranspose(64, 3, 2, "same", activation="relu"),
        keras.layers.Conv2DTranspose(32, 3, 2, "same", activation="relu"),
        keras.layers.Conv2D(1, 3, padding="same"),
        keras.layers.Flatten(),
    ]
    return _vae(encoder, decoder)


def _vae(encoder: list[keras.layers.Layer], decoder: list[keras.layers.Layer]) -> VAE:
    q = [keras.layers.Dense(tfpl.MultivariateNormalDiag.params_size(LATENT)), tfpl.MultivariateNormalDiag(LATENT)]
    return VAE(
        keras.Sequential([keras.Input(SHAPE), *encoder, *q]),
        keras.Sequential([keras.Input((LATENT,)), *decoder, tfpl.IndependentBernoulli(SHAPE)]),
    )


MODELS: Final = {"dense": dense, "convolutional": convolutional}


def calls(vae: VAE, version: Path, signature: str, threads: int) -> dict[str, Call]:
    """The ways to compute a signature, by name; each takes the inputs by name and gives NumPy."""
    loaded = tf.saved_model.load(str(version))
    ways: dict[str, Call] = {}
    if signature == "decode":
        means = keras.Model(vae.decoder.inputs, keras.ops.sigmoid(vae.decoder.layers[-2].output))  # Tensors alone.
        ways["Keras predict"] = lambda inputs: means.predict(inputs["z"], verbose=0)
        in_graph = tf.function(lambda z: vae.decode(z).mean(), autograph=False)
        ways["tf.function"] = lambda inputs: in_graph(tf.constant(inputs["z"])).numpy()
    else:
        drawn = tf.function(lambda seed: sampling.sample_mean(vae, {"seed": seed})["mean"], autograph=False)
        ways["tf.function"] = lambda inputs: drawn(tf.constant(inputs["seed"])).numpy()
    function = loaded.signatures[signature]

    def serve(inputs: dict[str, np.ndarray], owner: object = loaded) -> np.ndarray:  # `loaded` owns the variables.
        return function(**{key: tf.constant(value) for key, value in inputs.items()})["mean"].numpy()

    ways[SAVED_MODEL] = serve
    for precision in ("float32", "float16", "int8"):
        graph = version / ONNX_DIRECTORY / graph_file(signature, precision)
        ways[f"ONNX Runtime {precision}"] = _onnx_runtime(graph, threads)
    in_litert = run_litert(version / LITERT, threads)
    ways["LiteRT float32"] = lambda inputs: in_litert(signature, inputs)["mean"]
    if importlib.util.find_spec("openvino"):
        graph = version / ONNX_DIRECTORY / graph_file(signature)
        ways["OpenVINO float32"] = _openvino(graph, threads, {"INFERENCE_PRECISION_HINT": "f32"})
        if signature == "decode":
            ways["OpenVINO default"] = _openvino(graph, threads, {})
    return ways


def _onnx_runtime(graph: Path, threads: int) -> Call:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def _openvino(graph: Path, threads: int, settings: dict[str, Any]) -> Call:
    import openvino

    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_NUM_THREADS": threads, **settings})
    return lambda inputs: compiled(inputs)[0]


def inputs_of(vae: VAE, signature: str, rows: int) -> dict[str, np.ndarray]:
    seeds = np.arange(rows)
    return {"z": np.asarray(vae.sample_latent(seed=seeds))} if signature == "decode" else {"seed": seeds}


def measure(vae: VAE, version: Path, threads: int, seconds: float) -> dict[str, dict[str, dict[int, float]]]:
    """Microseconds of one call by signature, way and rows."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for signature in SIGNATURES:
        ways = calls(vae, version, signature, threads)
        table = found.setdefault(signature, {way: {} for way in ways})
        for rows in ROWS:
            inputs = inputs_of(vae, signature, rows)
            expected = ways[SAVED_MODEL](inputs)
            for way, call in ways.items():
                np.testing.assert_allclose(call(inputs).reshape(expected.shape), expected, atol=0.05, err_msg=way)
            bound: Mapping[str, Callable[[], object]] = {
                way: (lambda call=call, inputs=inputs: call(inputs)) for way, call in ways.items()
            }
            for way, median in medians(bound, seconds).items():
                table[way][rows] = median * 1e6
    return found


def lines_of(kind: str, signature: str, table: Mapping[str, Mapping[int, float]]) -> list[str]:
    base = table[SAVED_MODEL]
    head = " | ".join(["1 row", *(f"{rows} rows" for rows in ROWS[1:])])
    lines = [f"| {kind} `{signature}` | {head} |", "| --- |" + " ---: |" * len(ROWS)]
    for way, times in table.items():
        cells = (f"{times[rows]:,.0f} ({base[rows] / times[rows]:.2f})" for rows in ROWS)
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return lines


def record(tables: str, threads: int) -> None:
    begin, end = "<!-- inference: begin -->\n", "<!-- inference: end -->\n"
    before, rest = RESULTS.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    versions = f"TensorFlow {tf.__version__}, ONNX Runtime {onnxruntime.__version__}"
    if importlib.util.find_spec("openvino"):
        versions += f", OpenVINO {importlib.metadata.version('openvino')}"
    made = f"{threads} thread, {platform.machine()}, {versions}.\n\n"
    RESULTS.write_text(before + begin + made + tables + end + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="that compute one call")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each is timed")
    parser.add_argument("--only", choices=MODELS, help="one of the decoders")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    everything = Profile(litert=True, float16="always", int8="always", samples=False, model_card=False, warmup=False)
    parts = []
    for kind in [options.only] if options.only else MODELS:
        keras.utils.set_random_seed(0)
        vae = MODELS[kind]()
        with tempfile.TemporaryDirectory() as folder:
            print(f"Exporting the {kind} decoder.", flush=True)
            export = tfpvae.export_model(vae, Path(folder) / kind, profile=everything)
            for signature, table in measure(vae, export.path, options.threads, options.seconds).items():
                lines = lines_of(kind, signature, table)
                print("\n".join(lines), "\n", flush=True)
                parts.append("\n".join(lines) + "\n")
    if options == parser.parse_args([]):
        record("\n".join(parts), options.threads)
        print(f"Written into {RESULTS.relative_to(RESULTS.parents[1])}.")


if __name__ == "__main__":
    main()
