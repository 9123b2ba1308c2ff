"""Samples as good as reconstructions: a prior that is fitted after training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from tfpvae.data import ImageData
from tfpvae.errors import RunError
from tfpvae.evaluate.rows import mean_of
from tfpvae.models import VAE
from tfpvae.priors import FittedMixturePrior, StandardNormal
from tfpvae.training.evaluation import held_out_dataset
from tfpvae.training.parts import split
from tfpvae.training.run import Run, save_model

COMPONENTS: Final = (1, 10, 30, 100)
"""The numbers of components that are tried."""
MOST_DRAWS: Final = 10_000
DRAWS_OF_AN_IMAGE: Final = 5
CLEAR: Final = 3.0
"""A prior is kept if it is better by so many standard errors."""


class Refinement(NamedTuple):
    """What came of fitting a prior.

    Attributes:
        components: how many Gaussians the best mixture has.
        gain: by how much it raises the bound of the validation images, in nats per image.
        error: the standard error of that.
        kept: whether it was kept.
    """

    components: int
    gain: float
    error: float
    kept: bool

    def __str__(self) -> str:
        mixture = f"a mixture of {self.components} Gaussians" if self.components > 1 else "one Gaussian"
        text = f"{mixture}, fitted to the latents: {self.gain:+.2f} +- {self.error:.2f} nats per validation image"
        return f"{text}; samples come from it." if self.kept else f"{text}; N(0, I) stays the prior."


def refine(
    run: Run, say: Callable[[str], None] = lambda line: None, images: ImageData | None = None
) -> Refinement | None:
    """Fits a mixture of Gaussians to draws of q(z given x), and makes it the prior if the bound rises.

    Where the encoder does not fill the prior, samples from the prior show what the decoder has never seen [DW19]. The
    networks stay as they are, and only log p(z) changes: its mean over draws of q for the validation images decides, on
    the number of components too. The refined model lies beside the trained one, from which training goes on.

    Args:
        run: a run whose prior is N(0, I), so that nothing is lost.
        say: called with a line on what came of it.
        images: the run's data, if it is loaded.

    Returns:
        What came of it, or None for a run whose prior was learned with the networks.

    Raises:
        RunError: there is no model, or it cannot be read or written.
    """
    vae = run.model(refined=False)
    if not isinstance(vae.prior, StandardNormal):
        say(f"prior        {run.config.prior}, learned with the networks; nothing to refine")
        return None
    images = run.data() if images is None else images
    parts = split(images, run.config.seed)
    rng = np.random.default_rng(run.config.seed)
    times = min(DRAWS_OF_AN_IMAGE, max(1, MOST_DRAWS // len(parts.train)))
    some = rng.permutation(parts.train)[:MOST_DRAWS]
    z = _draws(vae, run, images.x_train[some], times, rng).reshape(-1, vae.latent_size)
    held_out = _draws(vae, run, images.x_train[parts.validation], DRAWS_OF_AN_IMAGE, rng)

    before = np.asarray(vae.prior.distribution().log_prob(held_out)).mean(axis=0)
    best, best_gains = None, np.full(len(before), -math.inf)
    for components in COMPONENTS:
        if 2 * components > len(z):
            break
        prior = FittedMixturePrior(vae.latent_size, components)
        prior.fit(z, seed=run.config.seed)
        gains = np.asarray(prior.distribution().log_prob(held_out)).mean(axis=0) - before
        if gains.mean() <= best_gains.mean():
            break
        best, best_gains = prior, gains
    if best is None:
        raise RunError(f"{run.path} has too few training images to fit a prior: {len(parts.train)}.")
    gain, error = mean_of(best_gains)
    # One validation image has no standard error, and decides nothing.
    found = Refinement(best.components, gain, error, gain > CLEAR * error)
    if found.kept:
        refined = VAE(vae.encoder, vae.decoder, best, vae.objective)
        refined.compile("adam")
        save_model(refined, run.refined_path)
    else:
        run.refined_path.unlink(missing_ok=True)
    say(f"prior        {found}")
    return found


def _draws(vae: VAE, run: Run, x: np.ndarray, times: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of q(z given x) for each image, `[times, N, D]`."""
    q = [vae.encode(batch) for batch in held_out_dataset(run.config, x)]
    loc, scale = (
        np.concatenate([np.asarray(part) for part in parts])
        for parts in ([each.mean() for each in q], [each.stddev() for each in q])
    )
    return (loc + scale * rng.standard_normal((times, *loc.shape))).astype(np.float32)
