"""Pictures of a model: reconstructions, samples, latents, the course of training."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from PIL import Image

from tfpvae.errors import DataError, ModelError
from tfpvae.evaluate.latents import ActiveUnits, active_units, posterior_means
from tfpvae.evaluate.plots import BLUE, GREY, bars, picture, scatter, tiles
from tfpvae.evaluate.rows import checked
from tfpvae.images import grid, labelled_rows
from tfpvae.layers.kl import as_gaussian
from tfpvae.models import LatentVariableModel, sampling

_CHANNELS: Final = (1, 3, 4)
_POINTS: Final = 5000
"""The most points in a scatter plot: more make it no clearer."""


def is_image(event_shape: Sequence[int]) -> bool:
    """Whether an example is an image `[H, W]`, or `[H, W, C]` of 1, 3 or 4 channels."""
    return len(event_shape) == 2 or (len(event_shape) == 3 and event_shape[-1] in _CHANNELS)


def reconstructions(vae: LatentVariableModel, x: np.ndarray, *, y: Any = None) -> Image.Image:
    """Images `[N, H, W, C]` above their reconstructions, given y for a conditional model."""
    return labelled_rows([("images", x), ("reconstructions", np.asarray(vae.reconstruct(x, y)))])


def samples(vae: LatentVariableModel, n: int, seed: int = 0, *, y: Any = None) -> Image.Image:
    """E[x given z] for n draws of the prior, seeds `seed` to `seed + n - 1`, given y for a conditional model."""
    return grid(np.asarray(vae.sample_mean(n, seed=seed, y=y)))


def latent_traversals(
    vae: LatentVariableModel, x: np.ndarray, steps: int = 11, latents: int = 10, *, y: Any = None
) -> Image.Image:
    """E[x given z] as one latent moves and the others stay: one row per latent, the most active first.

    A latent moves over three standard deviations to either side: the prior's if it is a Gaussian with independent
    latents, else those of the posterior means. The other latents keep the values of the first example.

    Args:
        vae: a model of images.
        x: `[N, *event_shape]`. The first example is varied; all of them determine which latents are active.
        steps: the number of values per latent.
        latents: the largest number of latents to draw.
        y: the condition of a conditional model, one for each row or one for all.

    Raises:
        DataError: the model cannot take x.
        ModelError: the examples are not images.
    """
    _check_images(vae)
    data = checked(vae, x, y)
    means = posterior_means(vae, data).mean(axis=0)
    units = active_units(vae, x, y=y) if len(x) > 1 else ActiveUnits(np.zeros(vae.latent_size), 0.0)
    rows = units.most_active[:latents]
    loc, scale, unit = _spread(vae, means)
    deviations = np.linspace(-3, 3, steps)
    z = np.tile(means[0], (len(rows), steps, 1))
    for row, d in enumerate(rows):
        z[row, :, d] = loc[d] + scale[d] * deviations
    figure, axes = tiles(_decoded(vae, z, data.rows(slice(1)).y))
    axes.set_title("One latent moves, the others stay as in the first example")
    axes.set_xlabel(f"value of the latent, in standard deviations of {unit}")
    axes.set_xticks(range(steps), [f"{d:+.1f}" if d else "0" for d in deviations])
    axes.set_ylabel("latent, the most active first")
    axes.set_yticks(range(len(rows)), [f"$z_{{{d}}}$" for d in rows])
    return picture(figure)


def latent_map(vae: LatentVariableModel, x: np.ndarray, labels: Any = None, *, y: Any = None) -> Image.Image:
    """The posterior means of the examples, coloured by label.

    Two latents are drawn directly. With more, one panel has the two most active latents, and another the first two
    principal components of the means.

    Args:
        vae: a model with two latents or more.
        x: `[N, *event_shape]`. At most 5,000 rows are drawn.
        labels: `[N]`, integers, names or floats; None uses one colour.
        y: the condition of a conditional model, one for each row or one for all.

    Raises:
        DataError: the model cannot take x, or the number of labels is not N.
        ModelError: the model has one latent.
    """
    from matplotlib.figure import Figure

    if vae.latent_size < 2:
        raise ModelError("A map of the latents needs two of them. Received: a model with one latent")
    data = checked(vae, x, y)
    if labels is not None and np.shape(labels) != (len(x),):
        raise DataError(f"labels must be one for each of {len(x)} examples. Received: shape {list(np.shape(labels))}")
    means = posterior_means(vae, data.rows(slice(_POINTS))).mean(axis=0)
    labels = None if labels is None else np.asarray(labels)[:_POINTS]
    if vae.latent_size == 2:
        panels = [("Posterior means of the examples", means, "$z_0$", "$z_1$")]
    else:
        a, b = np.argsort(-means.var(axis=0), kind="stable")[:2]
        centred = means - means.mean(axis=0)
        _, singular, directions = np.linalg.svd(centred, full_matrices=False)
        share = singular**2 / max(float((singular**2).sum()), 1e-30)
        panels = [
            ("Posterior means: the two most active latents", means[:, [a, b]], f"$z_{{{a}}}$", f"$z_{{{b}}}$"),
            (
                f"Posterior means: principal components, {share[:2].sum():.0%} of the variance",
                centred @ directions[:2].T,
                f"first component ({share[0]:.0%})",
                f"second component ({share[1]:.0%})",
            ),
        ]
    figure = Figure(figsize=(6.2 * len(panels), 5.6), layout="constrained")
    for axes, (title, points, horizontal, vertical) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        scatter(axes, points, labels, last=title == panels[-1][0])
        axes.set_title(title)
        axes.set_xlabel(horizontal)
        axes.set_ylabel(vertical)
        axes.set_aspect("equal", adjustable="datalim")
        axes.grid(alpha=0.3)
    return picture(figure)


def latent_grid(vae: LatentVariableModel, steps: int = 15, *, y: Any = None) -> Image.Image:
    """E[x given z] on a grid of two latents, at equally spaced quantiles of the prior [KW14].

    Args:
        vae: a model of images with two latents, independent in a Gaussian prior.
        steps: the number of values per latent.
        y: the condition of a conditional model, one for all.

    Raises:
        ModelError: the model is not such a model.
    """
    _check_images(vae)
    prior = as_gaussian(vae.prior_distribution(vae.checked_condition(y, 1)))
    if vae.latent_size != 2 or prior is None or not prior.diagonal:
        raise ModelError(
            "A grid of decoded latents needs two latents with independent Gaussians for a prior. "
            f"Received: {vae.latent_size} latents with prior {type(vae.prior).__name__}"
        )
    loc, scale = (np.broadcast_to(t, [1, 2])[0].astype(np.float64) for t in (prior.loc, prior.scale))
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / steps) for i in range(steps)])
    first, second = loc[0] + scale[0] * quantiles, loc[1] + scale[1] * quantiles[::-1]  # Upwards, as on any map.
    z = np.stack(np.meshgrid(first, second), axis=-1)
    figure, axes = tiles(_decoded(vae, z, y))
    every = slice(None, None, max(1, steps // 7))
    axes.set_title("E[x|z] at the prior's quantiles")
    axes.set_xlabel("$z_0$")
    axes.set_xticks(np.arange(steps)[every], [f"{value:.1f}" for value in first[every]])
    axes.set_ylabel("$z_1$")
    axes.set_yticks(np.arange(steps)[every], [f"{value:.1f}" for value in second[every]])
    return picture(figure)


def interpolations(vae: LatentVariableModel, x: np.ndarray, steps: int = 11, *, y: Any = None) -> Image.Image:
    """Interpolations between pairs of images: E[x given z] on the line between their posterior means.

    Args:
        vae: a model of images.
        x: images `[2 N, *event_shape]`, one row of the picture per pair.
        steps: the number of points on the line, including both ends.
        y: the condition of a conditional model, one for each row or one for all. Each pair is decoded
            with the condition of its first image.

    Raises:
        DataError: the model cannot take x, or x has fewer than two rows.
        ModelError: the examples are not images.
    """
    _check_images(vae)
    if len(x) < 2:
        raise DataError("x must hold at least two images to go between. Received: one")
    data = checked(vae, x, y).rows(slice(len(x) // 2 * 2))
    means, x = posterior_means(vae, data).mean(axis=0), data.x
    of_pairs = None if data.y is None else np.repeat(data.y[::2], steps, axis=0)
    share = np.linspace(0, 1, steps)
    z = means[::2, None] * (1 - share[:, None]) + means[1::2, None] * share[:, None]
    between = _decoded(vae, z, of_pairs)
    rows = np.concatenate([x[::2, None], between, x[1::2, None]], axis=1)
    figure, axes = tiles(rows)
    axes.set_title("From one test image to another, on the line between their latents")
    axes.set_xlabel("how far along the line; the test images themselves at both ends")
    axes.set_xticks(range(steps + 2), ["image", *(f"{s:.0%}" for s in share), "image"])
    axes.set_yticks([])
    return picture(figure)


def kl_per_unit(kl: np.ndarray) -> Image.Image:
    """A bar chart of the KL of each latent, the largest first.

    Args:
        kl: `[D]`, in nats, from `kl_per_latent`.
    """
    order = np.argsort(-np.asarray(kl), kind="stable")
    figure, axes = bars(np.asarray(kl)[order], order, BLUE)
    axes.set_title(f"KL of each latent: {np.sum(kl):.2f} nats in all")
    axes.set_ylabel("KL(q($z_d$|x) || p($z_d$)), nats per example")
    return picture(figure)


def activity(units: ActiveUnits) -> Image.Image:
    """A bar chart of the variance of each latent's posterior mean, the largest first, with the activity threshold."""
    order = units.most_active
    values = np.maximum(units.variances[order], 1e-6)
    figure, axes = bars(values, order, [BLUE if units.active[d] else GREY for d in order])
    axes.set_yscale("log")
    axes.axhline(units.threshold, color="#aa3377", linestyle="--", label=f"active above {units.threshold:g}")
    axes.set_title(f"Activity of each latent: {units.num_active} of {len(order)} active")
    axes.set_ylabel("variance of E$_q$[$z_d$] over the examples")
    axes.legend()
    return picture(figure)


def points(vae: LatentVariableModel, x: np.ndarray, seed: int = 0, *, y: Any = None) -> Image.Image:
    """Scatter plots of 2-D examples, their reconstructions, and as many samples of the model.

    Args:
        vae: a model with event shape `[2]`.
        x: `[N, 2]`.
        seed: the seed of the first sample.
        y: the condition of a conditional model, one for each row or one for all.

    Raises:
        DataError: the model cannot take x.
        ModelError: the event shape is not `[2]`.
    """
    from matplotlib.figure import Figure

    if vae.event_shape != (2,):
        raise ModelError(f"Points of a plane have event shape [2]. Received: {list(vae.event_shape)}")
    x, y = checked(vae, x, y).rows(slice(_POINTS))
    figure = Figure(figsize=(13, 5.0), layout="constrained")
    panels = {
        "data": x,
        "reconstructions E[x|z]": np.asarray(vae.reconstruct(x, y)),
        "samples of the model": np.asarray(vae.sample(len(x), seed=seed, y=y)),
    }
    everything = np.concatenate(list(panels.values()))
    low, high = everything.min(axis=0), everything.max(axis=0)
    middle, half = (low + high) / 2, 0.55 * max(float((high - low).max()), 1e-6)
    for axes, (title, values) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        scatter(axes, values, None, last=False)
        axes.set_title(title)
        axes.set_xlabel("$x_0$")
        axes.set_ylabel("$x_1$")
        axes.set_xlim(middle[0] - half, middle[0] + half)
        axes.set_ylim(middle[1] - half, middle[1] + half)
        axes.set_aspect("equal")
        axes.grid(alpha=0.3)
    return picture(figure)


def curves(vae: LatentVariableModel, x: np.ndarray, *, y: Any = None) -> Image.Image:
    """Line plots of the first six examples and their reconstructions, for data that are not images.

    Args:
        vae: the model.
        x: `[N, *event_shape]`.
        y: the condition of a conditional model, one for each row or one for all.
    """
    from matplotlib.figure import Figure

    x, y = checked(vae, x, y).rows(slice(6))
    drawn = np.asarray(vae.reconstruct(x, y))
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True).flat
    for i, axes in enumerate(panels):
        if i >= len(x):
            axes.set_visible(False)
            continue
        axes.plot(x[i].ravel(), color=GREY, linewidth=3, label="example")
        axes.plot(drawn[i].ravel(), color=BLUE, linewidth=1, label="reconstruction")
        axes.set_title(f"test example {i}")
        axes.set_xlabel("index of the value")
        axes.set_ylabel("x")
        axes.label_outer()
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if i == 0:
            figure.legend(loc="outside upper right", ncols=2)
    return picture(figure)


def history(metrics: dict[str, list[float]]) -> Image.Image:
    """The course of training: ELBO, log-likelihood and KL of each epoch, in nats per example.

    Args:
        metrics: a list of values per epoch for each metric, as in the `history` that `fit` returns. Names of validation
            metrics begin with `val_`. `val_log_marginal`, if present, is drawn with the ELBO.
    """
    # Not pyplot, which keeps global state and looks for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.5), layout="constrained")
    titles = {"elbo": "ELBO", "log_likelihood": "log p(x|z)", "kl": "KL(q(z|x) || p(z))"}
    for axes, (metric, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        lines = [(metric, "training"), (f"val_{metric}", "validation")]
        if metric == "elbo" and "val_log_marginal" in metrics:
            lines.append(("val_log_marginal", "log p(x), held out"))
        for key, label in lines:
            if values := metrics.get(key):
                axes.plot(range(1, len(values) + 1), values, label=label)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.set_ylabel("nats per example")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    return picture(figure)


def _check_images(vae: LatentVariableModel) -> None:
    if not is_image(vae.event_shape):
        raise ModelError(
            "Only images [H, W], or [H, W, C] of 1, 3 or 4 channels, can be drawn side by side. "
            f"This model's event shape is {list(vae.event_shape)}"
        )


def _decoded(vae: LatentVariableModel, z: np.ndarray, y: Any) -> np.ndarray:
    """E[x given z]: `[R, C, D]` -> `[R, C, *event_shape]`."""
    means = sampling.mean(vae.decode(z.reshape(-1, z.shape[-1]).astype(np.float32), y)).numpy()
    return means.reshape(*z.shape[:-1], *vae.event_shape)


def _spread(vae: LatentVariableModel, means: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """The location and scale of each latent, `[D]` each, and the name of what they describe."""
    prior = None if vae.prior.takes_condition else as_gaussian(vae.prior.distribution())
    if prior is not None and prior.diagonal:
        loc, scale = (np.broadcast_to(t, [vae.latent_size]).astype(np.float64) for t in (prior.loc, prior.scale))
        return loc, scale, "the prior"
    return means.mean(axis=0), means.std(axis=0), "its posterior means"
