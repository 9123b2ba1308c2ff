"""`tfpvae serve`: serves exported models over HTTP, as TensorFlow Serving does."""

from __future__ import annotations

import argparse

from tfpvae._extras import explain_missing
from tfpvae.cli.parsing import Commands, add_command
from tfpvae.cli.terminal import quiet_stderr
from tfpvae.errors import ExportError
from tfpvae.export.repository.model_config import read_entries
from tfpvae.files import local_path
from tfpvae.server.listening import listen
from tfpvae.server.models_folder import check_models_folder


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Names the arguments."""
    parser = add_command(commands, "serve", "serve exported models over HTTP, as TensorFlow Serving does")
    parser.add_argument("models", metavar="MODELS", help="a folder of models, or of one")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=8501, help="the port; 0 for any that is free")
    parser.add_argument(
        "--config",
        metavar="CONFIG",
        help="TensorFlow Serving's models.config, as `tfpvae versions --label` writes it: the versions and labels of "
        "the models that it names; all others are served in their highest version",
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Checks that the folder holds a model and that the port is free, then serves until interrupted.

    Raises:
        ServeError: the folder holds nothing that can be served, or the port cannot be used.
        ExportError: CONFIG cannot be read, or asks for what cannot be done here.
    """
    check_models_folder(options.models)
    entries = read_entries(local_path(options.config, ExportError)) if options.config else {}
    with listen(options.host, options.port):
        pass  # The server takes the port again once TensorFlow is loaded.

    with explain_missing("tfpvae serve"), quiet_stderr():
        from tfpvae.server.repository import VersionPolicy
        from tfpvae.server.serving import serve

    policies = {model: VersionPolicy(entry.versions, entry.labels) for model, entry in entries.items()}
    serve(options.models, options.host, options.port, policies=policies)
