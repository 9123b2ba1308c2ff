"""Runs the application on a port: until it is interrupted, or while a `with` block runs."""

from __future__ import annotations

import gc
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from tfpvae.errors import ServeError
from tfpvae.server.app import app_of, create_app
from tfpvae.server.listening import listen, url_of
from tfpvae.server.repository import Repository, VersionPolicy
from tfpvae.signatures import SIGNATURES

_GRACE_SECONDS: Final = 5
"""Seconds that running requests may still take once the server is told to stop."""


def serve(
    models_directory: str | Path,
    host: str = "127.0.0.1",
    port: int = 8501,
    *,
    policies: Mapping[str, VersionPolicy] | None = None,
) -> None:
    """Serves a folder of models until it is interrupted. When it is ready, it prints its address and a request to try.

    Args:
        models_directory: a folder of models (`models/digits/1/saved_model.pb`), or of one
            (`digits/1/saved_model.pb`).
        host: the address to listen on; "0.0.0.0" for every network the machine is on.
        port: the port; 0 for any that is free. The default is TensorFlow Serving's.
        policies: versions and labels, by model; a model without a policy serves its latest version.

    Raises:
        ServeError: the folder is missing, something in it cannot be served, or the port is in use.
    """
    with listen(host, port) as listener, _imports_not_collected():
        repository = Repository(models_directory, policies)
        url = url_of(listener)
        server = _Server(app_of(repository), lambda: print(_greeting(url, repository), flush=True))
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


@contextmanager
def running(
    models_directory: str | Path,
    port: int = 0,
    *,
    policies: Mapping[str, VersionPolicy] | None = None,
) -> Iterator[str]:
    """Serves a folder of models on this machine, in a thread of this process, while the `with` block runs.

        with running("models") as url:
            httpx.get(f"{url}/v1/models/digits")

    Args:
        models_directory: a folder of models, or of one.
        port: the port; 0 for any that is free.
        policies: versions and labels, by model; a model without a policy serves its latest version.

    Yields:
        The base URL ("http://127.0.0.1:40123"), once the models are loaded and requests are answered.

    Raises:
        ServeError: the folder is missing, something in it cannot be served, or the port is in use.
    """
    with listen("127.0.0.1", port) as listener:
        ready = threading.Event()
        server = _Server(create_app(models_directory, policies=policies), ready.set)
        thread = threading.Thread(target=server.run, args=([listener],), name="tfpvae-server")
        thread.start()
        try:
            while not ready.wait(0.1):
                if not thread.is_alive():
                    raise ServeError("The server stopped before it was ready; its log says why.")
            yield url_of(listener)
        finally:
            server.should_exit = True
            thread.join()


class _Server(uvicorn.Server):
    """Uvicorn with this project's settings, and a call when it is ready."""

    def __init__(self, app: ASGIApp, on_ready: Callable[[], object]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="on",
                log_config=None,  # Uvicorn's own configuration would close the handlers of the whole process.
                server_header=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


@contextmanager
def _imports_not_collected() -> Iterator[None]:
    """Keeps the garbage collector from walking TensorFlow's objects, which takes 0.25 s in large requests."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _greeting(url: str, repository: Repository) -> str:
    lines = [f"Serving {repository.directory} on {url}"]
    for name, servables in sorted(repository.models.items()):
        versions = ", ".join(map(str, sorted(servables)))
        lines.append(f"  {name}, version {versions}: {url}/v1/models/{name}")
    model, servables = min(repository.models.items())
    signatures = servables[max(servables)].signatures
    by_seed = [name for name, served in signatures.items() if name in SIGNATURES and list(served.inputs) == ["seed"]]
    if by_seed:
        body = json.dumps({"signature_name": by_seed[0], "instances": [7]})
        lines.append(f"Try: curl -d '{body}' {url}/v1/models/{model}:predict")
    else:
        lines.append(f"Try: curl {url}/v1/models/{model}/metadata")
    return "\n".join(lines)
