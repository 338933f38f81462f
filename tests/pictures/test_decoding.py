"""Image files made with Pillow, or byte by byte, against pixels that are worked out by hand."""

import io
import struct
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from image_files import CYAN_ONLY, assert_refused, box, encoded, png, read, shorts, tiff
from PIL import Image, PngImagePlugin

from styling.pictures import images
from styling.run.sizes import sizes_in_use
from styling.settings import Settings

pytestmark = pytest.mark.filterwarnings("error")  # they would be further lines on the terminal
few = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
white, black = [255, 255, 255], [0, 0, 0]
half = [127, 227, 127]  # (0, 200, 0) at opacity 128 / 255 on white: 0 + 127, 100.4 + 127, 0 + 127


def palette_image(kind, **options):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L")
    image.putpalette([10, 20, 30, 0, 200, 0, 70, 80, 90])
    return encoded(image, kind, **options)


def cmyk(kind, inverse=0, **options):
    """White, and the four inks, in squares of 16 pixels. inverse: 255 for levels that are inverted."""
    inks = np.concatenate([np.zeros((1, 4)), 255 * np.eye(4)])[None].repeat(16, 0).repeat(16, 1)
    return encoded(Image.fromarray(abs(inverse - inks).astype(np.uint8), "CMYK"), kind, **options)


def without_adobe(data):
    """A JPEG without the marker that says that its inks are inverted."""
    place = data.index(b"\xff\xee")
    return data[:place] + data[place + 16 :]


DEEP = [0, 128, 129, 1000, 32768, 65535]
INKS = [white, [0, 255, 255], [255, 0, 255], [255, 255, 0], black]
PLTE = (b"PLTE", bytes([10, 20, 30, 0, 200, 0]))
one_in_16 = slice(8, None, 16)
everything = slice(None)
# The bytes, the pixels of one row to look at, their colours, and how far they may be off.
COLOURS = {
    "gray": (encoded([[0, 100, 255]], "PNG"), everything, [[v] * 3 for v in (0, 100, 255)], 0),
    "1 bit": (png(1, 0, [b"\xa0"]), everything, [white, black, white] + 5 * [black], 0),
    "gray, alpha": (
        png(8, 4, [bytes([100, 255, 100, 0, 0, 128])]), everything, [[100] * 3, white, [127] * 3], 0.5,
    ),
    "gray, tRNS": (png(8, 0, [b"\x64\x32"], (b"tRNS", shorts(100))), everything, [white, [50] * 3], 0),
    "palette": (palette_image("PNG"), everything, [[10, 20, 30], [0, 200, 0], [70, 80, 90]], 0),
    "palette, tRNS": (
        png(8, 3, [b"\0\1"], PLTE, (b"tRNS", bytes([255, 128]))), everything, [[10, 20, 30], half], 0.5,
    ),
    "GIF, one transparent": (
        palette_image("GIF", transparency=1), everything, [[10, 20, 30], white, [70, 80, 90]], 0,
    ),
    "DDS": (encoded([[[1, 2, 3], [250, 0, 9]]], "DDS"), everything, [[1, 2, 3], [250, 0, 9]], 0),
    "RGB, tRNS": (
        png(8, 2, [bytes(range(6))], (b"tRNS", shorts(0, 1, 2))), everything, [white, [3, 4, 5]], 0,
    ),
    **{
        f"RGBA, {kind}": (
            encoded([[[0, 200, 0, 128], [9, 9, 9, 0], [1, 2, 3, 255]]], kind, **options),
            everything, [half, white, [1, 2, 3]], 0.5,
        )
        for kind, options in {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}.items()
    },
    "CMYK, JPEG": (cmyk("JPEG", quality=95), one_in_16, INKS, 3),
    "CMYK, JPEG, not Adobe's": (without_adobe(cmyk("JPEG", 255, quality=95)), one_in_16, INKS, 3),
    "CMYK, TIFF": (cmyk("TIFF"), one_in_16, INKS, 0),
    "CMYK, profile": (cmyk("TIFF", icc_profile=CYAN_ONLY), one_in_16, [white, black, white, white, white], 2),
    "16 bits, PNG": (png(16, 0, [shorts(*DEEP)]), everything, [[v / 257] * 3 for v in DEEP], 0.5),
    "16 bits, tRNS, PNG": (
        png(16, 0, [shorts(1000, 1001, 65535)], (b"tRNS", shorts(1000))),
        everything, [white, [1001 / 257] * 3, white], 0.5,
    ),
    **{
        f"{name}, TIFF, {order}": (
            tiff(order, 1, values, 3, code, **options), everything, [[v] * 3 for v in expected], 0.5,
        )
        for order in "<>"
        for name, code, values, expected, options in (
            ("16 bits in 32", "i", [0, 25700, 65535], [0, 100, 255], {}),
            ("floats", "f", [0, 0.4, 1], [0, 102, 255], {}),
            ("white is 0", "B", [0, 55, 255], [255, 200, 0], {"t262": 0}),
        )
    },
    "12 bits, TIFF": (  # 0, 2048, 4095, 16
        tiff("<", 1, bytes.fromhex("000800fff010"), 4, bits=12), everything,
        [[v] * 3 for v in (0, 127.5, 255, 1)], 0.51,
    ),
    "RGB, multiplied by alpha, TIFF": (
        tiff("<", 4, [0, 100, 0, 128], 1, "B", t338=1), everything, [[127, 227, 127]], 1,
    ),
    # Lab of sRGB's red is 54.3, 80.8, 69.9 for D50.
    "Lab, TIFF": (
        encoded(Image.merge("LAB", [Image.new("L", (1, 1), v) for v in (138, 209, 198)]), "TIFF"),
        everything, [[255, 0, 0]], 8,
    ),
    "16 bits, PGM": (b"P5 2 1 65535 " + shorts(25700, 65535), everything, [[100] * 3, white], 0),
    "16 bits, RGB, PNG": (png(16, 2, [shorts(*DEEP)]), everything, np.reshape(DEEP, (2, 3)) / 257, 1),
    **{
        f"16 bits, {samples} channels, TIFF, {order}": (
            tiff(order, samples, DEEP, 6 // samples), everything,
            np.broadcast_to(np.reshape(DEEP, (-1, samples)) / 257, (6 // samples, 3)), 1,
        )
        for order in "<>"
        for samples in (1, 3)
    },
}  # fmt: skip


@pytest.mark.parametrize("name", COLOURS)
def test_an_image_of_every_kind_becomes_rgb_on_white(tmp_path, name):
    data, pixels, expected, tolerance = COLOURS[name]
    row = read(tmp_path, data)[0, pixels]
    assert row.shape == np.shape(expected)
    np.testing.assert_allclose(row, expected, atol=tolerance + 1e-4)


# Numbers of which nothing says what is black and white, and bytes that Pillow would take for others.
UNCLEAR = {
    "32 bits, all below 256": (tiff("<", 1, [0, 255], 2, "i"), "from 0 to 255 .*mode I"),
    "32 bits, negative": (tiff("<", 1, [-257, 25700], 2, "i"), "from -257 .*mode I"),
    "32 bits, large": (tiff("<", 1, [0, 10**6], 2, "i"), "mode I"),
    "16 bits, signed": (tiff("<", 1, [0, 32767], 2, "h"), "TIFF of a kind"),
    "floats to 255": (tiff("<", 1, [0, 255], 2, "f"), "from 0 to 255 .*mode F"),
    "NaN": (tiff("<", 1, [0, np.nan, 1], 3, "f"), "mode F"),
    "RGB floats": (tiff("<", 3, [0, 0.5, 1], 1, "f"), "TIFF"),
    "compressed floats, Motorola": (tiff(">", 1, [0, 1], 2, "f", compressed=True), "TIFF of a kind"),
    "16 bits, by planes": (tiff("<", 3, [0, 1, 2, 3, 4, 5], 2, t284=2), "TIFF of a kind"),
    "a preview": (tiff("<", 1, [0, 1], 2, "B", t254=1, t330=8), "raw file"),
}


# EXIF 2.3: an orientation names the sides at which the stored row 0 and column 0 (abc, ad) are seen.
UPRIGHT = {
    1: ["abc", "def"],  # top, left
    2: ["cba", "fed"],  # top, right
    3: ["fed", "cba"],  # bottom, right
    4: ["def", "abc"],  # bottom, left
    5: ["ad", "be", "cf"],  # left, top
    6: ["da", "eb", "fc"],  # right, top
    7: ["fc", "eb", "da"],  # right, bottom
    8: ["cf", "be", "ad"],  # left, bottom
}
LEVELS = {letter: 50 * i for i, letter in enumerate("abcdef")}


@pytest.mark.parametrize(
    ("mode", "kind", "tolerance"),
    [("RGB", "JPEG", 2), ("RGBA", "PNG", 0), ("I;16", "TIFF", 0), ("RGB", "HEIF", 6), ("RGB", "AVIF", 6)],
)
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_turns_colours_and_alpha(tmp_path, orientation, mode, kind, tolerance):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    stored = np.array([[LEVELS[c] for c in row] for row in ("abc", "def")]).repeat(16, 0).repeat(16, 1)
    if mode == "I;16":
        image = Image.fromarray((257 * stored).astype(np.uint16))
    else:
        image = Image.fromarray(stored.astype(np.uint8)).convert(mode)
    levels = dict(LEVELS)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(np.where(stored == LEVELS["b"], 0, 255).astype(np.uint8)))
        levels["b"] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read(tmp_path, encoded(image, kind, exif=exif.tobytes(), quality=95))
    expected = np.array([[levels[c] for c in row] for row in UPRIGHT[orientation]])
    assert found.shape == (16 * expected.shape[0], 16 * expected.shape[1], 3)
    np.testing.assert_allclose(found[8::16, 8::16], expected[..., None].repeat(3, 2), atol=tolerance)


@pytest.mark.parametrize(
    "exif", [b"garbage", b"", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff\1\x12"]
)
def test_broken_exif_is_as_good_as_none(tmp_path, exif):
    assert read(tmp_path, png(8, 2, [bytes(range(6))], (b"eXIf", exif)))[0].tolist() == [[0, 1, 2], [3, 4, 5]]


NOISE = np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8)

FRAMES = [Image.new("RGB", (12, 9), colour) for colour in ((10, 20, 30), (200, 100, 0))]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF"])
def test_the_first_frame_of_several_is_read(tmp_path, kind):
    data = encoded(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:])
    assert Image.open(io.BytesIO(data)).n_frames == 2
    np.testing.assert_array_equal(read(tmp_path, data), np.full((9, 12, 3), [10, 20, 30]))


WHOLE = {
    "PNG": encoded(NOISE, "PNG"),
    "JPEG": encoded(NOISE, "JPEG"),
    "progressive JPEG": encoded(NOISE, "JPEG", progressive=True),
    "GIF": encoded(NOISE, "GIF"),
    "WebP": encoded(NOISE, "WEBP"),
    "TIFF": encoded(NOISE, "TIFF"),
    "BMP": encoded(NOISE, "BMP"),
}


# A progressive JPEG that ends between two scans has every pixel, with less detail.
@pytest.mark.parametrize("name", sorted(WHOLE.keys() - {"progressive JPEG"}))
def test_a_truncated_file_is_refused(tmp_path, name):
    data = WHOLE[name]
    for length in [*range(1, 60), *range(60, len(data) - 30, 41)]:  # the last bytes may be a mere end mark
        assert_refused(tmp_path, data[:length])


def chunk(kind, data, crc):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


SMALL = encoded(NOISE[:8, :8], "PNG")
HARMLESS = {
    "PNG, no end mark": WHOLE["PNG"][:-12],
    "GIF, no end mark": WHOLE["GIF"][:-1],
    **{f"{name}, more at the end": data + b"\0more" * 20 for name, data in WHOLE.items()},
    "PNG, a text with a wrong checksum": SMALL[:33] + chunk(b"tEXt", b"a\0b", 1) + SMALL[33:],
}


@pytest.mark.parametrize("name", HARMLESS)
def test_damage_that_takes_no_pixel_is_none(tmp_path, caplog, name):
    whole = SMALL if "checksum" in name else WHOLE[name.split(",")[0]]
    np.testing.assert_array_equal(read(tmp_path, HARMLESS[name]), read(tmp_path, whole))
    assert not caplog.messages


UNUSABLE = {
    "empty": (b"", "is empty"),
    "text": (b"This is a letter, not a picture.\nYours\n", "no image"),
    "zeros": (bytes(1000), "no image"),
    "no pixels": (png(8, 2, [b""], size=(0, 0)), "no image"),
    "no height": (png(8, 2, [b""], size=(4, 0)), "no image"),
    "absurd size": (png(8, 2, [b""], size=(90000, 90000)), "too large"),
}


# How files begin that people take for images, and what is said of them.
FOREIGN = {
    "SVG": (
        b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg">',
        "SVG.*export",
    ),
    "web page": (b"\n<!DOCTYPE html><html>", "web page"),
    "PDF": (b"%PDF-1.7\n", "PDF.*export"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript.*export"),
    "Canon raw": (b"II*\0\x10\0\0\0CR\2\0", "raw file; develop"),
    "Canon raw, new": (box(b"crx \0\0\0\1crx isom"), "raw file; develop"),
    "Adobe raw": (tiff("<", 1, [0, 1], 2, "B", t50706=4), "raw file; develop"),
    "MP4": (box(b"isom\0\0\2\0isomiso2avc1mp41"), "video.*frame"),
    "QuickTime": (box(b"qt  \0\0\0\0qt  "), "video.*frame"),
    "Matroska": (b"\x1aE\xdf\xa3" + bytes(40), "video.*frame"),
    "JPEG XL": (b"\xff\x0a\x7f\x0a", "JPEG XL.*save it"),
    "OpenEXR": (b"v/1\1\2\0\0\0", "high dynamic range.*save it"),
    "GIMP": (b"gimp xcf v011\0", "XCF.*export"),
    "zip": (b"PK\3\4\x14\0", "archive"),
    "Photoshop, 16 bits": (b"8BPS\0\1" + bytes(6) + struct.pack(">HLLHH", 3, 1, 1, 16, 3), "PSD.*save it"),
    "HEIC, damaged": (box(b"heic\0\0\0\0mif1heic"), "HEIC.*save it"),
}


REFUSED = {
    **{name: (data, f"{problem}.*save it") for name, (data, problem) in UNCLEAR.items()},
    **{name: (data + bytes(200), problem) for name, (data, problem) in FOREIGN.items()},
    **UNUSABLE,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_or_has_no_plain_meaning_is_refused_with_what_to_do(tmp_path, name):
    assert_refused(tmp_path, *REFUSED[name])


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1miafheic"])
def test_heic_without_its_reader_is_named_with_what_to_install(tmp_path, monkeypatch, brands):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    assert_refused(tmp_path, box(brands), r"HEIC.*pip install pillow-heif.*JPEG")


# Large images
def smooth_noise(width, height):
    coarse = np.random.default_rng(8).integers(0, 256, (height // 256, width // 256, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def of_width(width):
    return lambda high, wide: [(high * width // wide, width)]


@pytest.mark.parametrize(
    "kind, mode", [("JPEG", "RGB"), pytest.param("TIFF", "RGBA", marks=pytest.mark.slow)]
)
def test_a_large_image_is_read_as_small_as_is_enough_and_looks_the_same(tmp_path, kind, mode):
    image, exif, path = smooth_noise(4608, 3840), Image.Exif(), tmp_path / "large"
    exif[0x0112] = 6
    if mode == "RGBA":
        image.putalpha(image.getchannel("R"))
    image.save(path, kind, quality=95, exif=exif)
    full = images.read(path)
    assert full.shape == (4608, 3840, 3)
    for width, factor in ((120, 8), (481, 1)):
        found = images.read(path, of_width(width))
        assert found.shape == (4608 // factor, 3840 // factor, 3) and found.dtype == np.float32
        if factor == 8:
            same = images.resize(found, 144, 120) - images.resize(full, 144, 120)
            assert abs(same).mean() < 0.5 and abs(same).max() < 4
    np.testing.assert_array_equal(found, full)


@pytest.mark.parametrize("size", [(5001, 4003), (16411, 1031)])
def test_a_large_image_comes_to_the_size_that_the_full_one_would_have(tmp_path, size):
    smooth_noise(*size).save(tmp_path / "large.jpg")
    for run in (Settings(width=97), Settings(max_size=203), Settings(width=130), Settings(width=6000)):
        sizes = partial(sizes_in_use, settings=run, scale=0.7)
        found = images.read(tmp_path / "large.jpg", sizes)
        assert sizes(*found.shape[:2]) == sizes(*size[::-1])
        assert (found.shape[1] < size[0]) == (run.width != 6000)


def test_a_photograph_of_200_megapixels_is_read_and_pillows_limits_stay(tmp_path):
    limits = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    Image.new("L", (16320, 12240), 90).save(tmp_path / "large.jpg")
    assert (images.read(tmp_path / "large.jpg", of_width(400)) == 90).all()
    assert (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK) == limits == (2**28 // 3, 2**20)


def test_what_would_not_fit_into_memory_is_refused(tmp_path, container):
    container(600_000_000, used=100_000_000)
    data = png(8, 0, [b""], (b"tEXt", b"a\0" + bytes(200_000)), size=(12000, 12000))
    assert_refused(tmp_path, data, r"too large for the memory at hand.*GiB.*smaller")


def test_what_cannot_be_opened_is_an_error_of_the_system(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for name, kind in (
        ("missing.png", FileNotFoundError),
        ("file/x.png", NotADirectoryError),
        (".", IsADirectoryError),
    ):
        with pytest.raises(kind):
            images.read(tmp_path / name)
