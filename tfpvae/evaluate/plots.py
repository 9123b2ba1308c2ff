"""The plots that the pictures are made of: tiled images, bars, scatter plots."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from tfpvae.images import to_uint8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE: Final = "#4477aa"
GREY: Final = "#bbbbbb"
_NAMED_COLORS: Final = 10


def tiles(images: np.ndarray) -> tuple[Figure, Any]:
    """A figure of images `[R, C, H, W]` or `[R, C, H, W, channels]`. Image (r, c) is centred on the point (c, r)."""
    from matplotlib.figure import Figure

    if images.ndim == 4:
        images = images[..., None]
    R, C, H, W, channels = images.shape
    gap = max(1, round(min(H, W) / 14))
    canvas = np.full([R * (H + gap), C * (W + gap), channels], 255, np.uint8)
    for r in range(R):
        for c in range(C):
            top, left = r * (H + gap) + gap // 2, c * (W + gap) + gap // 2
            canvas[top : top + H, left : left + W] = to_uint8(images[r, c].astype(np.float32))
    tile = min(0.9, 11 / max(R, C))  # inches
    figure = Figure(figsize=(max(C * tile, 5.5) + 1.0, R * tile * H / W + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(
        canvas[..., 0] if channels == 1 else canvas,
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(-0.5, C - 0.5, R - 0.5, -0.5),
        aspect=H / W,
        interpolation="nearest",
    )
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    return figure, axes


def bars(values: np.ndarray, order: np.ndarray, color: Any) -> tuple[Figure, Any]:
    """A figure with one bar per latent, labelled with the numbers in `order`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(min(14, max(6, 0.3 * len(values) + 2)), 4), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(values)), values, color=color)
    every = slice(None, None, max(1, len(values) // 40))
    axes.set_xticks(np.arange(len(values))[every], order[every], rotation=90 if len(values) > 20 else 0)
    axes.set_xlabel("latent, sorted")
    axes.margins(x=0.02)
    axes.grid(axis="y", alpha=0.3)
    return figure, axes


def scatter(axes: Any, values: np.ndarray, labels: np.ndarray | None, last: bool) -> None:
    """Draws points `[N, 2]`, with a legend or a colour bar if this is the last panel."""
    style = {"s": 9, "alpha": 0.7, "linewidths": 0}
    if labels is None:
        axes.scatter(*values.T, color=BLUE, **style)
        return
    names = np.unique(labels)
    if labels.dtype.kind == "f" and len(names) > _NAMED_COLORS:
        drawn = axes.scatter(*values.T, c=labels, cmap="viridis", **style)
        if last:
            axes.figure.colorbar(drawn, ax=axes, label="label")
        return
    from matplotlib import colormaps

    colors = colormaps["tab10" if len(names) <= _NAMED_COLORS else "tab20"]
    for i, name in enumerate(names):
        axes.scatter(*values[labels == name].T, color=colors(i % colors.N), label=str(name), **style)
    if last:
        axes.legend(title="label", loc="center left", bbox_to_anchor=(1.01, 0.5), markerscale=2.5)


def picture(figure: Figure) -> Image.Image:
    """The figure as an image."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return Image.open(file)
