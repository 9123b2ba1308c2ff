"""`tfpvae demo`: trains on handwritten digits, exports, serves, samples over HTTP, draws a picture."""

from __future__ import annotations

import argparse

import numpy as np

from tfpvae._extras import explain_missing
from tfpvae.cli.export import print_export, record_of
from tfpvae.cli.parsing import Commands, add_command
from tfpvae.cli.terminal import Steps, load_tensorflow
from tfpvae.cli.train import print_run
from tfpvae.errors import RunError
from tfpvae.files import local_path
from tfpvae.training.config import TrainConfig
from tfpvae.training.run import check_free


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Names the arguments."""
    parser = add_command(
        commands, "demo", "train on handwritten digits, export, serve, sample over HTTP, draw a picture"
    )
    parser.add_argument("--out", default="demo", metavar="DIR", help="where everything is written")
    return parser


def run(options: argparse.Namespace) -> None:
    """Checks that the run's directory is free or holds a run, then goes from data to samples.

    Raises:
        RunError: the run's directory holds something else.
    """
    out = local_path(options.out, RunError)
    check_free(out / "run", overwrite=True)

    print("Starting TensorFlow ...", flush=True)
    load_tensorflow("tfpvae demo")
    with explain_missing("tfpvae demo"):
        from tfpvae.server.serving import running
    from tfpvae.client import Client
    from tfpvae.export import export_model
    from tfpvae.images import labelled_rows, save_png
    from tfpvae.training import Progress, train

    print("\n1. Train on the handwritten digits that ship with scikit-learn (8x8 pixels)\n", flush=True)
    config = TrainConfig(data="digits", minutes=1.5)
    trained = train(config, out / "run", overwrite=True, callbacks=[Progress()], say=print)
    print_run(trained)

    print("\n2. Export as SavedModel and ONNX, and compare both with Keras\n", flush=True)
    vae = trained.model()
    with Steps() as steps:
        export = export_model(vae, out / "models" / "digits", progress=steps, **record_of(trained))
    print_export(export)

    print("\n3. Serve, and fetch samples over HTTP by seed\n", flush=True)
    with running(out / "models") as url, Client(url, "digits") as client:
        means, draws = client.sample_mean(12, seed=7), client.sample(12, seed=7)
        print(f"POST {url}/v1/models/digits:predict  -> {means.shape[0]} means and {draws.shape[0]} draws")
    gap = float(np.abs(means - np.asarray(vae.sample_mean(12, seed=7))).max())
    print(f"Largest difference from vae.sample_mean(12, seed=7) in Python: {gap:.1e}")
    x = trained.data().x_test[:12]
    reconstructions = np.asarray(vae.reconstruct(x))
    picture = out / "demo.png"
    save_png(
        labelled_rows(
            [
                ("test images", x),
                ("reconstructions", reconstructions),
                ("sample_mean over HTTP", means),
                ("sample over HTTP", draws),
            ]
        ),
        picture,
    )
    print(f"\nPicture: {picture}")
