"""What a file says of its colours, against numbers from the standards or worked out by hand."""

import struct
import zlib

import numpy as np
import pytest
from image_files import CYAN_ONLY, GRAY, TURNED, encoded, png, read, shorts, to_srgb
from PIL import Image, TiffImagePlugin

white = [255, 255, 255]


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
    "RGB, JPEG": (
        encoded(np.tile([[COLOUR[0]]], (8, 8, 1)), "JPEG", icc_profile=TURNED, quality=100, subsampling=0),
        np.tile(SWAPPED[:1], (8, 1)),
    ),
    "RGBA": (
        encoded([[[*COLOUR[0], 255], [*COLOUR[1], 0], [*COLOUR[1], 51]]], "PNG", icc_profile=TURNED),
        [SWAPPED[0], white, 0.2 * SWAPPED[1] + 0.8 * 255],
    ),
    "RGB, 16 bits": (png(16, 2, [shorts(*(257 * np.ravel(COLOUR)))], ICCP["rgb"]), SWAPPED),
    "palette": (
        png(8, 3, [b"\0\1"], ICCP["rgb"], (b"PLTE", bytes([*COLOUR[0], *COLOUR[1]])), (b"tRNS", b"\xff\x33")),
        [SWAPPED[0], 0.2 * SWAPPED[1] + 0.8 * 255],
    ),
    "gray": (png(8, 0, [bytes(LINE)], ICCP["gray"]), GRAYS),
    "gray, alpha": (png(8, 4, [bytes([60, 255, 60, 0])], ICCP["gray"]), [GRAYS[1], white]),
}  # fmt: skip


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_converted_to_srgb(tmp_path, name):
    data, expected = PROFILES[name]
    np.testing.assert_allclose(read(tmp_path, data)[0], expected, atol=1.5)


def test_long_metadata_of_a_png_is_heeded(tmp_path):
    long = bytes(3 * 2**20)
    turned = zlib.compress(b'<x:xmpmeta tiff:Orientation="6"/>' + long)
    chunks = (
        (b"iCCP", b"x\0\0" + zlib.compress(TURNED + long)),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + turned),
    )
    found = read(tmp_path, png(8, 2, [bytes([*COLOUR[0], *COLOUR[1]])], *chunks))
    assert found.shape == (2, 1, 3)
    np.testing.assert_allclose(found[:, 0], SWAPPED, atol=1.5)


def test_a_profile_that_is_broken_or_of_other_inks_is_as_good_as_none(tmp_path):
    assert abs(read(tmp_path, encoded([COLOUR], "PNG", icc_profile=TURNED))[0] - COLOUR).max() > 20
    for broken in (b"no profile", TURNED[:100], TURNED[:150], TURNED[:300], CYAN_ONLY, GRAY):
        found = read(tmp_path, encoded([COLOUR], "PNG", icc_profile=broken))
        np.testing.assert_array_equal(found[0], COLOUR, err_msg=f"{len(broken)} bytes")


ONE = [COLOUR[0], COLOUR[0]]
ADOBE = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)  # PNG's cHRM
# sRGB's curve, and the published matrices from linear light of Display P3 and Adobe RGB to sRGB's.
IN_P3, IN_ADOBE, LINEAR = [217.5, 41.6, 129.7], [231.5, 57.4, 131.1], [229.1, 133.2, 187.8]


def described(*chunks, color=COLOUR[0]):
    return png(8, 2, [bytes(color)], *chunks)


def exif(space, option=None):
    found = Image.Exif()
    found.get_ifd(0x8769)[0xA001] = space
    if option:
        found.get_ifd(0x8769)[0xA005] = {1: option}
    return found


def patched(kind, code, codes, **options):
    """A HEIC or AVIF with these primaries and transfer in its nclx box."""
    data = bytearray(encoded(np.tile([[COLOUR[0]]], (16, 16, 1)), kind, quality=95, **options))
    place = data.index(b"colrnclx") + 8
    data[place : place + 4] = struct.pack(">HH", *codes)
    return bytes(data)


def tagged(**tags):
    found = TiffImagePlugin.ImageFileDirectory_v2()
    for name, values in tags.items():
        found[int(name[1:])] = values
    return encoded(np.tile([[COLOUR[0]]], (8, 8, 1)), "TIFF", tiffinfo=found)


FLAT = np.tile([[COLOUR[0]]], (16, 16, 1))
DESCRIBED = {
    "PNG, cICP of Display P3": (described((b"cICP", bytes([12, 13, 0, 1]))), IN_P3),
    "PNG, cICP before gAMA": (
        described((b"gAMA", struct.pack(">I", 100000)), (b"cICP", bytes([12, 13, 0, 1]))), IN_P3,
    ),
    "PNG, gAMA 1": (described((b"gAMA", struct.pack(">I", 100000))), LINEAR),
    "PNG, gAMA of sRGB": (described((b"gAMA", struct.pack(">I", 45455))), COLOUR[0]),
    "PNG, sRGB before gAMA": (described((b"gAMA", struct.pack(">I", 100000)), (b"sRGB", b"\0")), COLOUR[0]),
    "PNG, cHRM and gAMA of Adobe RGB": (
        described((b"gAMA", struct.pack(">I", 45470)), (b"cHRM", ADOBE)), IN_ADOBE,
    ),
    "PNG, cHRM of zeros": (described((b"cHRM", bytes(32))), COLOUR[0]),
    "gray PNG, gAMA 1": (png(8, 0, [b"\x80"], (b"gAMA", struct.pack(">I", 100000))), [187.8] * 3),
    "JPEG, EXIF of a camera": (encoded(FLAT, "JPEG", quality=98, exif=exif(65535, "R03")), IN_ADOBE),
    "JPEG, EXIF of sRGB": (encoded(FLAT, "JPEG", quality=98, exif=exif(1, "R98")), COLOUR[0]),
    "WebP, EXIF ColorSpace 2": (encoded(FLAT, "WEBP", lossless=True, exif=exif(2)), IN_ADOBE),
    "AVIF, nclx of Display P3": (patched("AVIF", 0, (12, 13)), IN_P3),
    "AVIF, profile": (encoded(FLAT, "AVIF", quality=95, icc_profile=TURNED), SWAPPED[0]),
}  # fmt: skip


@pytest.mark.parametrize("name", DESCRIBED)
def test_colours_are_what_the_format_says(tmp_path, caplog, name):
    data, expected = DESCRIBED[name]
    image = read(tmp_path, data)
    np.testing.assert_allclose(image[len(image) // 2, 0], expected, atol=3)
    assert not caplog.messages


NOT_FOLLOWED = {
    "CICP 9/10": described((b"cICP", bytes([9, 10, 0, 1]))),
    "the TransferFunction of TIFF": tagged(t301=tuple(range(0, 65536, 257))),
    "the PrimaryChromaticities of TIFF": tagged(t319=(0.64, 0.33, 0.21, 0.71, 0.15, 0.06)),
    "its profile": encoded([COLOUR], "PNG", icc_profile=CYAN_ONLY),
}


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_a_description_that_is_not_followed_is_named(tmp_path, caplog, name):
    read(tmp_path, NOT_FOLLOWED[name])
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path / 'image.bin'}: its colours are taken for sRGB, since {name} is")


def test_high_dynamic_range_is_the_same_in_both_encodings_and_keeps_what_is_darker_than_white(tmp_path):
    # ITU-R BT.2408: white is 58 % of PQ and 75 % of HLG; 26.2 nits are 38 % of PQ and 38 % of HLG.
    for pq, hlg in ((0.58, 0.75), (0.38, 0.38)):
        grays = [
            read(tmp_path, described((b"cICP", bytes([9, code, 0, 1])), color=[round(255 * level)] * 3))[0, 0]
            for code, level in ((16, pq), (18, hlg))
        ]
        np.testing.assert_allclose(*grays, atol=3)
    light = 26.2 / 203
    np.testing.assert_allclose(grays[0], 255 * (1.055 * light ** (1 / 2.4) - 0.055), atol=4)
    levels = [
        read(tmp_path, described((b"cICP", bytes([9, 16, 0, 1])), color=[level] * 3))[0, 0, 0]
        for level in range(0, 190, 10)
    ]
    assert (np.diff(levels) > 0).all() and levels[-1] <= 255  # beyond white, things still differ
