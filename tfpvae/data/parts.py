"""Which files of a folder are for training and which are for testing, by the names of the folders that they lie in."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from tfpvae.errors import DataError

Part = Literal["train", "validation", "test"]

_NAMES: Final[dict[str, Part]] = {
    **dict.fromkeys(("train", "training", "trainset", "trn"), "train"),
    **dict.fromkeys(("test", "testing", "testset", "tst"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "valset", "dev", "devel"), "validation"),
}

_FILLERS: Final = frozenset({"set", "data", "dataset", "image", "images", "img", "imgs", "split"})
"""Words that say nothing beside the name of a part, as in `train_images` and `Training Set`."""


def part_of_name(folder: str) -> Part | None:
    """The part that a folder's name stands for, as in `Train`, `val2017` and `test_images`; None for other names."""
    words = [word for word in re.findall(r"[a-z]+", folder.lower()) if word not in _FILLERS]
    return _NAMES.get(words[0]) if len(words) == 1 else None


def split_by_folders(paths: Sequence[Path], root: Path) -> tuple[list[Path], list[Path]] | None:
    """Training and test files, where folders say which is which.

    The outermost folder below `root` whose name stands for a part decides: `train/cats/1.png` and `cats/train/1.png`
    are both for training. Where there are no test files, the validation files are the test files. Validation files
    beside test files, and files outside all of these folders, are left out with a warning.

    Args:
        paths: files below `root`.
        root: the folder.

    Returns:
        The training and the test files, in the order of `paths`; None where no folder, or none but training folders,
        has such a name.

    Raises:
        DataError: there are a training folder and folders of unknown meaning, or there is a test folder and no training
            folder.
    """
    by_part: dict[Part | None, list[Path]] = {}
    for path in paths:
        folders = path.relative_to(root).parts[:-1]
        part = next((part for part in map(part_of_name, folders) if part is not None), None)
        by_part.setdefault(part, []).append(path)
    if len(by_part) == 1:
        return None
    held_out: Part = "test" if "test" in by_part else "validation"
    if "train" not in by_part or held_out not in by_part:
        raise DataError(
            f"Folders must be named for what they hold: for training ({_known('train')}) and for testing "
            f"({_known('test')}, {_known('validation')}), in any case, or by no such name. Received: {root} with "
            f"{_folders(paths, root)}. Rename one, or give the folder of one part alone."
        )
    left_out = [path for part, files in by_part.items() if part not in ("train", held_out) for path in files]
    if left_out:
        warnings.warn(
            f"{len(left_out)} images of {root} are neither in a training nor in a {held_out} folder, and are not used: "
            f"{left_out[0]} is the first.",
            stacklevel=4,
        )
    return by_part["train"], by_part[held_out]


def _known(part: Part) -> str:
    return ", ".join(name for name, of in _NAMES.items() if of == part)


def _folders(paths: Sequence[Path], root: Path) -> str:
    names = sorted({path.relative_to(root).parts[0] if path.parent != root else "." for path in paths})
    shown = names[:6]
    return ", ".join(map(repr, shown)) + (" and others" if len(names) > len(shown) else "")
