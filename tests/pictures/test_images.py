"""Arrays of images: resized, made and combined, passed by programs, and written to files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import stylize
from styling.pictures import images
from styling.pictures.images import Images, as_image, as_mask
from styling.system.errors import ImageError, NetworkError, SettingsError, StateError, StyleError

pytestmark = pytest.mark.filterwarnings("error")  # they would be further lines on the terminal
few = settings(deadline=None, max_examples=60)
NOISE = np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8)


@pytest.mark.parametrize("size", [(7, 5), (20, 3), (24, 32), (50, 70), (1, 1)])
def test_resize_is_pillows_bicubic_of_the_rounded_image(size):
    image = NOISE + np.random.default_rng(6).uniform(-0.4, 0.4, NOISE.shape).astype(np.float32)
    found = images.resize(image, *size)
    if size == NOISE.shape[:2]:
        assert np.shares_memory(found, image)
    else:
        expected = Image.fromarray(NOISE).resize(size[::-1], Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(found, np.asarray(expected))
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("make", "mean", "deviation", "middle"),  # middle: the share of draws within a deviation of the mean
    [(images.noise, 0, 0.256, 0.6827), (images.uniform_noise, 128.5, 12**-0.5, 3**-0.5)],
)
def test_noise_is_spread_as_it_says_and_follows_the_seed(make, mean, deviation, middle):
    first = make(200, 300, 7)
    assert first.shape == (200, 300, 3) and first.dtype == np.float32
    assert first.mean() == pytest.approx(mean, abs=0.005)  # 180,000 draws
    assert first.std() == pytest.approx(deviation, rel=0.01)
    assert np.mean(abs(first - mean) < deviation) == pytest.approx(middle, abs=0.005)
    np.testing.assert_array_equal(first, make(200, 300, 7))
    for other in (8, None):
        assert abs(np.corrcoef(first.ravel(), make(200, 300, other).ravel())[0, 1]) < 0.02
    assert not np.array_equal(make(4, 4, None), make(4, 4, None))


@few
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_a_thumbnail_keeps_proportions_and_is_never_larger(height, width, side):
    image = np.broadcast_to(np.float32([10, 90, 200]), (height, width, 3))
    found = images.thumbnail(image, side)
    if max(height, width) <= side:
        assert found.shape == image.shape
    else:
        assert max(found.shape[:2]) == side
        assert min(found.shape[:2]) == max(min(height, width) * side // max(height, width), 1)
    assert (found == [10, 90, 200]).all()


def test_a_grid_has_every_picture_in_its_place_on_white():
    values = [np.full((2, 3, 3), 10 * i, np.float32) for i in range(5)]
    sheet = images.grid(values, 3)
    rows, columns = (np.flatnonzero((sheet[..., 0] != 255).any(axis=axis)) for axis in (1, 0))
    assert len(rows) == 2 * 2 and len(columns) == 3 * 3
    pictures = sheet[rows][:, columns].reshape(2, 2, 3, 3, 3).swapaxes(1, 2).reshape(6, 2, 3, 3)
    np.testing.assert_array_equal(pictures[:5], values)
    assert (pictures[5] == 255).all()
    assert sheet.shape[:2] == (rows[-1] + 1, columns[-1] + 1)  # nothing but them at the edges


def pictures(low, high):
    levels = st.floats(low, high, width=32)
    return arrays(np.float32, (3, 2, 3), elements=levels)


@few
@given(pictures(90, 165), pictures(90, 165))  # so near the middle that nothing clips
def test_keep_colors_takes_luma_from_one_and_chroma_from_the_other(image, content):
    ycbcr = np.array(
        [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    )  # JFIF
    found = images.keep_colors(image, content) @ ycbcr.T
    np.testing.assert_allclose(found[..., 0], (image @ ycbcr.T)[..., 0], atol=1e-3)
    np.testing.assert_allclose(found[..., 1:], (content @ ycbcr.T)[..., 1:], atol=1e-3)


def test_gray_is_what_has_no_colour_but_for_rounding():
    gray = np.float32([[[7, 7, 7], [200, 201, 200]]])
    assert images.is_gray(gray)
    for colour in ([7, 7, 9], [9, 7, 7], [6, 7, 8]):
        assert not images.is_gray(np.float32([[[7, 7, 7], colour]]))


@few
@given(pictures(0, 255))
def test_a_picture_in_gray_keeps_its_luma(image):
    found = images.to_gray(image)
    assert found.dtype == np.float32 and images.is_gray(found)
    np.testing.assert_allclose(found[..., 1], image @ [0.299, 0.587, 0.114], atol=1e-3)


def test_to_bytes_rounds_and_clips():
    levels = np.array([-1e9, -0.6, 0.4, 0.6, 99.51, 254.4, 254.6, 255.4, 256, 1e9])
    assert images.to_bytes(levels).tolist() == [0, 0, 0, 1, 100, 254, 255, 255, 255, 255]
    assert images.to_bytes(levels).dtype == np.uint8


# What programs pass
COLORS = NOISE.astype(np.float32)
GRAY = COLORS[..., 0]
PICTURE = Image.fromarray(NOISE)
HALF = np.full((24, 32), 128, np.uint8)
ON_WHITE = COLORS * (128 / 255) + 127
SAME = {
    "uint8": (NOISE, COLORS),
    "integers": (NOISE.astype(int), COLORS),
    "float64": (COLORS.astype(float), COLORS),
    "a list": (COLORS.tolist(), COLORS),
    "gray": (GRAY, np.dstack([GRAY] * 3)),
    "gray, one channel": (GRAY[..., None], np.dstack([GRAY] * 3)),
    "with opacity": (np.dstack([NOISE, HALF]), ON_WHITE),
    "Pillow": (PICTURE, COLORS),
    "Pillow, gray": (Image.fromarray(NOISE[..., 0]), np.dstack([GRAY] * 3)),
    "Pillow, 16 bits": (Image.fromarray(GRAY.astype(np.uint16) * 257), np.dstack([GRAY] * 3)),
    "Pillow, with opacity": (Image.fromarray(np.dstack([NOISE, HALF])), ON_WHITE),
    "Pillow, CMYK": (Image.new("CMYK", (3, 2)), np.full((2, 3, 3), 255)),
    "black": (0 * COLORS, 0 * COLORS),
}


@pytest.mark.parametrize("name", SAME)
def test_what_is_plainly_an_image_is_taken_as_one(name):
    value, expected = SAME[name]
    image = as_image("content", value)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, expected, atol=1e-3)


WRONG = [
    ("photo.jpg", r"is the name of a file; pass its pixels, images.read\('photo.jpg'\)"),
    (Path("photo.jpg"), r"is the name of a file; pass its pixels, images.read\('photo.jpg'\)"),
    (None, "array of numbers, not NoneType"),
    (3, r"shape \[H, W, 3\], not \[\]"),
    (COLORS / 255, "values from .* to 1; pass values from 0 to 255"),
    (NOISE.astype(np.uint16) * 257, "to 65535; pass values from 0 to 255"),
    (COLORS > 100, "pass values from 0 to 255"),
    (np.where(COLORS > 250, np.nan, COLORS), "NaN or infinite"),
    (COLORS[None], r"shape \[H, W, 3\], not \[1, 24, 32, 3\]"),
    (COLORS.transpose(2, 0, 1), r"not \[3, 24, 32\]"),
    (COLORS[:0], r"not \[0, 32, 3\]"),
    ([[1, 2], [3]], "array of numbers"),
]


@pytest.mark.parametrize(("value", "problem"), WRONG)
def test_what_is_no_image_is_told_what_to_pass(value, problem):
    with pytest.raises(ImageError, match=f"^content .*{problem}"):
        as_image("content", value)


def test_masks_are_taken_from_whatever_says_where():
    mask = (NOISE[..., 0] > 100).astype(np.float32)
    levels = (255 * mask).astype(np.uint8)
    for value in (mask, mask > 0, mask.astype(np.uint8), levels, mask[..., None], Image.fromarray(levels)):
        found = as_mask("a mask", value)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, mask)
    assert as_mask("a mask", None) is None
    for value in (255 * mask, -mask, mask * np.nan, COLORS, mask[:0], "mask.png"):
        with pytest.raises(ImageError, match=r"^a mask "):
            as_mask("a mask", value)


def test_one_image_stands_for_a_list_of_one():
    for styles in (COLORS, GRAY, PICTURE, [COLORS], (COLORS,), COLORS[None], iter([COLORS])):
        assert len(Images.passed(COLORS, styles, None, None, [None], GRAY / 255).styles) == 1
    assert len(Images.passed(None, [COLORS, PICTURE], None, GRAY / 255, (), None).style_masks) == 1
    with pytest.raises(ImageError, match=r"styles\[1\] is the name of a file"):
        Images.passed(COLORS, [COLORS, "painting.jpg"], None, (), (), None)
    with pytest.raises(ImageError, match=r"styles\[0\] must have the shape"):
        Images.passed(COLORS, 5, None, (), (), None)


def test_what_is_no_network_no_settings_and_no_state_is_told_what_to_pass(network):
    for kind, more in (
        (NetworkError, {"network": "imagenet-vgg-verydeep-19.mat"}),
        (SettingsError, {"settings": {"width": 64}}),
        (StateError, {"state": "run.npz"}),
    ):
        with pytest.raises(kind, match=r"not (str|dict)"):
            stylize.stylize(**{"content": COLORS, "styles": COLORS, "network": network} | more)


# Writing
KINDS = {
    ".png": ("PNG", 0), ".tif": ("TIFF", 0), ".tiff": ("TIFF", 0), ".bmp": ("BMP", 0),
    ".jpg": ("JPEG", 3), ".jpeg": ("JPEG", 3), ".webp": ("WEBP", 6),
}  # fmt: skip


@pytest.mark.parametrize("ending", [*KINDS, ".PNG"])
def test_a_picture_comes_back_as_it_was_written(tmp_path, ending):
    kind, tolerance = KINDS[ending.lower()]
    y, x = np.mgrid[:40, :60].astype(np.float32)
    smooth = np.stack([2 * x + 60, 4 * y + 40, 200 - x - y], axis=-1)
    images.write(tmp_path / f"picture{ending}", smooth + 0.3)  # to be rounded away
    with Image.open(tmp_path / f"picture{ending}") as found:
        assert (found.format, found.mode, found.size) == (kind, "RGB", (60, 40))
        np.testing.assert_allclose(np.asarray(found, np.float32), smooth, atol=tolerance)
    assert len(list(tmp_path.glob("[!c]*"))) == 1


def test_a_jpeg_keeps_colour_at_every_pixel(tmp_path):
    stripes = np.zeros((16, 16, 3), np.float32)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 200  # with halved colours, all purple
    images.write(tmp_path / "stripes.jpg", stripes)
    with Image.open(tmp_path / "stripes.jpg") as found:
        assert abs(np.asarray(found, np.float32) - stripes).max() < 12


@pytest.mark.parametrize("ending, longest", [(".jpg", 65500), (".JPEG", 65500), (".webp", 16383)])
def test_check_size_knows_what_the_format_can_hold(tmp_path, ending, longest):
    path = tmp_path / f"long{ending}"
    images.check_size(path, longest, 1)
    images.write(path, np.zeros((1, longest, 3), np.float32))
    for size in ((longest + 1, 1), (1, longest + 1)):
        with pytest.raises(ImageError, match=rf"{path.name}: .*{longest}"):
            images.check_size(path, *size)
    with pytest.raises(ImageError):
        images.write(path, np.zeros((1, longest + 1, 3), np.float32))
    with Image.open(path) as found:
        assert found.size == (longest, 1)  # what was there before the failure
    images.check_size(tmp_path / "long.png", 100_000, 100_000)


@pytest.mark.parametrize("name", ["picture", "picture.gif", ".png", "."])
def test_a_name_whose_ending_is_no_format_is_told_those_that_are(tmp_path, name):
    with pytest.raises(ImageError, match=r"ending.*use one of \.png \.jpg"):
        images.write(tmp_path / name, COLORS)
    assert not list(tmp_path.iterdir())


def test_gray_and_whole_numbers_are_written_and_what_is_no_image_is_not(tmp_path):
    path = tmp_path / "picture.png"
    for value, expected in ((NOISE, COLORS), (GRAY, np.dstack([GRAY] * 3)), (PICTURE, COLORS)):
        np.testing.assert_array_equal(images.read(images.write(path, value)), expected)
    before = path.read_bytes()
    for value in (COLORS / 255, COLORS * np.nan, COLORS[None], "picture.png"):
        with pytest.raises(StyleError):
            images.write(path, value)
    assert path.read_bytes() == before
