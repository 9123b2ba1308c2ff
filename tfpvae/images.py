"""Pictures of images: arrays to PNG, grids of tiles, labelled rows.

Images are `[H, W]` or `[H, W, C]`, C = 1 (grey), 3 (RGB) or 4 (RGB and alpha): floats in [0, 1], or uint8.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from tfpvae.checks import non_negative_integer, positive_integer
from tfpvae.errors import DataError
from tfpvae.files import local_path, replacing

_CHANNELS: Final = (1, 3, 4)
_TILE: Final = 56  # pixels: smaller images are enlarged until their shorter side has at least as many
_GAP: Final = 4
_FONT_SIZE: Final = 15
_PAPER: Final = "white"
_INK: Final = "#333333"


def to_uint8(images: ArrayLike) -> np.ndarray:
    """round(255 x) as uint8, of any shape. What is outside [0, 1] is clipped; uint8 stays as it is.

    Raises:
        DataError: `images` are neither floats nor uint8, or hold NaN.
    """
    array = np.asarray(images)
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise DataError(f"Images must be floats in [0, 1], or uint8. Received: dtype {array.dtype}")
    if np.isnan(array).any():
        raise DataError(f"Images must not hold NaN. Received: {np.isnan(array).sum()} of {array.size} values")
    return np.rint(255 * np.clip(array, 0, 1)).astype(np.uint8)


def to_png(image: ArrayLike) -> bytes:
    """One image, `[H, W]` or `[H, W, C]`, as a PNG file.

    Raises:
        DataError: `image` is no image.
    """
    (tile,) = _tiles(np.asarray(image)[np.newaxis])
    file = io.BytesIO()
    tile.save(file, format="PNG")
    return file.getvalue()


def grid(images: ArrayLike, columns: int | None = None, scale: int | None = None, gap: int = _GAP) -> Image.Image:
    """A picture of many images, row by row on white.

    Args:
        images: `[N, H, W]` or `[N, H, W, C]`.
        columns: images in a row; None makes the grid as square as it can be.
        scale: how many pixels wide and high a pixel becomes; None enlarges small images to be seen.
        gap: pixels between the images, and around them.

    Raises:
        DataError: `images` are no images, or there are none; `columns` or `scale` is less than 1; `gap` is
            less than 0.
    """
    tiles = _tiles(images, scale)
    if columns is None:
        columns = math.ceil(math.sqrt(len(tiles)))
    columns = positive_integer("columns", columns, DataError)
    gap = non_negative_integer("gap", gap, DataError)
    width, height = (side + gap for side in tiles[0].size)
    rows = math.ceil(len(tiles) / columns)
    mode = "L" if tiles[0].mode == "L" else "RGB"
    picture = Image.new(mode, (min(columns, len(tiles)) * width + gap, rows * height + gap), _PAPER)
    for i, tile in enumerate(tiles):
        alpha = tile if tile.mode == "RGBA" else None
        picture.paste(tile, (gap + i % columns * width, gap + i // columns * height), alpha)
    return picture


def labelled_rows(rows: Sequence[tuple[str, ArrayLike]], scale: int | None = None) -> Image.Image:
    """A picture of rows of images, each with its label to the left: originals above their reconstructions.

    Args:
        rows: (label, images) from top to bottom, the images `[N, H, W]` or `[N, H, W, C]`.
        scale: as in `grid`.

    Raises:
        DataError: as `grid`, and where `rows` is empty.
    """
    if not rows:
        raise DataError("rows must hold at least one (label, images). Received: none")
    font = ImageFont.load_default(_FONT_SIZE)
    strips = [(label, grid(images, columns=len(np.asarray(images)), scale=scale)) for label, images in rows]
    margin = 3 * _GAP + math.ceil(max(font.getlength(label) for label, _ in strips))
    width = margin + max(strip.width for _, strip in strips)
    height = sum(strip.height - _GAP for _, strip in strips) + _GAP  # strips share the gap between them
    picture = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(picture)
    top = 0
    for label, strip in strips:
        picture.paste(strip, (margin, top))
        draw.text((margin - _GAP, top + strip.height // 2), label, fill=_INK, font=font, anchor="rm")
        top += strip.height - _GAP
    return picture


def check_png_path(path: str | os.PathLike[str]) -> Path:
    """The path of a picture, once it is known that a file can have it.

    Raises:
        DataError: it is a directory, or its directory does not exist.
    """
    path = local_path(path, DataError)
    if not path.name or path.is_dir() or not path.parent.is_dir():
        raise DataError(f"A picture's path must be a file in a directory that exists. Received: {str(path)!r}")
    return path


def save_png(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Writes a PNG file whole or not at all: see `tfpvae.files.replacing`.

    Raises:
        DataError: the file cannot be written.
    """
    path = check_png_path(path)
    try:
        with replacing(path) as unfinished:
            image.save(unfinished, format="PNG")
    except OSError as error:
        raise DataError(f"Cannot write the picture {path}: {error}") from error


def _tiles(images: ArrayLike, scale: int | None = 1) -> list[Image.Image]:
    """Each image of `[N, H, W]` or `[N, H, W, C]`, enlarged `scale` times without smoothing."""
    array = np.asarray(images)
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4 or array.shape[-1] not in _CHANNELS or array.size == 0:
        raise DataError(
            f"Images must have shape [N, H, W] or [N, H, W, C], C one of {_CHANNELS}, and none of size 0. "
            f"Received: shape {list(np.shape(images))}"
        )
    height, width, channels = array.shape[1:]
    if scale is None:
        scale = max(1, math.ceil(_TILE / min(height, width)))
    scale = positive_integer("scale", scale, DataError)
    pixels = to_uint8(array).repeat(scale, axis=1).repeat(scale, axis=2)
    return [Image.fromarray(image[..., 0] if channels == 1 else image) for image in pixels]
