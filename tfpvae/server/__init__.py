"""The embedded development server: TensorFlow Serving's REST contract in this process.

It answers `:predict`, model status and metadata as TensorFlow Serving does, errors included: a client that works with
it works in production. It is for development, tests and demonstrations: one process, no batching, no gRPC.

Importing this package loads no TensorFlow: the models' folder and the port can be checked without it.
"""

from typing import TYPE_CHECKING

from tfpvae._lazy import lazy_names

if TYPE_CHECKING:
    from tfpvae.server.app import create_app
    from tfpvae.server.repository import VersionPolicy
    from tfpvae.server.serving import running, serve

__all__ = ["VersionPolicy", "create_app", "running", "serve"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "tfpvae.server.app": ("create_app",),
        "tfpvae.server.repository": ("VersionPolicy",),
        "tfpvae.server.serving": ("running", "serve"),
    },
)
