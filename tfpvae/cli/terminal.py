"""What the commands share: importing TensorFlow quietly, and showing the steps of long work."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator

from tfpvae._extras import explain_missing


def load_tensorflow(command: str) -> None:
    """Imports what a command trains, measures or exports with, and keeps TensorFlow's messages off the terminal.

    Args:
        command: the command, for the message where a package is missing: "tfpvae train".

    Raises:
        MissingExtraError: a package is not installed.
    """
    with explain_missing(command), quiet_stderr():
        import tensorflow as tf

        import tfpvae.export.exporter
        import tfpvae.training.trainer  # noqa: F401

        tf.config.list_physical_devices()  # TensorFlow looks for a GPU here, and says at length if there is none.


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keeps off the terminal what C++ code writes to stderr while the block runs; an exception shows it.

    TensorFlow writes its start-up messages to file descriptor 2, which `contextlib.redirect_stderr` does not reach.
    """
    with tempfile.TemporaryFile() as kept:
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


class Steps:
    """Shows the steps of long work: on a terminal in one line that is rewritten, elsewhere a line each.

    Args:
        live_only: whether to show nothing elsewhere.
    """

    def __init__(self, live_only: bool = False) -> None:
        self.start = time.monotonic()
        self.live_only = live_only
        self.width = 0

    def __call__(self, step: str) -> None:
        line = f"[{time.monotonic() - self.start:5.1f} s] {step}"
        if sys.stdout.isatty():
            print(f"\r{line:<{self.width}}", end="", flush=True)
            self.width = len(line)
        elif not self.live_only:
            print(line, flush=True)

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *error: object) -> None:
        if self.width:
            print(f"\r{'':<{self.width}}\r", end="", flush=True)


def no_steps(step: str) -> None:
    """Shows no steps, as `--json` wants it."""


def wrapped(label: str, text: str) -> str:
    """A label and a text in lines of at most 120 columns, the text indented by the label's width."""
    return textwrap.fill(f"{label}{text}", 120, subsequent_indent=" " * len(label), break_on_hyphens=False)
