"""A signature outside tfpvae: the standard deviation of each pixel of p(x given z), of Bernoulli likelihoods."""

from __future__ import annotations

import tensorflow as tf

from tfpvae.errors import UnavailableError
from tfpvae.signatures import Signature


def compute(model, inputs):
    p_x = model.decode(inputs["z"])
    if "logits" not in (p_x.named_parameters or {}):
        raise UnavailableError("p(x given z) is no Bernoulli")
    logits = p_x.named_parameters["logits"]
    return {"stddev": tf.exp(-0.5 * (tf.nn.softplus(logits) + tf.nn.softplus(-logits)))}  # sqrt(p (1 - p))


STDDEV = Signature("stddev", ("z",), ("stddev",), "the standard deviation of p(x given z)", compute=compute)
