"""Published test log-likelihoods of binarised MNIST, and what this package reaches.

    python benchmarks/published.py --row vae-1 [--data mnist.npz] [--out runs/published]
    python benchmarks/published.py --list

It trains the row's model and prints its negative log-likelihood on the test set, estimated with 5,000 importance
samples for each image, beside the published value. The training images are binarised afresh in each epoch, the 10,000
test images once, from a seed. The sizes and the evaluation are those of the papers, the training schedule is not.

An interrupted row goes on when it is started again: the training from the last saved epoch, the evaluation from the
last saved thousand images. A row with the settings of this file is written into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import tfpvae.data
from tfpvae import layers as tfpl
from tfpvae import priors
from tfpvae.errors import TfpvaeError
from tfpvae.evaluate import importance_log_marginal
from tfpvae.models import VAE, HierarchicalVAE
from tfpvae.objectives import DReG, Elbo, Iwae, Objective
from tfpvae.schedules import KLWarmUp
from tfpvae.training import FusedAdam
from tfpvae.training.run import save_model, write_json

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE / "RESULTS.md"
SHAPE: Final = (28, 28, 1)
TEST_SEED: Final = 0
"""Binarises the test images, and draws the latents of the evaluation: image i uses seed i."""
EVALUATED_AT_ONCE: Final = 1000
SAVE_SECONDS: Final = 60.0


Part = Callable[[keras.KerasTensor], keras.KerasTensor]


def dense(units: int) -> Part:
    """A dense layer with ELU, in place of the tanh of [BGS16], whose sizes these are: it learns faster."""
    return keras.layers.Dense(units, "elu")


def normalised(units: int) -> Part:
    """The same with batch normalisation, which learns faster still; `fold` makes a `dense` of it."""
    linear, normal = keras.layers.Dense(units, use_bias=False), keras.layers.BatchNormalization()
    activation = keras.layers.Activation("elu")
    return lambda h: activation(normal(linear(h)))


def gated(units: int) -> Part:
    """A dense layer times the sigmoid of another [DFAG17]."""
    value, gate = keras.layers.Dense(units), keras.layers.Dense(units, "sigmoid")
    return lambda h: value(h) * gate(h)


def gated_conv(filters: int, size: int, stride: int = 1) -> Part:
    value = keras.layers.Conv2D(filters, size, stride, padding="same")
    gate = keras.layers.Conv2D(filters, size, stride, padding="same", activation="sigmoid")
    return lambda h: value(h) * gate(h)


def through(h: keras.KerasTensor, *parts: Part) -> keras.KerasTensor:
    for part in parts:
        h = part(h)
    return h


def gaussian(h: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """A diagonal Gaussian of `size` values whose mean and scale are linear in h."""
    return tfpl.MultivariateNormalDiag(size)(keras.layers.Dense(tfpl.MultivariateNormalDiag.params_size(size))(h))


def bernoulli(h: keras.KerasTensor) -> keras.KerasTensor:
    return tfpl.IndependentBernoulli(SHAPE)(keras.layers.Dense(math.prod(SHAPE), name="pixels")(h))


def flat(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.Flatten()(x)


def burda_1(objective: Objective, hidden: Callable[[int], Part] = dense) -> VAE:
    """784-200-200, 50 latents [BGS16, sec. 5 and appendix C]."""
    x, z = keras.Input(SHAPE), keras.Input((50,))
    encoder = keras.Model(x, gaussian(through(flat(x), hidden(200), hidden(200)), 50))
    decoder = keras.Model(z, bernoulli(through(z, hidden(200), hidden(200))))
    return VAE(encoder, decoder, objective=objective)


def burda_2(objective: Objective, hidden: Callable[[int], Part] = dense) -> VAE:
    """784-200-200, 100 latents, 100-100, 50 latents [BGS16, sec. 5 and appendix C]."""
    x, z1, z2 = keras.Input(SHAPE, name="x"), keras.Input((100,), name="z1"), keras.Input((50,), name="z2")
    return HierarchicalVAE(
        posteriors={
            "z1": keras.Model(x, gaussian(through(flat(x), hidden(200), hidden(200)), 100)),
            "z2": keras.Model(z1, gaussian(through(z1, hidden(100), hidden(100)), 50)),
        },
        conditionals={"z1": keras.Model(z2, gaussian(through(z2, hidden(100), hidden(100)), 100))},
        decoder=keras.Model(z1, bernoulli(through(z1, hidden(200), hidden(200)))),
        objective=objective,
    )


def vamp(objective: Objective) -> VAE:
    """784-300-300 gated, 40 latents, 500 pseudo-inputs [TW18, sec. 4 and their code]."""
    x, z = keras.Input(SHAPE), keras.Input((40,))
    encoder = keras.Model(x, gaussian(through(flat(x), gated(300), gated(300)), 40))
    decoder = keras.Model(z, bernoulli(through(z, gated(300), gated(300))))
    return VAE(encoder, decoder, prior=priors.VampPrior(components=500), objective=objective)


def hvae_vamp(objective: Objective) -> VAE:
    """Two layers of 40 latents, gated layers of 300, a VampPrior on the upper [TW18, sec. 3 and their code]."""
    x, z1, z2 = keras.Input(SHAPE, name="x"), keras.Input((40,), name="z1"), keras.Input((40,), name="z2")
    both = keras.layers.Concatenate()
    return HierarchicalVAE(
        posteriors={
            "z2": keras.Model(x, gaussian(through(flat(x), gated(300), gated(300)), 40)),
            "z1": keras.Model([x, z2], gaussian(gated(300)(both([gated(300)(flat(x)), gated(300)(z2)])), 40)),
        },
        conditionals={"z1": keras.Model(z2, gaussian(through(z2, gated(300), gated(300)), 40))},
        decoder=keras.Model([z1, z2], bernoulli(gated(300)(both([gated(300)(z1), gated(300)(z2)])))),
        prior=priors.VampPrior(components=500),
        objective=objective,
    )


def conv_hvae_vamp(objective: Objective) -> VAE:
    """The same with gated convolutions on either side [TW18, their code]."""
    x, z1, z2 = keras.Input(SHAPE, name="x"), keras.Input((40,), name="z1"), keras.Input((40,), name="z2")
    both = keras.layers.Concatenate()

    def wide(x: keras.KerasTensor) -> keras.KerasTensor:
        parts = (gated_conv(32, 7), gated_conv(32, 3, 2), gated_conv(64, 5), gated_conv(64, 3, 2), gated_conv(6, 3))
        return flat(through(x, *parts))

    def narrow(x: keras.KerasTensor) -> keras.KerasTensor:
        parts = (gated_conv(32, 3), gated_conv(32, 3, 2), gated_conv(64, 3), gated_conv(64, 3, 2), gated_conv(6, 3))
        return flat(through(x, *parts))

    h = gated(784)(both([gated(300)(z1), gated(300)(z2)]))
    h = through(keras.layers.Reshape(SHAPE)(h), *(gated_conv(64, 3) for _ in range(4)))
    pixels = flat(keras.layers.Conv2D(1, 1, name="pixels")(h))
    return HierarchicalVAE(
        posteriors={
            "z2": keras.Model(x, gaussian(wide(x), 40)),
            "z1": keras.Model([x, z2], gaussian(gated(300)(both([narrow(x), gated(294)(z2)])), 40)),
        },
        conditionals={"z1": keras.Model(z2, gaussian(through(z2, gated(300), gated(300)), 40))},
        decoder=keras.Model([z1, z2], tfpl.IndependentBernoulli(SHAPE)(pixels)),
        prior=priors.VampPrior(components=500),
        objective=objective,
    )


@dataclass(frozen=True)
class Row:
    """One published value.

    Attributes:
        published: the test negative log-likelihood, in nats.
        source: where it was published.
        build: makes the model for an objective, and where `normalised` is above 0, for its kind of hidden layer.
        objective: makes the objective for the weight of the KL.
        epochs, batch_size, learning_rate: of the training; the rate falls along a cosine to a hundredth.
        warm_up: epochs over which the weight of the KL rises from 0 to 1.
        minutes: at most, for the training: on a slower machine the cosine is shortened to end with them.
        normalised: the share of the training in which the hidden layers have batch normalisation and the objective is
            the ELBO, whose epochs are the shortest. It learns fast, but the noise costs the bound two nats. The rest of
            the training starts from the folded weights and uses the row's objective.
        folded_rate: the learning rate of the rest, lowered along the same cosine.
    """

    published: float
    source: str
    build: Callable[..., VAE]
    objective: Callable[[float | KLWarmUp], Objective]
    epochs: int
    batch_size: int = 200
    learning_rate: float = 4e-3
    warm_up: int = 20
    minutes: float = math.inf
    normalised: float = 0.0
    folded_rate: float = 1.4e-3

    def settings(self) -> dict[str, Any]:
        """The settings that decide the result, besides the models of this file."""
        objective = self.objective(1.0)
        return {
            "objective": type(objective).__name__ + (f"(k={objective.k})" if isinstance(objective, Iwae) else ""),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "warm_up": self.warm_up,
        } | ({"normalised": self.normalised, "folded_rate": self.folded_rate} if self.normalised else {})


BURDA: Final = "Burda et al. 2016, table 1"
TOMCZAK: Final = "Tomczak and Welling 2018, as tabulated with the exemplar-VAE code"
ROWS: Final = {
    "vae-1": Row(86.76, BURDA, burda_1, lambda beta: Elbo(beta), epochs=2000, minutes=48, normalised=0.5),
    "iwae-1-k5": Row(85.54, BURDA, burda_1, lambda beta: DReG(5, beta), epochs=2000, minutes=48, normalised=0.4),
    "iwae-1-k50": Row(84.78, BURDA, burda_1, lambda beta: DReG(50, beta), epochs=150, normalised=0.5),
    "vae-2": Row(85.33, BURDA, burda_2, lambda beta: Elbo(beta), epochs=800, normalised=0.5),
    "iwae-2-k50": Row(82.90, BURDA, burda_2, lambda beta: DReG(50, beta), epochs=150, normalised=0.5),
    "vamp": Row(82.43, TOMCZAK, vamp, lambda beta: Elbo(beta), epochs=300, learning_rate=1e-3, warm_up=50),
    "hvae-vamp": Row(81.56, TOMCZAK, hvae_vamp, lambda beta: Elbo(beta), epochs=300, learning_rate=1e-3, warm_up=50),
    "convhvae-vamp": Row(
        79.67, TOMCZAK, conv_hvae_vamp, lambda beta: Elbo(beta), epochs=100, learning_rate=1e-3, warm_up=30
    ),
}


class Folder:
    """A row's directory: the model, the epochs and seconds so far, the estimates so far."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.state: dict[str, Any] = {"settings": settings, "train_seconds": 0.0, "evaluation_seconds": 0.0}
        if (path / "state.json").is_file():
            self.state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            if self.state["settings"] != settings:
                raise SystemExit(
                    f"{path} holds a row with other settings: {self.state['settings']}. "
                    f"Received: {settings}. Choose another --out."
                )
        path.mkdir(parents=True, exist_ok=True)

    @property
    def model(self) -> Path:
        return self.path / "model.keras"

    def save(self, **changes: Any) -> None:
        self.state |= changes
        write_json(self.path / "state.json", self.state)


class Course(keras.callbacks.Callback):
    """Lowers the learning rate along its cosine, saves the model every minute, and ends the training.

    The progress, from 0 to 1, is that of the epochs or that of the minutes, whichever is further.

    Args:
        row, folder: what is trained, and where it is kept.
        rate: the learning rate that the cosine begins with.
        until: how far to train.
    """

    def __init__(self, row: Row, folder: Folder, rate: float, until: float) -> None:
        super().__init__()
        self.row, self.folder, self.rate, self.until = row, folder, rate, until
        self.start = self.saved = time.monotonic()
        self.before = folder.state["train_seconds"]

    def seconds(self) -> float:
        return self.before + time.monotonic() - self.start

    def done(self, epochs: int) -> float:
        return min(1.0, max(epochs / self.row.epochs, self.seconds() / 60 / self.row.minutes))

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.model.optimizer.learning_rate = self.rate * (
            0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * self.done(epoch)))
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        seconds, logs, done = self.seconds(), logs or {}, self.done(epoch + 1)
        ends = done >= self.until
        if time.monotonic() - self.saved < SAVE_SECONDS and not ends:
            return
        self.model.stop_training = ends
        self.saved = time.monotonic()
        save_model(self.model, self.folder.model)
        self.folder.save(train_seconds=seconds, epochs=epoch + 1)
        left = min(seconds / (epoch + 1) * (self.row.epochs - epoch - 1), 60 * self.row.minutes - seconds)
        print(
            f"epoch {epoch + 1}   loss {logs['loss']:.3f}   elbo {logs['elbo']:.3f}   kl {logs['kl']:.2f}   "
            f"{seconds / 60:.1f} min, {left / 60:.1f} left",
            flush=True,
        )


def networks(vae: VAE) -> list[keras.Model]:
    if isinstance(vae, HierarchicalVAE):
        return [*vae.posteriors.values(), *vae.conditionals.values(), vae.decoder.network]
    return [vae.encoder, vae.decoder]


def is_normalised(vae: VAE) -> bool:
    return any(isinstance(layer, keras.layers.BatchNormalization) for part in networks(vae) for layer in part.layers)


def fold(vae: VAE, plain: VAE) -> None:
    """Copies the weights of `vae` into `plain`, with each batch normalisation folded into the dense layer before it.

    Args:
        vae: a model with `normalised` hidden layers.
        plain: the same model with `dense` ones. It computes what `vae` computes outside of training.
    """
    for part, plain_part in zip(networks(vae), networks(plain), strict=True):
        targets = iter([layer for layer in plain_part.layers if isinstance(layer, keras.layers.Dense)])
        kernel = None
        for layer in part.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                mean, scale = layer.moving_mean, layer.gamma / keras.ops.sqrt(layer.moving_variance + layer.epsilon)
                target = next(targets)
                target.kernel.assign(kernel * scale)
                target.bias.assign(layer.beta - mean * scale)
            elif isinstance(layer, keras.layers.Dense):
                kernel = layer.kernel
                if layer.use_bias:
                    target = next(targets)
                    target.kernel.assign(kernel)
                    target.bias.assign(layer.bias)


def start_at_mean(vae: VAE, x: np.ndarray) -> None:
    """Sets the bias of the pixels' logits to that of the mean image, as [BGS16] do."""
    bias = next(variable for variable in vae.decoder.variables if variable.path.endswith("pixels/bias"))
    mean = np.clip(x.mean(axis=0).reshape(-1) if bias.shape[0] > 1 else [x.mean()], 0.001, 0.999)
    bias.assign(np.log(mean / (1 - mean)))


def train(row: Row, folder: Folder, x: np.ndarray, seed: int) -> VAE:
    """The trained model of the row. Training goes on from the last saved epoch if there is one."""
    steps = len(x) // row.batch_size
    at_once = math.gcd(steps, 50)
    done = folder.state.get("epochs", 0)
    if folder.model.is_file():
        vae = keras.models.load_model(folder.model)
        if done:
            print(f"{folder.path}: epochs 1 to {done} are done", flush=True)
    else:
        keras.utils.set_random_seed(seed)
        beta = KLWarmUp(row.warm_up * steps) if row.warm_up else 1.0
        vae = row.build(Elbo(beta), normalised) if row.normalised else row.build(row.objective(beta))
        start_at_mean(vae, x)
        vae.compile(FusedAdam(row.learning_rate), steps_per_execution=at_once)

    def fit(rate: float, until: float) -> None:
        course = Course(row, folder, rate, until)
        done = folder.state.get("epochs", 0)
        if course.done(done) < until:
            data = tfpvae.data.train_dataset(
                x, batch_size=row.batch_size, binarize="dynamic", seed=seed + done, drop_remainder=True
            )
            vae.fit(data, initial_epoch=done, epochs=row.epochs, verbose=0, callbacks=[course])

    if is_normalised(vae):
        fit(row.learning_rate, row.normalised)
        plain = row.build(row.objective(1.0))
        fold(vae, plain)
        plain.compile(FusedAdam(row.folded_rate), steps_per_execution=at_once)
        vae = plain
        print("batch normalisation is folded into the weights", flush=True)
    fit(row.folded_rate if row.normalised else row.learning_rate, 1.0)
    return vae


def evaluate(vae: VAE, folder: Folder, x: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """log p(x) of each image and its standard error, `[N]` each. It goes on from the last saved images."""
    path = folder.path / "log_marginal.npy"
    done = np.load(path) if path.is_file() else np.empty((2, 0))
    for first in range(done.shape[1], len(x), EVALUATED_AT_ONCE):
        start = time.monotonic()
        part = importance_log_marginal(
            vae, x[first : first + EVALUATED_AT_ONCE], samples, seed=TEST_SEED + first, batch_size=100, chunk_size=50
        )
        done = np.concatenate([done, [part.log_marginal, part.standard_error]], axis=1)
        unfinished = path.with_name(".unfinished.npy")
        np.save(unfinished, done)
        unfinished.replace(path)
        folder.save(evaluation_seconds=folder.state["evaluation_seconds"] + time.monotonic() - start)
        minutes = folder.state["evaluation_seconds"] / 60
        print(f"{done.shape[1]} images: {-done[0].mean():.3f} nats   {minutes:.1f} min", flush=True)
    return done[0], done[1]


def record(name: str, result: dict[str, Any]) -> None:
    """Writes the row into RESULTS.md, in place of an older one."""
    begin, end = "<!-- published: begin -->\n", "<!-- published: end -->\n"
    text = RESULTS.read_text(encoding="utf-8")
    before, rest = text.split(begin)
    table, after = rest.split(end)
    rows = {line.split("|")[1].strip().strip("`"): line for line in table.splitlines()[2:]}
    rows[name] = (
        f"| `{name}` | {result['published']:.2f} | {result['nll']:.2f} | {result['difference']:+.2f} "
        f"| {result['settings']} | {result['train_seconds']:.0f} | {result['evaluation_seconds']:.0f} |"
    )
    lines = [*table.splitlines()[:2], *(rows[key] for key in ROWS if key in rows)]
    RESULTS.write_text(before + begin + "\n".join(lines) + "\n" + end + after, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", choices=ROWS, metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--list", action="store_true", help="print the rows, and do nothing")
    parser.add_argument("--data", help="mnist.npz, or a data set's name; MNIST by default")
    parser.add_argument("--out", type=Path, default=HERE.parent / "runs" / "published", help="where the row is kept")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and draws in training")
    parser.add_argument("--epochs", type=int, help="in place of the row's own: for a trial")
    parser.add_argument("--samples", type=int, default=5000, help="draws an image: less for a trial")
    parser.add_argument("--images", type=int, default=10_000, help="test images: less for a trial")
    parser.add_argument("--train-images", type=int, default=60_000, help="training images: less for a trial")
    options = parser.parse_args()
    if options.list or options.row is None:
        for name, row in ROWS.items():
            print(f"{name:14s} {row.published:6.2f} nats   {row.source}")
        return

    row = ROWS[options.row]
    if options.epochs:
        row = dataclasses.replace(row, epochs=options.epochs, warm_up=min(row.warm_up, options.epochs // 3))
    beside = HERE.parent.parent / "shared" / "data" / "mnist.npz"
    images = tfpvae.data.load(options.data or (str(beside) if beside.is_file() else "mnist"))
    x_train = images.x_train[: options.train_images]
    settings = row.settings() | {"seed": options.seed, "samples": options.samples}
    folder = Folder(options.out / options.row, settings)
    x_test = np.concatenate(
        list(tfpvae.data.test_dataset(images.x_test, batch_size=1000, binarize="dynamic", seed=TEST_SEED))
    )[: options.images]

    vae = train(row, folder, x_train, options.seed)
    log_marginal, error = evaluate(vae, folder, x_test, options.samples)
    nll = -float(log_marginal.mean())
    spread = float(log_marginal.std(ddof=1) / math.sqrt(len(log_marginal)))
    made = {"epochs": folder.state["epochs"]}  # Fewer than planned, where the minutes were over.
    result = {
        "row": options.row,
        "published": row.published,
        "source": row.source,
        "nll": nll,
        "difference": nll - row.published,
        "standard_error_over_images": spread,
        "largest_standard_error_of_one_image": float(np.max(error)),
        "settings": ", ".join(f"{key} {value}" for key, value in (settings | made).items()),
        "train_seconds": folder.state["train_seconds"],
        "evaluation_seconds": folder.state["evaluation_seconds"],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }
    write_json(folder.path / "result.json", result)
    print(
        f"\n{options.row}: test negative log-likelihood {nll:.2f} nats by {options.samples} importance samples of "
        f"{len(x_test)} images; published {row.published:.2f} ({row.source}); difference {nll - row.published:+.2f}.\n"
        f"Between images the mean varies by {spread:.2f}; training {result['train_seconds'] / 60:.1f} min, evaluation "
        f"{result['evaluation_seconds'] / 60:.1f} min, {result['machine']}."
    )
    if (row, options.samples, len(x_test), len(x_train)) == (ROWS[options.row], 5000, 10_000, 60_000):
        record(options.row, result)
        print(f"Written into {RESULTS.relative_to(HERE.parent)}.")


if __name__ == "__main__":
    try:
        main()
    except TfpvaeError as error:
        raise SystemExit(f"published.py: error: {error}") from error
