"""The server as a process sees it: start, stop, and requests over HTTP."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

Publish = Callable[[str, int], Path]


def test_running_serves_and_leaves_no_thread(publish: Publish, tmp_path: Path) -> None:
    from tfpvae.server import running

    publish("tiny/1", 1)
    with running(tmp_path / "models"):  # TensorFlow's own threads start with the first session and stay
        pass
    before = set(threading.enumerate())
    with running(tmp_path / "models") as url:
        answer = httpx.post(f"{url}/v1/models/tiny:predict", json={"instances": [[1, 2]]})
        assert answer.json() == {"predictions": [[1.0, 2.0]]}
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_running_leaves_the_loggers_of_the_process_alone(publish: Publish, tmp_path: Path) -> None:
    from tfpvae.server import running

    publish("tiny/1", 1)
    with (tmp_path / "log").open("w") as stream:
        handler = logging.StreamHandler(stream)
        loggers = [logging.getLogger(name) for name in ("root", "uvicorn", "uvicorn.error", "uvicorn.access")]
        loggers[0].addHandler(handler)
        try:
            before = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
            with running(tmp_path / "models"):
                pass
            assert [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers] == before
            logging.getLogger("mine").warning("still written")
        finally:
            loggers[0].removeHandler(handler)
    assert "still written" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("kept_alive", [True, False])
def test_answers_are_sent_without_delay(publish: Publish, tmp_path: Path, monkeypatch, kept_alive: bool) -> None:
    """Nagle's algorithm would hold an answer's body back until its headers are acknowledged: 40 ms each."""
    import uvicorn

    from tfpvae.server import running

    servers: list[uvicorn.Server] = []
    startup = uvicorn.Server.startup

    async def remembered(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        servers.append(server)
        await startup(server, sockets=sockets)

    monkeypatch.setattr(uvicorn.Server, "startup", remembered)
    publish("tiny/1", 1)
    with running(tmp_path / "models") as url, httpx.Client(base_url=url) as client:
        for _ in range(2 if kept_alive else 1):
            client.get("/v1/models/tiny")
        (connection,) = servers[0].server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_running_picks_up_a_new_version(publish: Publish, tmp_path: Path) -> None:
    from tfpvae.server import running

    publish("tiny/1", 1)
    with running(tmp_path / "models") as url:
        publish("tiny/2", 2)
        deadline = time.monotonic() + 20
        while httpx.get(f"{url}/v1/models/tiny/versions/2").status_code == 404:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_many_requests_at_once(publish: Publish, tmp_path: Path) -> None:
    from tfpvae.server import running

    publish("tiny/1", 2)
    with running(tmp_path / "models") as url, httpx.Client(base_url=url) as client, ThreadPoolExecutor(8) as pool:

        def predict(i: int) -> list[float]:
            return client.post("/v1/models/tiny:predict", json={"instances": [[i, 1]]}).json()["predictions"][0]

        assert list(pool.map(predict, range(40))) == [[2.0 * i, 2.0] for i in range(40)]


def test_failed_requests_leave_the_server_running(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tfpvae.server import app, running

    publish("tiny/1", 1)
    monkeypatch.setattr(app, "MAX_BODY_BYTES", 1000)
    with running(tmp_path / "models") as url:
        too_long = httpx.post(f"{url}/v1/models/tiny:predict", content=b"[" * 1001)
        assert (too_long.status_code, too_long.headers["content-type"]) == (413, "application/json")
        assert "1000 bytes" in too_long.json()["error"]

        with monkeypatch.context() as patch:
            patch.setattr("tfpvae.server.handler.write_message", lambda message: 1 / 0)
            fault = httpx.get(f"{url}/v1/models/tiny")
        assert fault.status_code == 500
        assert fault.json() == {"error": "ZeroDivisionError: division by zero"}

        deadline = time.monotonic() + 20
        while "division by zero" not in caplog.text:  # Uvicorn logs the error once the answer is sent.
            assert time.monotonic() < deadline
            time.sleep(0.01)
        caplog.clear()
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")

        assert httpx.get(f"{url}/v1/models/tiny").status_code == 200
    assert caplog.text == ""


def test_port_in_use(publish: Publish, tmp_path: Path) -> None:
    from tfpvae.errors import ServeError
    from tfpvae.server import running, serve

    publish("tiny/1", 1)
    with running(tmp_path / "models") as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(ServeError, match=f"cannot listen on 127.0.0.1, port {port}"):
            serve(tmp_path / "models", port=port)


def test_missing_folder(tmp_path: Path) -> None:
    from tfpvae.errors import ServeError
    from tfpvae.server import create_app, running, serve

    with pytest.raises(ServeError, match="must be a folder"):
        create_app(tmp_path / "nope")
    with pytest.raises(ServeError, match="must be a folder"):
        serve(tmp_path / "nope", port=0)
    with pytest.raises(ServeError, match="must be a folder"), running(tmp_path / "nope"):
        pass


def test_app_without_a_server(publish: Publish, tmp_path: Path) -> None:
    from tfpvae.server import create_app

    publish("tiny/1", 2)
    app = create_app(tmp_path / "models")

    async def predict() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://app") as client,
        ):
            return await client.post("/v1/models/tiny:predict", json={"inputs": [[1, 2]]})

    assert asyncio.run(predict()).json() == {"outputs": [[2.0, 4.0]]}


def test_names_in_paths_are_unquoted(publish: Publish, tmp_path: Path) -> None:
    from tfpvae.server import running

    publish("tiny model/1", 1)
    with running(tmp_path / "models") as url:
        assert httpx.get(f"{url}/V1/Models/tiny%20model/versions/01").status_code == 200
        too_large = httpx.get(f"{url}/v1/models/tiny%20model/versions/{10**30}")
    assert too_large.json() == {"error": f"Failed to convert version: {10**30} to numeric."}


@pytest.mark.slow
def test_serve_prints_where_it_is_and_stops_when_interrupted(publish: Publish, tmp_path: Path) -> None:
    publish("tiny/1", 1)
    code = f"from tfpvae.server import serve; serve({str(tmp_path / 'models')!r}, port=0)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        url = lines[0].split()[-1]
        assert lines[1] == f"  tiny, version 1: {url}/v1/models/tiny\n"
        assert lines[2] == (
            """Try: curl -d '{"signature_name": "sample", "instances": [7]}' """
            f"{url}/v1/models/tiny:predict\n"
        )
        body = b'{"signature_name": "sample", "instances": [7]}'
        assert httpx.post(f"{url}/v1/models/tiny:predict", content=body).json() == {"predictions": [8]}
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.mark.parametrize("package", ["tensorflow", "starlette", "uvicorn"])
def test_missing_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import tfpvae
    import tfpvae.server
    from tfpvae.errors import MissingExtraError

    monkeypatch.setattr(tfpvae, "server", tfpvae.server)  # The import below puts another module there.
    for name in [name for name in sys.modules if name.startswith(("tfpvae.server", f"{package}."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}', which is not installed.*pip install 'tfpvae\["):
        from tfpvae.server import serve  # noqa: F401
