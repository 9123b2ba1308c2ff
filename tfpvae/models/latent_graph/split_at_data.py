"""Splits a network of x and latents in two, so that the features of x alone are computed once for many draws."""

from __future__ import annotations

from typing import Any, Final

import keras

from tfpvae._compat.keras import Place, model_of_part
from tfpvae.models.latent_graph.parts import DATA, Conditional

FEATURES: Final = "x_features_"
"""The prefix of the names of features that depend on x alone, `x_features_<part>`."""


def split_at_data(conditional: Conditional) -> tuple[Conditional, Conditional]:
    """Splits a network of x and other parts into one that runs once per x and one that runs once per draw.

    Returns:
        A network from x to a list of features, and a conditional that takes the features and the other parts. The
        features are named `x_features_<part>`, `x_features_<part>_2` and so on.
    """
    network, name = conditional.network, f"{FEATURES}{conditional.name}"
    needs_others: dict[int, bool] = {}
    border: dict[int, Any] = {}

    def visit(tensor: Any) -> bool:
        if id(tensor) not in needs_others:
            place = Place(tensor)
            if place.is_input:
                needs_others[id(tensor)] = tensor.name != DATA
            else:
                inputs = [(source, visit(source)) for source in place.input_tensors]
                needs_others[id(tensor)] = any(needs for _, needs in inputs)
                if needs_others[id(tensor)]:
                    border.update({id(source): source for source, needs in inputs if not needs})
        return needs_others[id(tensor)]

    for output in network.outputs:
        visit(output)
    features = list(border.values())
    others = [tensor for tensor in network.inputs if tensor.name != DATA]
    (x,) = (tensor for tensor in network.inputs if tensor.name == DATA)
    names = [name if i == 0 else f"{name}_{i + 1}" for i in range(len(features))]
    of_data = Conditional(conditional.name, keras.Model(x, features), DATA)
    rest = model_of_part([*features, *others], network.output)
    return of_data, Conditional(conditional.name, rest, [*names, *(tensor.name for tensor in others)])
