"""The client's calls on ONNX Runtime, in process. Loads no TensorFlow.

>>> from tfpvae.edge import Decoder
>>> Decoder("models/digits").sample(16, seed=7)  # [16, 8, 8, 1], the same samples as the server's
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from tfpvae._extras import explain_missing
from tfpvae._processes import exit_without_destructors, keep_for_ever, reopen_in_forked_children
from tfpvae.checks import one_of, positive_integer
from tfpvae.client.interface import BATCH_SIZE, Sampler, wrong_inputs
from tfpvae.errors import DataError, ManifestError, NotFoundError, RequestError, ServerError
from tfpvae.files import local_path
from tfpvae.images import to_png
from tfpvae.manifest import MANIFEST, Manifest, read_manifest
from tfpvae.signatures import CONDITION, ONNX_DIRECTORY, PRECISIONS, WEIGHTS_FILE, graph_of


class Decoder(Sampler):
    """An exported model's ONNX graphs, with the calls of `tfpvae.client.Client`.

    A graph is loaded when its call is first made, and kept. May be shared between threads. In another process,
    forked or reached by pickle, it loads the graphs of the same version again.

    Args:
        path: a model's directory (`models/digits`: its highest version is taken), a version's
            (`models/digits/1`), a folder of `<signature>.onnx` files, or one such file. The graphs of a large model
            need the version's `weights.bin` beside them.
        precision: "float32", whose samples are the server's; or "int8" or "float16", with which the signatures that
            have such a graph are computed. The manifest says how far those are from float32, and how fast.
        threads: the threads that compute one call; None lets ONNX Runtime take one for each core.
        batch_size: rows computed at once.

    Attributes:
        signatures: the names of the signatures that have a graph.
        num_classes: how many labels a conditional model knows, if its manifest lies beside and says so. Others are
            then refused.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        NotFoundError: there is no ONNX graph under `path`, or none in that precision; or (calls) none for that
            signature.
        RequestError: there is no such precision.
        ServerError: the manifest cannot be read; or (calls) ONNX Runtime cannot load the graph, or refuses the shape of
            the input.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        precision: str = "float32",
        threads: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        super().__init__(batch_size)
        one_of("precision", precision, PRECISIONS, RequestError)
        self._threads = None if threads is None else positive_integer("threads", threads, RequestError)
        self.path = local_path(path, RequestError)
        self._graphs = _find_graphs(self.path, precision)
        first = next(iter(self._graphs.values()))
        # For another process the graphs themselves: by then a model's directory may have a newer version.
        self._files = (self.path if self.path.is_file() else first.parent).absolute()
        self._settings: dict[str, Any] = {"precision": precision, "threads": threads, "batch_size": batch_size}
        manifest = _manifest_beside(first.parent)
        self.num_classes = None if manifest is None or manifest.condition is None else manifest.condition.num_classes
        self._left_out = {} if manifest is None else _left_out(manifest)
        with explain_missing("tfpvae.edge.Decoder"):
            import onnxruntime
        self._onnxruntime = onnxruntime
        self._sessions: dict[str, Any] = {}
        self.signatures = tuple(self._graphs)
        reopen_in_forked_children(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), **self._settings), (self._files,)

    def reopen_in_child(self) -> None:
        """In a forked child: leaves the parent's sessions alone."""
        keep_for_ever(self._sessions)
        self._sessions = {}
        exit_without_destructors()

    def __repr__(self) -> str:
        return f"Decoder({str(self.path)!r})"

    def close(self) -> None:
        """Frees the loaded graphs. A later call loads them again."""
        self._sessions.clear()

    def _run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if signature == "sample_png":  # ONNX has no operator that writes PNG
            return {"image_bytes": _png_files(self._run("sample_mean", inputs)["mean"])}
        session = self._session(signature)
        inputs = self._as_the_graph_takes(signature, session, inputs)
        names = [output.name for output in session.get_outputs()]
        try:
            return dict(zip(names, session.run(names, inputs), strict=True))
        except Exception as error:  # ONNX Runtime's exceptions share no narrower base
            raise ServerError(f"ONNX Runtime could not run {self._graphs[signature]}: {error}") from error

    def _as_the_graph_takes(self, signature: str, session: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs, with y in the graph's type.

        Raises:
            RequestError: the graph has other inputs, or y is no label of its.
        """
        types = {node.name: node.type for node in session.get_inputs()}
        if types.keys() != inputs.keys():
            raise wrong_inputs(signature, types, inputs)
        if CONDITION not in inputs:
            return inputs
        y = inputs[CONDITION]
        if types[CONDITION] == "tensor(float)":
            return {**inputs, CONDITION: y.astype(np.float32)}
        if y.dtype != np.int64:
            raise RequestError(f"y must be integer labels, shape [B]. Received: shape {list(y.shape)}, dtype {y.dtype}")
        wrong = [] if self.num_classes is None else y[(y < 0) | (y >= self.num_classes)].tolist()
        if wrong:
            raise RequestError(f"y must be labels below {self.num_classes}, from 0. Received: {wrong[0]}")
        return inputs

    def _session(self, signature: str) -> Any:
        if signature not in self._graphs:
            reason = self._left_out.get(signature)
            raise NotFoundError(
                f"{self.path} has no ONNX graph for the signature {signature!r}{f': {reason}' if reason else ''}. "
                f"It has: {', '.join(self.signatures)}"
            )
        if signature not in self._sessions:
            options = self._onnxruntime.SessionOptions()
            options.intra_op_num_threads = self._threads or 0  # 0: one for each core
            try:
                self._sessions[signature] = self._onnxruntime.InferenceSession(
                    self._graphs[signature], options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # as in _run
                why = str(error)
                if WEIGHTS_FILE in why:
                    why += f". Its weights are in {WEIGHTS_FILE}, which must lie beside it."
                raise ServerError(f"ONNX Runtime could not load {self._graphs[signature]}: {why}") from error
        return self._sessions[signature]


def _find_graphs(path: Path, precision: str) -> dict[str, Path]:
    """The graphs under `path` by signature, in order of name: in that precision, or where there is none in float32."""
    if path.is_file() and path.suffix == ".onnx":
        return {graph_of(path.name)[0]: path}
    folder = path
    versions = [entry for entry in path.glob("*/") if entry.name.isascii() and entry.name.isdigit()]
    if versions:
        folder = max(versions, key=lambda entry: int(entry.name))
    if (folder / ONNX_DIRECTORY).is_dir():
        folder /= ONNX_DIRECTORY
    by_precision = {graph_of(graph.name): graph for graph in sorted(folder.glob("*.onnx"))}
    if by_precision and precision not in {each for _, each in by_precision}:
        raise NotFoundError(
            f"{folder} holds no graphs in {precision}. An export keeps those that were faster than float32, and with "
            f'{precision} = "always" in its profile any; {MANIFEST} says why one was dropped.'
        )
    graphs = {signature: graph for (signature, each), graph in by_precision.items() if each == "float32"}
    graphs |= {signature: graph for (signature, each), graph in by_precision.items() if each == precision}
    if not graphs:
        raise NotFoundError(
            f"{folder} holds no ONNX graphs. Expected a model's or a version's directory with graphs in "
            f"{ONNX_DIRECTORY}/, a folder of .onnx files, or one .onnx file. Received: path={str(path)!r}"
        )
    return graphs


def _manifest_beside(folder: Path) -> Manifest | None:
    """The manifest of the version that a folder of graphs belongs to; None where there is none: graphs do without.

    Raises:
        ServerError: there is a manifest, and it cannot be read.
    """
    if not (folder.parent / MANIFEST).is_file():
        return None
    try:
        return read_manifest(folder.parent)
    except ManifestError as error:
        raise ServerError(str(error)) from error


def _left_out(manifest: Manifest) -> dict[str, str]:
    """Why the version has no graph of a signature, by name."""
    onnx = manifest.targets.get("onnx")
    return {**manifest.absent, **({} if onnx is None else onnx.left_out)}


def _png_files(images: np.ndarray) -> np.ndarray:
    """`[B, H, W, C]` in [0, 1] -> `[B]`, PNG files as `bytes`."""
    try:
        return np.array([to_png(image) for image in images], dtype=object)
    except DataError as error:
        raise NotFoundError(f"The signature 'sample_png' is for models of images only. {error}") from error
