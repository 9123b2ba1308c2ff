"""Folders that are a split: held-out images never come into training."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tfpvae.data import load
from tfpvae.errors import DataError

BRIGHT = 200


def write(root: Path, folders: dict[str, int], n: int = 3) -> None:
    """`n` images in each folder, of that grey."""
    for folder, grey in folders.items():
        (root / folder).mkdir(parents=True)
        for i in range(n):
            Image.new("L", (4, 4), grey).save(root / folder / f"{i}.png")


@pytest.mark.parametrize(
    ("training", "held_out"),
    [
        ("train", "test"), ("train", "val"), ("train", "valid"), ("train", "validation"), ("train", "dev"),
        ("training", "testing"), ("Train", "Test"), ("TRAIN", "VAL"), ("train2017", "val2017"),
        ("train_images", "test_images"), ("Training Set", "Test Set"), ("images-train", "images-test"),
        ("cats/train", "cats/test"), ("data/images/train/cats", "data/images/valid/cats"),
    ],
)  # fmt: skip
def test_held_out_images_stay_out_of_training(tmp_path, training, held_out):
    write(tmp_path, {training: 10, held_out: BRIGHT})
    data = load(tmp_path)
    assert len(data.x_train) == len(data.x_test) == 3
    assert (data.x_train < 0.5).all()
    assert (data.x_test > 0.5).all()


def test_beside_test_images_those_for_validation_are_left_out_with_a_warning(tmp_path):
    write(tmp_path, {"train": 10, "val": 100, "test": BRIGHT})
    with pytest.warns(UserWarning, match=r"3 images .* not used: \S*val"):
        data = load(tmp_path)
    assert len(data.x_train) == len(data.x_test) == 3
    assert (data.x_test > 0.5).all()


@pytest.mark.parametrize("other", ["holdout", "eval2", "cats", "unseen images"])
@pytest.mark.parametrize("part", ["train", "Test"])
def test_a_part_beside_a_folder_of_unknown_meaning_is_refused(tmp_path, part, other):
    write(tmp_path, {part: 10, other: BRIGHT})
    with pytest.raises(DataError, match=f"'{part}'"):
        load(tmp_path)


@pytest.mark.parametrize(
    "folders", [["cats", "dogs"], ["trainers", "boots"], ["contest", "value"], ["train"], ["test"]]
)
def test_folders_with_other_names_are_no_split(tmp_path, folders):
    write(tmp_path, dict.fromkeys(folders, 10))
    data = load(tmp_path, test_fraction=0.34)
    assert len(data.x_train) + len(data.x_test) == 3 * len(folders)
