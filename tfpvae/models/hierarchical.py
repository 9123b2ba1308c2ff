"""A variational autoencoder with several stochastic layers.

[BGS16] Burda, Grosse, Salakhutdinov: Importance weighted autoencoders. ICLR 2016.
[RMW14] Rezende, Mohamed, Wierstra: Stochastic backpropagation and approximate inference in deep generative models.
ICML 2014.
[TW18] Tomczak, Welling: VAE with a VampPrior. AISTATS 2018.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.batch import Batch, Latents
from tfpvae.errors import ModelError
from tfpvae.layers.base import register
from tfpvae.models.latent_graph import (
    DATA,
    AncestralDecoder,
    AncestralPosterior,
    AncestralPrior,
    Conditional,
    Part,
    in_order,
)
from tfpvae.models.latent_variable_model import LatentVariableModel
from tfpvae.models.networks import check_ends_in_distribution, check_no_kl_regularizer, probe
from tfpvae.objectives import Objective
from tfpvae.priors import DistributionPrior, Prior, StandardNormal


@register
class HierarchicalVAE(LatentVariableModel):
    """A VAE with L stochastic layers: p(z_L) p(z_L-1 given z_L) ... p(x given z_1), and q of the same latents.

    It is a directed graphical model whose conditionals are networks, sampled ancestrally [RMW14]. The names of a
    network's Keras inputs state what it conditions on: `x`, `z1`, `z2` and so on, with `z1` nearest to the data.

    The posterior may go up from the data, q(z1 given x) q(z2 given z1) [BGS16], down from the top, q(z2 given x)
    q(z1 given x, z2) [TW18], or follow any other acyclic order. A network in `conditionals` may condition on any layers
    above its own, the decoder on any layers.

    ```python
    def gaussian(name, given, hidden, size):
        hidden = keras.layers.Dense(hidden, "tanh")(given)
        return keras.Model(given, layers.MultivariateNormalDiag(size)(keras.layers.Dense(2 * size)(hidden)), name=name)

    x, z1, z2 = keras.Input((784,), name="x"), keras.Input((100,), name="z1"), keras.Input((50,), name="z2")
    logits = keras.layers.Dense(784)(keras.layers.Dense(200, "tanh")(z1))
    vae = HierarchicalVAE(
        posteriors={"z1": gaussian("q_z1", x, 200, 100), "z2": gaussian("q_z2", z1, 100, 50)},
        conditionals={"z1": gaussian("p_z1", z2, 100, 100)},
        decoder=keras.Model(z1, layers.IndependentBernoulli(784)(logits)),
    )
    ```

    z is the concatenation of the flattened layers, top first: z_L, ..., z_1. So bounds, estimates of log p(x) and
    exports work as for any VAE. The KL is estimated by one draw.

    `encode(x)` has the parameters of each layer's posterior by name, such as `z1_loc` and `z2_scale`. If a posterior
    conditions on another layer, its parameters are those at that layer's mean. `encode(x).mean()` and `reconstruct` use
    them too, because the true mean has no closed form. `log_prob` and draws are exact. If a posterior network takes x
    and another layer, the features that depend on x alone are computed once for all draws. They are also among the
    parameters, as `x_features_z1`.

    Args:
        posteriors: the posterior of each layer, `{"z1": ..., "z2": ...}`: functional or Sequential Keras models that
            end in a distribution layer.
        conditionals: p of each layer except the top one, given layers above it: models of the same kind.
        decoder: p(x given z), a model of the same kind.
        prior: p of the top layer, a `tfpvae.priors.Prior` or a `tfd.Distribution`. None is N(0, I). A prior built from
            the encoder, such as VampPrior, needs a top posterior that conditions on x alone.
        objective: as for `VAE`.
        **kwargs: those of `keras.Model`.

    Raises:
        ModelError: there are fewer than two layers, an input has an unknown name, the networks form a cycle, no network
            of the model takes a layer, networks share weights, shapes do not match, or `VAE` would raise it.

    Attributes:
        posteriors, conditionals: the arguments.
        encoder, decoder: q(z given x) and p(x given z), each as one layer.
        layer_sizes: the number of values of z in each layer, `{"z2": 50, "z1": 100}`, in their order within z.
    """

    _roles = ("encoder", "decoder")
    prior: AncestralPrior

    def __init__(
        self,
        posteriors: Mapping[str, keras.Model],
        conditionals: Mapping[str, keras.Model],
        decoder: keras.Model,
        prior: Prior | tfd.Distribution | None = None,
        objective: Objective | None = None,
        **kwargs: Any,
    ) -> None:
        names = _layer_names(posteriors, conditionals)
        q = [_conditional(name, posteriors[name], "posteriors", {DATA, *names} - {name}) for name in names]
        p = [
            _conditional(name, conditionals[name], "conditionals", set(names[: names.index(name)]))
            for name in names[1:]
        ]
        p_x = _conditional(DATA, decoder, "decoder", set(names))
        _check_used(names, [*p, p_x])
        _check_nothing_shared([*q, *p, p_x])
        q = in_order(q)
        shapes = {DATA: next(_input_shapes(c)[DATA] for c in q if DATA in c.parents)}
        for c in q:
            _check_shapes(c, shapes)
            shapes[c.name] = _event_shape(c, "posteriors")
        for c in [*p, p_x]:
            _check_shapes(c, shapes)
        parts = [Part(name, shapes[name]) for name in names]
        top = StandardNormal(parts[0].size) if prior is None else prior
        if isinstance(top, tfd.Distribution):
            top = DistributionPrior(top)
        _bind(top, next(c for c in q if c.name == names[0]), parts[0], shapes[DATA])
        super().__init__(objective, **kwargs)
        self.encoder = AncestralPosterior(q, parts, shapes[DATA])
        check_no_kl_regularizer(self.encoder)
        self.decoder = AncestralDecoder(p_x, parts)
        self.prior = AncestralPrior(top, p, parts)
        self.latent_parts = {part.name: part.size for part in parts}
        self.build((None, *shapes[DATA]))

    @property
    def layer_sizes(self) -> dict[str, int]:
        return dict(self.latent_parts or {})

    @property
    def posteriors(self) -> dict[str, keras.Model]:
        return dict(self.encoder.networks)

    @property
    def conditionals(self) -> dict[str, keras.Model]:
        return dict(self.prior.networks)

    def posterior(self, batch: Batch | tf.Tensor, training: bool = False) -> tfd.Distribution:
        """q(z given x): x `[B, *event_shape]` -> batch `[B]`, event `[D]`."""
        return self.encoder(Batch.of(batch).x, training=training)

    def likelihood(self, latents: Latents | tf.Tensor, training: bool = False) -> tfd.Distribution:
        """p(x given z): z `[B, D]` -> batch `[B]`, event `event_shape`."""
        return self.decoder(Latents.of(latents).z, training=training)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            **self._serialized("objective"),
            "posteriors": {name: serialize(network) for name, network in self.posteriors.items()},
            "conditionals": {name: serialize(network) for name, network in self.conditionals.items()},
            "decoder": serialize(self.decoder.network),
            "prior": serialize(self.prior.top),
        }


def _layer_names(posteriors: Any, conditionals: Any) -> list[str]:
    """The names of the layers, `["zL", ..., "z1"]`.

    Raises:
        ModelError: the layers have other names, or there are fewer than two.
    """
    for role, networks in (("posteriors", posteriors), ("conditionals", conditionals)):
        if not isinstance(networks, Mapping):
            raise ModelError(
                f'{role} must be a dict of networks by the names of their layers, {{"z1": ...}}. '
                f"Received: {type(networks).__name__}"
            )
    if len(posteriors) < 2:
        raise ModelError(
            "A HierarchicalVAE must have two stochastic layers or more; of one layer it is a VAE(encoder, decoder). "
            f"Received: posteriors of {', '.join(map(repr, posteriors)) or 'no layer'}"
        )
    names = [f"z{i}" for i in range(len(posteriors), 0, -1)]
    for role, networks, wanted in (("posteriors", posteriors, names), ("conditionals", conditionals, names[1:])):
        if set(networks) != set(wanted):
            raise ModelError(
                f"{role} must have one network for each of {', '.join(reversed(wanted))}. "
                f"Received: {', '.join(map(repr, networks)) or 'none'}"
            )
    return names


def _conditional(name: str, network: Any, role: str, allowed: set[str]) -> Conditional:
    """A network with the names of its inputs.

    Raises:
        ModelError: the inputs are unknown, or some are not allowed.
    """
    called = role if role == "decoder" else f"{role}[{name!r}]"
    if not isinstance(network, keras.Model) or not getattr(network, "inputs", None):
        raise ModelError(
            f"{called} must be a functional or Sequential Keras model with named inputs, such as "
            f'keras.Input((50,), name="z1"). Received: {type(network).__name__}'
        )
    check_ends_in_distribution(network, called)
    names = [tensor.name for tensor in network.inputs]
    if not allowed.issuperset(names):
        raise ModelError(
            f"{called} must have inputs named {', '.join(sorted(allowed, key=_by_layer))}, or some of them. "
            f"Received: {', '.join(names)}"
        )
    return Conditional(name, network, keras.tree.map_structure(lambda tensor: tensor.name, network.input))


def _by_layer(name: str) -> int:
    digits = re.search(r"\d+$", name)
    return int(digits[0]) if digits else 0


def _check_used(names: list[str], conditionals: list[Conditional]) -> None:
    used = {parent for c in conditionals for parent in c.parents}
    unused = [name for name in names if name not in used]
    if unused:
        raise ModelError(
            "Every stochastic layer must be an input of the decoder or of a network in conditionals: what nothing "
            f"depends on says nothing of x. Received: none takes {', '.join(unused)}"
        )


def _check_nothing_shared(conditionals: list[Conditional]) -> None:
    """Refuses weights shared by two networks, which would load as two separate copies."""
    owners: dict[int, str] = {}
    for c in conditionals:
        for variable in c.network.variables:
            if owners.setdefault(id(variable), c.network.name) != c.network.name:
                raise ModelError(
                    "The networks of a HierarchicalVAE must have no weights in common: a saved model would load with "
                    f"two copies. Received: {owners[id(variable)]} and {c.network.name} share {variable.path}"
                )


def _input_shapes(conditional: Conditional) -> dict[str, tuple[int, ...]]:
    """The shapes of a network's inputs by name, without the batch."""
    return {tensor.name: tuple(tensor.shape[1:]) for tensor in conditional.network.inputs}


def _check_shapes(conditional: Conditional, known: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in _input_shapes(conditional).items():
        if None in shape:
            raise ModelError(
                f"Network {conditional.network.name} must have inputs of a known shape. "
                f"Received: {name} of shape {list(shape)}"
            )
        if shape != known[name]:
            raise ModelError(
                f"Network {conditional.network.name} must take {name} of shape {list(known[name])}, as "
                f"{'the first posterior takes it' if name == DATA else f'q({name} given ...) makes it'}. "
                f"Received: an input of shape {list(shape)}"
            )


def _event_shape(conditional: Conditional, role: str) -> tuple[int, ...]:
    called = f"{role}[{conditional.name!r}]"
    shapes = _input_shapes(conditional)

    def of_zeros() -> Any:
        rows = {name: tf.zeros([1, *shape], keras.config.floatx()) for name, shape in shapes.items()}
        return conditional(rows)

    rv = probe(of_zeros, called)
    if rv.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
        raise ModelError(
            f"{called} must be reparameterised: the gradient comes through its draws, and would be None. Use a layer "
            f"such as tfpvae.layers.MultivariateNormalDiag. Received: {rv.tensor_distribution.name}"
        )
    return tuple(rv.event_shape)


def _bind(top: Any, q: Conditional, part: Part, event_shape: tuple[int, ...]) -> None:
    """Binds the top layer's prior to the top layer's posterior."""
    if not isinstance(top, Prior):
        raise ModelError(
            f"prior must be a tfpvae.priors.Prior, a tfd.Distribution or None. Received: {type(top).__name__}"
        )
    if top.takes_condition:
        raise ModelError(
            f"prior must be one without a condition, as a HierarchicalVAE has none. Received: {type(top).__name__}"
        )
    if not q.of_data_alone or len(part.event_shape) != 1:
        if top.shares_encoder:
            raise ModelError(
                f"{type(top).__name__} is made of q({part.name} given x): the top layer's posterior must condition on "
                f"x alone, and be over a vector. Received: q({part.name} given {', '.join(q.parents)}) over "
                f"{list(part.event_shape)}"
            )
        return
    top.bind(lambda x: q({DATA: x}), event_shape)
