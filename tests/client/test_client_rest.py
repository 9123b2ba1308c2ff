"""What is the REST client's alone: addresses, the wire, a server that misbehaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpvae.client import Client, ConnectionFailedError, NotFoundError, RequestError, ServerError

FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def client(answer: Callable[[httpx.Request], httpx.Response], **options: Any) -> Client:
    return Client("http://server:8501", "digits", transport=httpx.MockTransport(answer), **options)


def always(status: int, **content: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: httpx.Response(status, **content)


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("Connection refused")


@pytest.mark.parametrize(
    ("url", "requested"),
    [
        ("http://server:8501", "http://server:8501/v1/models/digits"),
        ("http://server:8501/", "http://server:8501/v1/models/digits"),
        ("http://server:8501/v1", "http://server:8501/v1/models/digits"),
        ("http://server:8501/v1/", "http://server:8501/v1/models/digits"),
        ("https://server/behind/a/proxy/", "https://server/behind/a/proxy/v1/models/digits"),
        ("http://[::1]:8501", "http://[::1]:8501/v1/models/digits"),
    ],
)
def test_url(url: str, requested: str) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, json={"model_version_status": []})

    assert Client(url, "digits", transport=httpx.MockTransport(answer)).status() == {}
    assert seen == [requested]


def test_password_is_sent_and_not_shown() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"].startswith("Basic ")
        return httpx.Response(500, json={"error": "broken"})

    user = Client("http://user:secret@server", "digits", transport=httpx.MockTransport(answer))
    assert repr(user) == "Client('http://server/v1/models/digits')"
    with pytest.raises(ServerError, match="http://server/v1/models/digits: broken"):
        user.status()


@pytest.mark.parametrize(
    "url",
    ["", "server:8501", "localhost", "ftp://server", "http://", "http://server?x=1", "http://server:port",
     "http://server/v1/models/digits", 8501],
)  # fmt: skip
def test_bad_url(url: Any) -> None:
    with pytest.raises(RequestError, match="url must"):
        Client(url, "digits")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": ""}, "model must be"),
        ({"model": "a/b"}, "model must be"),
        ({"model": ".."}, "model must be"),
        ({"model": "a:predict"}, "model must be"),
        ({"model": None}, "model must be"),
        ({"label": "a b"}, "label must be"),
        ({"version": -1}, "version must be"),
        ({"version": "1"}, "version must be"),
        ({"version": True}, "version must be"),
        ({"version": 1, "label": "stable"}, "not both"),
        ({"timeout": 0}, "timeout must be"),
        ({"batch_size": 0}, "batch_size must be"),
    ],
)
def test_bad_settings(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Client("http://server", **({"model": "digits"} | arguments))


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({}, "/v1/models/digits:predict"),
        ({"version": 3}, "/v1/models/digits/versions/3:predict"),
        ({"label": "stable"}, "/v1/models/digits/labels/stable:predict"),
    ],
)
def test_request(options: dict[str, Any], path: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", path)
        assert json.loads(request.content) == {
            "signature_name": "sample",
            "instances": [{"seed": 2**63 - 1}, {"seed": -(2**63)}],
        }
        return httpx.Response(200, json={"predictions": [[0.25], [0.5]]})

    np.testing.assert_array_equal(client(answer, **options).sample(2, seed=2**63 - 1), [[0.25], [0.5]])


@settings(derandomize=True)
@given(values=st.lists(FLOAT32, min_size=1, max_size=8))
def test_float32_survives_both_ways(values: list[float]) -> None:
    z = np.array([values], dtype=np.float32)

    def answer(request: httpx.Request) -> httpx.Response:
        (row,) = json.loads(request.content)["instances"]
        received = np.array([row["z"]], dtype=np.float32)
        np.testing.assert_array_equal(received.view(np.uint32), z.view(np.uint32))  # the sign of zero as well
        written = [f"{value:.1f}" if value.is_integer() else f"{value:.9g}" for value in received[0].tolist()]
        return httpx.Response(200, text=f'{{"predictions": [[{", ".join(written)}]]}}')

    mean = client(answer).decode(z)
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean.view(np.uint32), z.view(np.uint32))


def test_rows_are_split_and_joined_in_order() -> None:
    sizes = []

    def answer(request: httpx.Request) -> httpx.Response:
        seeds = [row["seed"] for row in json.loads(request.content)["instances"]]
        sizes.append(len(seeds))
        return httpx.Response(200, json={"predictions": [[float(seed)] for seed in seeds]})

    assert client(answer, batch_size=3).sample(7, seed=-2).ravel().tolist() == [-2, -1, 0, 1, 2, 3, 4]
    assert sizes == [3, 3, 1]


def test_a_model_that_changes_between_requests() -> None:
    answers = iter([[[0.0]], [[0.0, 1.0]]])
    with pytest.raises(ServerError, match="changed between two requests"):
        client(lambda request: httpx.Response(200, json={"predictions": next(answers)}), batch_size=1).sample(2)


def test_other_types_of_parameters() -> None:
    answer = [{"n": 2**53 + 1, "on": True, "p": 0.1}, {"n": -1, "on": False, "p": 1e-45}]
    q = client(always(200, json={"predictions": answer})).encode([[1], [2]])
    assert {name: value.dtype for name, value in q.items()} == {
        "n": np.int64,
        "on": np.bool_,
        "p": np.float32,
    }
    assert q["n"].tolist() == [2**53 + 1, -1]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"outputs": [[0.0]]},
        {"predictions": []},
        {"predictions": [[0.0]]},
        {"predictions": [[0.0], [0.0], [0.0]]},
        {"predictions": [[0.0], [0.0, 1.0]]},
        {"predictions": [["a"], ["b"]]},
        {"predictions": [[None], [None]]},
        {"predictions": [[2**70], [0]]},
        {"predictions": [{"mean": 0.0}, 1.0]},
        {"predictions": [{"mean": 0.0}, {"other": 1.0}]},
        {"predictions": [{"mean": 0.0, "more": 0.0}, {"mean": 0.0, "more": 0.0}]},
        [],
        None,
    ],
)
def test_answers_that_are_none(answer: Any) -> None:
    with pytest.raises(ServerError, match=r"(?s)sample.*Received|cannot be read"):
        client(always(200, text=json.dumps(answer))).sample(2)


@pytest.mark.parametrize("answer", ["text", {"b64": "!"}, {"b64": "YQ"}, {"b64": 1}, 1.0])
def test_png_that_is_none(answer: Any) -> None:
    with pytest.raises(ServerError, match="image_bytes cannot be read"):
        client(always(200, json={"predictions": [answer]})).sample_png()


def test_outputs_without_names() -> None:
    with pytest.raises(ServerError, match="score must answer 3 outputs by name"):
        client(always(200, json={"predictions": [1.0]})).score([[0.0]])


def test_metadata_that_is_none() -> None:
    with pytest.raises(ServerError, match="not TensorFlow Serving's"):
        client(always(200, json={"metadata": {}})).metadata()


@pytest.mark.parametrize("status", [301, 429, 500, 503])
def test_other_errors(status: int) -> None:
    with pytest.raises(ServerError, match="said no") as caught:
        client(always(status, json={"error": "said no"})).sample()
    assert caught.value.status == status


def test_not_json() -> None:
    with pytest.raises(ServerError, match=r"must answer JSON.*status 502, <html>") as caught:
        client(always(502, text="<html>")).sample()
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (httpx.ConnectError("refused"), "Is the server running.*tfpvae serve models/"),
        (httpx.ConnectTimeout("late"), "Is the server running"),
        (httpx.ReadTimeout("late"), "did not answer within 30 s.*timeout="),
        (httpx.RemoteProtocolError("not HTTP"), "Is this the REST port"),
        (httpx.ReadError("reset"), "broke off: reset"),
    ],
)
def test_no_answer(cause: Exception, message: str) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise cause

    with pytest.raises(ConnectionFailedError, match=message) as caught:
        client(fail).sample()
    assert caught.value.__cause__ is cause


def test_closed() -> None:
    with client(refuse) as closed:
        pass
    with pytest.raises(RequestError, match="closed"):
        closed.sample()


def test_wait_until_ready() -> None:
    answers: Iterator[httpx.Response | Exception] = iter([
        httpx.ConnectError("refused"),
        httpx.Response(404, json={"error": "Could not find any versions of model digits"}),  # the metadata
        httpx.Response(404, json={"error": "Could not find any versions of model digits"}),  # the status
        httpx.Response(200, json={"metadata": {"signature_def": {"signature_def": {}}}}),
    ])  # fmt: skip

    def answer(request: httpx.Request) -> httpx.Response:
        result = next(answers)
        if isinstance(result, Exception):
            raise result
        return result

    client(answer).wait_until_ready(timeout=10)
    assert next(answers, None) is None


@pytest.mark.parametrize(
    ("answer", "cause"), [(refuse, ConnectionFailedError), (always(404, json={"error": ""}), NotFoundError)]
)
def test_never_ready(answer: Callable[[httpx.Request], httpx.Response], cause: type[Exception]) -> None:
    with pytest.raises(ConnectionFailedError, match=r"Not ready after 0.2 s\. ") as caught:
        client(answer).wait_until_ready(timeout=0.2)
    assert type(caught.value.__cause__) is cause
