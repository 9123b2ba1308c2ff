"""`tfpvae train`: trains a model on images, into a run directory."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tfpvae.cli.parsing import Commands, add_command
from tfpvae.cli.terminal import load_tensorflow
from tfpvae.data import check_source
from tfpvae.errors import RunError
from tfpvae.files import local_path
from tfpvae.training.config import BINARIZE, LIKELIHOODS, MODELS, PRIORS, TrainConfig
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
        default="auto",
        help="how images become binary; auto is dynamic for a Bernoulli likelihood, none for others",
    )
    parser.add_argument("--model", choices=MODELS, default="mlp", help="the networks")
    parser.add_argument("--latent", type=int, default=16, metavar="D", help="latent dimensions")
    parser.add_argument("--likelihood", choices=LIKELIHOODS, default="bernoulli", help="p(x|z)")
    parser.add_argument("--prior", choices=PRIORS, default="standard", help="p(z)")
    parser.add_argument(
        "--k", type=int, default=1, help="draws of the bound; above 1 it is the importance-weighted one"
    )
    parser.add_argument("--beta", type=float, default=1.0, help="the weight of the KL")
    parser.add_argument(
        "--kl-warm-up", type=int, default=0, metavar="STEPS", help="steps over which that weight rises from 0"
    )
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="passes over the data")
    parser.add_argument("--batch-size", type=int, default=128, metavar="B", help="images per step")
    parser.add_argument(
        "--learning-rate", type=float, default=1e-3, metavar="R", help="Adam's at the start; it falls to zero"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="the seed of the weights, the order and every draw"
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
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    check_source(config.data)
    if options.resume:
        config.check_resumes(open_run(options.out).config)
    else:
        check_free(local_path(options.out, RunError), options.overwrite)

    load_tensorflow("tfpvae train")
    from tfpvae.training import Progress, train

    trained = train(config, options.out, overwrite=options.overwrite, resume=options.resume, callbacks=[Progress()])
    print_run(trained)


def print_run(run: Run) -> None:
    """Prints how far the bound rose, and what the run's directory holds."""
    elbo = run.history()["val_elbo"]
    print(f"\n{len(elbo)} epochs. Test ELBO {elbo[0]:.2f} -> {elbo[-1]:.2f} nats per image.")
    print(f"Run {run.path}/:")
    for name, text in (
        ("model.keras", "the model, for keras.models.load_model and tfpvae export"),
        ("config.json", "every setting and version"),
        ("history.json", "the metrics of each epoch"),
        ("reconstructions.png", "test images and their reconstructions"),
        ("samples.png", "samples from the prior"),
        ("history.png", "the course of training"),
    ):
        print(f"  {name:<20} {text}")
