import io
import pickle

import numpy as np
import pytest

from tfpvae.data import ImageData, load
from tfpvae.errors import DataError

X = np.arange(10 * 3 * 2, dtype=np.uint8).reshape(10, 3, 2)
Y = np.arange(10, dtype=np.uint8)


@pytest.fixture
def save(tmp_path):
    """Writes a `.npz` file of the arrays given and returns its path."""

    def save(*args, **arrays):
        path = tmp_path / "faces.npz"
        np.savez_compressed(path, *args, **arrays)
        return path

    return save


def test_npz_in_the_layout_of_keras(save):
    path = save(x_train=X[:7], y_train=Y[:7], x_test=X[7:], y_test=Y[7:])
    data = load(path)
    assert data.name == str(path)
    assert data.image_shape == (3, 2, 1)
    np.testing.assert_array_equal(data.x_train[..., 0], X[:7].astype(np.float32) / 255)
    np.testing.assert_array_equal(data.x_test[..., 0], X[7:].astype(np.float32) / 255)
    np.testing.assert_array_equal(data.y_train, Y[:7])
    np.testing.assert_array_equal(data.y_test, Y[7:])


def test_npz_without_labels(save):
    data = load(str(save(x_train=X[:7], x_test=X[7:])))
    assert (len(data.x_train), len(data.x_test)) == (7, 3)
    assert data.y_train is None
    assert data.y_test is None


def test_npz_without_test_images_holds_them_out(save):
    data = load(save(x_train=X, y_train=Y), test_fraction=0.3, seed=5)
    assert (len(data.x_train), len(data.x_test)) == (7, 3)
    np.testing.assert_array_equal(data.x_test[..., 0], X[data.y_test].astype(np.float32) / 255)


def test_npz_with_other_keys_beside_leaves_them_unread(save):
    path = save(x_train=X[:7], x_test=X[7:], notes=np.array([{"pickled": True}], dtype=object))
    assert isinstance(load(path), ImageData)


@pytest.mark.parametrize("key", ["x", "images", "arr_0"])
def test_npz_with_a_single_array(save, key):
    data = load(save(X) if key == "arr_0" else save(**{key: X}), test_fraction=0.2)
    assert (len(data.x_train), len(data.x_test)) == (8, 2)


@pytest.mark.parametrize(
    ("arrays", "keys"),
    [
        ({"x": X, "images": X}, "the keys x, images"),
        ({"x": X, "y": Y}, "the keys x, y"),
        ({"faces": X}, "the keys faces"),
        ({"x_test": X}, "the keys x_test"),
        ({"x_train": X, "y_test": Y}, "the keys x_train, y_test"),
        ({}, "no keys"),
    ],
)
def test_npz_with_keys_that_are_ambiguous_or_unknown(save, arrays, keys):
    with pytest.raises(DataError, match=rf"must have the key x_train.*faces\.npz with {keys}\."):
        load(save(**arrays))


def test_npz_names_file_and_key_of_a_bad_array(save):
    with pytest.raises(DataError, match=r"x_test of \S+faces\.npz with min=0, max=59"):
        load(save(x_train=X, x_test=X.astype(np.float32)))


@pytest.mark.parametrize("shape", [(10, 4, 4), (10, 4, 4, 1), (10, 4, 4, 3), (10, 4, 4, 4)])
def test_npy(tmp_path, shape):
    path = tmp_path / "faces.NPY"
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    with path.open("wb") as file:
        np.save(file, x)
    data = load(path, test_fraction=0.2)
    assert data.x_train.shape == (8, 4, 4, shape[3] if len(shape) == 4 else 1)
    assert len(data.x_test) == 2
    assert data.name == str(path)


@pytest.mark.parametrize("name", ["faces.npy", "faces.npz"])
def test_a_missing_file(tmp_path, name):
    with pytest.raises(DataError, match=rf"{name}', which does not exist"):
        load(tmp_path / name)


def test_pickled_objects_are_never_loaded(tmp_path, save):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("a pickle was loaded",)

    objects = np.empty(2, dtype=object)
    objects[:] = Bomb()
    np.save(tmp_path / "objects.npy", objects, allow_pickle=True)
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Bomb()))
    for path in (tmp_path / "objects.npy", tmp_path / "pickle.npy", save(x=objects)):
        with pytest.raises(DataError, match="without pickled objects") as caught:
            load(path)
        assert isinstance(caught.value.__cause__, ValueError | OSError)


@pytest.mark.parametrize(("suffix", "written"), [("npy", np.savez), ("npz", np.save)])
def test_a_file_of_the_other_kind(tmp_path, suffix, written):
    path = tmp_path / f"faces.{suffix}"
    with path.open("wb") as file:
        written(file, X)
    with pytest.raises(DataError, match="cannot be read") as caught:
        load(path)
    assert caught.value.__cause__ is not None


def test_a_header_that_promises_more_than_there_is(tmp_path):
    path = tmp_path / "faces.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10**15, 28, 28)})
        file.write(X.tobytes())
    with pytest.raises(DataError, match="cannot be read"):
        load(path)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_damaged_file_is_an_error_or_still_holds_images(tmp_path, suffix):
    """Cut off anywhere, or with one byte changed, a file raises nothing but a DataError."""
    buffer = io.BytesIO()
    if suffix == "npy":
        np.save(buffer, X)
    else:
        np.savez_compressed(buffer, x_train=X, x_test=X)
    whole = buffer.getvalue()
    damaged = [whole[:end] for end in range(0, len(whole), 7)]
    damaged += [whole[:i] + bytes([whole[i] ^ 0x55]) + whole[i + 1 :] for i in range(len(whole))]
    path = tmp_path / f"faces.{suffix}"
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            assert isinstance(load(path), ImageData)
        except DataError:
            refused += 1
    assert refused > len(damaged) / 4
