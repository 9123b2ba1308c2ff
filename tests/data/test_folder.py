import io

import numpy as np
import pytest
from PIL import Image

from tfpvae.data import ImageData, load
from tfpvae.errors import DataError


def picture(number=0, mode="L", size=(4, 3)):
    """A picture of `size` (width, height), of one colour that tells its number."""
    return Image.new("L", size, 10 * number + 5).convert(mode)


def write(folder, names, **kwargs):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number, **kwargs).save(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff", "PNG"])
def test_every_kind_of_file(tmp_path, suffix):
    write(tmp_path, [f"{i}.{suffix}" for i in range(4)])
    data = load(tmp_path, test_fraction=0.25)
    assert data.name == str(tmp_path)
    assert data.x_train.shape == (3, 3, 4, 3 if suffix in ("gif", "webp") else 1)  # these two know no grey
    assert data.x_test.shape[0] == 1


def test_files_are_read_from_all_sub_folders_in_the_order_of_their_paths(tmp_path):
    names = ["a.png", "b/a.png", "b/c/d.png", "c.png"]
    write(tmp_path, names)
    (tmp_path / "notes.txt").write_text("left alone")
    data = load(tmp_path, test_fraction=0.25)
    values = sorted(np.rint([*data.x_train[:, 0, 0, 0] * 255, *data.x_test[:, 0, 0, 0] * 255]))
    assert values == [5, 15, 25, 35]
    assert (np.diff(data.x_train[:, 0, 0, 0]) > 0).all()


def test_train_and_test_folders_are_the_split(tmp_path):
    write(tmp_path / "train", ["b.png", "deeper/a.png", "z.png"])
    write(tmp_path / "test", ["a.png"])
    write(tmp_path, ["elsewhere.png"])
    with pytest.warns(UserWarning, match=r"1 images .* not used: \S+elsewhere\.png"):
        data = load(tmp_path)
    assert (len(data.x_train), len(data.x_test)) == (3, 1)
    np.testing.assert_array_equal(np.rint(data.x_train[:, 0, 0, 0] * 255), [5, 15, 25])


def test_a_train_folder_alone_is_a_folder_like_any_other(tmp_path):
    write(tmp_path / "train", ["a.png", "b.png"])
    data = load(tmp_path, test_fraction=0.5)
    assert (len(data.x_train), len(data.x_test)) == (1, 1)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("P", 3), ("RGB", 3), ("RGBA", 3), ("LA", 1), ("CMYK", 3)]
)
def test_grey_stays_grey_and_the_rest_becomes_rgb(tmp_path, mode, channels):
    suffix = "jpg" if mode == "CMYK" else "png"
    for i in range(2):
        picture(25 if mode == "1" else 20, mode).save(tmp_path / f"{i}.{suffix}")
    data = load(tmp_path, test_fraction=0.5)
    assert data.image_shape == (3, 4, channels)
    expected = 1 if mode == "1" else 205 / 255
    np.testing.assert_allclose(data.x_train, expected, atol=2 / 255)


def test_a_palette_with_transparency_is_read_without_a_warning(tmp_path):
    for i in range(2):
        picture(20, "P").save(tmp_path / f"{i}.png", transparency=bytes([0, 128, 255]))
    np.testing.assert_allclose(load(tmp_path).x_train, 205 / 255, atol=2 / 255)


def test_the_first_frame_of_an_animation_counts(tmp_path):
    for i in range(2):
        picture(3).save(tmp_path / f"{i}.gif", save_all=True, append_images=[picture(9)])
    np.testing.assert_allclose(load(tmp_path).x_train, 35 / 255, atol=1e-6)


@pytest.mark.parametrize("modes", [("L", "LA"), ("LA", "L"), ("1", "L"), ("L", "1"), ("1", "LA")])
def test_grey_files_of_several_modes_may_be_mixed(tmp_path, modes):
    for i, mode in enumerate(modes):
        picture(14, mode).save(tmp_path / f"{i}.png")  # Grey of 145: white in mode "1", dithered elsewhere.
    data = load(tmp_path, test_fraction=0.5)
    assert data.image_shape == (3, 4, 1)
    of_mode = {"1": {0.0, 1.0}, "L": {145 / 255}, "LA": {145 / 255}}
    values = {round(float(v), 4) for v in np.concatenate([data.x_train, data.x_test]).flat}
    assert values == {round(v, 4) for mode in modes for v in of_mode[mode]}


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparent_pixels_are_laid_on_white_with_a_warning(tmp_path, mode):
    """The colours under transparent pixels are whatever a drawing program left there."""
    for i in range(2):
        image = Image.new("LA", (4, 3), (10, 255))
        image.putpixel((0, 0), (10, 0))
        image.putpixel((1, 0), (0, 51))  # A fifth of black.
        if mode == "P":
            image = image.convert("RGBA").quantize(4)
        image.convert(mode).save(tmp_path / f"{i}.png")
    with pytest.warns(UserWarning, match=r"2 of 2 images have transparent pixels.*white"):
        data = load(tmp_path, test_fraction=0.5)
    np.testing.assert_allclose(data.x_train[0, 0, :3, 0], [1.0, 204 / 255, 10 / 255], atol=2 / 255)


@pytest.mark.parametrize("suffix", ["jpg", "tif", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_orientation_says(tmp_path, orientation, suffix):
    upright = np.zeros((16, 24), np.uint8)
    upright[:6] = 200
    upright[:, :6] = 100
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # The transposition that a viewer undoes.
    exif = Image.Exif()
    exif[0x0112] = orientation
    for i in range(2):
        image = Image.fromarray(upright)
        if orientation in turns:
            image = image.transpose(Image.Transpose(turns[orientation]))
        image.save(tmp_path / f"{i}.{suffix}", exif=exif, quality=95)
    x = load(tmp_path, test_fraction=0.5).x_train[0, :, :, 0]
    assert x.shape == (16, 24)
    np.testing.assert_allclose(x, upright / 255, atol=0.1 if suffix in ("jpg", "webp") else 1e-6)


def test_photographs_that_are_of_one_size_once_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (16, 24)).save(tmp_path / "0.jpg")
    Image.new("L", (24, 16)).save(tmp_path / "1.jpg", exif=exif)
    assert load(tmp_path, test_fraction=0.5).image_shape == (24, 16, 1)


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr", "I;16", "F"])
def test_a_tiff_of_any_mode_is_read_or_refused(tmp_path, mode):
    for i in range(2):
        Image.new(mode, (4, 3)).save(tmp_path / f"{i}.tif")
    try:
        data = load(tmp_path, test_fraction=0.5)
    except DataError as error:
        assert "0.tif" in str(error)  # noqa: PT017
    else:
        assert data.image_shape == (3, 4, 3)


def test_a_file_of_another_format_than_its_suffix_says_starts_no_other_program(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 3\n%%EndComments\nshowpage\n")
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image"):
        load(tmp_path)


def test_files_of_kinds_that_become_rgb_may_be_mixed(tmp_path):
    picture(1, "RGB").save(tmp_path / "a.png")
    picture(2, "RGBA").save(tmp_path / "b.png")
    assert load(tmp_path).image_shape == (3, 4, 3)


def test_the_first_file_of_another_size_is_named_with_both_sizes(tmp_path):
    write(tmp_path, ["a.png", "b.png"])
    write(tmp_path, ["c.png", "d.png"], size=(5, 7))
    with pytest.raises(
        DataError,
        match=r"same size and mode\. Received: \S+c\.png with 5x7 pixels in mode L.*a\.png has 4x3 pixels",
    ):
        load(tmp_path)


def test_the_first_file_of_another_mode_is_named_with_both_modes(tmp_path):
    write(tmp_path, ["a.png", "b.png"])
    write(tmp_path, ["c.png"], mode="RGB")
    with pytest.raises(DataError, match=r"c\.png with 4x3 pixels in mode RGB, where \S+a\.png has .* in mode L\."):
        load(tmp_path)


def test_training_and_test_folders_of_different_shapes_are_refused(tmp_path):
    write(tmp_path / "train", ["a.png"])
    write(tmp_path / "test", ["a.png"], mode="RGB")
    with pytest.raises(DataError, match=r"x_train with \[3, 4, 1\] and x_test with \[3, 4, 3\]"):
        load(tmp_path)


def test_16_bits_a_channel_are_refused(tmp_path):
    Image.fromarray(np.full((3, 4), 40_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"8 bits a channel\. Received: \S+a\.png with mode I"):
        load(tmp_path)


@pytest.mark.parametrize("names", [[], ["notes.txt"]])
def test_a_folder_without_images(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("no image")
    with pytest.raises(DataError, match=r"\.bmp, \.gif, .*Received: .*, which has none"):
        load(tmp_path)


def test_an_empty_test_folder_is_no_split(tmp_path):
    write(tmp_path / "train", ["a.png"])
    (tmp_path / "test").mkdir()
    write(tmp_path / "train", ["b.png"])
    assert len(load(tmp_path, test_fraction=0.5).x_test) == 1


def test_a_file_that_is_no_image(tmp_path):
    write(tmp_path, ["a.png"])
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(DataError, match=r"b\.png cannot be read as an image") as caught:
        load(tmp_path)
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp"])
def test_a_damaged_file_is_an_error_or_still_an_image(tmp_path, suffix):
    """Cut off anywhere, or with one byte changed, a file raises nothing but a DataError."""
    buffer = io.BytesIO()
    kind = {"jpg": "jpeg"}.get(suffix, suffix)
    picture(7, "RGB").save(buffer, format=kind)
    whole = buffer.getvalue()
    damaged = [whole[:end] for end in range(0, len(whole), 3)]
    damaged += [whole[:i] + bytes([whole[i] ^ 0x55]) + whole[i + 1 :] for i in range(len(whole))]
    path = tmp_path / "train" / f"a.{suffix}"
    path.parent.mkdir()
    write(tmp_path / "test", [f"a.{suffix}"], mode="RGB")
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            assert isinstance(load(tmp_path), ImageData)
        except DataError:
            refused += 1
    assert refused > len(damaged) / 10
