"""The calls of an exported model over TensorFlow Serving's REST interface."""

from __future__ import annotations

import base64
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

import httpx
import numpy as np

from tfpvae._processes import keep_for_ever, reopen_in_forked_children
from tfpvae.checks import non_negative_integer, url_name
from tfpvae.client.interface import BATCH_SIZE, Sampler, wrong_inputs
from tfpvae.errors import ConnectionFailedError, NotFoundError, RequestError, ServerError
from tfpvae.signatures import SIGNATURES

_T = TypeVar("_T")

_DTYPES: Final = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}
"""The types whose names differ in TensorFlow and NumPy. Others match: `DT_INT64` is `int64`."""

_POLL_SECONDS: Final = 0.1


class TensorSpec(NamedTuple):
    """An input or output of a served signature.

    Attributes:
        dtype: as in NumPy ("float32", "int64"), or "string".
        shape: None stands for an axis of any size; the shape is None if the rank is unknown.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


class SignatureSpec(NamedTuple):
    """The inputs and outputs of a served signature, by name."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class VersionStatus(NamedTuple):
    """The state of one version on the server.

    Attributes:
        state: "START", "LOADING", "AVAILABLE", "UNLOADING" or "END".
        error: why it could not be loaded; empty if nothing is wrong.
    """

    state: str
    error: str


class Client(Sampler):
    """A model on a server that speaks TensorFlow Serving's REST interface.

    It holds a pool of connections, and threads may share it. Close it, or use it in a `with` statement. In another
    process, forked or reached by pickle, it makes connections of its own.

    Args:
        url: the server's address, "http://localhost:8501"; a trailing slash or `/v1` is ignored.
        model: the model's name on the server.
        version: the version to ask; None asks the newest, which may change between requests.
        label: the version's label on the server ("stable"), in place of its number.
        timeout: seconds to wait for a connection, and for each part of an answer.
        batch_size: rows in one request. If the server batches, at most its `max_batch_size`.
        transport: sends the requests in place of HTTP, for tests.

    Raises:
        RequestError: an argument is wrong. Nothing is sent until the first call.
        ConnectionFailedError: (all calls) the server cannot be reached, or is too slow.
        NotFoundError: (all calls) the server has no such model, version, label or signature; the message
            lists what it has.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 30.0,
        batch_size: int = BATCH_SIZE,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        super().__init__(batch_size)
        if not timeout > 0:
            raise RequestError(f"timeout must be seconds above 0. Received: timeout={timeout!r}")
        if version is not None and label is not None:
            raise RequestError(f"Expected a version or a label, not both. Received: {version=}, {label=}")
        address = _server_url(url)
        self.url = str(address.copy_with(userinfo=b""))  # keeps a password out of messages
        self.model = url_name("model", model, RequestError)
        self._model_path = self._path = f"/v1/models/{self.model}"
        self._wanted = "loaded version"
        if version is not None:
            version = non_negative_integer("version", version, RequestError)
            self._path += f"/versions/{version}"
            self._wanted = f"version {version}"
        elif label is not None:
            self._path += f"/labels/{url_name('label', label, RequestError)}"
            self._wanted = f"version with the label {label!r}"
        self._timeout = timeout
        self._settings: dict[str, Any] = {
            "version": version,
            "label": label,
            "timeout": timeout,
            "batch_size": batch_size,
        }
        self._address, self._transport = address, transport
        self._http = self._connections()
        reopen_in_forked_children(self)

    def _connections(self) -> httpx.Client:
        return httpx.Client(base_url=self._address, timeout=self._timeout, transport=self._transport)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._transport is not None:
            raise TypeError("A Client with a transport of its own cannot be pickled: make one in each process.")
        return functools.partial(type(self), **self._settings), (str(self._address), self.model)

    def reopen_in_child(self) -> None:
        """In a forked child: leaves the parent's connections alone, on which the parent goes on to speak."""
        keep_for_ever(self._http)
        closed = self._http.is_closed
        self._http = self._connections()
        if closed:
            self._http.close()

    def __repr__(self) -> str:
        return f"Client({self.url + self._path!r})"

    def close(self) -> None:
        """Closes the connections. A closed client cannot be used again."""
        self._http.close()

    def status(self) -> dict[int, VersionStatus]:
        """The state of each version that the server knows, newest first; with `version`, only of that one."""
        answer = self._answer(self._send("GET", self._path))
        return _parsed(_read_status, answer)

    def metadata(self) -> dict[str, SignatureSpec]:
        """The signatures of the model, by name, with the dtypes and shapes of their inputs and outputs."""
        return self._metadata(self._timeout)

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Returns as soon as the server answers for the model, and its version or label.

        Args:
            timeout: seconds to wait at most.

        Raises:
            ConnectionFailedError: it was not ready in time; the cause is the error of the last attempt.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._metadata(min(self._timeout, max(deadline - time.monotonic(), _POLL_SECONDS)))
            except (ConnectionFailedError, ServerError) as error:
                if time.monotonic() + _POLL_SECONDS > deadline:
                    raise ConnectionFailedError(f"Not ready after {timeout:g} s. {error}") from error
                time.sleep(_POLL_SECONDS)
            else:
                return

    def _run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        # TensorFlow Serving answers the row format in a quarter of the bytes of the column format.
        # Python floats hold a float32 exactly, and JSON gets all their digits.
        rows = zip(*(value.tolist() for value in inputs.values()), strict=True)
        body = {
            "signature_name": signature,
            "instances": [dict(zip(inputs, row, strict=True)) for row in rows],
        }
        answer = self._answer(self._send("POST", f"{self._path}:predict", body), signature, tuple(inputs))
        predictions = answer.get("predictions") if isinstance(answer, dict) else None
        if not isinstance(predictions, list) or not predictions:
            raise ServerError(f"{signature} must answer a list of predictions. Received: {_shortened(answer)}")
        return {name: _read_output(name, values) for name, values in self._columns(signature, predictions).items()}

    def _columns(self, signature: str, predictions: list[Any]) -> dict[str, list[Any]]:
        """The predictions by output. The server sends a single output as values without its name."""
        names = predictions[0].keys() if _is_object(predictions[0]) else None
        if names is None:
            return {self._only_output(signature): predictions}
        if not all(_is_object(row) and row.keys() == names for row in predictions):
            raise ServerError(
                f"{signature} must answer the same outputs in each row. Received: {_shortened(predictions)}"
            )
        return {name: [row[name] for row in predictions] for name in names}

    def _only_output(self, signature: str) -> str:
        outputs = SIGNATURES[signature].outputs if signature in SIGNATURES else None
        if outputs is None:
            # The parameters of a distribution have their own names. They are asked for each time: a version that was
            # loaded in between may have others.
            served = self.metadata().get(signature, SignatureSpec({}, {}))
            outputs = tuple(served.outputs)
        if len(outputs) != 1:
            raise ServerError(f"{signature} must answer {len(outputs)} outputs by name. Received: values without names")
        return outputs[0]

    def _metadata(self, timeout: float) -> dict[str, SignatureSpec]:
        answer = self._answer(self._send("GET", f"{self._path}/metadata", timeout=timeout))
        return _parsed(_read_metadata, answer)

    def _send(self, method: str, path: str, body: object = None, timeout: float | None = None) -> httpx.Response:
        """One request, one response of any status.

        Raises:
            ConnectionFailedError: there was no response.
        """
        if self._http.is_closed:
            raise RequestError("This client is closed. Make a new one, or call it inside its `with` statement.")
        seconds = timeout or self._timeout
        try:
            return self._http.request(method, path, json=body, timeout=seconds)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ConnectionFailedError(
                f"Cannot reach {self.url}: {error}. Is the server running? Start one with: tfpvae serve models/"
            ) from error
        except httpx.TimeoutException as error:
            raise ConnectionFailedError(
                f"{self.url} did not answer within {seconds:g} s. Raise timeout=, or lower batch_size= for smaller "
                f"requests"
            ) from error
        except httpx.HTTPError as error:
            raise ConnectionFailedError(
                f"The exchange with {self.url} broke off: {error}. Is this the REST port? "
                f"TensorFlow Serving's is 8501 by default; 8500 is gRPC"
            ) from error

    def _answer(self, response: httpx.Response, signature: str | None = None, inputs: tuple[str, ...] = ()) -> Any:
        """The JSON of a response.

        Raises:
            NotFoundError: the server lacks the model, the version or the signature.
            RequestError: the signature takes other inputs than were sent.
            ServerError: the server reports another error, or does not answer JSON.
        """
        try:
            answer = response.json()  # reads NaN and Infinity too, which the server writes
        except ValueError as error:
            kind = NotFoundError if response.status_code == 404 else ServerError
            raise kind(
                f"{self.url}{self._path} must answer JSON. Is this TensorFlow Serving's REST interface? "
                f"Received: status {response.status_code}, {_shortened(response.text)}",
                status=response.status_code,
            ) from error
        if response.status_code == 200:
            return answer
        message = str(answer.get("error", answer) if isinstance(answer, dict) else answer)
        if response.status_code == 404 or "version label" in message:
            raise NotFoundError(f"{self._what_is_missing()} The server said: {message}", status=response.status_code)
        if "not found in signature def" in message:
            names = ", ".join(sorted(self.metadata()))
            raise NotFoundError(
                f"Model {self.model!r} has no signature {signature!r}. It has: {names}",
                status=response.status_code,
            )
        if "does not have named input" in message or "keys must be equal to" in message:
            served = self.metadata().get(signature or "")
            if served is not None and served.inputs.keys() != set(inputs):
                raise wrong_inputs(str(signature), served.inputs, inputs)
        if "maximum input batch size" in message:
            message += ". Pass a smaller batch_size= to Client"
        raise ServerError(f"{self.url}{self._path}: {message}", status=response.status_code)

    def _what_is_missing(self) -> str:
        response = self._send("GET", self._model_path)
        if response.status_code != 200:
            return (
                f"{self.url} serves no model {self.model!r}. Check the name against the server's "
                f"models.config, or against the folders that `tfpvae serve` was pointed at."
            )
        versions = _parsed(_read_status, self._answer(response))
        known = ", ".join(f"{number} ({version.state})" for number, version in versions.items())
        return f"Model {self.model!r} has no {self._wanted}. It has the versions: {known or 'none'}."


def _server_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise RequestError(f"url must be a server's address. Received: url={url!r}") from error
    path = parsed.path.rstrip("/").removesuffix("/v1")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment or "/v1/" in path:
        raise RequestError(f"url must look like 'http://localhost:8501'. Received: url={url!r}")
    return parsed.copy_with(path=path)


def _is_object(row: object) -> bool:
    """Whether a prediction holds its outputs by name; `{"b64": ...}` is one value."""
    return isinstance(row, dict) and row.keys() != {"b64"}


def _read_output(name: str, values: list[Any]) -> np.ndarray:
    try:
        if name.endswith("_bytes"):
            return np.array([base64.b64decode(value["b64"], validate=True) for value in values], dtype=object)
        return np.asarray(values)
    except (ValueError, KeyError, TypeError) as error:  # rows of unequal shape; not {"b64": ...}; not base64
        raise ServerError(f"{name} cannot be read. Received: {_shortened(values)}") from error


def _read_status(answer: Any) -> dict[int, VersionStatus]:
    return {
        int(entry["version"]): VersionStatus(entry["state"], entry["status"]["error_message"])
        for entry in answer["model_version_status"]
    }


def _read_metadata(answer: Any) -> dict[str, SignatureSpec]:
    return {
        name: SignatureSpec(_read_tensors(entry["inputs"]), _read_tensors(entry["outputs"]))
        for name, entry in answer["metadata"]["signature_def"]["signature_def"].items()
        if not name.startswith("__")  # __saved_model_init_op cannot be called
    }


def _read_tensors(entries: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(_dtype(entry["dtype"]), _shape(entry["tensor_shape"])) for name, entry in entries.items()}


def _dtype(name: str) -> str:
    return _DTYPES.get(name, name.removeprefix("DT_").lower())


def _shape(entry: Mapping[str, Any]) -> tuple[int | None, ...] | None:
    if entry["unknown_rank"]:
        return None
    sizes = (int(dimension["size"]) for dimension in entry["dim"])
    return tuple(None if size < 0 else size for size in sizes)


def _parsed(read: Callable[[Any], _T], answer: Any) -> _T:
    try:
        return read(answer)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ServerError(f"The answer is not TensorFlow Serving's. Received: {_shortened(answer)}") from error


def _shortened(answer: object) -> str:
    text = str(answer)
    return text if len(text) <= 200 else f"{text[:200]}..."
