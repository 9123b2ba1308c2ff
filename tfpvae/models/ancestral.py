"""Joint distributions of several latents, each given earlier ones: drawn one after the other, as one vector.

What `HierarchicalVAE` and `TwoStageVAE` are made of. Their latents are parts of one vector z, top first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

from tfpvae.errors import ModelError
from tfpvae.layers.base import DistributionLayer, Parameters
from tfpvae.layers.distribution_tensor import DistributionTensor, unwrap
from tfpvae.models import sampling
from tfpvae.priors import Prior

DATA = "x"
"""The name of the data among the names of the parts."""

Values = Mapping[str, tf.Tensor]
"""The data and the parts drawn so far, by name, row by row: `[R, *shape]`."""


@dataclass(frozen=True)
class Part:
    """One latent of several: where it is in z, and what its values look like.

    Attributes:
        name: its name.
        event_shape: of one value; within z it is flat.
    """

    name: str
    event_shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers of z it is."""
        return math.prod(self.event_shape)


@dataclass(frozen=True)
class Conditional:
    """A network that makes a distribution of the values of its parents.

    Attributes:
        name: of the part that the distribution is over.
        network: the network.
        inputs: the parents' names, in the structure of the network's inputs: a name, a list or a dict of names.
    """

    name: str
    network: keras.layers.Layer
    inputs: Any

    @property
    def parents(self) -> tuple[str, ...]:
        """The names of what it conditions on."""
        return tuple(keras.tree.flatten(self.inputs))

    @property
    def of_data_alone(self) -> bool:
        """Whether it conditions on x and no latent."""
        return self.parents == (DATA,)

    def __call__(self, values: Values, training: bool = False) -> DistributionTensor:
        return self.network(keras.tree.map_structure(lambda name: values[name], self.inputs), training=training)


def split_at_data(conditional: Conditional) -> tuple[Conditional, Conditional]:
    """A network of x and other parts as two: what x alone decides, once for each x, and the rest, once for each draw.

    Returns:
        A network from x to a list of tensors, and the conditional that takes these by the names `given_x_<part>`
        (`given_x_<part>_2` and so on) beside the other parts.
    """
    network, name = conditional.network, f"given_x_{conditional.name}"
    needs_others: dict[int, bool] = {}
    border: dict[int, Any] = {}

    # Keras has no public way to walk a graph of layers; tests/models/test_hierarchical.py tells when this one changes.
    def visit(tensor: Any) -> bool:
        if id(tensor) not in needs_others:
            operation, index, _ = tensor._keras_history
            node = operation._inbound_nodes[index]
            if node.is_input:
                needs_others[id(tensor)] = tensor.name != DATA
            else:
                found = [(each, visit(each)) for each in node.input_tensors]
                needs_others[id(tensor)] = any(needs for _, needs in found)
                if needs_others[id(tensor)]:
                    border.update({id(each): each for each, needs in found if not needs})
        return needs_others[id(tensor)]

    for output in network.outputs:
        visit(output)
    met = list(border.values())
    others = [tensor for tensor in network.inputs if tensor.name != DATA]
    (x,) = (tensor for tensor in network.inputs if tensor.name == DATA)
    names = [name if i == 0 else f"{name}_{i + 1}" for i in range(len(met))]
    of_data = Conditional(conditional.name, keras.Model(x, met), DATA)
    # Keras gives the inputs that a part of a graph keeps a new place in it, and the whole can no longer be saved.
    places = [tensor._keras_history for tensor in others]
    rest = keras.Model([*met, *others], network.output)
    for tensor, place in zip(others, places, strict=True):
        tensor._keras_history = place
    return of_data, Conditional(conditional.name, rest, [*names, *(tensor.name for tensor in others)])


Factor: TypeAlias = tfd.Distribution | Callable[[Values], tfd.Distribution]
"""A part's distribution, batch `[B]` or `[]`, or what makes it of earlier parts' rows: batch `[R]`."""


class Ancestral(tfd.Distribution):
    """p(a) p(b given a) p(c given a, b) ...: a joint distribution of parts, as one over the vector z of them all.

    `log_prob` of the very tensor that `sample` returned uses the distributions that it was drawn from, so that no
    network runs twice. To differentiate by such a z alone, give `tf.identity(z)`.

    It has no mean in closed form. `mean` gives each part's at the means of those before it.

    Args:
        parts: in their order within z.
        factors: by the part's name, in an order in which every part comes after those it is given.
        batch: a tensor `[B, ...]` of the batch's size; None is a batch shape of `[]`.
        data: tensors `[B, ...]` by name that factors take beside other parts.
        reparameterized: whether every factor is.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        factors: Mapping[str, Factor],
        batch: tf.Tensor | None = None,
        data: Mapping[str, tf.Tensor] | None = None,
        reparameterized: bool = True,
    ) -> None:
        self._parts = tuple(parts)
        self._factors = dict(factors)
        self._batch = batch
        self._data = dict(data or {})
        self._drawn: tuple[tf.Tensor, list[tuple[tfd.Distribution, tf.Tensor]]] | None = None
        first = next(factor for factor in self._factors.values() if isinstance(factor, tfd.Distribution))
        super().__init__(
            dtype=first.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED if reparameterized else tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters={},
            name="Ancestral",
        )

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([]) if self._batch is None else self._batch.shape[:1]

    def _batch_shape_tensor(self) -> tf.Tensor:
        return tf.constant([], tf.int32) if self._batch is None else tf.shape(self._batch)[:1]

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([sum(part.size for part in self._parts)])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant(self._event_shape().as_list(), tf.int32)

    def sample(self, sample_shape: Any = (), seed: Any = None, name: str = "sample", **kwargs: Any) -> tf.Tensor:
        """As `tfd.Distribution.sample`."""
        z = super().sample(sample_shape, seed=seed, name=name, **kwargs)
        assert self._drawn is not None
        self._drawn = (z, self._drawn[1])
        return z

    def _sample_n(self, n: tf.Tensor, seed: Any = None) -> tf.Tensor:
        seeds = iter(tf.unstack(tfp.random.split_seed(seed, n=len(self._factors))))

        def draw(name: str, distribution: tfd.Distribution, is_root: bool) -> tf.Tensor:
            del name
            return distribution.sample(n, seed=next(seeds)) if is_root else distribution.sample(seed=next(seeds))

        leading = tf.concat([[n], self.batch_shape_tensor()], axis=0)
        z, walked = self._walk(leading, draw)
        self._drawn = (z, walked)
        return z

    def _mean(self) -> tf.Tensor:
        return self._walk(self.batch_shape_tensor(), lambda name, distribution, is_root: distribution.mean())[0]

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        if self._drawn is not None and value is self._drawn[0]:
            leading, walked = tf.shape(value)[:-1], self._drawn[1]
        else:
            if self._batch is not None:
                # Broadcasts, in operations that export.
                value += tf.zeros(tf.concat([tf.shape(self._batch)[:1], [1]], axis=0), value.dtype)
            leading = tf.shape(value)[:-1]
            sizes = [part.size for part in self._parts]
            given = dict(zip((part.name for part in self._parts), tf.split(value, sizes, axis=-1), strict=True))

            def look_up(name: str, distribution: tfd.Distribution, is_root: bool) -> tf.Tensor:
                shape = leading if is_root else [-1]
                return tf.reshape(given[name], tf.concat([shape, distribution.event_shape], axis=0))

            _, walked = self._walk(leading, look_up)
        # Roots' are [*leading], others' [R]: the same numbers in the same order.
        return tf.add_n([tf.reshape(distribution.log_prob(value), leading) for distribution, value in walked])

    def _walk(
        self, leading: tf.Tensor, value_of: Callable[[str, tfd.Distribution, bool], tf.Tensor]
    ) -> tuple[tf.Tensor, list[tuple[tfd.Distribution, tf.Tensor]]]:
        """Goes from part to part.

        Args:
            leading: the axes of z before its last.
            value_of: a part's value, of its name, its distribution and whether that conditions on no other part:
                `[*leading, *event_shape]` if so, else `[R, *event_shape]`, R the product of `leading`.

        Returns:
            z `[*leading, D]`, and the distributions with the values.
        """
        rows = {name: _repeat_rows(value, tf.reduce_prod(leading)) for name, value in self._data.items()}
        walked = []
        shapes = {part.name: part.event_shape for part in self._parts}
        for name, factor in self._factors.items():
            is_root = isinstance(factor, tfd.Distribution)
            distribution = factor if is_root else factor(rows)
            value = value_of(name, distribution, is_root)
            walked.append((distribution, value))
            rows[name] = tf.reshape(value, [-1, *shapes[name]])
        flat = [tf.reshape(rows[part.name], tf.concat([leading, [part.size]], axis=0)) for part in self._parts]
        return tf.concat(flat, axis=-1), walked


class AncestralPosterior(DistributionLayer):
    """q(z given x) of several latents: a layer from x to an `Ancestral` distribution over z.

    Its parameters are those of each part, by the names `<part>_<parameter>`. Of a part that conditions on others they
    are those at the others' means, for whoever looks at them; its network runs again at every draw. Of a network that
    takes x beside other parts, what x alone decides is computed once, and is a parameter too: `given_x_<part>`.

    Args:
        conditionals: the parts' networks, in any order.
        parts: in their order within z.
        event_shape: of x.

    Raises:
        ModelError: they condition on each other in a circle.
    """

    def __init__(
        self, conditionals: Sequence[Conditional], parts: Sequence[Part], event_shape: tuple[int, ...]
    ) -> None:
        # The networks cast what they see themselves.
        super().__init__(autocast=False)
        self.parts = _Untracked(tuple(parts))
        self.conditionals = _Untracked(tuple(in_order(conditionals)))
        self.networks = {c.name: c.network for c in conditionals}
        self.data_shape = event_shape
        probed = probe(self.conditionals.value, self.parts.value, {DATA: event_shape})
        self.reparameterized = all(rv.reparameterization_type == tfd.FULLY_REPARAMETERIZED for rv in probed.values())
        # The layers at the networks' ends, which belong to the networks.
        self.layers_at_end = _Untracked({name: rv.layer for name, rv in probed.items()})
        self.named = all(rv.layer is not None and rv.named_parameters is not None for rv in probed.values())
        # Of the networks that take x beside other parts, what x alone decides, and the rest.
        both = {c.name: split_at_data(c) for c in self.conditionals.value if DATA in c.parents and not c.of_data_alone}
        self.of_data = _Untracked([of_data for of_data, _ in both.values()])
        self.conditionals = _Untracked([both[c.name][1] if c.name in both else c for c in self.conditionals.value])
        self.has_mean = _has_mean(probed)
        self.build((None, *event_shape))

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return (None, *self.data_shape)

    def joint(self, x: tf.Tensor, training: bool = False) -> Ancestral:
        """q(z given x), and nothing beside it: what a training step needs."""
        x = tf.convert_to_tensor(x)
        return self._joint(*self._once(x, training), x, training)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> DistributionTensor:
        roots, given = self._once(inputs, bool(training))
        joint = self._joint(roots, given, inputs, bool(training))
        return self.random_variable(joint, self._parameters(roots, given) if self.named else None)

    def parameters(self, inputs: tf.Tensor) -> Parameters:
        return self._parameters(*self._once(inputs))

    def _once(self, x: tf.Tensor, training: bool = False) -> tuple[dict[str, DistributionTensor], dict[str, tf.Tensor]]:
        """What is computed once for each x: the parts that condition on it alone, and what the others take of it."""
        roots = {c.name: c({DATA: x}, training) for c in self._roots()}
        given: dict[str, tf.Tensor] = {}
        for of_data in self.of_data.value:
            names = self._given_names(of_data.name)
            given |= dict(zip(names, keras.tree.flatten(of_data({DATA: x}, training)), strict=True))
        return roots, given

    def _given_names(self, part: str) -> list[str]:
        (rest,) = (c for c in self.conditionals.value if c.name == part)
        return [name for name in rest.parents if name.startswith("given_x_")]

    def _parameters(self, roots: Mapping[str, DistributionTensor], given: Mapping[str, tf.Tensor]) -> Parameters:
        found = dict(roots)
        if self.has_mean:
            rows = dict(given)
            for c in self.conditionals.value:
                if c.name not in found:
                    found[c.name] = c(rows)
                rows[c.name] = sampling.mean(found[c.name])
        named = {
            f"{part.name}_{name}": value
            for part in self.parts.value
            if part.name in found
            for name, value in (found[part.name].named_parameters or {}).items()
        }
        return {**named, **given}

    def distribution(self, **parameters: tf.Tensor) -> tfd.Distribution:
        layers = self.layers_at_end.value
        roots = {c.name: layers[c.name].distribution(**_of_part(c.name, parameters)) for c in self._roots()}
        return self._joint(roots, _given(parameters), next(iter(parameters.values())))

    def mean(self, parameters: Parameters) -> tf.Tensor:
        """Each part's mean at the means of those that it is given, `[B, D]`.

        Raises:
            NotImplementedError: a part has no mean in closed form.
        """
        if not self.has_mean:
            raise NotImplementedError("A part of this distribution has no mean in closed form.")
        layers = self.layers_at_end.value
        return tf.concat(
            [_flat(layers[p.name].mean(_of_part(p.name, parameters)), p) for p in self.parts.value], axis=-1
        )

    @property
    def num_uniforms(self) -> int | None:
        counts = self._counts()
        return None if counts is None else sum(counts)

    def draw(self, parameters: Parameters, uniforms: tf.Tensor) -> tf.Tensor:
        counts = self._counts()
        if counts is None:
            return super().draw(parameters, uniforms)
        layers, parts = self.layers_at_end.value, self.parts.value
        of_part = dict(zip((part.name for part in parts), tf.split(uniforms, counts, axis=-1), strict=True))
        rows = _given(parameters)
        for c in self.conditionals.value:
            named = _of_part(c.name, parameters) if c.of_data_alone else c(rows).named_parameters
            rows[c.name] = layers[c.name].draw(named, of_part[c.name])
        return tf.concat([_flat(rows[part.name], part) for part in parts], axis=-1)

    def _counts(self) -> list[int] | None:
        """How many uniforms each part takes, in the order of the parts."""
        layers = self.layers_at_end.value
        return _all_known([None if layers[p.name] is None else layers[p.name].num_uniforms for p in self.parts.value])

    def _roots(self) -> list[Conditional]:
        return [c for c in self.conditionals.value if c.of_data_alone]

    def _joint(
        self,
        roots: Mapping[str, tfd.Distribution],
        given: Mapping[str, tf.Tensor],
        batch: tf.Tensor,
        training: bool = False,
    ) -> Ancestral:
        # In the order of the conditionals, with the roots' distributions as they are.
        factors: dict[str, Factor] = {
            c.name: unwrap(roots[c.name]) if c.name in roots else _factor(c, training) for c in self.conditionals.value
        }
        return Ancestral(self.parts.value, factors, batch, given, self.reparameterized)


class AncestralPrior(Prior):
    """p(z) of several latents: a prior of the top one, and networks for the others.

    Args:
        top: the prior of the first part, over its values as a vector.
        conditionals: the other parts' networks, in any order.
        parts: in their order within z.

    Raises:
        ModelError: the top prior has another dimension, or a network makes a distribution over another event.
    """

    closed_form_kl = False

    def __init__(self, top: Prior, conditionals: Sequence[Conditional], parts: Sequence[Part]) -> None:
        super().__init__()
        self.top = top
        self.parts = _Untracked(tuple(parts))
        self.conditionals = _Untracked(tuple(in_order(conditionals, known=(parts[0].name,))))
        self.networks = {c.name: c.network for c in conditionals}
        if top.event_size != parts[0].size:
            raise ModelError(
                f"The prior must have the dimension of {parts[0].name}, {parts[0].size}. "
                f"Received: a prior of dimension {top.event_size}"
            )
        probed = probe(self.conditionals.value, self.parts.value, {parts[0].name: parts[0].event_shape})
        self.layers_at_end = _Untracked({name: rv.layer for name, rv in probed.items()})
        self.event_size = sum(part.size for part in parts)
        self.shares_encoder = top.shares_encoder
        self.built = True

    def distribution(self) -> tfd.Distribution:
        top = unwrap(self.top.distribution())
        factors: dict[str, Factor] = {self.parts.value[0].name: top}
        factors |= {c.name: _factor(c) for c in self.conditionals.value}
        return Ancestral(self.parts.value, factors)

    @property
    def num_uniforms(self) -> int | None:
        counts = self._counts()
        return None if counts is None else sum(counts)

    def draw(self, uniforms: tf.Tensor) -> tf.Tensor:
        counts = self._counts()
        if counts is None:
            return super().draw(uniforms)
        parts, layers = self.parts.value, self.layers_at_end.value
        of_part = dict(zip((part.name for part in parts), tf.split(uniforms, counts, axis=-1), strict=True))
        top = parts[0]
        rows = {top.name: tf.reshape(self.top.draw(of_part[top.name]), [-1, *top.event_shape])}
        for c in self.conditionals.value:
            rows[c.name] = layers[c.name].draw(c(rows).named_parameters, of_part[c.name])
        return tf.concat([_flat(rows[part.name], part) for part in parts], axis=-1)

    def _counts(self) -> list[int] | None:
        """How many uniforms each part takes, in the order of the parts."""
        layers = [self.layers_at_end.value[part.name] for part in self.parts.value[1:]]
        return _all_known([self.top.num_uniforms, *(None if layer is None else layer.num_uniforms for layer in layers)])


class AncestralDecoder(keras.layers.Layer):
    """p(x given z) of several latents: a layer from z to what a network makes of its parts.

    Args:
        conditional: the network, and which parts it takes.
        parts: in their order within z.
    """

    def __init__(self, conditional: Conditional, parts: Sequence[Part]) -> None:
        super().__init__(autocast=False)
        self.parts = _Untracked(tuple(parts))
        self.conditional = _Untracked(conditional)
        self.network = conditional.network
        self.built = True

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return (None, sum(part.size for part in self.parts.value))

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> DistributionTensor:
        return self.conditional.value(split(inputs, self.parts.value), bool(training))


class _Untracked:
    """Holds what Keras must not track: layers that belong to a network, which has them already."""

    def __init__(self, value: Any) -> None:
        self.value = value


def split(z: tf.Tensor, parts: Sequence[Part]) -> dict[str, tf.Tensor]:
    """z `[B, D]` to its parts by name, each `[B, *event_shape]`."""
    flat = tf.split(z, [part.size for part in parts], axis=-1)
    return {part.name: tf.reshape(value, [-1, *part.event_shape]) for part, value in zip(parts, flat, strict=True)}


def in_order(conditionals: Sequence[Conditional], known: tuple[str, ...] = (DATA,)) -> list[Conditional]:
    """The same, each after those that it conditions on.

    Raises:
        ModelError: there is no such order.
    """
    waiting, order, seen = list(conditionals), [], set(known)
    while waiting:
        ready = [c for c in waiting if seen.issuperset(c.parents)]
        if not ready:
            circle = "; ".join(f"{c.name} given {', '.join(c.parents)}" for c in waiting)
            raise ModelError(f"Networks must not condition on each other in a circle. Received: {circle}")
        order += ready
        seen |= {c.name for c in ready}
        waiting = [c for c in waiting if c not in ready]
    return order


def probe(
    conditionals: Sequence[Conditional], parts: Sequence[Part], known: Mapping[str, tuple[int, ...]]
) -> dict[str, DistributionTensor]:
    """What networks make of one row of zeros, by part.

    Args:
        conditionals: in order.
        parts: what the distributions must be over.
        known: the shapes of what is there before.

    Raises:
        ModelError: a distribution is over another event than its part.
    """
    shapes = {part.name: part.event_shape for part in parts}
    rows = {name: tf.zeros([1, *shape], keras.config.floatx()) for name, shape in (dict(known) | shapes).items()}
    found = {}
    for c in conditionals:
        rv = found[c.name] = c(rows)
        if tuple(rv.event_shape) != shapes[c.name]:
            raise ModelError(
                f"p({c.name} given {', '.join(c.parents)}) must be over the event of q({c.name} given ...), "
                f"{list(shapes[c.name])}. Received: event shape {rv.event_shape.as_list()}"
            )
    return found


def _factor(conditional: Conditional, training: bool = False) -> Callable[[Values], tfd.Distribution]:
    return lambda values: conditional(values, training).tensor_distribution


def _of_part(part: str, parameters: Parameters) -> Parameters:
    """A part's parameters by their own names."""
    prefix = f"{part}_"
    return {name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)}


def _given(parameters: Parameters) -> dict[str, tf.Tensor]:
    """What the parts take of x beside each other."""
    return {name: value for name, value in parameters.items() if name.startswith("given_x_")}


def _repeat_rows(value: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """`[B, ...]` to `[rows, ...]`, draw after draw."""
    repeats = rows // tf.shape(value)[0]
    return tf.tile(value, tf.concat([[repeats], tf.ones(value.shape.rank - 1, tf.int32)], axis=0))


def _flat(value: tf.Tensor, part: Part) -> tf.Tensor:
    return tf.reshape(value, [-1, part.size])


def _has_mean(found: Mapping[str, DistributionTensor]) -> bool:
    try:
        for rv in found.values():
            sampling.mean(rv)
    except NotImplementedError:
        return False
    return True


def _all_known(counts: list[int | None]) -> list[int] | None:
    return None if any(n is None for n in counts) else [n for n in counts if n is not None]
