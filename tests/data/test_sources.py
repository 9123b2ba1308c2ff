import subprocess
import sys
from pathlib import Path

import pytest

from tfpvae.data import DATA_SETS, check_source, load
from tfpvae.errors import DataError

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist.npz"


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("mnits", "mnist"), ("MNIST", "mnist"), ("digit", "digits"), ("fashion-mnist", "fashion_mnist")],
)
def test_a_misspelt_name_is_answered_with_the_likely_one(name, suggestion):
    with pytest.raises(DataError, match=rf"'{name}', which does not exist\. Did you mean '{suggestion}'?"):
        load(name)


def test_what_is_neither_a_name_nor_a_path_lists_names_and_kinds_of_path():
    with pytest.raises(DataError) as caught:
        load("no/such/folder")
    assert str(caught.value) == (
        "Data must be one of the names digits, fashion_mnist, mnist, or the path of a .npz file, a .npy file "
        "or a folder of images. Received: 'no/such/folder', which does not exist."
    )


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "faces.csv"
    path.write_text("1,2")
    with pytest.raises(DataError, match=r"faces\.csv', a file of another kind\."):
        load(path)


def test_a_name_wins_over_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    assert load("digits").image_shape == (8, 8, 1)
    with pytest.raises(DataError, match="which has none"):
        load("./digits")


def test_the_fraction_is_checked_even_where_it_is_not_used():
    with pytest.raises(DataError, match="test_fraction must be"):
        load("mnist", test_fraction=2)


def test_a_source_is_checked_without_reading_it(tmp_path):
    (tmp_path / "damaged.npz").write_text("no archive")
    (tmp_path / "faces.csv").write_text("1,2")
    for known in (*DATA_SETS, tmp_path, tmp_path / "damaged.npz"):
        check_source(known)
    for unknown in ("digit", "", None, tmp_path / "faces.csv", tmp_path / "missing.npy", tmp_path / "missing"):
        with pytest.raises(DataError, match="Data must be one of the names digits, fashion_mnist, mnist"):
            check_source(unknown)


def test_importing_the_package_loads_neither_tensorflow_nor_keras():
    check = (
        "import sys, tfpvae.data; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'tensorflow', 'keras', 'sklearn'}))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not MNIST.exists(), reason="needs MNIST as shared/data/mnist.npz beside the repository")
def test_mnist_from_its_file():
    data = load(MNIST)
    assert (data.x_train.shape, data.x_test.shape) == ((60_000, 28, 28, 1), (10_000, 28, 28, 1))
    assert abs(data.x_train.mean() - 0.1307) < 1e-4  # the mean that is quoted everywhere
    assert [int((data.y_test == digit).sum()) for digit in range(10)] == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
