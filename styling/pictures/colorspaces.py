"""What an image file says of its colours, in the way of its format, and the way from there to sRGB.

Codes are those of ITU-T H.273, which PNG (cICP), HEIF and AVIF (nclx) share.
"""

import contextlib
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageCms

# x, y of red, green and blue; white is D65.
BT709 = 0.64, 0.33, 0.30, 0.60, 0.15, 0.06
ADOBE = 0.64, 0.33, 0.21, 0.71, 0.15, 0.06
PRIMARIES = {
    **dict.fromkeys((1, 2), BT709),  # 2: unspecified
    **dict.fromkeys((5, 6, 7), (0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
D65_XYZ = 0.9505, 1, 1.0891
NITS = 203  # of white in high dynamic range (ITU-R BT.2408)
KNEE = 0.75  # light above it is compressed, so that what is brighter than white still differs
CODES = re.compile(rb"(?s)\0\0\0\x04cICP(.)(.)|colrnclx\0(.)\0(.)")
SRGB = ImageCms.createProfile("sRGB")


def from_srgb(levels: np.ndarray) -> np.ndarray:
    """Light of sRGB's levels, both 0..1 (IEC 61966-2-1)."""
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def from_pq(levels: np.ndarray) -> np.ndarray:
    """Light, 1 for white of 203 nits, of levels 0..1 (SMPTE ST 2084)."""
    root = levels ** (32 / 2523)
    nits = 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (16384 / 2610)
    return nits / NITS


def from_hlg(levels: np.ndarray) -> np.ndarray:
    """Light, 1 for white of 203 nits on a display of 1000, of levels 0..1 (ITU-R BT.2100)."""
    scene = np.where(
        levels <= 0.5, levels**2 / 3, (np.exp((levels - 0.55991073) / 0.17883277) + 0.28466892) / 12
    )
    return 1000 * scene**1.2 / NITS


def power(exponent: float) -> Callable[[np.ndarray], np.ndarray]:
    """The transfer function that is a power."""
    return lambda levels: levels**exponent


# BT.709's function (1, 6, 14, 15) is a camera's, and shown like sRGB's (13).
TRANSFERS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    **dict.fromkeys((1, 2, 6, 13, 14, 15), from_srgb),
    **{4: power(2.2), 8: power(1), 16: from_pq, 18: from_hlg},
}


@dataclass(frozen=True)
class Encoding:
    """How levels become light: the x, y of red, green and blue, and the light of levels 0..1."""

    primaries: Sequence[float]
    light: Callable[[np.ndarray], np.ndarray]


Source = bytes | Encoding | str | None


def described(image: Image.Image, head: bytes) -> Source:
    """What an opened image says of its colours: an ICC profile, an encoding, the name of something that is
    not followed, or None for sRGB.

    head: the first bytes of the file. Where a file says several things, the order is PNG's: codes, profile,
    gamma and primaries.
    """
    codes = CODES.search(head) if image.format in ("PNG", "AVIF", "HEIF") else None
    profile = image.info.get("icc_profile")
    if codes and (image.format == "PNG" or not profile):
        primaries, transfer = (ord(code) for code in codes.groups() if code)
        if primaries not in PRIMARIES or transfer not in TRANSFERS:
            return f"CICP {primaries}/{transfer}"
        return Encoding(PRIMARIES[primaries], TRANSFERS[transfer])
    if profile or "srgb" in image.info:
        return profile
    gamma, places = image.info.get("gamma"), image.info.get("chromaticity")
    if image.format == "PNG" and (gamma or places):
        light = power(1 / gamma) if gamma and abs(gamma - 1 / 2.2) > 0.005 else from_srgb
        return Encoding(places[2:] if places else BT709, light)
    with contextlib.suppress(Exception):  # broken EXIF is ignored
        return _of_exif(image.getexif())
    return None


def _of_exif(exif: Image.Exif) -> Source:
    """Adobe RGB, as cameras name it in EXIF, or what TIFF's tags say."""
    space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
    option = exif.get_ifd(ExifTags.IFD.Interop).get(1)
    if space == 2 or (space == 65535 and option == "R03"):
        return Encoding(ADOBE, power(563 / 256))
    tags = ExifTags.Base.TransferFunction, ExifTags.Base.PrimaryChromaticities
    return next((f"the {tag.name} of TIFF" for tag in tags if tag in exif), None)


def to_srgb(image: Image.Image, source: Source) -> tuple[np.ndarray, str | None]:
    """An image without alpha as float32 [H, W, 3], 0..255, in sRGB, and a remark if `source`, as described()
    gives it, is not followed."""
    remark = None
    if isinstance(source, str):
        remark = f"its colours are taken for sRGB, since {source} is not followed"
    elif isinstance(source, bytes):
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(source))
            converted = ImageCms.profileToProfile(image, profile, SRGB, outputMode="RGB")
            image = converted or image
        except (ImageCms.PyCMSError, OSError):
            remark = "its colours are taken for sRGB, since its profile is broken or for other colours"
    levels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    if isinstance(source, Encoding) and image.mode in ("L", "RGB"):
        with contextlib.suppress(np.linalg.LinAlgError):  # primaries that are none are ignored
            return _encoded(levels, source), remark
    return levels.astype(np.float32), remark


def _encoded(levels: np.ndarray, source: Encoding) -> np.ndarray:
    """Levels uint8 [H, W, 3] of an encoding as levels of sRGB, float32, 0..255."""
    if source.light is from_srgb and np.allclose(source.primaries, BT709, atol=0.002):
        return levels.astype(np.float32)
    table = source.light(np.arange(256) / 255).astype(np.float32)
    light = table[levels] @ _matrix(source.primaries).T
    if table[-1] > 1:  # high dynamic range
        over = np.maximum(light - KNEE, 0) / (1 - KNEE)
        light = np.minimum(light, KNEE) + (1 - KNEE) * (1 - np.exp(-over))
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** np.float32(1 / 2.4) - 0.055)


def _matrix(primaries: Sequence[float]) -> np.ndarray:
    """From light of these primaries to light of sRGB's, [3, 3]; raises LinAlgError if they are none."""

    def to_xyz(primaries: Sequence[float]) -> np.ndarray:
        x, y = np.reshape(primaries, (3, 2)).T
        colors = np.stack([x, y, 1 - x - y])
        return colors * np.linalg.solve(colors, D65_XYZ)

    return np.linalg.solve(to_xyz(BT709), to_xyz(primaries)).astype(np.float32)
