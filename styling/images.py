"""Image files and arrays: read, resize, start from noise, keep colours, lay out in a grid, write.

An image is float32 [H, W, 3], RGB 0..255, sRGB.
"""

import contextlib
import io
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from styling.errors import ImageError
from styling.files import write_whole

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
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601
SRGB = ImageCms.createProfile("sRGB")


@dataclass(frozen=True)
class Images:
    """The images of a run, each float32 [H, W, 3], RGB 0..255, of any size."""

    content: np.ndarray | None = None
    styles: tuple[np.ndarray, ...] = ()
    initial: np.ndarray | None = None

    @classmethod
    def named(cls, pairs: Iterable[tuple[str, np.ndarray]]) -> "Images":
        """The images of pairs of a flag, content, styles or initial, and pixels."""
        by_flag: dict[str, list[np.ndarray]] = {"content": [], "styles": [], "initial": []}
        for flag, pixels in pairs:
            by_flag[flag].append(pixels)
        content, initial = (next(iter(by_flag[flag]), None) for flag in ("content", "initial"))
        return cls(content, tuple(by_flag["styles"]), initial)

    @property
    def shape(self) -> tuple[int, int]:
        """The (height, width) that decides the picture's: the content's, else the first style's, else 0."""
        model = self.content if self.content is not None else next(iter(self.styles), None)
        return (0, 0) if model is None else model.shape[:2]


def read(path: str | os.PathLike) -> np.ndarray:
    """Read an image file as people have them.

    EXIF orientation is applied, transparent pixels are laid on white, embedded colour profiles are converted
    to sRGB, gray, palette, CMYK and 16-bit images become RGB, and an animation is its first frame.
    Raises ImageError for what is no image, truncated, or empty, and OSError for what cannot be opened.
    """
    # Not through imageio, whose reader loses a palette's transparency and turns some gray images wrongly.
    # By file, not by name, since Pillow would shear a TIFF that is to be turned by mapping it into memory.
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(file) as image:
                _check_covered(image)
                image.load()
                # Broken EXIF is as good as none; in place, what is sound turns the image before it can fail.
                with contextlib.suppress(Exception):
                    ImageOps.exif_transpose(image, in_place=True)
                return _to_rgb(image)
        except Image.DecompressionBombError as error:
            raise ImageError(f"{path}: is too large to be read ({error})") from None
        except UnidentifiedImageError:
            reason = "is no image that can be read" if os.fstat(file.fileno()).st_size else "is empty"
            raise ImageError(f"{path}: {reason}") from None
        except MemoryError:
            raise ImageError(f"{path}: is too large for the memory at hand") from None
        except Exception as error:  # Pillow's decoders raise nearly anything for a damaged file
            raise ImageError(f"{path}: is a damaged image ({_first_line(error)})") from None


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize with Pillow's bicubic filter on 8-bit values, as the programs of this family do.

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
    """The image, shrunk to at most so many pixels a side."""
    longest = max(image.shape[:2])
    if longest <= side:
        return image
    return resize(image, *(max(pixels * side // longest, 1) for pixels in image.shape[:2]))


def grid(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures of one size [H, W, 3], in rows of so many, on white."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.float32)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + GAP), i % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def keep_colors(image: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The luma (Rec. 601) of `image` with the chroma of `content`, in YCbCr; both [H, W, 3]."""
    # Chroma is blue and red minus luma, so giving every channel the same change of luma keeps it.
    return np.clip(content + (image @ LUMA - content @ LUMA)[..., None], 0, 255)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Round to uint8, clipped to 0..255."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def check_size(path: str | os.PathLike, height: int, width: int) -> None:
    """Raise ImageError if the format of `path`, by its ending, cannot hold an image of this size."""
    name, _, longest = FORMATS[Path(path).suffix.lower()]
    if max(height, width) > longest:
        problem = f"{path}: {name} holds at most {longest} pixels a side, not {width} x {height}"
        raise ImageError(f"{problem}; use a smaller --width, or png")


def write(path: str | os.PathLike, image: np.ndarray, overwrite: bool = True) -> Path:
    """Write an image whole or not at all; the ending decides the format, one of FORMATS.

    Without `overwrite`, it gets another name where a file is there; returns the name that it has. Raises
    OSError where it cannot be written, ImageError where the format cannot hold it.
    """
    ending = Path(path).suffix.lower()
    _, options, _ = FORMATS[ending]
    check_size(path, *image.shape[:2])
    encoded = iio.imwrite("<bytes>", to_bytes(image), plugin="pillow", extension=ending, **options)
    return write_whole(path, lambda file: file.write(encoded), overwrite)


def _check_covered(image: Image.Image) -> None:
    """Raise ValueError for a TIFF with fewer parts than its size asks for, which Pillow fills with black."""
    if image.format == "TIFF":
        parts = ((right - left) * (bottom - top) for _, (left, top, right, bottom), *_ in image.tile)
        if sum(parts) < image.width * image.height:
            raise ValueError("it has fewer pixels than it says")


def _to_rgb(image: Image.Image) -> np.ndarray:
    alpha = _alpha(image)
    colors = _without_alpha(image)
    if image.info.get("icc_profile"):
        colors = _to_srgb(colors, image.info["icc_profile"])
    rgb = np.asarray(colors.convert("RGB"), np.float32)
    if alpha is None:
        return rgb
    opacity = alpha[..., None].astype(np.float32) / 255
    return rgb * opacity + 255 * (1 - opacity)


def _alpha(image: Image.Image) -> np.ndarray | None:
    """The opacity [H, W], 0..255, or None where there is no transparency."""
    transparent = image.info.get("transparency")
    if image.mode.startswith("I") and transparent is not None:  # Pillow compares in 8 bits, and misses it
        return 255 * (np.asarray(image) != transparent)
    if image.mode in ("LA", "PA", "RGBA") or transparent is not None:
        return np.asarray(image.convert("RGBA").getchannel("A"))
    return None


def _without_alpha(image: Image.Image) -> Image.Image:
    """The image in 8 bits, without alpha or palette, still in the colour space of its profile."""
    if image.mode.startswith("I"):  # 16 bits, which Pillow may hand over in 32
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257 + 0.5).astype(np.uint8))
    if image.mode == "LA":
        return image.convert("L")
    return image.convert("RGB") if image.mode in ("P", "PA", "RGBA") else image


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image  # a broken profile, or one of another colour space, is as good as none


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
