"""The server as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from tfpvae.server import json_text
from tfpvae.server.handler import Answer, Handler, error_answer
from tfpvae.server.repository import Repository, VersionPolicy
from tfpvae.server.status import Code

_LOGGER: Final = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 64 * 2**20
"""The largest body of a request, in bytes: about 80 times a batch of 64 images of 28 x 28 pixels."""

POLL_SECONDS: Final = 1.0
"""Seconds between two looks at the models' folder, as in TensorFlow Serving."""


def create_app(models_directory: str | Path, *, policies: Mapping[str, VersionPolicy] | None = None) -> Starlette:
    """The development server as an ASGI application, its models loaded.

    While it runs (between ASGI's lifespan events) it looks for new versions every second.

    Args:
        models_directory: a folder of models (`models/digits/1/saved_model.pb`), or of one
            (`digits/1/saved_model.pb`).
        policies: versions and labels, by model; a model without a policy serves its latest version.

    Raises:
        ServeError: the folder is missing, or something in it cannot be served.
    """
    return app_of(Repository(models_directory, policies))


def app_of(repository: Repository) -> Starlette:
    """The ASGI application of a repository."""
    # One thread for each CPU, and one more to load versions meanwhile.
    threads = ThreadPoolExecutor((os.cpu_count() or 1) + 1, thread_name_prefix="tfpvae-server")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        polling = asyncio.create_task(_poll(repository, threads))
        yield
        polling.cancel()
        threads.shutdown()

    return Starlette(
        routes=[Mount("/", app=_Endpoint(Handler(repository), threads))],
        lifespan=lifespan,
        exception_handlers={Exception: _internal_error},
    )


async def _poll(repository: Repository, threads: Executor) -> None:
    while True:
        await asyncio.sleep(POLL_SECONDS)
        try:
            await asyncio.get_running_loop().run_in_executor(threads, repository.poll)
        except Exception:  # the loaded versions stay, and the next look may succeed
            _LOGGER.exception("The models' folder could not be looked at")


async def _internal_error(_: Request, error: Exception) -> Response:
    """The answer to an error of this server. Starlette raises the error again, so that it is logged."""
    return _response(error_answer(Code.INTERNAL, f"{type(error).__name__}: {error}"))


class _Endpoint:
    """Reads requests and writes answers. Worker threads compute the answers."""

    def __init__(self, handler: Handler, threads: Executor) -> None:
        self._handler = handler
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await _read_body(request)
        except ClientDisconnect:  # the client has gone
            return
        if body is None:
            message = f"The body of a request must not be longer than {MAX_BODY_BYTES} bytes."
            answer = replace(error_answer(Code.INVALID_ARGUMENT, message), status=413)
        else:
            answer = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._handler.answer, request.method, _raw_target(scope), body
            )
        await _response(answer)(scope, receive, send)


async def _read_body(request: Request) -> bytes | None:
    """The body of a request, or None if it is too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


def _raw_target(scope: Scope) -> str:
    """Path and query of a request as they were sent, with their escapes."""
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    return json_text.decode(scope["raw_path"] + query)


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, answer.headers)
