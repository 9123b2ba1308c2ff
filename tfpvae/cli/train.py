"""`tfpvae train`: trains a model on images, into a run directory."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tfpvae.cli.parsing import Commands, add_command
from tfpvae.cli.terminal import load_tensorflow
from tfpvae.data import check_source
from tfpvae.errors import RunError
from tfpvae.files import local_path
from tfpvae.training.config import AUTO, BINARIZE, LIKELIHOODS, MODELS, PRIORS, TrainConfig
from tfpvae.training.run import check_free, open_run

if TYPE_CHECKING:
    from tfpvae.training import Run


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Names the arguments."""
    parser = add_command(commands, "train", "train a model on images, into a run directory")
    parser.add_argument(
        "--data", required=True, help="digits, mnist, fashion_mnist, an .npz or .npy file, or a folder of images"
    )
    parser.add_argument("--out", required=True, metavar="RUN", help="the run's directory")
    parser.add_argument(
        "--binarize",
        choices=[str(choice) for choice in BINARIZE],
        default=AUTO,
        help="how images become binary; auto is dynamic for grey images and a Bernoulli likelihood, none for others",
    )
    parser.add_argument(
        "--model", choices=(AUTO, *MODELS), default=AUTO, help="the networks; auto is conv for sides of 16 and more"
    )
    parser.add_argument(
        "--latent", type=int, metavar="D", help="latent dimensions; by default 32, fewer for tiny images"
    )
    parser.add_argument(
        "--likelihood",
        choices=(AUTO, *LIKELIHOODS),
        default=AUTO,
        help="p(x|z); auto is bernoulli for binary images, else normal, a Gaussian of one learned variance",
    )
    parser.add_argument("--prior", choices=PRIORS, default="standard", help="p(z)")
    parser.add_argument(
        "--k", type=int, default=1, help="draws of the bound; above 1 it is the importance-weighted one"
    )
    parser.add_argument("--beta", type=float, default=1.0, help="the weight of the KL")
    parser.add_argument(
        "--kl-warm-up", type=int, default=0, metavar="STEPS", help="steps over which that weight rises from 0"
    )
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the data; by default until the bound stops rising"
    )
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="at most so long; by default 10 where --epochs is not given"
    )
    parser.add_argument("--batch-size", type=int, metavar="B", help="images per step; by default 64 or 128")
    parser.add_argument(
        "--learning-rate", type=float, metavar="R", help="Adam's at the start; by default 2e-3 (conv) or 1e-3 (mlp)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="the seed of the weights, the order and every draw"
    )
    parser.add_argument(
        "--no-refine", action="store_true", help="leave the prior N(0, I), and fit none to the latents afterwards"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace the run that RUN holds")
    existing.add_argument("--resume", action="store_true", help="go on with the run that RUN holds")
    parser.set_defaults(when_interrupted="; go on from the last saved epoch with --resume")
    return parser


def run(options: argparse.Namespace) -> None:
    """Checks the settings, the data's name and the directory, then trains.

    Raises:
        DataError: the data is unknown or cannot be used.
        RunError: a setting is wrong, or the directory cannot be used.
    """
    config = TrainConfig(
        data=options.data,
        binarize=options.binarize,
        model=options.model,
        latent=options.latent,
        likelihood=options.likelihood,
        prior=options.prior,
        k=options.k,
        beta=options.beta,
        kl_warm_up=options.kl_warm_up,
        epochs=options.epochs,
        minutes=options.minutes,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    check_source(config.data)
    if options.resume:
        config.resumes(open_run(options.out).config)
    else:
        check_free(local_path(options.out, RunError), options.overwrite)

    load_tensorflow("tfpvae train")
    from tfpvae.training import Progress, train

    trained = train(
        config,
        options.out,
        overwrite=options.overwrite,
        resume=options.resume,
        callbacks=[Progress()],
        say=lambda line: print(line, flush=True),
        refine_prior=not options.no_refine,
    )
    print_run(trained)


def print_run(run: Run) -> None:
    """Prints what the run's directory holds."""
    print(f"\nRun {run.path}/:")
    for name, text in (
        ("model.keras", "the model with the best weights, for keras.models.load_model and tfpvae export"),
        ("refined.keras", "the same with a prior fitted to its latents; what evaluate, export and samples use"),
        ("config.json", "every setting and version"),
        ("history.json", "the metrics of each epoch"),
        ("reconstructions.png", "test images and their reconstructions"),
        ("samples.png", "samples from the prior"),
        ("history.png", "the course of training"),
    ):
        if (run.path / name).is_file():
            print(f"  {name:<20} {text}")
