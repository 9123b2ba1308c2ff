"""`tfpvae refine`: fits a prior to the latents of a run."""

from __future__ import annotations

import argparse

from tfpvae.cli.parsing import Commands, add_command
from tfpvae.cli.terminal import load_tensorflow
from tfpvae.training.run import open_run


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Names the arguments."""
    parser = add_command(
        commands, "refine", "fit a mixture of Gaussians to a run's latents, and make it the prior if the bound rises"
    )
    parser.add_argument("run_dir", metavar="RUN", help="a run's directory")
    return parser


def run(options: argparse.Namespace) -> None:
    """Checks the run, then refines it.

    Raises:
        RunError: the directory holds no run, or no model.
    """
    trained = open_run(options.run_dir)
    trained.check_model()
    load_tensorflow("tfpvae refine")
    from tfpvae.training import refine

    refine(trained, lambda line: print(line, flush=True))
