"""A folder of image files, read with Pillow."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps

from tfpvae.data.images import ImageData
from tfpvae.data.parts import split_by_folders
from tfpvae.data.split import HoldOut
from tfpvae.errors import DataError

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})

_FORMATS: Final = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""The formats that Pillow may read, whatever the suffix of a file: for other formats it starts other programs."""

_UNREADABLE: Final = (OSError, EOFError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError)
"""The errors of Pillow for files that are damaged or are no images."""

_DEEP_MODES: Final = ("I", "F")
"""16 and 32 bits a pixel: Pillow would clip them to 8."""

_GREY: Final = frozenset({"1", "L", "LA", "La"})


def read_folder(path: Path, hold_out: HoldOut) -> ImageData:
    """All image files below a folder, in the order of their paths, of one size.

    Folders named for a part (`train`, `test`, `val` and the like, see `split_by_folders`) are the training and the test
    images; otherwise test images are held out. There are no labels.

    - An image is turned as its EXIF orientation says.
    - Black-and-white and grey files stay `[H, W, 1]`. All others, also those with a palette, become RGB.
    - Transparent pixels are laid on white, with a warning.
    - The first frame of an animation, and the first page of a TIFF, is read.
    - Only files with the suffixes png, jpg, jpeg, bmp, gif, webp, tif and tiff are read.

    Raises:
        DataError: no image files, one that cannot be read, one that differs from the first in size, grey beside
            coloured files, or folders that may or may not be a split.
    """
    paths = _image_files(path)
    parts = split_by_folders(paths, path)
    if parts is None:
        return hold_out.split(str(path), _read_images(paths), what=str(path))
    return ImageData(str(path), *map(_read_images, parts))


def _image_files(folder: Path) -> list[Path]:
    # Hidden files are not images: macOS leaves `._name.png` beside `name.png`, and `__MACOSX` in archives.
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and "__MACOSX" not in path.parts
        and path.is_file()
    )
    if not paths:
        raise DataError(
            f"A folder of images must have files with one of the suffixes {', '.join(sorted(SUFFIXES))}. "
            f"Received: {folder}, which has none."
        )
    return paths


def _read_images(paths: Sequence[Path]) -> np.ndarray:
    """`[N, H, W]` or `[N, H, W, 3]`: float32 in [0, 1], or bool where all files are black and white."""
    first, _ = _read_image(paths[0])
    pixels = np.asarray(first)
    images = np.empty((len(paths), *pixels.shape), dtype=pixels.dtype)
    transparent: list[Path] = []
    for i, path in enumerate(paths):
        image, was_transparent = _read_image(path)
        if image.size != first.size or (image.mode == "RGB") != (first.mode == "RGB"):
            raise DataError(
                "Images must all have the same size and mode. "
                f"Received: {path} with {_describe(image)}, where {paths[0]} has {_describe(first)}."
            )
        if image.mode == "L" and images.dtype == np.bool_:  # Black-and-white files came before the first grey one.
            images = images.astype(np.uint8) * np.uint8(255)
        images[i] = image if images.dtype == np.bool_ or image.mode != "1" else image.convert("L")
        if was_transparent:
            transparent.append(path)
    if transparent:
        warnings.warn(
            f"{len(transparent)} of {len(paths)} images have transparent pixels, which were laid on white: "
            f"{transparent[0]} is the first. To model transparency, save the images with 4 channels in a .npy file.",
            stacklevel=4,
        )
    # In a file 8 bits are 0 to 255, also where all of them are black.
    return images if images.dtype == np.bool_ else images.astype(np.float32) / 255


def _read_image(path: Path) -> tuple[Image.Image, bool]:
    """One image in mode "1" (black and white), "L" (grey) or "RGB", and whether some of it was transparent."""
    try:
        # Not by its path: Pillow maps a turned TIFF into memory with its sides exchanged, and mixes up its pixels.
        with path.open("rb") as stream, Image.open(stream, formats=_FORMATS) as file:
            file.load()
            image: Image.Image = ImageOps.exif_transpose(file)
        if image.mode.startswith(_DEEP_MODES):
            raise DataError(
                f"Image files must have 8 bits a channel. Received: {path} with mode {image.mode}. "
                "Convert it, or save the images as floats in [0, 1] in a .npy file."
            )
        if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
            return _laid_on_white(image)
        return image if image.mode in ("1", "L", "RGB") else image.convert("RGB"), False
    except DataError:  # It is a ValueError too.
        raise
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error


def _laid_on_white(image: Image.Image) -> tuple[Image.Image, bool]:
    mode = "L" if image.mode in _GREY else "RGB"
    # Pillow converts the premultiplied modes, "La" and "RGBa", to their own plain mode alone.
    plain = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGBA")
    alpha = plain.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return plain.convert(mode), False
    white = Image.new("RGBA", plain.size, "white")
    return Image.alpha_composite(white, plain).convert(mode), True


def _describe(image: Image.Image) -> str:
    width, height = image.size
    return f"{width}x{height} pixels in mode {image.mode}"
