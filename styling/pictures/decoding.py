"""From an image file to pixels, by Pillow: upright, in sRGB, and the opacity beside them."""

import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageFile, ImageOps, PngImagePlugin, TiffImagePlugin

from styling.pictures import colorspaces, kinds
from styling.system.errors import ImageError
from styling.system.limits import free_memory
from styling.system.process import silent_stderr

HEAD_BYTES = 2**16
# Images of more pixels than LARGE are reduced by one of the FACTORS, but not below SPARE times the size used,
# and must fit into memory.
LARGE, FACTORS, SPARE = 2**24, (8, 4, 2), 4
# Images of more pixels than SUSPECT have at least one byte for each PIXELS_PER_BYTE: deflate's best is 1032.
SUSPECT, PIXELS_PER_BYTE = 2**27, 1100
MOST_TEXT = 2**26  # bytes of a compressed text or profile in a PNG
LOCK = threading.Lock()

Sizes = Callable[[int, int], Sequence[tuple[int, int]]]


class Decoded(NamedTuple):
    """image: on white, float32 [H, W, 3], RGB 0..255, in sRGB. alpha: uint8 [H, W], or None if nothing is
    transparent. remark: a line for people if the file's colours are not followed."""

    image: np.ndarray
    alpha: np.ndarray | None
    remark: str | None


def decode(file: BinaryIO, head: bytes, sizes: Sizes | None) -> Decoded:
    """The first image of an open file. head: its first HEAD_BYTES. sizes: as images.read() takes them.

    Raises ImageError for what is known not to be read, and nearly any error for a damaged file.
    """
    kinds.check(head)
    is_tiff = kinds.TIFF.match(head)
    # libtiff writes warnings to stderr.
    with lifted_limits(), silent_stderr() if is_tiff else contextlib.nullcontext():
        # Looked at first, since some of Pillow's readers go on from where the file was left.
        length = file.seek(0, os.SEEK_END)
        with _open(file, head) as image:
            _check_claim(image, length)
            _check_tiff(image)
            factor = _factor(*_upright(image), sizes)
            if factor > 1:  # a JPEG can be decoded at this size directly
                image.draft(None, (image.width // factor, image.height // factor))
                factor = _factor(*_upright(image), sizes)
            _check_memory(image, factor)
            source = colorspaces.described(image, head)
            image.load()
            return converted(image, source, factor)


@contextlib.contextmanager
def lifted_limits() -> Iterator[None]:
    """Pillow's limits keep healthy images out: 179 megapixels, and 1 MiB for a compressed text or profile.

    They are for all its users in a process, so they are lifted only while one image is read.
    """
    with LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = None, MOST_TEXT
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = before


def converted(image: Image.Image, source: colorspaces.Source, factor: int = 1) -> Decoded:
    """The pixels of a Pillow image, upright, at this part of its size. source: what describes its colours."""
    # Broken EXIF is ignored. In place, the image is rotated before broken parts can raise an error.
    with contextlib.suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    plain = _in_8_bits(image)
    if factor > 1:
        plain = plain.reduce(factor)
    alpha = None
    if plain.mode in ("LA", "RGBA"):
        alpha = np.asarray(plain.getchannel("A"))
        plain = plain.convert(plain.mode[:-1])
    pixels, remark = colorspaces.to_srgb(plain, source)
    if alpha is not None:
        pixels = on_white(pixels, alpha)
    return Decoded(pixels, alpha, remark)


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours [H, W, 3] laid on white by their alpha [H, W], both 0..255; float32."""
    opacity = alpha[..., None].astype(np.float32) / 255
    return pixels * opacity + 255 * (1 - opacity)


def _open(file: BinaryIO, head: bytes) -> Image.Image:
    if kinds.HEIC.match(head):
        try:
            import pillow_heif
        except ImportError:
            advice = "pip install pillow-heif to have it read, or save it as JPEG or PNG"
            raise ImageError(f"is HEIC, as phones write it; {advice}") from None
        pillow_heif.register_heif_opener()
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True  # a text or profile with a wrong checksum takes no pixel
    try:
        return Image.open(file)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _upright(image: Image.Image) -> tuple[int, int]:
    """The height and width of an image after its EXIF orientation is applied, before it is loaded."""
    turned = False
    with contextlib.suppress(Exception):  # broken EXIF is ignored
        turned = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) > 4
    return image.size if turned else image.size[::-1]


def _factor(height: int, width: int, sizes: Sizes | None) -> int:
    """The factor by which an image may be reduced without loss at the sizes in use, or 1."""
    if sizes is None or height * width <= LARGE:
        return 1
    used = sizes(height, width)
    high, wide = (max(sides) for sides in zip(*used, strict=True))
    for factor in FACTORS:
        small = -(-height // factor), -(-width // factor)
        if small[0] >= SPARE * high and small[1] >= SPARE * wide and sizes(*small) == used:
            return factor
    return 1


def _check_claim(image: Image.Image, length: int) -> None:
    """Raise ImageError if a file of this many bytes cannot hold as many pixels as it says."""
    if image.width * image.height > max(SUSPECT, PIXELS_PER_BYTE * length):
        claim = f"it claims {image.width} x {image.height} pixels and has {length} bytes"
        raise ImageError(f"is too large to be believed: {claim}; save it anew, or smaller")


def _check_memory(image: Image.Image, factor: int) -> None:
    """Raise ImageError if decoding a large image needs more than the free memory."""
    # Bytes a pixel: Pillow needs 4, and 4 to convert colours; in full size, float32 adds 12, and uint8 3.
    need = image.width * image.height * (8 if factor > 1 else 23)
    if image.width * image.height > LARGE and need > free_memory():
        claim = f"{image.width} x {image.height} pixels need {need / 2**30:.1f} GiB"
        raise ImageError(f"is too large for the memory at hand: {claim}; make it smaller first")


def _check_tiff(image: Image.Image) -> None:
    """Raise ImageError or ValueError for a TIFF that Pillow would read wrongly."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    tags = image.tag_v2
    preview = tags.get(ExifTags.Base.NewSubfileType, 0) == 1 and ExifTags.Base.SubIFDs in tags
    if preview or ExifTags.Base.DNGVersion in tags:
        what, advice = kinds.RAW
        raise ImageError(f"is {what}; {advice}")
    bits = max(tags.get(ExifTags.Base.BitsPerSample, (1,)))
    by_planes = tags.get(ExifTags.Base.PlanarConfiguration) == 2 and len(image.getbands()) > 1
    signed = 2 in tags.get(ExifTags.Base.SampleFormat, (1,))
    swapped = tags.prefix == b"MM" and image.mode in ("F", "I") and image.info["compression"] != "raw"
    if swapped or (by_planes and bits > 8) or (signed and bits <= 16):
        raise ImageError("is a TIFF of a kind that cannot be read rightly; save it as PNG")
    boxes = (tile.extents or (0, 0, 0, 0) for tile in image.tile)
    if sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes) < image.width * image.height:
        raise ValueError("it has fewer pixels than it says")  # Pillow would fill the rest with black


def _in_8_bits(image: Image.Image) -> Image.Image:
    """The image in 8 bits a colour, without a palette, with its opacity as a channel A if it has any; still
    in the colours of its profile."""
    transparent = image.info.get("transparency")
    if image.mode.startswith(("I", "F")):
        gray = Image.fromarray(_levels(image))
        if transparent is not None:  # Pillow compares only 8 bits
            clear = np.asarray(image) == transparent
            gray.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
        return gray
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        return ImageChops.invert(image)  # Pillow takes every one for Adobe's, which are inverted
    if image.mode in ("La", "RGBa"):  # multiplied by its alpha
        return image.convert(f"{image.mode[:-1]}A")
    if image.mode == "PA" or transparent is not None:
        return image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    return image.convert({"1": "L", "P": "RGB"}[image.mode]) if image.mode in ("1", "P") else image


def _levels(image: Image.Image) -> np.ndarray:
    """Gray of more than 8 bits, or of floating point, as uint8 [H, W].

    White is 1 for floats if all are from 0 to 1. It is 65535 for images declared as 16 bits, and for wider
    ones if the largest number is above 255 and at most 65535. Raises ImageError for all others.
    """
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    bits = max(tags.get(ExifTags.Base.BitsPerSample, (16,)))
    low, high, white = values.min(), values.max(), None
    if image.mode == "F":
        white = 1 if low >= 0 and high <= 1 else None  # not for NaN
    elif image.format in ("PNG", "PPM", "JPEG2000") or (
        image.mode.startswith("I;16") and image.format in ("TIFF", None)
    ):
        white = 2**bits - 1
    elif image.mode == "I" and low >= 0 and 255 < high <= 65535:
        white = 65535
    if white is None:
        problem = (
            f"holds numbers from {low:g} to {high:g} (mode {image.mode}), and nothing says which is white"
        )
        raise ImageError(f"{problem}; save it with 8 or 16 bits a colour, or as floats from 0 to 1")
    levels = (values * np.float32(255 / white) + np.float32(0.5)).astype(np.uint8)
    inverted = tags.get(ExifTags.Base.PhotometricInterpretation) == 0  # white is 0, which Pillow ignores
    return 255 - levels if inverted else levels
