"""The calls of an exported model, each defined once for every transport."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import ArrayLike

from tfpvae.checks import positive_integer
from tfpvae.client.arguments import Seeds, as_condition, as_rows, as_seeds, count_of
from tfpvae.errors import RequestError, ServerError
from tfpvae.signatures import CONDITION, SIGNATURES

BATCH_SIZE: Final = 256
"""Rows in one request by default: 256 images of 28x28 are about 3 MB of JSON."""


class Sampler(ABC):
    """The calls of an exported model, with NumPy arrays in and out. Abstract: a transport defines `_run` and `close`.

    B and n count rows, D is the number of latent dimensions; floats are float32. `seed=s` gives row i the seed s + i,
    wrapping in int64; `seed=[...]` gives each row its own seed; None draws a fresh s from the operating system. The
    same seeds give the same samples over every transport. A call may have any number of rows: they are computed
    `batch_size` at a time, and the answers joined in order.

    A conditional model takes `y` in every call: integer labels, or floats `[B, *y_shape]`. A scalar or an array of one
    row is used for all rows. A model p(y given x) without latents takes `x` in `decode`, `likelihood` and `sample`, and
    has no other calls. The manifest and the server's metadata name the inputs of a model.

    Args:
        batch_size: the largest number of rows computed, or sent, at once.

    Raises:
        RequestError: (all calls) the arguments are wrong, or y is missing, or the model takes no y. Nothing was
            computed.
        NotFoundError: (all calls) the model has no such signature.
        ServerError: (all calls) the model failed, or its answer has other outputs or rows than the call.
    """

    def __init__(self, batch_size: int = BATCH_SIZE) -> None:
        self._batch_size = positive_integer("batch_size", batch_size, RequestError)

    def sample(
        self, n: int | None = None, seed: Seeds = None, *, y: ArrayLike | None = None, x: ArrayLike | None = None
    ) -> np.ndarray:
        """x ~ p(x given z), z from the model's own prior: `[n, *event_shape]`.

        Args:
            n: the number of samples. By default as many as there are seeds, or rows of y or x, and else 1.
            seed: see the class.
            y: the condition, see the class.
            x: for a model without latents, `[n, ...]`; the samples are then y ~ p(y given x).
        """
        if x is None:
            return self._only("sample", **_seeded(n, seed, y))
        rows = as_rows("x", x)
        if n not in (None, len(rows)):
            raise RequestError(f"n must be the number of rows of x. Received: n={n!r}, {len(rows)} rows")
        return self._only("sample", **_with(y, x=rows), seed=as_seeds(len(rows), seed))

    def sample_mean(self, n: int | None = None, seed: Seeds = None, *, y: ArrayLike | None = None) -> np.ndarray:
        """E[x given z] for the z of `sample_latent`: `[n, *event_shape]`."""
        return self._only("sample_mean", **_seeded(n, seed, y))

    def sample_latent(self, n: int | None = None, seed: Seeds = None, *, y: ArrayLike | None = None) -> np.ndarray:
        """z from the model's own prior: `[n, D]`. Conditional models take y here too, and ignore it."""
        return self._only("sample_latent", **_seeded(n, seed, y))

    def sample_png(self, n: int | None = None, seed: Seeds = None, *, y: ArrayLike | None = None) -> list[bytes]:
        """The images of `sample_mean` as n PNG files, some 20 times smaller than its numbers. Images only."""
        return list(self._only("sample_png", **_seeded(n, seed, y)))

    def decode(
        self, z: ArrayLike | None = None, y: ArrayLike | None = None, *, x: ArrayLike | None = None
    ) -> np.ndarray:
        """E[x given z]: `[B, D]` -> `[B, *event_shape]`; for a model without latents E[y given x]."""
        return self._only("decode", **_with(y, **_z_or_x(z, x)))

    def likelihood(
        self, z: ArrayLike | None = None, y: ArrayLike | None = None, *, x: ArrayLike | None = None
    ) -> dict[str, np.ndarray]:
        """The parameters of p(x given z), or of p(y given x), by name: `[B, D]` -> each `[B, ...]`."""
        return self._all("likelihood", **_with(y, **_z_or_x(z, x)))

    def encode(self, x: ArrayLike, y: ArrayLike | None = None) -> dict[str, np.ndarray]:
        """The parameters of q(z given x) by name: `[B, *event_shape]` -> each `[B, ...]`."""
        return self._all("encode", **_with(y, x=as_rows("x", x)))

    def reconstruct(self, x: ArrayLike, y: ArrayLike | None = None) -> np.ndarray:
        """decode(mean of q(z given x)): `[B, *event_shape]` -> the same."""
        return self._only("reconstruct", **_with(y, x=as_rows("x", x)))

    def score(self, x: ArrayLike, seed: Seeds = None, *, y: ArrayLike | None = None) -> dict[str, np.ndarray]:
        """`elbo`, `log_likelihood` = log p(x given z) and `kl`, each `[B]`, in nats; one z for each x."""
        rows = as_rows("x", x)
        return self._all("score", **_with(y, x=rows), seed=as_seeds(len(rows), seed))

    def call(
        self,
        signature: str,
        n: int | None = None,
        seed: Seeds = None,
        *,
        z: ArrayLike | None = None,
        x: ArrayLike | None = None,
        y: ArrayLike | None = None,
    ) -> dict[str, np.ndarray]:
        """A signature by its name, with the inputs that it takes: its outputs by name, each `[B, ...]`.

        Signatures that a user registered have no method of their own, and are called by this.

        Args:
            signature: its name.
            n: the number of rows, of a signature that takes seeds alone; as in `sample`.
            seed: see the class; without z or x, None draws one.
            z: latents `[B, D]`.
            x: data `[B, ...]`.
            y: the condition, see the class.
        """
        arrays = {}
        if z is not None:
            arrays["z"] = as_rows("z", z, ndim=2)
        if x is not None:
            arrays["x"] = as_rows("x", x)
        if not arrays:
            return self._all(signature, **_seeded(n, seed, y))
        rows = len(next(iter(arrays.values())))
        if n not in (None, rows):
            raise RequestError(f"n must be the rows of z or x, where they are given. Received: n={n!r}, {rows} rows")
        known = SIGNATURES.get(signature)
        if seed is not None or (known is not None and "seed" in known.inputs):
            arrays["seed"] = as_seeds(rows, seed)
        return self._all(signature, **_with(y, **arrays))

    @abstractmethod
    def close(self) -> None:
        """Frees the transport's resources."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Computes one signature on at most `batch_size` rows.

        Args:
            signature: its name.
            inputs: by name, each `[B, ...]`: seeds and labels as int64, all others as float32.

        Returns: the outputs by name, each `[B, ...]`; those named `..._bytes` are arrays of `bytes` objects.
        """

    def _only(self, signature: str, **inputs: np.ndarray) -> np.ndarray:
        (output,) = self._all(signature, **inputs).values()
        return output

    def _all(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        rows = len(next(iter(inputs.values())))
        answers = []
        for start in range(0, rows, self._batch_size):
            part = slice(start, start + self._batch_size)
            answer = self._run(signature, {name: value[part] for name, value in inputs.items()})
            answers.append(_checked(signature, answer, rows=min(self._batch_size, rows - start)))
        first = {name: value.shape[1:] for name, value in answers[0].items()}
        for answer in answers[1:]:
            shapes = {name: value.shape[1:] for name, value in answer.items()}
            if shapes != first:
                raise ServerError(
                    f"{signature} answered rows of shapes {first}, then {shapes}: the model changed between two "
                    f"requests of one call. Ask for a fixed version, or call again."
                )
        return {name: np.concatenate([answer[name] for answer in answers]) for name in first}


def wrong_inputs(signature: str, takes: Iterable[str], received: Iterable[str]) -> RequestError:
    """The error for a call whose inputs are not those of the model's signature."""
    return RequestError(
        f"{signature} of this model takes {', '.join(sorted(takes))}. Received: {', '.join(sorted(received))}"
    )


def _seeded(n: int | None, seed: Seeds, y: ArrayLike | None) -> dict[str, np.ndarray]:
    """The inputs of a call by seed: the seeds of n rows, and y if it is given."""
    one_seed = seed is None or isinstance(seed, int | np.integer)
    seeds = as_seeds(count_of(y) if n is None and one_seed else n, seed)
    return _with(y, seed=seeds)


def _with(y: ArrayLike | None, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs, and y for as many rows if it is given."""
    rows = len(next(iter(inputs.values())))
    return inputs if y is None else {**inputs, CONDITION: as_condition(y, rows)}


def _z_or_x(z: ArrayLike | None, x: ArrayLike | None) -> dict[str, np.ndarray]:
    if z is not None and x is None:
        return {"z": as_rows("z", z, ndim=2)}
    if z is None and x is not None:
        return {"x": as_rows("x", x)}
    raise RequestError(f"Expected z, or x for a model without latents. Received: {'neither' if z is None else 'both'}")


def _checked(signature: str, answer: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """The answer with its outputs as float32, int64, bool or bytes, once its names and rows are checked."""
    expected = _outputs(signature)
    if not answer or (expected is not None and answer.keys() != set(expected)):
        raise ServerError(
            f"{signature} must answer {', '.join(expected or ['the parameters of a distribution'])}. "
            f"Received: {', '.join(sorted(answer)) or 'nothing'}"
        )
    return {name: _checked_output(f"{signature}: {name}", value, rows) for name, value in answer.items()}


def _outputs(signature: str) -> tuple[str, ...] | None:
    """The names of a signature's outputs; None where they are not known beforehand."""
    return SIGNATURES[signature].outputs if signature in SIGNATURES else None


def _checked_output(name: str, value: np.ndarray, rows: int) -> np.ndarray:
    if value.ndim == 0 or len(value) != rows:
        raise ServerError(f"{name} must have {rows} rows. Received: shape {list(value.shape)}")
    if name.endswith("_bytes"):
        return value
    match value.dtype.kind:
        case "f":
            return value.astype(np.float32)
        case "i" | "u":
            return value.astype(np.int64)
        case "b":
            return value
    raise ServerError(f"{name} must be numbers. Received: dtype {value.dtype}")
