"""One table of calls and mistakes over both transports, and what is ONNX Runtime's alone."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tfpvae.client import Client, ClientError, NotFoundError, RequestError, Sampler, ServerError
from tfpvae.edge import Decoder
from tfpvae.errors import MissingExtraError
from tfpvae.manifest import Condition, read_manifest, write_manifest

HEADER = '<ir_version: 10, opset_import: ["": 18]>'
WEIGHT = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 12)
CONSTANTS = f"""
    float[2, 12] weight = {{{", ".join(map(str, WEIGHT.ravel()))}}},
    int64 modulus = {{97}}, int64[1] last = {{1}}, int64[2] both = {{1, 2}}, int64[4] event = {{-1, 2, 2, 3}},
    float zero = {{0}}, float tenth = {{0.1}}, float half = {{0.5}}
"""

# z = [s, 1] with s = (seed mod 97) / 10; logits = z W; an event is a 2x2 RGB image.
LATENT = """
    small = Mod(seed, modulus) small_float = Cast<to=1>(small) s = Mul(small_float, tenth)
    column = Unsqueeze(s, last) one = Pow(column, zero) z = Concat<axis=1>(column, one)
"""
LOGITS = "flat = MatMul(z, weight) logits = Reshape(flat, event)"
GRAPHS = {
    "decode": ("float[B, 2] z", "float[B, 2, 2, 3] mean", LOGITS + " mean = Sigmoid(logits)"),
    "likelihood": ("float[B, 2] z", "float[B, 2, 2, 3] logits", LOGITS),
    "sample_latent": ("int64[B] seed", "float[B, 2] z", LATENT),
    "sample_mean": ("int64[B] seed", "float[B, 2, 2, 3] mean", LATENT + LOGITS + " mean = Sigmoid(logits)"),
    "sample": (
        "int64[B] seed",
        "float[B, 2, 2, 3] sample",
        LATENT + LOGITS + " p = Sigmoid(logits) on = Greater(p, half) sample = Cast<to=1>(on)",
    ),
    "encode": (
        "float[B, 4, 2] x",
        "float[B, 2] loc, float[B, 2] scale",
        "loc = ReduceMean<keepdims=0>(x, last) scale = Softplus(loc)",
    ),
    "reconstruct": (
        "float[B, 4, 2] x",
        "float[B, 2, 2, 3] mean",
        "z = ReduceMean<keepdims=0>(x, last) " + LOGITS + " mean = Sigmoid(logits)",
    ),
    "score": (
        "float[B, 4, 2] x, int64[B] seed",
        "float[B] elbo, float[B] log_likelihood, float[B] kl",
        "log_likelihood = ReduceSum<keepdims=0>(x, both) small = Mod(seed, modulus) kl = Cast<to=1>(small) "
        "elbo = Sub(log_likelihood, kl)",
    ),
}

X = np.linspace(0, 1, 24, dtype=np.float32).reshape(3, 4, 2)
Z = np.array([[0.1, -0.2], [3, 1e-8]], dtype=np.float32)


def mean_of(z: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-z @ WEIGHT))).reshape(-1, 2, 2, 3)


def latent_of(seeds: list[int]) -> np.ndarray:
    return np.array([[seed % 97 / 10, 1] for seed in seeds], dtype=np.float32)


def write_graph(path: Path, inputs: str, outputs: str, nodes: str) -> None:
    import onnx
    import onnx.parser

    graph = onnx.parser.parse_model(f"{HEADER} {path.stem} ({inputs}) => ({outputs}) <{CONSTANTS}> {{ {nodes} }}")
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's directory with the versions 2 and 10, and ONNX graphs in the latter."""
    model = tmp_path_factory.mktemp("models") / "tiny"
    folder = model / "10" / "onnx"
    folder.mkdir(parents=True)
    (model / "2").mkdir()
    for name, graph in GRAPHS.items():
        write_graph(folder / f"{name}.onnx", *graph)
    return model


def serving(decoder: Decoder) -> Callable[[httpx.Request], httpx.Response]:
    """Answers as TensorFlow Serving does: row format, floats of nine digits, a lone output unnamed."""

    def written(value: Any) -> str:
        if isinstance(value, list):
            return f"[{', '.join(map(written, value))}]"
        if isinstance(value, bytes):
            return json.dumps({"b64": base64.b64encode(value).decode()})
        return f"{value:.1f}" if value.is_integer() else f"{value:.9g}"

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models/tiny/metadata":
            tensor = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}], "unknown_rank": False}}
            served = {
                name: {
                    "inputs": {},
                    "outputs": {part.split()[-1]: tensor for part in outputs.split(", float")},
                }
                for name, (_, outputs, _) in GRAPHS.items()
            }
            return httpx.Response(200, json={"metadata": {"signature_def": {"signature_def": served}}})
        assert request.url.path == "/v1/models/tiny:predict"
        body = json.loads(request.content)
        name, rows = body["signature_name"], body["instances"]
        if name != "sample_png" and name not in decoder.signatures:
            return httpx.Response(400, json={"error": f'Serving signature name: "{name}" not found in signature def'})
        inputs = {
            key: np.array([row[key] for row in rows], dtype=np.int64 if key == "seed" else np.float32)
            for key in rows[0]
        }
        try:
            outputs = decoder._run(name, inputs)
        except ServerError as error:
            return httpx.Response(400, json={"error": str(error)})
        columns = {key: [written(value) for value in output.tolist()] for key, output in outputs.items()}
        if len(columns) == 1:
            (predictions,) = columns.values()
        else:
            predictions = [
                "{" + ", ".join(f'"{key}": {value}' for key, value in zip(columns, row, strict=True)) + "}"
                for row in zip(*columns.values(), strict=True)
            ]
        return httpx.Response(200, text=f'{{"predictions": [{", ".join(predictions)}]}}')

    return answer


@pytest.fixture(params=["onnx", "rest"])
def sampler(request: pytest.FixtureRequest, graphs: Path) -> Iterator[Sampler]:
    with Decoder(graphs, threads=1, batch_size=4) as decoder:
        if request.param == "onnx":
            yield decoder
        else:
            transport = httpx.MockTransport(serving(decoder))
            with Client("http://server:8501", "tiny", batch_size=4, transport=transport) as client:
                yield client


SEEDS = [5, -3, 2**63 - 1, -(2**63)]
LARGE = list(range(7, 7 + 11))  # three requests of at most four rows

CALLS: dict[str, tuple[Callable[[Sampler], Any], Any]] = {
    "sample_latent": (lambda s: s.sample_latent(3, seed=40), latent_of([40, 41, 42])),
    "sample_latent, one": (lambda s: s.sample_latent(seed=40), latent_of([40])),
    "sample_latent, seeds": (lambda s: s.sample_latent(seed=SEEDS), latent_of(SEEDS)),
    "sample_latent, wrapping": (
        lambda s: s.sample_latent(2, seed=2**63 - 1),
        latent_of([2**63 - 1, -(2**63)]),
    ),
    "sample_latent, split": (lambda s: s.sample_latent(11, seed=7), latent_of(LARGE)),
    "sample_mean": (lambda s: s.sample_mean(4, SEEDS), mean_of(latent_of(SEEDS))),
    "sample": (lambda s: s.sample(seed=SEEDS), (mean_of(latent_of(SEEDS)) > 0.5).astype(np.float32)),
    "decode": (lambda s: s.decode(Z), mean_of(Z)),
    "decode, list": (lambda s: s.decode([[1, 2]]), mean_of(np.array([[1, 2]]))),
    "likelihood": (lambda s: s.likelihood(Z), {"logits": (Z @ WEIGHT).reshape(-1, 2, 2, 3)}),
    "encode": (lambda s: s.encode(X), {"loc": X.mean(1), "scale": np.log1p(np.exp(X.mean(1)))}),
    "reconstruct": (lambda s: s.reconstruct(X), mean_of(X.mean(1))),
    "score": (
        lambda s: s.score(X, seed=96),
        {
            "elbo": X.sum((1, 2)) - [96, 0, 1],
            "log_likelihood": X.sum((1, 2)),
            "kl": np.array([96.0, 0, 1]),
        },
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_call(sampler: Sampler, name: str) -> None:
    call, expected = CALLS[name]
    answer = call(sampler)
    if not isinstance(expected, dict):
        answer, expected = {"": answer}, {"": expected}
    assert answer.keys() == expected.keys()
    for key, value in expected.items():
        assert answer[key].dtype == np.float32
        np.testing.assert_allclose(answer[key], value, rtol=1e-5, atol=1e-6)


def test_sample_png_is_the_mean(sampler: Sampler) -> None:
    files = sampler.sample_png(5, seed=0)
    pixels = [np.asarray(Image.open(io.BytesIO(file))) for file in files]
    np.testing.assert_array_equal(pixels, np.rint(255 * sampler.sample_mean(5, seed=0)))


def test_no_seed_is_a_fresh_one(sampler: Sampler) -> None:
    draws = {sampler.score(X[:1])["kl"].item() for _ in range(20)}  # 97 values: alike once in 10^37 runs
    assert len(draws) > 1


MISTAKES: dict[str, tuple[Callable[[Any], Any], type[ClientError], str]] = {
    "n is 0": (lambda s: s.sample(0), RequestError, "n must be an integer of at least 1"),
    "n is a float": (lambda s: s.sample(2.0), RequestError, "n=2.0"),
    "n is a bool": (lambda s: s.sample(True), RequestError, "n=True"),
    "too few seeds": (lambda s: s.sample(3, seed=[1, 2]), RequestError, "n=3, 2 seeds"),
    "no seeds": (lambda s: s.sample(seed=np.zeros(0, int)), RequestError, "0 seeds"),
    "seeds of floats": (lambda s: s.sample(seed=[1.0]), RequestError, "float64"),
    "seed is a float": (lambda s: s.sample(seed=1.5), RequestError, "float64"),
    "seed is a bool": (lambda s: s.sample(seed=True), RequestError, "bool"),
    "seed beyond int64": (lambda s: s.sample(seed=2**63), RequestError, "fit in int64"),
    "seeds beyond int64": (lambda s: s.sample(seed=[2**63]), RequestError, "fit in int64"),
    "seeds beyond uint64": (lambda s: s.sample(seed=[2**64]), RequestError, "object"),
    "seeds of rank 2": (lambda s: s.sample(seed=[[1]]), RequestError, r"shape \[1, 1\]"),
    "score: seeds": (lambda s: s.score(X, seed=[1]), RequestError, "n=3, 1 seeds"),
    "one z": (lambda s: s.decode([0.0, 0.0]), RequestError, r"Add the batch axis: z\[np.newaxis\]"),
    "one x": (lambda s: s.encode(0.0), RequestError, "at least one row"),
    "z of rank 3": (lambda s: s.decode(np.zeros((1, 1, 2))), RequestError, r"\[B, D\]"),
    "no z": (lambda s: s.decode(np.zeros((0, 2))), RequestError, "at least one row"),
    "ragged z": (lambda s: s.decode([[1.0], [1.0, 2.0]]), RequestError, "z must be an array"),
    "text": (lambda s: s.decode([["a", "b"]]), RequestError, "z must be numbers"),
    "NaN": (lambda s: s.decode([[0, 1], [np.nan, 0]]), RequestError, "Received: nan in row 1"),
    "overflow": (lambda s: s.decode([[1e300, 0]]), RequestError, "Received: inf in row 0"),
    "wrong D": (lambda s: s.decode(np.zeros((1, 3))), ServerError, "decode"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(sampler: Sampler, name: str) -> None:
    call, kind, message = MISTAKES[name]
    with pytest.raises(kind, match=message):
        call(sampler)


def test_a_graph_of_floats_takes_integers_and_no_manifest_is_needed(tmp_path: Path) -> None:
    write_graph(tmp_path / "decode.onnx", "float[B, 2] z, float[B, 2] y", "float[B, 2] mean", "mean = Add(z, y)")
    decoder = Decoder(tmp_path)
    assert decoder.num_classes is None
    np.testing.assert_allclose(decoder.decode(Z, [[1, 2]]), Z + np.array([1, 2]), rtol=1e-6)
    with pytest.raises(RequestError, match=r"decode of this model takes y, z. Received: z"):
        decoder.decode(Z)


def test_labels_are_refused_as_the_manifest_says(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    nodes = "f = Cast<to=1>(y) column = Unsqueeze(f, last) mean = Add(z, column)"
    write_graph(tmp_path / "onnx" / "decode.onnx", "float[B, 2] z, int64[B] y", "float[B, 2] mean", nodes)
    np.testing.assert_allclose(Decoder(tmp_path).decode(Z, 9), Z + 9, rtol=1e-6)
    manifest = read_manifest(Path(__file__).parent / "goldens" / "conditional" / "1")
    write_manifest(replace(manifest, condition=Condition("int64", (None,), 3)), tmp_path)
    np.testing.assert_allclose(Decoder(tmp_path).decode(Z, [2, 0]), Z + np.array([[2], [0]]), rtol=1e-6)
    with pytest.raises(RequestError, match=r"y must be labels below 3, from 0. Received: 9"):
        Decoder(tmp_path).decode(Z, [2, 9])
    with pytest.raises(RequestError, match=r"y must be integer labels.*float32"):
        Decoder(tmp_path).decode(Z, [2.0, 1.0])
    (tmp_path / "manifest.json").write_text('{"format": 1}', encoding="utf-8")
    with pytest.raises(ServerError, match=r"manifest.json: signatures must be"):
        Decoder(tmp_path)


def test_a_signature_without_a_graph_is_refused_with_the_manifests_reason(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    write_graph(tmp_path / "onnx" / "decode.onnx", "float[B, 2] z", "float[B, 2] mean", "mean = Identity(z)")
    manifest = read_manifest(Path(__file__).parent / "goldens" / "bernoulli" / "1")
    onnx = replace(manifest.targets["onnx"], left_out={"sample": "ONNX has no operator X"})
    targets = {**manifest.targets, "onnx": onnx}
    write_manifest(replace(manifest, targets=targets, absent={"log_prob": "it is far too dear"}), tmp_path)
    with pytest.raises(NotFoundError, match=r"signature 'sample': ONNX has no operator X. It has: decode"):
        Decoder(tmp_path).sample(1, seed=0)
    with pytest.raises(NotFoundError, match=r"'log_prob': it is far too dear. It has"):
        Decoder(tmp_path).call("log_prob", z=Z, x=Z)


def test_unknown_signature_lists_the_known(graphs: Path) -> None:
    decoder = Decoder(graphs / "10" / "onnx" / "decode.onnx")
    client = Client("http://server", "tiny", transport=httpx.MockTransport(serving(decoder)))
    for sampler in (decoder, client):
        with pytest.raises(NotFoundError, match=r"'encode'.*It has: .*decode"):
            sampler.encode(X)


@pytest.mark.parametrize("path", [".", "10", "10/onnx"])
def test_directories(graphs: Path, path: str) -> None:
    decoder = Decoder(graphs / path)
    assert decoder.signatures == tuple(sorted(GRAPHS))
    np.testing.assert_allclose(decoder.sample_latent(seed=3), latent_of([3]))


def test_single_file(graphs: Path) -> None:
    decoder = Decoder(str(graphs / "10" / "onnx" / "decode.onnx"))
    assert decoder.signatures == ("decode",)
    with pytest.raises(NotFoundError, match=r"no ONNX graph for the signature 'sample_mean'. It has: decode"):
        decoder.sample_png()


@pytest.mark.parametrize("path", ["2", "absent", "10/onnx/absent.onnx"])
def test_no_graphs(graphs: Path, path: str) -> None:
    with pytest.raises(NotFoundError, match="holds no ONNX graphs"):
        Decoder(graphs / path)


def test_graphs_are_loaded_when_called_and_kept(graphs: Path) -> None:
    with Decoder(graphs) as decoder:
        assert not decoder._sessions
        decoder.decode(Z)
        session = decoder._sessions["decode"]
        decoder.decode(Z)
        assert decoder._sessions == {"decode": session}
    assert not decoder._sessions


def test_broken_graph(tmp_path: Path) -> None:
    (tmp_path / "decode.onnx").write_bytes(b"no graph")
    with pytest.raises(ServerError, match="could not load") as caught:
        Decoder(tmp_path).decode(Z)
    assert caught.value.__cause__ is not None


def test_png_is_for_images_only(tmp_path: Path) -> None:
    nodes = LATENT.replace("z = Concat", "mean = Concat")
    write_graph(tmp_path / "sample_mean.onnx", "int64[B] seed", "float[B, 2] mean", nodes)
    with pytest.raises(NotFoundError, match="images only"):
        Decoder(tmp_path).sample_png(2)


def test_threads_must_be_positive(graphs: Path) -> None:
    with pytest.raises(RequestError, match="threads"):
        Decoder(graphs, threads=0)


def test_onnxruntime_missing(graphs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tfpvae\[edge\]'"):
        Decoder(graphs)


def test_imports_are_light() -> None:
    code = (
        "import sys, tfpvae.client, tfpvae.edge, tfpvae.images\n"
        "print([m for m in ('tensorflow', 'keras', 'onnxruntime', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
