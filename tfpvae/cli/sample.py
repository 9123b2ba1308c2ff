"""`tfpvae sample`: fetches samples from a server and draws them."""

from __future__ import annotations

import argparse

from tfpvae.cli.parsing import Commands, add_command
from tfpvae.images import check_png_path


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Names the arguments."""
    parser = add_command(commands, "sample", "fetch samples from a server and draw them")
    parser.add_argument("--url", default="http://127.0.0.1:8501", help="the server")
    parser.add_argument("--model", required=True, metavar="NAME", help="the model's name")
    parser.add_argument("--n", type=int, default=16, help="how many")
    parser.add_argument("--seed", type=int, metavar="S", help="row i uses seed S + i; by default a fresh one")
    parser.add_argument("--mean", action="store_true", help="E[x|z] in place of a draw of x")
    parser.add_argument("--out", default="grid.png", metavar="PNG", help="the picture")
    return parser


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
        picture = grid(call(options.n, seed=options.seed))
    save_png(picture, options.out)
    seed = "a fresh seed" if options.seed is None else f"seed {options.seed}"
    print(f"{options.n} samples of {options.model} by {seed} from {options.url}: {options.out}")
