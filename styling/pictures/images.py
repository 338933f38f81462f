"""Image files and arrays: read, resize, start from noise, keep colours, lay out in a grid, write.

An image is float32 [H, W, 3], RGB 0..255, sRGB.
"""

import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from styling.pictures import colorspaces, decoding, kinds
from styling.system.errors import ImageError
from styling.system.files import write_whole
from styling.system.terminal import remark

# Ending: the name people know, the options for writing, the longest side that the format can hold.
FORMATS: dict[str, tuple[str, dict[str, Any], int]] = {
    ".png": ("PNG", {}, 2**31 - 1),
    **dict.fromkeys((".jpg", ".jpeg"), ("JPEG", {"quality": 95, "subsampling": 0}, 65500)),
    ".webp": ("WEBP", {"quality": 95}, 16383),
    **dict.fromkeys((".tif", ".tiff"), ("TIFF", {"compression": "tiff_deflate"}, 2**31 - 1)),
    ".bmp": ("BMP", {}, 2**31 - 1),
}
NOISE_SCALE = 0.256
GAP = 6
MASK_NOISE = 4.5 / 255  # values of a mask as near to black or white as this become black or white
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601

# The flags that name images; those that may name several; those of masks.
FLAGS = ("content", "styles", "initial", "style_masks", "style_guides", "content_mask")
LISTS, MASKS = ("styles", "style_masks", "style_guides"), FLAGS[3:]


class Warped(NamedTuple):
    """The painted frame before, warped along the optical flow, and where it can be trusted.

    pixels: float32 [H, W, 3], RGB 0..255. trust: float32 [H, W], 0..1. Both have the picture's size.
    """

    pixels: np.ndarray
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
        values: dict[str, Any] = {
            flag: tuple(arrays) if flag in LISTS else next(iter(arrays), None)
            for flag, arrays in by_flag.items()
        }
        return cls(**values)

    @classmethod
    def passed(
        cls, content: Any, styles: Any, initial: Any, style_masks: Any, style_guides: Any, content_mask: Any
    ) -> "Images":
        """The images from what a program passes: arrays, or anything that as_image() and as_mask() take, and
        one in place of a list of one. Raises ImageError."""

        def each(name: str, values: Any, convert: Callable) -> tuple:
            return tuple(convert(f"{name}[{i}]", value) for i, value in enumerate(_listed(values)))

        return cls(
            None if content is None else as_image("content", content),
            each("styles", styles, as_image),
            None if initial is None else as_image("initial", initial),
            each("style_masks", style_masks, as_mask),
            each("style_guides", style_guides, as_mask),
            as_mask("content_mask", content_mask),
        )

    @property
    def counts(self) -> dict[str, Any]:
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
    def photo(self) -> np.ndarray:
        """The content, where Settings.check_images() has made sure that there is one."""
        assert self.content is not None
        return self.content

    @property
    def are_gray(self) -> bool:
        """Whether no image has a colour; false if there is no image."""
        images = [image for image in (self.content, *self.styles, self.initial) if image is not None]
        return bool(images) and all(map(is_gray, images))


def read(path: str | os.PathLike, sizes: decoding.Sizes | None = None) -> np.ndarray:
    """Read an image file of any of the usual kinds.

    EXIF orientation is applied. Transparent pixels are laid on white. Colours become sRGB, by the profile or
    in whatever way the format describes them. Gray, palette, CMYK, Lab, 16-bit and floating-point images
    become RGB. An animation is its first frame. The logger "styling" has a line where the file's colours are
    not followed.

    sizes: a function from the image's height and width to every (height, width) in pixels at which it is
        used. With it, an image of more than 2^24 pixels is read at an eighth, a quarter or a half of its
        sides, if that leaves 4 times the size in use and gives the same sizes. Others are read in full.
    Raises ImageError if the file is no image, truncated, empty or too large for the free memory, or if the
    meaning of its levels is unclear; OSError if it cannot be opened.
    """
    return _decoded(path, sizes).image


def read_mask(path: str | os.PathLike, may_be_black: bool = False) -> np.ndarray:
    """Read a mask from an image file, float32 [H, W]: its luma times its opacity, from 0 for black or
    transparent to 1 for white.

    The 4 levels nearest to black and to white count as black and white, since JPEG changes levels slightly.
    The logger "styling" has a line for a mask in colours. Raises the errors of read(), and ImageError for a
    mask that is black all over, unless it may be.
    """
    image, alpha, _ = _decoded(path, None)
    mask = to_mask(image, alpha)
    if not (mask.any() or may_be_black):
        advice = "draw in white what it is for"
        raise ImageError(f"{path}: is a mask with nothing in it, black or transparent all over; {advice}")
    if not is_gray(image):
        remark(f"{path}: is a mask in colours; what counts is how light they are")
    return mask


def _decoded(path: str | os.PathLike, sizes: decoding.Sizes | None) -> decoding.Decoded:
    # Pillow gets the open file, since by name it maps a TIFF into memory, and shears it in a rotation.
    with Path(path).open("rb") as file:
        head = file.read(decoding.HEAD_BYTES)
        try:
            decoded = decoding.decode(file, head, sizes)
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None
        except UnidentifiedImageError:
            raise ImageError(f"{path}: {kinds.unidentified(head)}") from None
        except MemoryError:
            raise ImageError(f"{path}: is too large for the memory at hand; make it smaller first") from None
        except Exception as error:  # Pillow's decoders raise nearly anything for a damaged file
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ImageError(f"{path}: is a damaged image ({reason})") from None
    if decoded.remark:
        remark(f"{path}: {decoded.remark}")
    return decoded


def to_mask(image: np.ndarray, alpha: np.ndarray | None = None) -> np.ndarray:
    """The luma of an image on white, [H, W, 3], times its alpha [H, W], both 0..255, as a mask [H, W], 0..1;
    nearly black is black, and nearly white is white."""
    levels = image @ LUMA
    mask = (levels if alpha is None else levels + alpha - 255) / 255  # white behind adds 255 - alpha
    return np.where(mask < MASK_NOISE, 0, np.where(mask > 1 - MASK_NOISE, 1, mask)).astype(np.float32)


def as_image(name: str, value: Any) -> np.ndarray:
    """An image from what a program passes: an array [H, W, 3] or [H, W] (gray) or [H, W, 4] (with opacity) of
    numbers 0..255, or a Pillow image. name: for errors. Raises ImageError, which says what to pass."""
    if isinstance(value, Image.Image):
        return _from_pillow(name, value).image
    pixels = _array(name, value)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or pixels.size == 0:
        raise ImageError(f"{name} must have the shape [H, W, 3], not {list(np.shape(value))}")
    low, high = pixels.min(), pixels.max()
    if low < -1 or high > 256 or (pixels.dtype.kind == "f" and 0 < high <= 1) or pixels.dtype == bool:
        raise ImageError(f"{name} has values from {low:g} to {high:g}; pass values from 0 to 255")
    pixels = pixels.astype(np.float32, copy=False)
    if pixels.shape[2] == 4:
        return decoding.on_white(pixels[..., :3], pixels[..., 3])
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def as_mask(name: str, value: Any) -> np.ndarray | None:
    """A mask [H, W] from what a program passes: an array of numbers 0..1, or of whole numbers 0..255, or a
    Pillow image; None for None. name: for errors. Raises ImageError, which says what to pass."""
    if value is None:
        return None
    if isinstance(value, Image.Image):
        return to_mask(*_from_pillow(name, value)[:2])
    mask = _array(name, value)
    if mask.ndim == 3 and mask.shape[2] == 1:
        mask = mask[..., 0]
    if mask.ndim != 2 or mask.size == 0:
        raise ImageError(f"{name} must have the shape [H, W], not {list(np.shape(value))}")
    if mask.dtype.kind in "iu" and mask.max() > 1:
        mask = mask / 255
    if mask.min() < 0 or mask.max() > 1:
        raise ImageError(f"{name} has values from {mask.min():g} to {mask.max():g}; pass values from 0 to 1")
    return mask.astype(np.float32, copy=False)


def _from_pillow(name: str, image: Image.Image) -> decoding.Decoded:
    try:
        return decoding.converted(image.copy(), colorspaces.described(image, b""))
    except ImageError as error:
        raise ImageError(f"{name} {error}") from None


def _listed(values: Any) -> Sequence:
    """What is passed as a list of images, or a single image, as a list."""
    is_one = isinstance(values, str | bytes | os.PathLike | Image.Image) or not isinstance(values, Iterable)
    if is_one or getattr(values, "ndim", 4) < 4:
        return [] if values is None else [values]
    return list(values)


def _array(name: str, value: Any) -> np.ndarray:
    """The finite numbers that a program passes as an array."""
    if isinstance(value, str | os.PathLike):
        raise ImageError(f"{name} is the name of a file; pass its pixels, images.read({os.fspath(value)!r})")
    try:
        array = np.asarray(value)
    except Exception:  # an array of another library can raise anything
        array = np.asarray(None)
    if array.dtype.kind not in "buif":
        raise ImageError(f"{name} must be an array of numbers, not {type(value).__name__}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ImageError(f"{name} has values that are NaN or infinite")
    return array


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


def grid(pictures: Sequence[np.ndarray], columns: int = 5) -> np.ndarray:
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
    return bool(np.ptp(image, axis=-1).max() <= 1)


def to_gray(image: np.ndarray) -> np.ndarray:
    """The luma (Rec. 601) of an image [H, W, 3] in all three channels, float32."""
    return np.repeat((image @ LUMA)[..., None], 3, axis=-1)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Round to uint8, clipped to 0..255."""
    levels = np.rint(image)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


def check_size(path: str | os.PathLike, height: int, width: int) -> None:
    """Raise ImageError if the format of `path`, by its ending, cannot hold an image of this size, or is not
    written."""
    ending = Path(path).suffix
    if ending.lower() not in FORMATS:
        what = f"has the ending {ending}" if ending else "has no ending"
        raise ImageError(f"{path}: {what}; use one of {' '.join(FORMATS)}")
    name, _, longest = FORMATS[ending.lower()]
    if max(height, width) > longest:
        problem = f"{path}: {name} holds at most {longest} pixels a side, not {width} x {height}"
        raise ImageError(f"{problem}; use a smaller --width, or png")


def write(path: str | os.PathLike, image: np.ndarray, overwrite: bool = True) -> Path:
    """Write an image whole or not at all; the ending decides the format, one of FORMATS.

    Without `overwrite`, it gets another name if the name is taken; returns the final name. Raises OSError if
    it cannot be written, and ImageError if the format cannot hold it, or for an array that is no image.
    """
    pixels = to_bytes(as_image("the image", image))
    check_size(path, *pixels.shape[:2])
    kind, options, _ = FORMATS[Path(path).suffix.lower()]
    encoded = io.BytesIO()  # Pillow hides why a disk could not be written
    Image.fromarray(pixels).save(encoded, kind, **options)
    return write_whole(path, lambda file: file.write(encoded.getbuffer()), overwrite)
