"""The pixel rule, and data sets whose arrays follow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tfpvae.errors import DataError

CHANNELS: Final = (1, 3, 4)
"""Grey, RGB and RGBA."""


def check_images(x: np.ndarray, *, what: str) -> np.ndarray:
    """Images by the pixel rule, as float32 in [0, 1].

    The pixel rule: uint8 is read as 0..255 and divided by 255; bool is read as 0 and 1; floats must already
    lie in [0, 1]. A uint8 array whose largest value is 0 or 1 could mean either range, and is refused.

    Args:
        x: images `[N, H, W]` (grey) or `[N, H, W, C]` with C of 1, 3 or 4.
        what: what to call `x` in an error message: "x_train of faces.npz".

    Returns:
        `[N, H, W, C]`, float32, in [0, 1]. It shares the memory of `x` where `x` is float32 already.

    Raises:
        DataError: another shape or dtype, no images, NaN or infinity, or a value outside the range.
    """
    x = np.asarray(x)
    _check_shape(x, what)
    if x.ndim == 3:
        x = x[..., np.newaxis]
    if x.dtype == np.bool_:
        return x.astype(np.float32)
    if x.dtype == np.uint8:
        _check_uint8(x, what)
        return np.divide(x, 255, dtype=np.float32)
    if np.issubdtype(x.dtype, np.floating):
        _check_floats(x, what)
        return x.astype(np.float32, copy=False)
    raise DataError(
        f"Images must be uint8 (0..255), bool, or floats in [0, 1]. Received: {what} with dtype {x.dtype}"
        f"{_range_of_integers(x)}. Convert 0..255 with astype(numpy.uint8), 0/1 with astype(bool)."
    )


def check_labels(y: np.ndarray, *, n: int, what: str) -> np.ndarray:
    """Labels `[n]` or `[n, 1]` of any integer dtype -> int64 `[n]`.

    Raises:
        DataError: another shape or dtype.
    """
    y = np.asarray(y)
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"Labels must be integers. Received: {what} with dtype {y.dtype}.")
    if y.shape not in ((n,), (n, 1)):
        raise DataError(
            f"Labels must be one integer for each of the {n} images. Received: {what} with shape {y.shape}."
        )
    return y.reshape(n).astype(np.int64)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set of images, split into training and test images.

    It takes images in every form that `check_images` allows; the attributes hold them as float32 in [0, 1].

    Attributes:
        name: the data set's name, or the path it was read from.
        x_train: `[N, H, W, C]`, float32, in [0, 1].
        x_test: `[M, H, W, C]`, float32, in [0, 1].
        y_train: the labels of `x_train`, int64 `[N]`, or None.
        y_test: the labels of `x_test`, int64 `[M]`, or None.

    Raises:
        DataError: images against the pixel rule, training and test images of different shapes, or labels that
            are not one integer for each image.
    """

    name: str
    x_train: np.ndarray
    x_test: np.ndarray
    y_train: np.ndarray | None = None
    y_test: np.ndarray | None = None

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            x = check_images(getattr(self, f"x_{part}"), what=f"x_{part} of {self.name}")
            object.__setattr__(self, f"x_{part}", x)
            y = getattr(self, f"y_{part}")
            if y is not None:
                y = check_labels(y, n=len(x), what=f"y_{part} of {self.name}")
                object.__setattr__(self, f"y_{part}", y)
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise DataError(
                "Training and test images must have the same shape [H, W, C]. Received: "
                f"x_train with {list(self.x_train.shape[1:])} and x_test with {list(self.x_test.shape[1:])} "
                f"of {self.name}."
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        _, height, width, channels = self.x_train.shape
        return height, width, channels


def _check_shape(x: np.ndarray, what: str) -> None:
    if x.ndim not in (3, 4):
        raise DataError(
            f"Images must be [N, H, W] or [N, H, W, C]. Received: {what} with shape {list(x.shape)}."
            " Reshape flat images before saving them."
        )
    if x.size == 0:
        raise DataError(f"Images must not be empty. Received: {what} with shape {list(x.shape)}.")
    if x.ndim == 4 and x.shape[-1] not in CHANNELS:
        raise DataError(
            "Images [N, H, W, C] must have C = 1 (grey), 3 (RGB) or 4 (RGBA), the channels last. "
            f"Received: {what} with shape {list(x.shape)}."
        )


def _check_uint8(x: np.ndarray, what: str) -> None:
    largest = x.max()
    if largest <= 1:
        raise DataError(
            f"uint8 images must use the range 0..255. Received: {what}, whose largest value is {largest}: "
            "pixels of 0 and 1 cannot be told from nearly black ones. Save 0/1 images as bool or float32."
        )


def _check_floats(x: np.ndarray, what: str) -> None:
    smallest, largest = x.min(), x.max()
    if smallest >= 0 and largest <= 1:  # false for NaN: min and max return it
        return
    finite = np.isfinite(x)
    if not finite.all():
        index = tuple(int(i) for i in np.unravel_index(np.argmin(finite), x.shape))
        raise DataError(
            f"Images must be finite. Received: {what} with {x[index]} first at index {list(index)} of "
            "[N, H, W, C]. Remove or repair that image."
        )
    if smallest >= 0 and largest <= 255:
        remedy = "Divide by 255, if that is their range, or save them as uint8."
    elif smallest >= -1 and largest <= 1:
        remedy = "Use (x + 1) / 2, if [-1, 1] is their range."
    else:
        remedy = "Rescale or clip them."
    raise DataError(
        f"Images of floats must lie in [0, 1]. Received: {what} with min={smallest:g}, max={largest:g}. {remedy}"
    )


def _range_of_integers(x: np.ndarray) -> str:
    return f", min={x.min()}, max={x.max()}" if np.issubdtype(x.dtype, np.integer) else ""
