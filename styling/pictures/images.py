"""Image files and arrays: read, resize, start from noise, keep colours, lay out in a grid, write.

An image is float32 [H, W, 3], RGB 0..255, sRGB.
"""

import contextlib
import io
import os
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import imageio.v3 as iio
import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError, features

from styling.system.errors import ImageError
from styling.system.files import write_whole
from styling.system.limits import free_memory

# Ending: the name people know, the options for writing, the longest side that the format can hold.
FORMATS = {
    ".png": ("PNG", {}, 2**31 - 1),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}, 65500),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}, 65500),
    ".webp": ("WEBP", {"quality": 95}, 16383),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}, 2**31 - 1),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}, 2**31 - 1),
    ".bmp": ("BMP", {}, 2**31 - 1),
}
NOISE_SCALE = 0.256
GAP = 6
MASK_NOISE = 4.5 / 255  # values of a mask as near to black or white as this become black or white
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601
SRGB = ImageCms.createProfile("sRGB")
# Images of more pixels than LARGE are reduced by one of the FACTORS, but not below SPARE times the size used.
# Images of more pixels than SUSPECT need at least one byte for each PIXELS_PER_BYTE (deflate's best is 1032),
# and must fit into memory.
LARGE, FACTORS, SPARE = 2**24, (8, 4, 2), 4
SUSPECT, PIXELS_PER_BYTE = 2**27, 1100
# Pillow's own limits keep healthy images out: 179 megapixels, and 1 MiB for a compressed text or profile.
Image.MAX_IMAGE_PIXELS = 2**30
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 2**26
TEXTS, PROFILE = (b"tEXt", b"zTXt", b"iTXt"), b"iCCP"
DEEP_TO_8_BITS = ((np.arange(2**16) + 128) // 257).astype(np.uint8)

HEIC = re.compile(rb"(?s)....ftyp(|(mif1|msf1|miaf).{4}(.{4}){0,20}?)he[iv][cxms]")
AVIF = re.compile(rb"(?s)....ftyp(|(mif1|msf1|miaf).{4}(.{4}){0,20}?)avi[fs]")
RAW = "a camera's raw file", "develop it, and save it as JPEG or PNG"
EXPORT = "export it as PNG"
VIDEO = "a video", "name a video for --output as well, as painted.mp4, or save one of its frames as PNG"
# Files that people pass but that are not read here: how they begin, what they are, and what to do.
KINDS = [
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), what, advice)
    for pattern, what, advice in (
        (rb"(\xef\xbb\xbf)?\s*<(!doctype html|html)", "a web page", "save the picture that it shows"),
        (rb"(\xef\xbb\xbf)?\s*<(svg|.*<svg)", "SVG, a drawing", EXPORT),
        (rb"%PDF", "a PDF", EXPORT),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript, a drawing", EXPORT),
        (rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "a Windows metafile, a drawing", EXPORT),
        (rb"....ftypcrx|II\*\0\x10\0\0\0CR|FUJIFILMCCD-RAW|IIR[OS]\x08|MMOR|IIU\0|FOVb|\0MRM", *RAW),
        (rb"....ftyp(qt|isom|iso\d|mp4|m4v|avc1|3g|dash)", *VIDEO),
        (rb"RIFF....AVI |\x1aE\xdf\xa3|\0\0\x01[\xba\xb3]|FLV\x01", *VIDEO),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL", "save it as PNG or JPEG"),
        (rb"v/1\x01|#\?RADIANCE", "an image of high dynamic range", "save it as PNG with 16 bits a colour"),
        (rb"gimp xcf", "GIMP's own XCF", EXPORT),
        (rb"PK\x03\x04", "an archive, or a document", "save the picture in it as PNG or JPEG"),
    )
]


# The flags that name images; those that may name several; those of masks.
FLAGS = ("content", "styles", "initial", "style_masks", "style_guides", "content_mask")
LISTS, MASKS = ("styles", "style_masks", "style_guides"), FLAGS[3:]


class Warped(NamedTuple):
    """The painted frame before, warped along the optical flow, and where it can be trusted.

    pixels: float32 [H, W, 3], RGB 0..255. shown: where they come from an earlier frame, bool [H, W]. trust:
    float32 [H, W], 0..1. All have the picture's size.
    """

    pixels: np.ndarray
    shown: np.ndarray
    trust: np.ndarray


@dataclass(frozen=True)
class Images:
    """The images of a run, each float32 [H, W, 3], RGB 0..255, of any size; masks float32 [H, W], 0..1.

    style_masks: where each style paints the picture. style_guides: which part of its painting a style is
    taken from. For both, None stands for the whole image, and a single one is for all styles. content_mask:
    what stays as it is. warped: for a frame of a film, the frame before.
    """

    content: np.ndarray | None = None
    styles: tuple[np.ndarray, ...] = ()
    initial: np.ndarray | None = None
    style_masks: tuple[np.ndarray | None, ...] = ()
    style_guides: tuple[np.ndarray | None, ...] = ()
    content_mask: np.ndarray | None = None
    warped: Warped | None = None

    @classmethod
    def named(cls, pairs: Iterable[tuple[str, np.ndarray]]) -> "Images":
        """The images from pairs: one of FLAGS, and pixels."""
        by_flag: dict[str, list[np.ndarray]] = {flag: [] for flag in FLAGS}
        for flag, pixels in pairs:
            by_flag[flag].append(pixels)
        return cls(
            **{
                flag: tuple(found) if flag in LISTS else next(iter(found), None)
                for flag, found in by_flag.items()
            }
        )

    @property
    def counts(self) -> dict[str, int]:
        """The number of images for each flag, as Settings.check_images() takes them."""
        return {
            flag: len(value) if flag in LISTS else int(value is not None)
            for flag, value in ((flag, getattr(self, flag)) for flag in FLAGS)
        }

    @property
    def shape(self) -> tuple[int, int]:
        """The (height, width) for the picture's shape: the content's, else the first style's, else 0."""
        model = self.content if self.content is not None else next(iter(self.styles), None)
        return (0, 0) if model is None else model.shape[:2]

    @property
    def are_gray(self) -> bool:
        """Whether no image has a colour; false if there is no image."""
        given = [image for image in (self.content, *self.styles, self.initial) if image is not None]
        return bool(given) and all(map(is_gray, given))


def read(
    path: str | os.PathLike, sizes: Callable[[int, int], Sequence[tuple[int, int]]] | None = None
) -> np.ndarray:
    """Read an image file of any of the usual kinds.

    EXIF orientation is applied. Transparent pixels are laid on white. Embedded colour profiles are converted
    to sRGB. Gray, palette, CMYK, Lab, 16-bit and floating-point images become RGB. An animation is its first
    frame.

    sizes: a function from the image's height and width to every (height, width) in pixels at which it is
        used. With it, an image of more than 2^24 pixels is read at an eighth, a quarter or a half of its
        sides, if that leaves 4 times the size in use and gives the same sizes. Others are read in full.
    Raises ImageError if the file is no image, truncated, empty or too large for the free memory, or if the
    meaning of its levels is unclear; OSError if it cannot be opened.
    """
    return _opened(path, partial(_read, sizes=sizes, convert=_to_rgb))


def read_mask(path: str | os.PathLike, may_be_black: bool = False) -> np.ndarray:
    """Read a mask from an image file, float32 [H, W]: its opacity if some of it is transparent, else its
    luma, from 0 for black to 1 for white.

    The 4 levels nearest to black and to white count as black and white, since JPEG changes levels slightly.
    Raises the errors of read(), and ImageError for a mask that is black all over, unless it may be.
    """
    mask = _opened(path, partial(_read, sizes=None, convert=_to_mask))
    if not (mask.any() or may_be_black):
        raise ImageError(
            f"{path}: is a mask with nothing in it, black all over; draw in white what it is for"
        )
    return mask


def _opened(path: str | os.PathLike, reader: Callable[[BinaryIO], np.ndarray]) -> np.ndarray:
    # imageio is not used here: it loses a palette's transparency and rotates some gray images wrongly.
    # Pillow gets the open file, since by name it maps a TIFF into memory, and shears it in a rotation.
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        head = file.read(4096)
        try:
            _check_kind(head)
            return reader(file)
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None
        except Image.DecompressionBombError as error:
            raise ImageError(f"{path}: is too large to be read ({error})") from None
        except UnidentifiedImageError:
            raise ImageError(f"{path}: {_unidentified(head)}") from None
        except MemoryError:
            raise ImageError(f"{path}: is too large for the memory at hand; make it smaller first") from None
        except Exception as error:  # Pillow's decoders raise nearly anything for a damaged file
            raise ImageError(f"{path}: is a damaged image ({_first_line(error)})") from None


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize with Pillow's bicubic filter on 8-bit values, as other neural-style programs do.

    The sides are at least 1.
    """
    if image.shape[:2] == (height, width):
        return image
    resized = Image.fromarray(to_bytes(image)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32)


def noise(height: int, width: int, seed: int | None) -> np.ndarray:
    """Gaussian noise of standard deviation 0.256, float32 [height, width, 3]; the same for the same seed."""
    return NOISE_SCALE * np.random.default_rng(seed).standard_normal((height, width, 3), np.float32)


def uniform_noise(height: int, width: int, seed: int | None) -> np.ndarray:
    """Noise that is uniform in [128, 129), float32 [height, width, 3]; the same for the same seed."""
    return 128 + np.random.default_rng(seed).random((height, width, 3), np.float32)


def thumbnail(image: np.ndarray, side: int = 512) -> np.ndarray:
    """The image, shrunk to at most `side` pixels on its longer side."""
    longest = max(image.shape[:2])
    if longest <= side:
        return image
    return resize(image, *(max(pixels * side // longest, 1) for pixels in image.shape[:2]))


def grid(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size [H, W, 3], `columns` in each row, on white."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.float32)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + GAP), i % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def keep_colors(image: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The luma (Rec. 601) of `image` with the chroma of `content`, in YCbCr; both [H, W, 3]."""
    # Chroma is blue and red minus luma, so it stays if all channels change by the same amount as luma.
    return np.clip(content + (image @ LUMA - content @ LUMA)[..., None], 0, 255)


def is_gray(image: np.ndarray) -> bool:
    """Whether no pixel has a colour. Red, green and blue may differ by one level, since a conversion between
    colour spaces rounds."""
    red, green, blue = np.moveaxis(image, -1, 0)
    return abs(red - green).max() <= 1 and abs(green - blue).max() <= 1 and abs(red - blue).max() <= 1


def to_gray(image: np.ndarray) -> np.ndarray:
    """The luma (Rec. 601) of an image [H, W, 3] in all three channels, float32."""
    return np.repeat((image @ LUMA)[..., None], 3, axis=-1)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Round to uint8, clipped to 0..255."""
    levels = np.rint(image)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


def check_size(path: str | os.PathLike, height: int, width: int) -> None:
    """Raise ImageError if the format of `path`, by its ending, cannot hold an image of this size."""
    name, _, longest = FORMATS[Path(path).suffix.lower()]
    if max(height, width) > longest:
        problem = f"{path}: {name} holds at most {longest} pixels a side, not {width} x {height}"
        raise ImageError(f"{problem}; use a smaller --width, or png")


def write(path: str | os.PathLike, image: np.ndarray, overwrite: bool = True) -> Path:
    """Write an image whole or not at all; the ending decides the format, one of FORMATS.

    Without `overwrite`, it gets another name if the name is taken; returns the final name. Raises OSError if
    it cannot be written, and ImageError if the format cannot hold it.
    """
    ending = Path(path).suffix.lower()
    _, options, _ = FORMATS[ending]
    check_size(path, *image.shape[:2])
    encoded = iio.imwrite("<bytes>", to_bytes(image), plugin="pillow", extension=ending, **options)
    return write_whole(path, lambda file: file.write(encoded), overwrite)


def is_video(head: bytes) -> bool:
    """Whether a file with these first bytes is a video."""
    return any((what, advice) == VIDEO for pattern, what, advice in KINDS if pattern.match(head))


def _check_kind(head: bytes) -> None:
    """Raise ImageError for a file with these first bytes if it is of a kind that is not read here."""
    for pattern, what, advice in KINDS:
        if pattern.match(head):
            raise ImageError(f"is {what}; {advice}")
    if HEIC.match(head):
        try:
            import pillow_heif
        except ImportError:
            advice = "pip install pillow-heif to have it read, or save it as JPEG or PNG"
            raise ImageError(f"is HEIC, as phones write it; {advice}") from None
        pillow_heif.register_heif_opener()
    elif AVIF.match(head) and not features.check("avif"):
        raise ImageError("is AVIF, which this Pillow cannot read; pip install --upgrade pillow")


def _unidentified(head: bytes) -> str:
    """The problem with a file that Pillow cannot identify, from its first bytes."""
    if not head:
        return "is empty"
    for pattern, what in ((rb"II[*+]\0|MM\0[*+]", "TIFF"), (rb"8BPS", "PSD"), (HEIC, "HEIC"), (AVIF, "AVIF")):
        if re.match(pattern, head):
            advice = "save it as PNG, with 8 or 16 bits a colour"
            return f"is {what}, damaged or of a kind that cannot be read; {advice}"
    return "is no image that can be read"


def _read(file: BinaryIO, sizes: Callable | None, convert: Callable) -> np.ndarray:
    """The image in a file. If a PNG's texts or its profile need too much memory, it is read without them."""
    for dropped in (TEXTS, (*TEXTS, PROFILE)):
        try:
            return _decoded(file, sizes, convert)
        except ValueError as error:
            if "MAX_TEXT" not in str(error):
                raise
        file = _without_chunks(file, dropped)
    return _decoded(file, sizes, convert)


def _without_chunks(file: BinaryIO, kinds: Sequence[bytes]) -> io.BytesIO:
    """A PNG without its chunks of these kinds."""
    file.seek(0)
    data, at = file.read(), 8
    kept = [data[:at]]
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind not in kinds:
            kept.append(data[at : at + 12 + length])
        at += 12 + length
    return io.BytesIO(b"".join(kept))


def _decoded(file: BinaryIO, sizes: Callable | None, convert: Callable) -> np.ndarray:
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    with Image.open(file) as image:
        pixels = image.width * image.height
        if pixels > max(SUSPECT, PIXELS_PER_BYTE * length):
            claim = f"it claims {image.width} x {image.height} pixels and has {length} bytes"
            raise ImageError(f"is too large to be believed: {claim}; save it anew, or smaller")
        _check_tiff(image)
        factor = _factor(*_upright(image), sizes)
        if factor > 1:  # a JPEG can be decoded at this size directly
            image.draft(None, (image.width // factor, image.height // factor))
        _check_memory(image, sizes)
        image.load()
        # Broken EXIF is ignored. In place, the image is rotated before broken parts can raise an error.
        with contextlib.suppress(Exception):
            ImageOps.exif_transpose(image, in_place=True)
        return convert(image, sizes)


def _upright(image: Image.Image) -> tuple[int, int]:
    """The height and width of an image after its EXIF orientation is applied, before it is loaded."""
    turned = False
    with contextlib.suppress(Exception):  # broken EXIF is ignored
        turned = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) > 4
    return image.size if turned else image.size[::-1]


def _factor(height: int, width: int, sizes: Callable | None) -> int:
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


def _check_memory(image: Image.Image, sizes: Callable | None) -> None:
    """Raise ImageError if decoding a huge image needs more than the free memory."""
    pixels = image.width * image.height
    if pixels > SUSPECT:
        # Bytes a pixel: Pillow needs 4, and 4 to convert colours; in full size, float32 adds 12, and uint8 3.
        need = pixels * (8 if _factor(*_upright(image), sizes) > 1 else 23)
        if need > free_memory():
            claim = f"{image.width} x {image.height} pixels need {need / 2**30:.1f} GiB"
            raise ImageError(f"is too large for the memory at hand: {claim}; make it smaller first")


def _check_tiff(image: Image.Image) -> None:
    """Raise ImageError or ValueError for a TIFF that Pillow would read wrongly."""
    if image.format != "TIFF":
        return
    tags = image.tag_v2
    preview = tags.get(ExifTags.Base.NewSubfileType, 0) == 1 and ExifTags.Base.SubIFDs in tags
    if preview or ExifTags.Base.DNGVersion in tags:
        what, advice = RAW
        raise ImageError(f"is {what}; {advice}")
    bits = max(tags.get(ExifTags.Base.BitsPerSample, (1,)))
    if 2 in tags.get(ExifTags.Base.SampleFormat, (1,)) and bits <= 16:
        problem = f"holds signed numbers of {bits} bits (mode {image.mode}), and nothing says which is white"
        raise ImageError(f"{problem}; save it with unsigned ones of 8 or 16 bits")
    if image.info["compression"] == "raw":  # Pillow reads the bytes of a 16-bit plane as pixels of 8 bits
        misread = tags.get(ExifTags.Base.PlanarConfiguration) == 2 and bits > 8 and len(image.getbands()) > 1
    else:  # Pillow swaps the bytes of wide numbers, which libtiff has swapped already
        misread = tags.prefix == b"MM" and image.mode in ("F", "I")
    if misread:
        raise ImageError("is a TIFF with its bytes in an order that cannot be read; save it as PNG")
    parts = ((right - left) * (bottom - top) for _, (left, top, right, bottom), *_ in image.tile)
    if sum(parts) < image.width * image.height:  # Pillow would fill the rest with black
        raise ValueError("it has fewer pixels than it says")


def _to_rgb(image: Image.Image, sizes: Callable | None) -> np.ndarray:
    if image.mode in ("La", "RGBa"):  # multiplied by its alpha
        image = image.convert(f"{image.mode[:-1]}A")
    alpha = _alpha(image)
    colors = _to_srgb(_without_alpha(image), image.info.get("icc_profile"))
    if colors.mode != "RGB":
        colors = colors.convert("RGB")
    factor = _factor(image.height, image.width, sizes)
    if factor > 1:  # the image is large, so it stays in 8 bits to save memory
        if alpha is not None:
            colors = Image.composite(colors, Image.new("RGB", image.size, "white"), Image.fromarray(alpha))
        return np.asarray(colors.reduce(factor), np.float32)
    rgb = np.asarray(colors, np.float32)
    if alpha is None:
        return rgb
    opacity = alpha[..., None].astype(np.float32) / 255
    return rgb * opacity + 255 * (1 - opacity)


def _to_mask(image: Image.Image, sizes: None) -> np.ndarray:
    alpha = _alpha(image)
    if alpha is None or alpha.min() == 255:
        return to_mask(_to_rgb(image, sizes))
    return _without_noise(alpha)


def to_mask(image: np.ndarray, alpha: np.ndarray | None = None) -> np.ndarray:
    """The alpha, [H, W], 0..255, or without one the luma of an image [H, W, 3], as a mask [H, W]."""
    return _without_noise(image @ LUMA if alpha is None else alpha)


def _without_noise(levels: np.ndarray) -> np.ndarray:
    """Levels 0..255 as a mask; levels close to black and white become black and white."""
    mask = np.asarray(levels, np.float32) / 255
    return np.where(mask < MASK_NOISE, 0, np.where(mask > 1 - MASK_NOISE, 1, mask)).astype(np.float32)


def _alpha(image: Image.Image) -> np.ndarray | None:
    """The opacity, uint8 [H, W], or None if nothing is transparent."""
    transparent = image.info.get("transparency")
    if image.mode.startswith("I") and transparent is not None:  # Pillow compares only 8 bits
        return np.where(np.asarray(image) == transparent, np.uint8(0), np.uint8(255))
    if image.mode in ("LA", "PA", "RGBA") or transparent is not None:
        return np.asarray(image.convert("RGBA").getchannel("A"))
    return None


def _without_alpha(image: Image.Image) -> Image.Image:
    """The image in 8 bits, without alpha or palette, still in the colour space of its profile."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_levels(image))
    if image.mode == "LA":
        return image.convert("L")
    return image.convert("RGB") if image.mode in ("P", "PA", "RGBA") else image


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
    elif image.format in ("PNG", "PPM", "JPEG2000") or (image.format == "TIFF" and bits <= 16):
        white = 2**bits - 1
    elif image.mode == "I" and low >= 0 and 255 < high <= 65535:
        white = 65535
    if white is None:
        problem = (
            f"holds numbers from {low:g} to {high:g} (mode {image.mode}), and nothing says which is white"
        )
        raise ImageError(f"{problem}; save it with 8 or 16 bits a colour, or as floats from 0 to 1")
    levels = DEEP_TO_8_BITS[values] if white == 65535 else (values * (255 / white) + 0.5).astype(np.uint8)
    inverted = tags.get(ExifTags.Base.PhotometricInterpretation) == 0  # white is 0, which Pillow ignores
    return 255 - levels if inverted else levels


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image  # a profile that is broken, or for another colour space, is ignored


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
