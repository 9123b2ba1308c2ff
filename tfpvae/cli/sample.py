"""`tfpvae sample`: fetches samples from a server and draws them."""

from __future__ import annotations

import argparse
from typing import Any

from tfpvae.cli.parsing import Commands, add_command
from tfpvae.images import check_png_path


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Names the arguments."""
    parser = add_command(commands, "sample", "fetch samples from a server and draw them")
    parser.add_argument("--url", default="http://127.0.0.1:8501", help="the server")
    parser.add_argument("--model", required=True, metavar="NAME", help="the model's name")
    parser.add_argument("--n", type=int, default=16, help="how many")
    parser.add_argument("--seed", type=int, metavar="S", help="row i uses seed S + i; by default a fresh one")
    parser.add_argument(
        "--y",
        type=_condition,
        metavar="Y",
        help="of a conditional model: a label, labels in turn as in 0,1,2, or the floats of a condition as in 0.5,1.0",
    )
    parser.add_argument("--mean", action="store_true", help="E[x|z] in place of a draw of x")
    parser.add_argument("--out", default="grid.png", metavar="PNG", help="the picture")
    return parser


def _condition(text: str) -> list[int] | list[float]:
    """The numbers of a list; integers are labels.

    Raises:
        argparse.ArgumentTypeError: it is no such list.
    """
    for number in (int, float):
        try:
            return [number(part) for part in text.split(",")]
        except ValueError:
            continue
    raise argparse.ArgumentTypeError(f"must be numbers, as in 3 or 0,1,2 or 0.5,1.0. Received: {text!r}")


def _of_rows(y: list[int] | list[float] | None, n: int) -> list[Any] | None:
    """The condition of each row: labels in turn, or the one condition of floats."""
    if y is None:
        return None
    return [y[row % len(y)] if isinstance(y[0], int) else y for row in range(n)]


def run(options: argparse.Namespace) -> None:
    """Checks where the picture is to go, then fetches the samples.

    Raises:
        ClientError: the arguments are wrong, or the server does not answer them.
        DataError: the picture cannot be written.
    """
    check_png_path(options.out)
    from tfpvae.client import Client
    from tfpvae.images import grid, save_png

    with Client(options.url, options.model) as client:
        call = client.sample_mean if options.mean else client.sample
        samples = call(options.n, seed=options.seed, y=_of_rows(options.y, options.n))
    in_turn = options.y is not None and 1 < len(options.y) < options.n and isinstance(options.y[0], int)
    picture = grid(samples, len(options.y) if in_turn else None)
    save_png(picture, options.out)
    seed = "a fresh seed" if options.seed is None else f"seed {options.seed}"
    print(f"{options.n} samples of {options.model} by {seed} from {options.url}: {options.out}")
