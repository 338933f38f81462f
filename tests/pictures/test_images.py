"""Image files made here with Pillow, or byte by byte, against pixels that are worked out by hand."""

import io
import struct
import sys
import tracemalloc
import zlib
from functools import partial

import numpy as np
import pytest
import reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, features

from styling.pictures import images
from styling.run.sizes import sizes_in_use
from styling.settings import Settings
from styling.system import limits
from styling.system.errors import ImageError

pytestmark = pytest.mark.filterwarnings("error")  # they would be further lines on the terminal
few = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
white, black = [255, 255, 255], [0, 0, 0]
half = [127, 227, 127]  # (0, 200, 0) at opacity 128 / 255 on white: 0 + 127, 100.4 + 127, 0 + 127


# Files
def encoded(image, kind, **options):
    """The bytes of a Pillow image, or of one made from an array, as a file of this kind."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image, np.uint8))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(depth, kind, rows, *chunks, size=None):
    """A PNG by hand: bits a sample, colour type, the bytes of each row, and (name, data) of further chunks.

    size: (width, height), where `rows` do not tell.
    """
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    width, height = size or (len(rows[0]) * 8 // (depth * samples), len(rows))
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))  # 0: the row is not filtered
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def tiff(order, samples, values, width, code="H", bits=None, compressed=False, **tags):
    """A TIFF of one strip and one row; `order` is "<" or ">", `code` how struct packs a value.

    values: numbers, or bytes. tags: further ones by "t" and number, or others' values for some.
    """
    data = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{code}", *values)
    data = zlib.compress(data) if compressed else data
    bits = bits or 8 * struct.calcsize(f"={code}")
    found = {
        256: width, 257: 1, 259: 8 if compressed else 1, 262: 1 if samples == 1 else 2,
        277: samples, 278: 1, 284: 1, 339: {"f": 3, "d": 3}.get(code, 2 if code.islower() else 1),
    }  # fmt: skip
    found |= {int(name[1:]): value for name, value in tags.items()}
    strips = samples if found[284] == 2 else 1
    count = len(found) + 3
    start = 8 + 2 + count * 12 + 4  # header, count of tags, tags, no next page; then bits, strips, pixels
    arrays = {258: [bits] * samples, 273: [start + 100 + i * (len(data) // strips) for i in range(strips)],
              279: [len(data) // strips] * strips}  # fmt: skip
    entries, room = [], b""
    for tag in sorted([*found, *arrays]):
        values = arrays.get(tag, [found.get(tag)])
        packed = struct.pack(f"{order}{len(values)}L", *values)
        entries.append(struct.pack(f"{order}HHL", tag, 4, len(values)))
        entries[-1] += packed if len(values) == 1 else struct.pack(f"{order}L", start + len(room))
        room += packed if len(values) > 1 else b""
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HLH", 42, 8, count)
    return head + b"".join(entries) + bytes(4) + room.ljust(100, b"\0") + data


def fits(**cards):
    """The header of a FITS file."""
    lines = [
        "SIMPLE  =                    T",
        *(f"{name:8}= {value:20}" for name, value in cards.items()),
        "END",
    ]
    return "".join(line.ljust(80) for line in lines).ljust(2880).encode()


def profile(space, device_class, **tags):
    """An ICC profile, version 2, with XYZ (Lab for CMYK) as the space that it leads to."""
    offset, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += struct.pack(">4sLL", name.encode(), offset + len(body), len(data))
        body += data.ljust(-(-len(data) // 4) * 4, b"\0")
    head = struct.pack(">L4sL4s4s4s", offset + len(body), b"", 0x02100000, device_class, space,
                       b"Lab " if space == b"CMYK" else b"XYZ ")  # fmt: skip
    head += struct.pack(">6H4s28x", 2020, 1, 1, 0, 0, 0, b"acsp") + xyz(0.9642, 1, 0.8249)[8:]
    return head.ljust(128, b"\0") + struct.pack(">L", len(tags)) + table + body


def xyz(*values):
    return b"XYZ " + struct.pack(">4x3l", *(round(value * 65536) for value in values))


GAMMA = b"curv" + struct.pack(">4xLH", 1, round(1.8 * 256))
WHITE = xyz(0.9642, 1, 0.8249)
# sRGB's primaries in turn, so that its red is sRGB's green, its green sRGB's blue, its blue sRGB's red.
TURNED = profile(
    b"RGB ", b"mntr", wtpt=WHITE, rTRC=GAMMA, gTRC=GAMMA, bTRC=GAMMA,
    rXYZ=xyz(0.38515, 0.71687, 0.09708), gXYZ=xyz(0.14307, 0.06061, 0.7141),
    bXYZ=xyz(0.43607, 0.22249, 0.01392),
)  # fmt: skip
GRAY = profile(b"GRAY", b"mntr", wtpt=WHITE, kTRC=GAMMA)
# A press on which only cyan prints, as gray: L = 100 (1 - C), a = b = 0, whatever the other inks.
CYAN_ONLY = profile(
    b"CMYK", b"prtr", wtpt=WHITE,
    A2B0=b"mft1" + struct.pack(">4x4B9l", 4, 3, 2, 0, *(65536 * np.eye(3, dtype=int)).ravel())
    + bytes(range(256)) * 4 + bytes([255, 128, 128] * 8 + [0, 128, 128] * 8) + bytes(range(256)) * 3,
)  # fmt: skip


def to_srgb(values):
    """Levels of gamma 1.8 as levels of sRGB (IEC 61966-2-1)."""
    light = (np.asarray(values) / 255) ** 1.8
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def read(folder, data):
    (folder / "image.bin").write_bytes(data)  # the ending tells nothing, only the content does
    image = images.read(folder / "image.bin")
    assert image.dtype == np.float32
    assert image.ndim == 3
    return image


def palette_image(kind, **options):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "L")
    image.putpalette([10, 20, 30, 0, 200, 0, 70, 80, 90])
    return encoded(image, kind, **options)


def cmyk(kind, **options):
    """White, and the four inks, in squares of 16 pixels."""
    inks = np.concatenate([np.zeros((1, 4)), 255 * np.eye(4)])[None].repeat(16, 0).repeat(16, 1)
    return encoded(Image.fromarray(inks.astype(np.uint8), "CMYK"), kind, **options)


def assert_one_line_about(path, error):
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value).splitlines()) == 1


def words(*values):
    return struct.pack(f">{len(values)}H", *values)


DEEP = [0, 128, 129, 1000, 32768, 65535]
INKS = [white, [0, 255, 255], [255, 0, 255], [255, 255, 0], black]
PLTE = (b"PLTE", bytes([10, 20, 30, 0, 200, 0]))
one_in_16 = slice(8, None, 16)
everything = slice(None)
# The bytes, the pixels of one row to look at, their colours, and how far they may be off.
COLOURS = {
    "gray": (encoded([[0, 100, 255]], "PNG"), everything, [[v] * 3 for v in (0, 100, 255)], 0),
    "gray, 4 bits": (png(4, 0, [b"\x0f\x30"]), everything, [black, white, [51] * 3, black], 0),
    "1 bit": (png(1, 0, [b"\xa0"]), everything, [white, black, white] + 5 * [black], 0),
    "gray, alpha": (
        png(8, 4, [bytes([100, 255, 100, 0, 0, 128])]), everything, [[100] * 3, white, [127] * 3], 0.5,
    ),
    "gray, tRNS": (png(8, 0, [b"\x64\x32"], (b"tRNS", words(100))), everything, [white, [50] * 3], 0),
    "palette": (palette_image("PNG"), everything, [[10, 20, 30], [0, 200, 0], [70, 80, 90]], 0),
    "palette, tRNS": (
        png(8, 3, [b"\0\1"], PLTE, (b"tRNS", bytes([255, 128]))), everything, [[10, 20, 30], half], 0.5,
    ),
    "palette, one transparent": (
        palette_image("PNG", transparency=1), everything, [[10, 20, 30], white, [70, 80, 90]], 0,
    ),
    "GIF": (palette_image("GIF"), everything, [[10, 20, 30], [0, 200, 0], [70, 80, 90]], 0),
    "GIF, one transparent": (
        palette_image("GIF", transparency=1), everything, [[10, 20, 30], white, [70, 80, 90]], 0,
    ),
    "RGB": (encoded([[[1, 2, 3], [250, 0, 9]]], "PNG"), everything, [[1, 2, 3], [250, 0, 9]], 0),
    "RGB, tRNS": (png(8, 2, [bytes(range(6))], (b"tRNS", words(0, 1, 2))), everything, [white, [3, 4, 5]], 0),
    **{
        f"RGBA, {kind}": (
            encoded([[[0, 200, 0, 128], [9, 9, 9, 0], [1, 2, 3, 255]]], kind, **options),
            everything, [half, white, [1, 2, 3]], 0.5,
        )
        for kind, options in {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}.items()
    },
    "CMYK, JPEG": (cmyk("JPEG", quality=95), one_in_16, INKS, 3),
    "CMYK, TIFF": (cmyk("TIFF"), one_in_16, INKS, 0),
    "CMYK, profile": (cmyk("TIFF", icc_profile=CYAN_ONLY), one_in_16, [white, black, white, white, white], 2),
    "16 bits, PNG": (png(16, 0, [words(*DEEP)]), everything, [[v / 257] * 3 for v in DEEP], 0.5),
    "16 bits, alpha, PNG": (
        png(16, 4, [words(25700, 65535, 0, 32896, 9, 0)]), everything, [[100] * 3, [127] * 3, white], 0.5,
    ),
    "16 bits, tRNS, PNG": (
        png(16, 0, [words(1000, 1001, 65535)], (b"tRNS", words(1000))),
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
            ("floats, white is 0", "f", [0, 0.4, 1], [255, 153, 0], {"t262": 0}),
        )
    },
    "16 bits in unsigned 32, TIFF": (tiff("<", 1, [0, 65535], 2, "I"), everything, [black, white], 0),
    "floats, TIFF, compressed": (
        tiff("<", 1, [0, 0.4, 1], 3, "f", compressed=True), everything, [[v] * 3 for v in (0, 102, 255)], 0,
    ),
    "16 bits, white is 0, TIFF": (
        tiff("<", 1, [0, 25700, 65535], 3, t262=0), everything, [[v] * 3 for v in (255, 155, 0)], 0,
    ),
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
    "16 bits, PGM": (b"P5 2 1 65535 " + words(25700, 65535), everything, [[100] * 3, white], 0),
    "16 bits, RGB, PNG": (png(16, 2, [words(*DEEP)]), everything, np.reshape(DEEP, (2, 3)) / 257, 1),
    "16 bits, RGBA, PNG": (
        png(16, 6, [words(0, 51400, 0, 32896, 257, 514, 771, 65535)]), everything, [half, [1, 2, 3]], 0.5,
    ),
    **{
        f"16 bits, TIFF, {order}": (tiff(order, 1, DEEP, 6), everything, [[v / 257] * 3 for v in DEEP], 0.5)
        for order in "<>"
    },
    **{
        f"16 bits, RGB, TIFF, {order}": (
            tiff(order, 3, DEEP, 2), everything, np.reshape(DEEP, (2, 3)) / 257, 1,
        )
        for order in "<>"
    },
}  # fmt: skip


if int(Image.__version__.split(".")[0]) >= 13:  # before, Pillow refused these
    COLOURS["gray, multiplied by alpha, TIFF"] = (
        tiff("<", 2, [100, 255, 64, 128], 2, "B", t262=1, t338=1), everything, [[100] * 3, [191] * 3], 1,
    )  # fmt: skip
    COLOURS["YCbCr, TIFF"] = (
        encoded(Image.new("YCbCr", (1, 1), (76, 85, 255)), "TIFF"),
        everything,
        [[255, 0, 0]],
        2,
    )


@pytest.mark.parametrize("name", COLOURS)
def test_an_image_of_every_kind_becomes_rgb_on_white(tmp_path, name):
    data, pixels, expected, tolerance = COLOURS[name]
    row = read(tmp_path, data)[0, pixels]
    assert row.shape == np.shape(expected)
    np.testing.assert_allclose(row, expected, atol=tolerance + 1e-4)


def test_a_cmyk_jpeg_has_the_marker_by_which_its_inks_are_inverted():
    assert b"Adobe" in COLOURS["CMYK, JPEG"][0]


# Numbers of which nothing says what is black and white, and bytes that Pillow would take for others.
UNCLEAR = {
    "32 bits, all below 256": (tiff("<", 1, [0, 255], 2, "i"), "from 0 to 255 .*mode I"),
    "32 bits, negative": (tiff("<", 1, [-257, 25700], 2, "i"), "from -257 .*mode I"),
    "32 bits, large": (tiff("<", 1, [0, 10**6], 2, "i"), "mode I"),
    "32 bits, unsigned": (tiff("<", 1, [0, 2**32 - 1], 2, "I"), "mode I"),
    "16 bits, signed": (tiff("<", 1, [0, 32767], 2, "h"), "signed numbers of 16 bits .*mode I"),
    "8 bits, signed": (tiff("<", 1, [0, 127], 2, "b"), "signed numbers of 8 bits .*mode L"),
    "floats to 255": (tiff("<", 1, [0, 255], 2, "f"), "from 0 to 255 .*mode F"),
    "floats below 0": (tiff("<", 1, [-0.5, 1], 2, "f"), "mode F"),
    "NaN": (tiff("<", 1, [0, np.nan, 1], 3, "f"), "mode F"),
    "infinity": (tiff("<", 1, [0, np.inf], 2, "f"), "mode F"),
    "FITS, 16 bits": (fits(BITPIX=16, NAXIS=2, NAXIS1=2, NAXIS2=1) + bytes(2880), "mode I;16"),
    "RGB floats": (tiff("<", 3, [0, 0.5, 1], 1, "f"), "TIFF"),
    "double floats": (tiff("<", 1, [0, 0.5, 1], 3, "d"), "TIFF"),
    "compressed floats, Motorola": (tiff(">", 1, [0, 1], 2, "f", compressed=True), "order"),
    "compressed 32 bits, Motorola": (tiff(">", 1, [0, 65535], 2, "i", compressed=True), "order"),
    "16 bits, by planes": (tiff("<", 3, [0, 1, 2, 3, 4, 5], 2, t284=2), "order"),
    "a preview": (tiff("<", 1, [0, 1], 2, "B", t254=1, t330=8), "raw file"),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_numbers_without_a_plain_meaning_are_refused(tmp_path, name):
    data, problem = UNCLEAR[name]
    with pytest.raises(ImageError, match=problem) as error:
        read(tmp_path, data)
    assert_one_line_about(tmp_path / "image.bin", error)
    assert "save it" in str(error.value)


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
TURNED_FILES = [
    ("RGB", "PNG"), ("RGB", "JPEG"), ("RGB", "WEBP"), ("RGB", "TIFF"), ("RGBA", "PNG"), ("RGBA", "TIFF"),
    ("L", "PNG"), ("L", "JPEG"), ("L", "TIFF"), ("LA", "PNG"), ("LA", "TIFF"), ("P", "PNG"), ("I;16", "PNG"),
    ("I;16", "TIFF"),
]  # fmt: skip


@pytest.mark.parametrize("mode, kind", TURNED_FILES)
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_turns_colours_and_alpha(tmp_path, orientation, mode, kind):
    stored = np.array([[LEVELS[c] for c in row] for row in ("abc", "def")]).repeat(8, 0).repeat(8, 1)
    if mode == "I;16":
        image = Image.fromarray((257 * stored).astype(np.uint16))
    else:
        image = Image.fromarray(stored.astype(np.uint8)).convert(mode)
    levels = dict(LEVELS)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(np.where(stored == LEVELS["b"], 0, 255).astype(np.uint8)))
        levels["b"] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    found = read(tmp_path, encoded(image, kind, exif=exif, **options))
    expected = np.array([[levels[c] for c in row] for row in UPRIGHT[orientation]]).repeat(8, 0).repeat(8, 1)
    assert found.shape == (*expected.shape, 3)
    np.testing.assert_allclose(found, expected[..., None].repeat(3, 2), atol=2 if kind == "JPEG" else 0)


@pytest.mark.parametrize(
    "exif", [b"garbage", b"", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff\1\x12"]
)
def test_broken_exif_is_as_good_as_none(tmp_path, exif):
    assert read(tmp_path, png(8, 2, [bytes(range(6))], (b"eXIf", exif)))[0].tolist() == [[0, 1, 2], [3, 4, 5]]


LINE = [0, 60, 128, 200, 255]
COLOUR = [[200, 60, 128], [0, 255, 30]]
SWAPPED = to_srgb(COLOUR)[:, [2, 0, 1]]
ICCP = {
    name: (b"iCCP", b"x\0\0" + zlib.compress(data)) for name, data in {"rgb": TURNED, "gray": GRAY}.items()
}
GRAYS = [[v] * 3 for v in to_srgb(LINE)]
PROFILES = {
    "RGB, PNG": (encoded([COLOUR], "PNG", icc_profile=TURNED), SWAPPED),
    "RGB, TIFF": (encoded([COLOUR], "TIFF", icc_profile=TURNED), SWAPPED),
    "RGB, WebP": (encoded([COLOUR], "WEBP", icc_profile=TURNED, lossless=True), SWAPPED),
    "RGB, JPEG": (
        encoded(np.tile([[COLOUR[0]]], (8, 8, 1)), "JPEG", icc_profile=TURNED, quality=100, subsampling=0),
        np.tile(SWAPPED[:1], (8, 1)),
    ),
    "RGBA": (
        encoded([[[*COLOUR[0], 255], [*COLOUR[1], 0], [*COLOUR[1], 51]]], "PNG", icc_profile=TURNED),
        [SWAPPED[0], white, 0.2 * SWAPPED[1] + 0.8 * 255],
    ),
    "RGB, 16 bits": (png(16, 2, [words(*(257 * np.ravel(COLOUR)))], ICCP["rgb"]), SWAPPED),
    "palette": (
        png(8, 3, [b"\0\1"], ICCP["rgb"], (b"PLTE", bytes([*COLOUR[0], *COLOUR[1]])), (b"tRNS", b"\xff\x33")),
        [SWAPPED[0], 0.2 * SWAPPED[1] + 0.8 * 255],
    ),
    "gray": (png(8, 0, [bytes(LINE)], ICCP["gray"]), GRAYS),
    "gray, 16 bits": (png(16, 0, [words(*(257 * v for v in LINE))], ICCP["gray"]), GRAYS),
    "gray, alpha": (png(8, 4, [bytes([60, 255, 60, 0])], ICCP["gray"]), [GRAYS[1], white]),
}  # fmt: skip


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_converted_to_srgb(tmp_path, name):
    data, expected = PROFILES[name]
    np.testing.assert_allclose(read(tmp_path, data)[0], expected, atol=1.5)


def test_a_profile_that_is_broken_or_of_other_inks_is_as_good_as_none(tmp_path):
    assert abs(read(tmp_path, encoded([COLOUR], "PNG", icc_profile=TURNED))[0] - COLOUR).max() > 20
    for broken in (b"no profile", TURNED[:100], TURNED[:150], TURNED[:300], CYAN_ONLY, GRAY):
        found = read(tmp_path, encoded([COLOUR], "PNG", icc_profile=broken))
        np.testing.assert_array_equal(found[0], COLOUR, err_msg=f"{len(broken)} bytes")


MIB = 2**20
NOISE = np.random.default_rng(5).integers(0, 256, (24, 32, 3), np.uint8)
TURNED_LARGE = profile(
    b"RGB ", b"mntr", wtpt=WHITE, rTRC=GAMMA, gTRC=GAMMA, bTRC=GAMMA,
    rXYZ=xyz(0.38515, 0.71687, 0.09708), gXYZ=xyz(0.14307, 0.06061, 0.7141),
    bXYZ=xyz(0.43607, 0.22249, 0.01392), priv=b"data" + bytes(4) + bytes(3 * MIB),
)  # fmt: skip
XMP = b'<x:xmpmeta tiff:Orientation="6"/>' + b" " * (3 * MIB)
PIXELS = [bytes([*COLOUR[0], *COLOUR[1]])]


def itxt(text, key=b"XML:com.adobe.xmp"):
    return b"iTXt", key + b"\0\1\0\0\0" + zlib.compress(text)


def ztxt(size):
    return b"zTXt", b"workflow\0\0" + zlib.compress(bytes(size))


def test_long_texts_keep_no_png_out(tmp_path):
    for chunk in (itxt(XMP[40:]), ztxt(3 * MIB), (b"tEXt", b"workflow\0" + b"x" * 70 * MIB)):
        np.testing.assert_array_equal(read(tmp_path, png(8, 2, PIXELS, chunk))[0], COLOUR)


def test_long_metadata_of_a_png_is_still_heeded(tmp_path):
    large = (b"iCCP", b"x\0\0" + zlib.compress(TURNED_LARGE))
    found = read(tmp_path, png(8, 2, PIXELS, large, itxt(XMP)))
    assert found.shape == (2, 1, 3)  # turned
    np.testing.assert_allclose(found[:, 0], SWAPPED, atol=1.5)


@pytest.mark.parametrize("size, count", [(200 * MIB, 3), (30 * MIB, 20)])
def test_texts_and_profiles_that_would_fill_the_memory_are_left_out(tmp_path, size, count):
    data = png(8, 2, PIXELS, ICCP["rgb"], *[ztxt(size)] * count)
    tracemalloc.start()
    try:
        found = read(tmp_path, data)
        assert tracemalloc.get_traced_memory()[1] < 400 * MIB
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(found[0], SWAPPED, atol=1.5)
    profile_bomb = (b"iCCP", b"x\0\0" + zlib.compress(bytes(200 * MIB)))
    np.testing.assert_array_equal(read(tmp_path, png(8, 2, PIXELS, profile_bomb))[0], COLOUR)


def with_long_metadata(kind):
    if kind == "JPEG":
        data = encoded(NOISE, "JPEG", quality=95)
        long = [
            struct.pack(">BBH", 255, code, 65535) + b"Photoshop 3.0\0".ljust(65533) for code in (0xED, 0xFE)
        ]
        return data[:2] + b"".join(long) * 40 + data[2:]
    options = {
        "TIFF": {"tiffinfo": {700: XMP[40:]}},
        "WEBP": {"xmp": XMP[40:], "lossless": True},
        "GIF": {"comment": XMP[40:]},
    }[kind]
    return encoded(NOISE, kind, **options)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP", "GIF"])
def test_long_metadata_keep_no_image_out(tmp_path, kind):
    data = with_long_metadata(kind)
    assert len(data) > 3 * MIB
    bare = read(
        tmp_path, encoded(NOISE, kind, **{"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {}))
    )
    np.testing.assert_array_equal(read(tmp_path, data), bare)


FRAMES = [Image.new("RGB", (12, 9), colour) for colour in ((10, 20, 30), (200, 100, 0))]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_the_first_frame_of_several_is_read(tmp_path, kind):
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:], **lossless)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    np.testing.assert_array_equal(read(tmp_path, data), np.full((9, 12, 3), [10, 20, 30]))


WHOLE = {
    "PNG": encoded(NOISE, "PNG"),
    "JPEG": encoded(NOISE, "JPEG"),
    "progressive JPEG": encoded(NOISE, "JPEG", progressive=True),
    "GIF": encoded(NOISE, "GIF"),
    "WebP": encoded(NOISE, "WEBP"),
    "TIFF": encoded(NOISE, "TIFF"),
    "TIFF, deflate": encoded(NOISE, "TIFF", compression="tiff_deflate"),
    "BMP": encoded(NOISE, "BMP"),
}


# A progressive JPEG that ends between two scans has every pixel, with less detail.
@pytest.mark.parametrize("name", WHOLE.keys() - {"progressive JPEG"})
def test_a_truncated_file_is_refused(tmp_path, name):
    data, path = WHOLE[name], tmp_path / "image.bin"
    for length in [*range(1, 60), *range(60, len(data) - 30, 41)]:  # the last bytes may be a mere end mark
        path.write_bytes(data[:length])
        with pytest.raises(ImageError) as error:
            images.read(path)
        assert_one_line_about(path, error)


@few
@given(st.data())
def test_a_damaged_file_is_read_or_refused_but_nothing_else(tmp_path, data):
    damaged = bytearray(WHOLE[data.draw(st.sampled_from(list(WHOLE)))])
    # In the third quarter, since a size at the start or end that is made enormous costs time and memory.
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(len(damaged) // 2, len(damaged) * 3 // 4))
        damaged[place] = data.draw(st.integers(0, 255))
    try:
        assert np.isfinite(read(tmp_path, damaged)).all()
    except ImageError as error:
        assert str(error).startswith(f"{tmp_path / 'image.bin'}: ")


UNUSABLE = {
    "empty": (b"", "is empty"),
    "text": (b"This is a letter, not a picture.\nYours\n", "no image"),
    "zeros": (bytes(1000), "no image"),
    # Pillow takes it for a damaged image since 13, and for none before.
    "a chunk cut short": (png(8, 2, [bytes(6)], (b"tRNS", b"")), "damaged|no image"),
    "no pixels": (png(8, 2, [b""], size=(0, 0)), "no image"),
    "no height": (png(8, 2, [b""], size=(4, 0)), "no image"),
    # Said before anything is decoded, for which these bytes would be too few.
    "absurd size": (png(8, 2, [b""], size=(60000, 60000)), "too large"),
    "large, with few bytes": (png(8, 2, [b""], size=(15000, 15000)), "damaged"),
    "absurd width": (png(8, 2, [b""], size=(2**31 - 1, 1)), "too large"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_holds_no_usable_image_is_refused_in_one_line(tmp_path, name):
    data, problem = UNUSABLE[name]
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=problem) as error:
        images.read(path)
    assert_one_line_about(path, error)


def box(brands):
    return struct.pack(">L", 8 + len(brands)) + b"ftyp" + brands + bytes(100)


# How files begin that people take for images, and what is said of them.
FOREIGN = {
    "SVG": (
        b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg">',
        "SVG.*export",
    ),
    "bare SVG": (b"\xef\xbb\xbf <svg>", "SVG.*export"),
    "web page": (b"\n<!DOCTYPE html><html>", "web page"),
    "PDF": (b"%PDF-1.7\n", "PDF.*export"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript.*export"),
    "Canon raw": (b"II*\0\x10\0\0\0CR\2\0", "raw file; develop"),
    "Canon raw, new": (box(b"crx \0\0\0\1crx isom"), "raw file; develop"),
    "Fujifilm raw": (b"FUJIFILMCCD-RAW 0201", "raw file; develop"),
    "Adobe raw": (tiff("<", 1, [0, 1], 2, "B", t50706=4), "raw file; develop"),
    "MP4": (box(b"isom\0\0\2\0isomiso2avc1mp41"), "video.*frame"),
    "QuickTime": (box(b"qt  \0\0\0\0qt  "), "video.*frame"),
    "Matroska": (b"\x1aE\xdf\xa3" + bytes(40), "video.*frame"),
    "AVI": (b"RIFF\0\0\0\0AVI LIST", "video.*frame"),
    "MPEG": (b"\0\0\1\xb3\x16\0\xf0\xc4", "video.*frame"),
    "JPEG XL": (b"\xff\x0a\x7f\x0a", "JPEG XL.*save it"),
    "OpenEXR": (b"v/1\1\2\0\0\0", "high dynamic range.*save it"),
    "GIMP": (b"gimp xcf v011\0", "XCF.*export"),
    "zip": (b"PK\3\4\x14\0", "archive"),
    "Photoshop, 16 bits": (b"8BPS\0\1" + bytes(6) + struct.pack(">HLLHH", 3, 1, 1, 16, 3), "PSD.*save it"),
    "HEIC, damaged": (box(b"heic\0\0\0\0mif1heic"), "HEIC.*save it"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_known_but_not_read_is_named_with_what_to_do(tmp_path, name):
    data, problem = FOREIGN[name]
    with pytest.raises(ImageError, match=problem) as error:
        read(tmp_path, data + bytes(200))
    assert_one_line_about(tmp_path / "image.bin", error)


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"heix\0\0\0\0", b"mif1\0\0\0\0mif1miafheic"])
def test_heic_without_its_reader_is_named_with_what_to_install(tmp_path, monkeypatch, brands):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    with pytest.raises(ImageError, match=r"HEIC.*pip install pillow-heif.*JPEG") as error:
        read(tmp_path, box(brands))
    assert_one_line_about(tmp_path / "image.bin", error)


def test_heic_is_read_whatever_its_name(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    y, x = np.mgrid[:40, :64]
    smooth = np.stack([2 * x + 60, 4 * y + 40, 200 - x - y], axis=-1).astype(np.uint8)
    heif = pillow_heif.from_pillow(Image.fromarray(smooth))
    heif.save(tmp_path / "made.heic", quality=95)
    found = read(tmp_path, (tmp_path / "made.heic").read_bytes())
    np.testing.assert_allclose(found, smooth, atol=6)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read(tmp_path):
    flat = np.full((16, 24, 3), [200, 100, 50], np.uint8)
    np.testing.assert_allclose(read(tmp_path, encoded(flat, "AVIF", quality=95)), flat, atol=4)


# Large images
def smooth_noise(width, height):
    coarse = np.random.default_rng(8).integers(0, 256, (height // 256, width // 256, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def of_width(width):
    return lambda high, wide: [(high * width // wide, width)]


@pytest.mark.parametrize("kind, mode", [("JPEG", "RGB"), ("TIFF", "RGBA")])
def test_a_large_image_is_read_as_small_as_is_enough_and_looks_the_same(tmp_path, kind, mode):
    image, exif, path = smooth_noise(4608, 3840), Image.Exif(), tmp_path / "large"
    exif[0x0112] = 6
    if mode == "RGBA":
        image.putalpha(image.getchannel("R"))
    image.save(path, kind, quality=95, exif=exif)
    full = images.read(path)
    assert full.shape == (4608, 3840, 3)
    for width, factor in ((120, 8), (121, 4), (480, 2), (481, 1))[:: 1 if kind == "JPEG" else 3]:
        found = images.read(path, of_width(width))
        assert found.shape == (4608 // factor, 3840 // factor, 3) and found.dtype == np.float32
        if factor == 8:
            same = images.resize(found, 144, 120) - images.resize(full, 144, 120)
            assert abs(same).mean() < 0.5 and abs(same).max() < 4
    np.testing.assert_array_equal(found, full)


@pytest.mark.parametrize("size", [(5001, 4003), (4099, 4099), (16411, 1031)])
def test_a_large_image_comes_to_the_size_that_the_full_one_would_have(tmp_path, size):
    smooth_noise(*size).save(tmp_path / "large.jpg")
    for run in (Settings(width=97), Settings(max_size=203), Settings(width=130), Settings(width=6000)):
        sizes = partial(sizes_in_use, settings=run, scale=0.7)
        found = images.read(tmp_path / "large.jpg", sizes)
        assert sizes(*found.shape[:2]) == sizes(*size[::-1])
        assert (found.shape[1] < size[0]) == (run.width != 6000)


def test_an_ordinary_image_is_read_in_full(tmp_path):
    path = tmp_path / "photo.jpg"
    smooth_noise(4000, 3000).save(path)
    np.testing.assert_array_equal(images.read(path, of_width(10)), images.read(path))


def test_a_photograph_of_200_megapixels_is_read(tmp_path):
    Image.new("L", (16320, 12240), 90).save(tmp_path / "large.jpg")
    assert (images.read(tmp_path / "large.jpg", of_width(400)) == 90).all()


def test_what_would_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_groups", lambda: [tmp_path])  # a container with 500 MB free
    for name, text in (("memory.max", "600000000"), ("memory.current", "100000000")):
        (tmp_path / name).write_text(text)
    (tmp_path / "memory.stat").write_text("inactive_file 0\nactive_file 0\n")
    path = tmp_path / "large.png"
    path.write_bytes(png(8, 0, [b""], (b"tEXt", b"a\0" + bytes(200_000)), size=(12000, 12000)))
    with pytest.raises(ImageError, match=r"too large for the memory at hand.*GiB.*smaller") as error:
        images.read(path)
    assert_one_line_about(path, error)


def test_what_cannot_be_opened_is_an_error_of_the_system(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for name, kind in (
        ("missing.png", FileNotFoundError),
        ("missing/x.png", FileNotFoundError),
        ("file/x.png", NotADirectoryError),
        (".", IsADirectoryError),
    ):
        with pytest.raises(kind):
            images.read(tmp_path / name)


# Arrays
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


def test_noise_is_gaussian_and_follows_the_seed():
    first = images.noise(200, 300, 7)
    assert first.shape == (200, 300, 3)
    assert first.dtype == np.float32
    assert first.std() == pytest.approx(0.256, rel=0.01)  # 180,000 draws: 0.0017 is one standard error
    assert abs(first.mean()) < 0.003
    assert np.mean(abs(first) < 0.256) == pytest.approx(0.6827, abs=0.005)  # a Gaussian's, not another's
    np.testing.assert_array_equal(first, images.noise(200, 300, 7))
    for other in (8, None):
        assert abs(np.corrcoef(first.ravel(), images.noise(200, 300, other).ravel())[0, 1]) < 0.02
    assert not np.array_equal(images.noise(4, 4, None), images.noise(4, 4, None))


def test_uniform_noise_is_spread_evenly_from_128_to_129_and_follows_the_seed():
    first = images.uniform_noise(200, 300, 7)
    assert first.shape == (200, 300, 3)
    assert first.dtype == np.float32
    assert first.min() >= 128 and first.max() <= 129
    shares = np.histogram(first, bins=10, range=(128, 129))[0] / first.size
    np.testing.assert_allclose(shares, 0.1, atol=0.004)  # 0.0007 is one standard error
    np.testing.assert_array_equal(first, images.uniform_noise(200, 300, 7))
    for other in (8, None):
        assert abs(np.corrcoef(first.ravel(), images.uniform_noise(200, 300, other).ravel())[0, 1]) < 0.02


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


@few
@given(st.integers(1, 11), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_a_grid_has_every_picture_in_its_place_on_white(count, columns, height, width):
    values = [np.full((height, width, 3), 10 * i, np.float32) for i in range(count)]
    sheet = images.grid(values, columns)
    seen = [[] for _ in range(count)]
    for row, column in np.ndindex(*sheet.shape[:2]):
        value = sheet[row, column, 0]
        if value != 255:
            seen[int(value) // 10].append((row, column))
    assert all(len(places) == height * width for places in seen)
    corners = [places[0] for places in seen]
    # In reading order, so many a row, in straight rows and columns, with nothing but them at the edges.
    assert corners == sorted(corners)
    for i, (top, left) in enumerate(corners):
        assert top == corners[i - i % columns][0] and left == corners[i % columns][1]
        assert (i < columns) == (top == 0) and (i % columns == 0) == (left == 0)
    assert sheet.shape[0] == corners[-1][0] + height
    full = images.grid([values[0]] * columns, columns)
    assert sheet.shape[1] == full.shape[1] >= columns * width
    if count >= columns:
        assert sheet.shape[1] == corners[columns - 1][1] + width


def pictures(low, high):
    levels = st.floats(low, high, width=32)
    return arrays(np.float32, (3, 2, 3), elements=levels)


def test_keep_colors_by_hand():
    # Luma 0.299 * 100 = 29.9 takes the place of 0.114 * 200 = 22.8, so that every channel rises by 7.1.
    found = images.keep_colors(np.float32([[[100, 0, 0]]]), np.float32([[[0, 0, 200]]]))
    np.testing.assert_allclose(found, [[[7.1, 7.1, 207.1]]], atol=1e-4)


@few
@given(pictures(0, 255), pictures(0, 255))
def test_keep_colors_is_the_models(image, content):
    expected = reference.keep_colors(image.astype(float), content.astype(float))
    np.testing.assert_allclose(images.keep_colors(image, content), expected, atol=1e-3)


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


# Writing
KINDS = {
    ".png": ("PNG", 0), ".tif": ("TIFF", 0), ".tiff": ("TIFF", 0), ".bmp": ("BMP", 0),
    ".jpg": ("JPEG", 3), ".jpeg": ("JPEG", 3), ".webp": ("WEBP", 6),
}  # fmt: skip


def test_every_format_is_looked_at_here():
    assert set(KINDS) == set(images.FORMATS)


@pytest.mark.parametrize("ending", [*KINDS, *map(str.upper, KINDS)])
def test_a_picture_comes_back_as_it_was_written(tmp_path, ending):
    kind, tolerance = KINDS[ending.lower()]
    y, x = np.mgrid[:40, :60].astype(np.float32)
    smooth = np.stack([2 * x + 60, 4 * y + 40, 200 - x - y], axis=-1)
    images.write(tmp_path / f"picture{ending}", smooth + 0.3)  # to be rounded away
    with Image.open(tmp_path / f"picture{ending}") as found:
        assert (found.format, found.mode, found.size) == (kind, "RGB", (60, 40))
        np.testing.assert_allclose(np.asarray(found, np.float32), smooth, atol=tolerance)
    assert len(list(tmp_path.glob("[!c]*"))) == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 1), (3, 3), (4, 2)])
def test_a_tiny_picture_is_no_batch_of_them(tmp_path, shape):
    image = NOISE[: shape[0], : shape[1]].astype(np.float32)
    for ending in (".png", ".tif"):
        images.write(tmp_path / f"tiny{ending}", image)
        with Image.open(tmp_path / f"tiny{ending}") as found:
            assert getattr(found, "n_frames", 1) == 1
            np.testing.assert_array_equal(np.asarray(found), image)


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
        with pytest.raises(ImageError, match=str(longest)) as error:
            images.check_size(path, *size)
        assert_one_line_about(path, error)
    with pytest.raises(ImageError):
        images.write(path, np.zeros((1, longest + 1, 3), np.float32))
    with pytest.raises((OSError, ValueError)):  # Pillow cannot
        Image.new("RGB", (longest + 1, 1)).save(tmp_path / f"longer{ending}")
    with Image.open(path) as found:
        assert found.size == (longest, 1)  # what was there before the failure
    images.check_size(tmp_path / "long.png", 100_000, 100_000)


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "missing" / "picture.png"
    with pytest.raises(FileNotFoundError) as error:
        images.write(path, np.zeros((2, 2, 3), np.float32))
    assert error.value.filename == str(path)
