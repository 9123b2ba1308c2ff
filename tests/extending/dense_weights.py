"""An export target outside tfpvae: the weights of a dense decoder as one NumPy file, and how NumPy runs them."""

from __future__ import annotations

import contextlib

import numpy as np

from tfpvae.export import Target

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0.0),
    "linear": lambda x: x,
    "sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
}


class DenseWeights(Target):
    """The mean of a Bernoulli likelihood behind dense layers."""

    name = "dense_weights"
    runtime = "NumPy"
    files = "dense.npz"
    errors = (KeyError, OSError, ValueError)

    def lacks(self, signature):
        return None if signature.name == "decode" else "NumPy has dense layers alone"

    def write(self, task):
        *dense, likelihood = task.model.decoder.layers
        arrays = {"event_shape": np.array(likelihood.event_shape)}
        for index, layer in enumerate(dense):
            arrays[f"{index}/{layer.activation.__name__}/kernel"] = np.asarray(layer.kernel)
            arrays[f"{index}/{layer.activation.__name__}/bias"] = np.asarray(layer.bias)
        np.savez(task.directory / self.files, **arrays)
        return {}

    @contextlib.contextmanager
    def open(self, directory, signatures):
        assert signatures == ("decode",)
        with np.load(directory / self.files) as file:
            arrays = dict(file)
        event_shape = arrays.pop("event_shape")
        layers = sorted({name.rpartition("/")[0] for name in arrays})

        def run(name, inputs):
            x = inputs["z"]
            for layer in layers:
                x = ACTIVATIONS[layer.partition("/")[2]](x @ arrays[f"{layer}/kernel"] + arrays[f"{layer}/bias"])
            return {"mean": ACTIVATIONS["sigmoid"](x).reshape(-1, *event_shape)}

        yield {self.runtime: run}
