"""`tfpvae evaluate`: measures a run's model on its test images."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import Any

from tfpvae.cli.parsing import Commands, add_command, add_json
from tfpvae.cli.terminal import Steps, load_tensorflow, no_steps
from tfpvae.data import check_source
from tfpvae.errors import RunError
from tfpvae.files import local_path
from tfpvae.training.run import check_measurement, open_run


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Names the arguments."""
    parser = add_command(commands, "evaluate", "measure a run's model on its test images")
    parser.add_argument("run_dir", metavar="RUN", help="the run's directory")
    parser.add_argument(
        "--samples",
        type=int,
        default=0,
        metavar="S",
        help="estimate log p(x) too, by S importance samples for each image (5000 in papers); 0 leaves it out",
    )
    parser.add_argument("--images", type=int, metavar="N", help="the first N test images alone")
    parser.add_argument("--report", metavar="DIR", help="write a report with pictures to a directory of its own")
    parser.add_argument("--overwrite", action="store_true", help="replace the report that DIR holds")
    add_json(parser)
    return parser


def run(options: argparse.Namespace) -> None:
    """Checks the run, its data's name or path, the counts and the report's directory, then measures.

    Raises:
        DataError: the run's data is not there any more, or cannot be used.
        RunError: there is no run with a model, a count is wrong, or the report's directory is not free.
    """
    opened = open_run(options.run_dir)
    opened.check_model()
    check_source(opened.config.data)
    check_measurement(options.samples, options.images, options.report, options.overwrite)

    load_tensorflow("tfpvae evaluate")
    from tfpvae.training import evaluate

    with Steps(live_only=True) as steps:
        metrics = evaluate(
            opened,
            no_steps if options.json else steps,
            samples=options.samples,
            images=options.images,
            report=options.report,
            overwrite=options.overwrite,
        )
    if options.json:
        print(json.dumps(metrics))
        return
    _print_metrics(metrics)
    drawn = f", drawn once from seed {opened.config.seed}" if opened.config.binarize == "dynamic" else ""
    print(f"{metrics['n']} test images of {opened.config.data}; binarisation: {opened.config.binarize}{drawn}")
    print()
    for finding in metrics["findings"]:
        text = f"{finding['level'].upper():<6}{finding['name']}: {finding['text']}"
        print(textwrap.fill(text, 100, subsequent_indent=" " * 6))
    if options.report:
        print(f"\nReport: {local_path(options.report, RunError) / 'report.md'}")


def _print_metrics(metrics: dict[str, Any]) -> None:
    def error(name: str) -> str:
        return f" ± {metrics[name]:.3f}" if name in metrics else ""

    print(f"test elbo       {metrics['elbo']:10.3f} nats per image{error('elbo_standard_error')}")
    print(f"log_likelihood  {metrics['log_likelihood']:10.3f}{error('distortion_standard_error')}")
    print(f"kl              {metrics['kl']:10.3f}{error('rate_standard_error')}")
    if "log_marginal" in metrics:
        how = f"{metrics['samples']} importance samples, {metrics['effective_samples']:.0f} effective"
        print(f"log_marginal    {metrics['log_marginal']:10.3f}{error('log_marginal_standard_error')}   by {how}")
    if "bits_per_dimension" in metrics:
        print(f"bits/dimension  {metrics['bits_per_dimension']:10.3f}")
    if "explained_variance" in metrics:
        of_pca = f"{metrics['explained_variance_pca']:.3f} by {metrics['pca_components']} principal components"
        print(f"explained       {metrics['explained_variance']:10.3f} of the variance, {of_pca}")
    if "active_units" in metrics:
        print(f"active units    {metrics['active_units']:>10} of {metrics['latents']}")
    if "gamma" in metrics:
        print(f"gamma           {metrics['gamma']:10.3g}   manifold dimension {metrics['manifold_dimension']}")
    if "monte_carlo" in metrics:
        naive = metrics["monte_carlo"]
        text = (
            f"On the first {naive['n']} images log p(x) is {naive['importance_log_marginal']:.3f} by importance "
            f"sampling, {naive['log_marginal']:.3f} by naive Monte Carlo. {naive['words']}"
        )
        print(textwrap.fill(text, 100))
