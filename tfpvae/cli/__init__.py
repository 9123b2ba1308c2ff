"""The command line: `tfpvae train | refine | evaluate | export | verify | versions | serve | sample | demo`.

Each command is a module with two functions: `add_parser` names its arguments, and `run` checks what it can without
TensorFlow, then imports what it needs and does the work. So a mistake is answered at once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Final

import tfpvae
from tfpvae.cli import demo, evaluate, export, refine, sample, serve, train, verify, versions
from tfpvae.errors import TfpvaeError

COMMANDS: Final = (train, refine, evaluate, export, verify, versions, serve, sample, demo)

EPILOG: Final = """from data to samples:
  tfpvae train --data digits --out runs/digits
  tfpvae evaluate runs/digits
  tfpvae export runs/digits --out models/digits
  tfpvae serve models/
  tfpvae sample --url http://127.0.0.1:8501 --model digits --n 16 --seed 7 --out grid.png
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: the command line; None takes that of the process.

    Returns:
        The exit status: 0; 1 after an error, which is printed; 130 after an interruption.
    """
    options = build_parser().parse_args(arguments)
    with _process_settings():
        try:
            options.run(options)
        except TfpvaeError as error:
            print(f"tfpvae: error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"\ntfpvae: interrupted{options.when_interrupted}", file=sys.stderr)
            return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands. Its result has `run`, the function of the command, beside the arguments."""
    parser = argparse.ArgumentParser(
        prog="tfpvae",
        description="Variational autoencoders from training to samples over HTTP.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tfpvae {tfpvae.__version__}")
    parser.set_defaults(when_interrupted="")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands).set_defaults(run=command.run)
    return parser


@contextlib.contextmanager
def _process_settings() -> Iterator[None]:
    """While a command runs: warnings of one line, and no start-up messages of TensorFlow. Both are undone after it."""
    level = "TF_CPP_MIN_LOG_LEVEL"
    given, format_warning = os.environ.get(level), warnings.formatwarning
    warnings.formatwarning = _format_warning
    os.environ.setdefault(level, "2")
    try:
        yield
    finally:
        warnings.formatwarning = format_warning
        if given is None:
            os.environ.pop(level, None)


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    del category, filename, lineno, line
    return f"tfpvae: warning: {message}\n"
