"""q(z given x) of several latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfpvae.layers.base import DistributionLayer, Parameters
from tfpvae.layers.distribution_tensor import DistributionTensor, unwrap
from tfpvae.models import sampling
from tfpvae.models.latent_graph.joint import Ancestral, Factor, factor
from tfpvae.models.latent_graph.parts import (
    DATA,
    Conditional,
    Part,
    Untracked,
    all_known,
    in_order,
    join,
    parameters_of,
    probe,
    split_uniforms,
)
from tfpvae.models.latent_graph.split_at_data import FEATURES, split_at_data


class AncestralPosterior(DistributionLayer):
    """The posterior q(z given x) of several latents: a layer from x to an `Ancestral` distribution over z.

    Its parameters are those of all parts, named `<part>_<parameter>`. If a part conditions on others, its parameters
    are those at the others' means. They are for inspection and computed on demand; a draw runs the part's network
    again. If a network takes x and other parts, the features that depend on x alone are computed once. They are
    parameters too: `x_features_<part>`.

    Args:
        conditionals: the parts' networks, in any order.
        parts: in their order within z.
        event_shape: the shape of one x.

    Raises:
        ModelError: the networks form a cycle.
    """

    def __init__(
        self, conditionals: Sequence[Conditional], parts: Sequence[Part], event_shape: tuple[int, ...]
    ) -> None:
        # The networks cast their inputs themselves.
        super().__init__(autocast=False)
        self.parts = Untracked(tuple(parts))
        ordered = in_order(conditionals)
        self.networks = {c.name: c.network for c in conditionals}
        self.data_shape = event_shape
        probed = probe(ordered, parts, {DATA: event_shape})
        self.reparameterized = all(rv.reparameterization_type == tfd.FULLY_REPARAMETERIZED for rv in probed.values())
        # The last layers of the networks. The networks own them.
        self.layers_at_end = Untracked({name: rv.layer for name, rv in probed.items()})
        self.named = all(rv.layer is not None and rv.named_parameters is not None for rv in probed.values())
        # Networks of x and other parts are split in two: the features of x alone, and the rest.
        halves = {c.name: split_at_data(c) for c in ordered if DATA in c.parents and not c.of_data_alone}
        self.of_data = Untracked([of_data for of_data, _ in halves.values()])
        self.conditionals = Untracked([halves[c.name][1] if c.name in halves else c for c in ordered])
        self.has_mean = _has_mean(probed)
        self.build((None, *event_shape))

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return (None, *self.data_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> DistributionTensor:
        roots, features = self._once(inputs, bool(training))
        joint = self._joint(roots, features, inputs, bool(training))
        return self.random_variable(joint, (lambda: self._parameters(roots, features)) if self.named else None)

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        return self._parameters(*self._once(inputs))

    def _once(self, x: tf.Tensor, training: bool = False) -> tuple[dict[str, DistributionTensor], dict[str, tf.Tensor]]:
        """Computes once per x the distributions that depend on x alone, and the features of x for the other parts."""
        roots = {c.name: c({DATA: x}, training) for c in self._roots()}
        features: dict[str, tf.Tensor] = {}
        for c in self.of_data.value:
            names = self._feature_names(c.name)
            features |= dict(zip(names, keras.tree.flatten(c.network(x, training=training)), strict=True))
        return roots, features

    def _feature_names(self, part: str) -> list[str]:
        (rest,) = (c for c in self.conditionals.value if c.name == part)
        return [name for name in rest.parents if name.startswith(FEATURES)]

    def _parameters(self, roots: Mapping[str, DistributionTensor], features: Mapping[str, tf.Tensor]) -> Parameters:
        of_parts = dict(roots)
        if self.has_mean:
            rows = dict(features)
            for c in self.conditionals.value:
                if c.name not in of_parts:
                    of_parts[c.name] = c(rows)
                rows[c.name] = sampling.mean(of_parts[c.name])
        named = {
            f"{part.name}_{name}": value
            for part in self.parts.value
            if part.name in of_parts
            for name, value in (of_parts[part.name].named_parameters or {}).items()
        }
        return {**named, **features}

    def distribution(self, **parameters: tf.Tensor) -> tfd.Distribution:
        layers = self.layers_at_end.value
        roots = {c.name: layers[c.name].distribution(**parameters_of(c.name, parameters)) for c in self._roots()}
        return self._joint(roots, _features(parameters), next(iter(parameters.values())))

    def mean(self, parameters: Parameters) -> tf.Tensor:
        """The mean of each part at the means of its parents, `[B, D]`.

        Raises:
            NotImplementedError: a part has no mean in closed form.
        """
        if not self.has_mean:
            raise NotImplementedError("A part of this distribution has no mean in closed form.")
        layers, parts = self.layers_at_end.value, self.parts.value
        return join({p.name: layers[p.name].mean(parameters_of(p.name, parameters)) for p in parts}, parts)

    @property
    def num_uniforms(self) -> int | None:
        counts = self._counts()
        return None if counts is None else sum(counts)

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        counts = self._counts()
        if counts is None:
            return super().draw(parameters, uniforms)
        layers, parts = self.layers_at_end.value, self.parts.value
        of_part = split_uniforms(uniforms, parts, counts)
        rows = _features(parameters)
        for c in self.conditionals.value:
            named = parameters_of(c.name, parameters) if c.of_data_alone else c(rows).named_parameters
            rows[c.name] = layers[c.name].draw(named, of_part[c.name])
        return join(rows, parts)

    def _counts(self) -> list[int] | None:
        """The number of uniforms that each part takes, in the order of the parts."""
        layers = self.layers_at_end.value
        return all_known([None if layers[p.name] is None else layers[p.name].num_uniforms for p in self.parts.value])

    def _roots(self) -> list[Conditional]:
        return [c for c in self.conditionals.value if c.of_data_alone]

    def _joint(
        self,
        roots: Mapping[str, tfd.Distribution],
        features: Mapping[str, tf.Tensor],
        batch: tf.Tensor,
        training: bool = False,
    ) -> Ancestral:
        # In the order of the conditionals. Distributions of roots are already computed.
        factors: dict[str, Factor] = {
            c.name: unwrap(roots[c.name]) if c.name in roots else factor(c, training) for c in self.conditionals.value
        }
        return Ancestral(self.parts.value, factors, batch, features, self.reparameterized)


def _features(parameters: Parameters) -> dict[str, tf.Tensor]:
    """The features of x alone, for the parts that take x and other parts."""
    return {name: value for name, value in parameters.items() if name.startswith(FEATURES)}


def _has_mean(probed: Mapping[str, DistributionTensor]) -> bool:
    try:
        for rv in probed.values():
            sampling.mean(rv)
    except NotImplementedError:
        return False
    return True
