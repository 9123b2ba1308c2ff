"""The socket that a server listens on. No TensorFlow."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tfpvae.errors import ServeError


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Listens on an address while the `with` block runs.

    Args:
        host: the address, such as "127.0.0.1" or "::1"; "0.0.0.0" for every network the machine is on.
        port: the port; 0 for any that is free.

    Raises:
        ServeError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named, asyncio switches TCP_NODELAY on for each connection. Without it, an answer waits 40 ms
    # for the acknowledgement of its own headers whenever a connection is used again.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except (OSError, OverflowError) as error:
            raise ServeError(f"The server cannot listen on {host}, port {port}: {error}.") from error
        yield listener


def url_of(listener: socket.socket) -> str:
    """The URL of a server that listens on a socket: "http://127.0.0.1:8501"."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
