"""Image files made byte by byte, or by Pillow, for tests, and what the program reads from them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from styling.pictures import images
from styling.system.errors import ImageError


def read(folder, data):
    """The image of a file with these bytes, whose name tells nothing."""
    (folder / "image.bin").write_bytes(data)
    image = images.read(folder / "image.bin")
    assert image.dtype == np.float32 and image.ndim == 3
    return image


def assert_refused(folder, data, problem=None):
    """Hold the program to refusing a file with these bytes in one line, which names it (and the problem)."""
    with pytest.raises(ImageError, match=problem) as error:
        read(folder, data)
    assert str(error.value).startswith(f"{folder / 'image.bin'}: ") and "\n" not in str(error.value)


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
    """A tag of an ICC profile."""
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


def shorts(*values):
    """Numbers of 16 bits, as PNG has them."""
    return struct.pack(f">{len(values)}H", *values)


def box(brands):
    """The first box of an ISO file, such as HEIC."""
    return struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands
