"""A diagnosis of a model in words.

[BGS16] Burda, Grosse, Salakhutdinov: Importance weighted autoencoders. ICLR 2016.
[BVV+16] Bowman, Vilnis, Vinyals et al.: Generating sentences from a continuous space. CoNLL 2016.
[CLD18] Cremer, Li, Duvenaud: Inference suboptimality in variational autoencoders. ICML 2018.
[DW19] Dai, Wipf: Diagnosing and enhancing VAE models. ICLR 2019.
[WBSG17] Wu, Burda, Salakhutdinov, Grosse: On the quantitative analysis of decoder-based generative models. ICLR 2017.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final, NamedTuple

from tfpvae.evaluate.baseline_figures import Explained
from tfpvae.evaluate.measurements import Measurements
from tfpvae.evaluate.rows import Mean

_SIGMAS: Final = 3.0
"""How many standard errors a difference must exceed to count."""

_LARGE: Final = 0.2
"""How large a gap must be for an alarm, in standard deviations between examples: Cohen's small effect. With enough
examples every gap exceeds its standard errors."""

_SILENT: Final = 0.01
"""A latent whose KL is below so many nats carries no information."""

_WORTHLESS: Final = 0.5
"""If z is worth less than so many nats, even at the upper end of its error, the decoder ignores it."""

_MISMATCH: Final = 1.0
"""A prior that a Gaussian beats by more nats than this is not that of the latents."""

_TINY_NOISE: Final = 1e-3
"""The ratio of the likelihood's standard deviation to the data's below which the likelihood describes no noise."""


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    NOTE = "note"
    ALARM = "alarm"


class Finding(NamedTuple):
    """The result of one check."""

    name: str
    """"latents", "decoder", "reconstructions", "prior", "overfitting", "decoder overfitting", "encoder overfitting" or
    "noise"."""
    level: Level
    text: str
    """The result, and what to do about it."""


class Diagnosis(NamedTuple):
    """All findings."""

    findings: tuple[Finding, ...]

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """The findings of the level alarm."""
        return tuple(finding for finding in self.findings if finding.level is Level.ALARM)

    def __str__(self) -> str:
        return "\n".join(f"{finding.level.upper():<6}{finding.name}: {finding.text}" for finding in self.findings)


def diagnose(measured: Measurements) -> Diagnosis:
    """Looks for posterior collapse, overfitting and vanishing noise in the measurements of `measure`.

    ```python
    print(diagnose(measure(vae, x_test, x_train, samples=500)))
    ```

    It looks for overfitting if training data was measured too. If log p(x) was estimated as well, it says whether the
    decoder or the encoder overfits.
    """
    findings = [_latents(measured), _decoder(measured)]
    if measured.explained is not None:
        findings.append(_reconstructions(measured.explained))
    if measured.prior_gap is not None:
        findings.append(_prior(measured.prior_gap))
    findings += _overfitting(measured)
    if measured.noise is not None:
        findings.append(_noise(measured))
    return Diagnosis(tuple(findings))


_AGAINST_COLLAPSE: Final = (
    "Warm the KL up (tfpvae.schedules.KLWarmUp), give each latent free bits (tfpvae.objectives.FreeBits), or weaken a "
    "decoder that does not need z."
)


def _latents(measured: Measurements) -> Finding:
    """Posterior collapse [BVV+16]: which latents are used."""
    active, latents, kl = measured.active_units, measured.latents, measured.kl.value
    silent = 0 if measured.kl_per_latent is None else int((measured.kl_per_latent < _SILENT).sum())
    if kl < _SILENT or (active is not None and active.num_active == 0):
        return Finding(
            "latents",
            Level.ALARM,
            f"Posterior collapse: q(z|x) is the same for every x (KL {kl:.3f} nats), and z carries no information. "
            f"{_AGAINST_COLLAPSE}",
        )
    if active is None:
        return Finding("latents", Level.OK, f"z carries {kl:.2f} nats.")
    used = f"{active.num_active} of {latents} latents are active, and carry {kl:.2f} nats."
    if silent:
        used += f" The KL of {silent} is below {_SILENT} nats."
    if active.num_active * 2 < latents:
        return Finding(
            "latents",
            Level.NOTE,
            f"{used} The model does not use the others: fewer latents would be enough. To make it use more: "
            f"{_AGAINST_COLLAPSE[0].lower()}{_AGAINST_COLLAPSE[1:]}",
        )
    return Finding("latents", Level.OK, used)


def _decoder(measured: Measurements) -> Finding:
    """Whether the decoder uses z."""
    worth = measured.worth_of_latent
    if math.isnan(worth.standard_error):
        return Finding("decoder", Level.NOTE, "One example does not show whether the decoder uses z.")
    error = _SIGMAS * worth.standard_error
    if worth.value < max(error, _SILENT) and worth.value + error < _WORTHLESS:
        return Finding(
            "decoder",
            Level.ALARM,
            f"The decoder ignores z: with another example's z it predicts x as well (difference {worth} nats). "
            f"{_AGAINST_COLLAPSE}",
        )
    if worth.value < error:
        text = f"Too few examples to say whether the decoder uses z: with another z, x is {worth} nats less likely."
        return Finding("decoder", Level.NOTE, text)
    text = f"The decoder uses z: with another example's z, x is {worth.value:.1f} nats less likely."
    return Finding("decoder", Level.OK, text)


def _reconstructions(explained: Explained) -> Finding:
    """Whether the networks do better than a linear map."""
    share, error = explained.share.value, _SIGMAS * explained.share.standard_error
    linear = f"{explained.components} principal components explain {explained.pca:.2f}"
    text = f"Reconstructions explain {share:.2f} of the variance of the data; {linear}"
    if share < explained.pca - error:
        return Finding(
            "reconstructions",
            Level.ALARM,
            f"{text}: a linear map does better. Train longer (tfpvae train --resume), with other networks "
            "(tfpvae.networks), or with a likelihood whose variance is learned (SphericalNormal(learn_scale=True)).",
        )
    if share < explained.pca + error:
        return Finding("reconstructions", Level.NOTE, f"{text}: a linear map does as well.")
    return Finding("reconstructions", Level.OK, f"{text}.")


def _prior(gap: Mean) -> Finding:
    """Whether the latents of the data are distributed as the prior [DW19]."""
    text = (
        f"A Gaussian fitted to the latents of training data is {gap} nats better than the prior on those of test data"
    )
    if gap.value > max(_SIGMAS * gap.standard_error, _MISMATCH):
        return Finding(
            "prior",
            Level.ALARM,
            f"{text}: samples are of places that the decoder does not know. Fit the prior to the latents (tfpvae "
            "refine, tfpvae.priors.FittedMixturePrior), or train a second VAE over z (TwoStageVAE).",
        )
    return Finding("prior", Level.OK, f"{text}: samples come from where the data is.")


def _overfitting(measured: Measurements) -> list[Finding]:
    """The gap between training and test data, and whether decoder or encoder causes it [WBSG17, CLD18]."""
    if measured.train_elbo is None:
        return []
    gap = _difference(measured.train_elbo, measured.elbo)
    level = _level(gap, measured.elbo_stddev)
    text = (
        f"The ELBO of training data is {gap} nats above that of test data"
        + {
            Level.OK: ": chance explains it.",
            Level.NOTE: ": more than chance, but small beside the differences between examples.",
            Level.ALARM: ", much more than chance. Stop training earlier (keras.callbacks.EarlyStopping on val_elbo), "
            "use smaller networks or more data, or draw binary images afresh in each epoch.",
        }[level]
    )
    findings = [Finding("overfitting", level, text)]
    if measured.train_log_marginal is None or measured.log_marginal_mean is None:
        return findings
    gap = _difference(measured.train_log_marginal, measured.log_marginal_mean)
    level = _level(gap, measured.elbo_stddev)
    findings.append(
        Finding(
            "decoder overfitting",
            level,
            f"log p(x) of training data is {gap} nats above that of test data: "
            + {
                Level.OK: "the generative model, decoder and prior, does not overfit.",
                Level.NOTE: "the generative model, decoder and prior, overfits a little.",
                Level.ALARM: "the generative model, decoder and prior, overfits. Stop training earlier.",
            }[level],
        )
    )
    assert measured.inference_gap is not None
    assert measured.train_inference_gap is not None
    excess = _difference(measured.inference_gap, measured.train_inference_gap)
    level = _level(excess, measured.elbo_stddev)
    findings.append(
        Finding(
            "encoder overfitting",
            level,
            f"The ELBO is {measured.inference_gap.value:.2f} nats below log p(x), and "
            f"{measured.train_inference_gap.value:.2f} on training data: "
            + {
                Level.OK: "the encoder finds the posterior of new examples equally well.",
                Level.NOTE: "the encoder finds the posterior of new examples a little worse.",
                Level.ALARM: "the encoder does not find the posterior of new examples. Their log p(x) is better than "
                "the ELBO suggests. Use a smaller encoder, or train it on noisier inputs.",
            }[level],
        )
    )
    return findings


def _noise(measured: Measurements) -> Finding:
    """Whether the density grows because the noise vanishes [DW19]."""
    noise = measured.noise
    assert noise is not None
    smallest = f"{noise.smallest:.3g}"
    if noise.smallest < _TINY_NOISE * noise.data_stddev:
        return Finding(
            "noise",
            Level.ALARM,
            f"The likelihood's standard deviation has fallen to {smallest}, where that of the data is "
            f"{noise.data_stddev:.3g}: x has values without noise, whose density has no bound. The likelihood then "
            "means little. Bound the scale from below, add noise of the size of a quantisation step, or use a discrete "
            "likelihood. If samples are worse than reconstructions, train a second VAE over z (TwoStageVAE).",
        )
    if 0.05 < noise.share_at_smallest < 1:
        return Finding(
            "noise",
            Level.NOTE,
            f"{noise.share_at_smallest:.0%} of the values have the smallest standard deviation, {smallest}: it is at "
            "its lower bound, which determines the density of these values.",
        )
    return Finding("noise", Level.OK, f"The likelihood's smallest standard deviation is {smallest}.")


def _difference(a: Mean, b: Mean) -> Mean:
    """The difference a - b of independent means."""
    return Mean(a.value - b.value, math.hypot(a.standard_error, b.standard_error))


def _level(gap: Mean, stddev: float) -> Level:
    if not gap.value > _SIGMAS * gap.standard_error:
        return Level.OK
    return Level.ALARM if gap.value > _LARGE * stddev else Level.NOTE
