"""The cost of the layers: a VAE that uses them against the same VAE in plain tensors.

    python benchmarks/layers.py [--rounds 15] [--steps 30] [--data mnist.npz] [--jit]

The networks are 784-512-512-32 and back, with batches of 128 and Adam, on one core. `fit` trains both models in turns,
and the median ratio of their speeds is printed: 1.0 means that the layers cost nothing; the goal is 0.97 or more.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfpvae import layers as tfpl

tfd = tfp.distributions

PIXELS, HIDDEN, LATENT, BATCH = 784, 512, 32, 128


def hidden() -> list[keras.layers.Layer]:
    return [keras.layers.Dense(HIDDEN, activation="relu"), keras.layers.Dense(HIDDEN, activation="relu")]


def through_layers() -> keras.Model:
    """The VAE as a user writes it: a distribution at the end of each half, the KL as a regulariser."""
    prior = tfd.Independent(tfd.Normal(tf.zeros(LATENT), 1.0), 1)
    kl = tfpl.KLDivergenceRegularizer(prior)
    parameters = keras.layers.Dense(tfpl.MultivariateNormalDiag.params_size(LATENT))
    encoder = [*hidden(), parameters, tfpl.MultivariateNormalDiag(LATENT, activity_regularizer=kl)]
    decoder = [*hidden(), keras.layers.Dense(PIXELS), tfpl.IndependentBernoulli(PIXELS)]
    model = keras.Sequential([keras.Input((PIXELS,)), *encoder, *decoder])
    model.name = "layers"
    return model


class Plain(keras.Model):
    """The same, with nothing but tensors."""

    def __init__(self) -> None:
        super().__init__(name="plain")
        self.encoder = keras.Sequential([keras.Input((PIXELS,)), *hidden(), keras.layers.Dense(2 * LATENT)])
        self.decoder = keras.Sequential([keras.Input((LATENT,)), *hidden(), keras.layers.Dense(PIXELS)])
        self.seed_generator = keras.random.SeedGenerator()

    def call(self, x: tf.Tensor) -> tf.Tensor:
        loc, raw_scale = tf.split(self.encoder(x), 2, axis=-1)
        scale = tf.nn.softplus(raw_scale) + 1e-5
        kl = 0.5 * (tf.square(scale) + tf.square(loc) - 1.0) - tf.math.log(scale)
        self.add_loss(tf.reduce_mean(tf.reduce_sum(kl, axis=-1)))
        noise = keras.random.normal(tf.shape(loc), seed=self.seed_generator)
        return self.decoder(loc + scale * noise)


def negative_log_likelihood(x: tf.Tensor, rv: tfd.Distribution) -> tf.Tensor:
    return -rv.log_prob(x)


def cross_entropy(x: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(x, logits), axis=-1)


def load(path: Path | None, n: int) -> np.ndarray:
    """Binary images `[n, 784]`: random, or those of an .npz file whose array `x_train` has 8-bit pixels."""
    if path is None:
        return (np.random.default_rng(0).random((n, PIXELS)) < 0.13).astype(np.float32)
    with np.load(path) as arrays:
        images = arrays["x_train"] if "x_train" in arrays else arrays[arrays.files[0]]
    return np.resize((images.reshape(len(images), -1)[:n] >= 128).astype(np.float32), (n, PIXELS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=30, help="training steps in a round")
    parser.add_argument("--data", type=Path, help="an .npz file of images, in place of random ones")
    parser.add_argument("--jit", action="store_true", help="compile by XLA")
    arguments = parser.parse_args()

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(0)

    x = load(arguments.data, BATCH * arguments.steps)
    models = {"layers": (through_layers(), negative_log_likelihood), "plain": (Plain(), cross_entropy)}
    for model, loss in models.values():
        model.compile(keras.optimizers.Adam(1e-3), loss=loss, jit_compile=arguments.jit)
        model.fit(x, x, batch_size=BATCH, verbose=0)  # Traced, warm.

    seconds: dict[str, list[float]] = {name: [] for name in models}
    losses: dict[str, float] = {}
    for i in range(arguments.rounds):
        for name in list(models) if i % 2 else list(models)[::-1]:
            model, _ = models[name]
            start = time.perf_counter()
            losses[name] = model.fit(x, x, batch_size=BATCH, verbose=0).history["loss"][0]
            seconds[name].append(time.perf_counter() - start)

    for name, times in seconds.items():
        step = 1e3 * statistics.median(times) / arguments.steps
        print(f"{name:8s} {step:7.2f} ms a step   loss {losses[name]:8.2f} nats after {arguments.rounds + 1} epochs")
    ratio = statistics.median(p / q for p, q in zip(seconds["plain"], seconds["layers"], strict=True))
    print(f"layers / plain, in steps a second: {ratio:.3f} (median of {arguments.rounds} rounds; goal 0.97)")


if __name__ == "__main__":
    main()
