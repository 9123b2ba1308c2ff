from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfpvae.errors import DataError
from tfpvae.images import grid, labelled_rows, save_png, to_png, to_uint8

RAMP = np.linspace(0, 1, 8 * 8 * 3, dtype=np.float32).reshape(8, 8, 3)


def test_to_uint8_rounds_and_clips() -> None:
    values = np.array([-1, 0, 0.4 / 255, 0.6 / 255, 0.5, 1, 2, np.inf])
    assert to_uint8(values).tolist() == [0, 0, 0, 1, 128, 255, 255, 255]


def test_to_uint8_is_inverse_to_division() -> None:
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(levels.astype(np.float32) / 255), levels)
    np.testing.assert_array_equal(to_uint8(levels), levels)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (8, 8, 4), (1, 5, 3)])
def test_to_png_keeps_every_pixel(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    read = np.asarray(Image.open(io.BytesIO(to_png(image))))
    np.testing.assert_array_equal(read.reshape(shape), image)


def test_to_png_rounds_floats_to_the_nearest_level() -> None:
    image = np.array([[0.4, 0.6, 1.4], [1.6, 253.6, 254.6]]) / 255
    assert np.asarray(Image.open(io.BytesIO(to_png(image)))).tolist() == [[0, 1, 1], [2, 254, 255]]


@pytest.mark.parametrize(
    ("images", "columns", "scale", "size"),
    [
        (np.zeros((6, 8, 8)), None, None, (3 * 60 + 4, 2 * 60 + 4)),  # 8x8 becomes 56x56
        (np.zeros((5, 8, 8, 1)), 5, 2, (5 * 20 + 4, 20 + 4)),
        (np.zeros((2, 8, 8, 3)), 5, 1, (2 * 12 + 4, 12 + 4)),  # no wider than its images
        (np.zeros((1, 64, 30, 4)), None, None, (60 + 4 + 4, 128 + 4 + 4)),
    ],
)
def test_grid_size(images: np.ndarray, columns: int | None, scale: int | None, size: tuple[int, int]) -> None:
    assert grid(images, columns, scale).size == size


def test_grid_places_row_by_row_on_white() -> None:
    picture = np.asarray(grid(np.array([0.0, 0.2, 0.4]).reshape(3, 1, 1), columns=2, scale=1, gap=1))
    expected = [
        [255, 255, 255, 255, 255],
        [255, 0, 255, 51, 255],
        [255, 255, 255, 255, 255],
        [255, 102, 255, 255, 255],
        [255, 255, 255, 255, 255],
    ]
    assert picture.tolist() == expected


def test_grid_enlarges_without_smoothing() -> None:
    picture = np.asarray(grid(RAMP[np.newaxis], scale=3, gap=0))
    np.testing.assert_array_equal(picture[1::3, 1::3], to_uint8(RAMP))
    np.testing.assert_array_equal(picture[::3, ::3], picture[2::3, 2::3])


def test_grid_shows_white_through_alpha() -> None:
    picture = np.asarray(grid(np.array([0, 0, 0, 0.0]).reshape(1, 1, 1, 4), scale=1, gap=0))
    assert picture.tolist() == [[[255, 255, 255]]]


def test_labelled_rows() -> None:
    gray, colour = np.zeros((3, 8, 8)), np.tile(RAMP, (2, 1, 1, 1))
    picture = np.asarray(labelled_rows([("originals", gray), ("reconstructions", colour)]))
    assert picture.shape[0] == 2 * 60 + 4
    margin = picture.shape[1] - (3 * 60 + 4)
    np.testing.assert_array_equal(picture[:64, margin:, 0], np.asarray(grid(gray, columns=3)))
    for top in (4, 64):
        label = picture[top : top + 56, :margin]
        assert (label.min(axis=(1, 2)) < 100).sum() >= 8  # dark letters, at least 8 pixels high
        assert (label[:, :2] == 255).all()  # and none of them cut off


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((8, 8)), r"Received: shape \[8, 8\]"),
        (np.zeros((2, 8, 8, 2)), r"Received: shape \[2, 8, 8, 2\]"),
        (np.zeros((0, 8, 8)), r"Received: shape \[0, 8, 8\]"),
        (np.zeros((1, 8, 8), dtype=np.int64), "int64"),
        (np.full((1, 2, 2), np.nan), "NaN. Received: 4 of 4"),
    ],
)
def test_what_is_no_image(images: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        grid(images)


@pytest.mark.parametrize("option", [{"columns": 0}, {"scale": 0}, {"gap": -1}])
def test_grid_options(option: dict[str, int]) -> None:
    with pytest.raises(DataError, match=next(iter(option))):
        grid(np.zeros((1, 8, 8)), **option)


def test_no_rows() -> None:
    with pytest.raises(DataError, match="at least one"):
        labelled_rows([])


def test_save_png_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_text("an older file")
    save_png(grid(RAMP[np.newaxis]), path)
    with Image.open(path) as picture:
        assert picture.size == (64, 64)
    assert list(tmp_path.iterdir()) == [path]


def test_save_png_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    picture = grid(RAMP[np.newaxis])
    monkeypatch.setattr(picture, "save", full)
    with pytest.raises(DataError, match="Cannot write the picture") as caught:
        save_png(picture, tmp_path / "picture.png")
    assert isinstance(caught.value.__cause__, OSError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", ".", "folder", "missing/x.png", "file.txt/x.png"])
def test_a_path_that_cannot_be_written_is_named(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="path must be a file in a directory that exists"):
        save_png(grid(np.zeros((1, 4, 4))), path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file.txt", "folder"]
