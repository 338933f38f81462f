"""The sizes of a run: its scales, from coarse to fine, and those of the styles at each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from styling.pictures import images
from styling.pictures.images import Images
from styling.settings import Settings
from styling.system.errors import ImageError

LEAST_SIDE = 192  # pixels of a coarse scale's longer side; smaller pictures keep nothing of the content
MOST_TIMES, LARGE_STYLE = 4, 2**24  # a style of so many times the picture's pixels, and of so many, is a slip


@dataclass(frozen=True)
class Scale:
    """A size at which the picture is made: its (height, width), those of the styles, and its iterations."""

    size: tuple[int, int]
    styles: tuple[tuple[int, int], ...]
    iterations: int

    @property
    def pixels(self) -> int:
        """The pixels of all its updates together; the time is proportional to them."""
        return self.iterations * math.prod(self.size)

    def resized(self, run_images: Images) -> Images:
        """The content and the styles at this scale; the others as they are."""
        content = run_images.content
        content = None if content is None else images.resize(content, *self.size)
        pairs = zip(run_images.styles, self.styles, strict=True)
        return replace(
            run_images, content=content, styles=tuple(images.resize(style, *size) for style, size in pairs)
        )


def scales_of(run_images: Images, settings: Settings) -> tuple[Scale, ...]:
    """The scales in their order, after a check that the needed images are there.

    A longer side of less than LEAST_SIDE becomes LEAST_SIDE, or the result's longer side if that is less.
    Scales of the same size become one scale with all their iterations.
    """
    settings.check_images(**run_images.counts)
    height, width = content_size(*run_images.shape, settings)
    least = min(LEAST_SIDE / max(height, width), 1)
    scales: list[Scale] = []
    for factor, iterations in zip(settings.scales, settings.iterations_by_scale(), strict=True):
        high, wide = (round(side * max(factor, least)) for side in (height, width))
        if high < 1 or wide < 1:
            problem = f"the picture would be {wide} x {high} pixels"
            raise ImageError(f"{problem}: use a larger --width, --max-size or --scales")
        styles = _style_sizes(run_images.styles, settings, high, wide)
        if scales and scales[-1].size == (high, wide):
            iterations += scales.pop().iterations
        scales.append(Scale((high, wide), styles, iterations))
    return tuple(scales)


def _style_sizes(
    styles: Sequence, settings: Settings, height: int, width: int
) -> tuple[tuple[int, int], ...]:
    """The styles' (height, width) for a picture of this size."""
    factors = settings.scales_of_styles(len(styles))
    sizes = [
        style_size(style.shape[0], style.shape[1], factor, width)
        for style, factor in zip(styles, factors, strict=True)
    ]
    for i, size in enumerate(sizes, 1):
        if 0 in size:
            problem = f"style {i} would be {size[1]} x {size[0]} pixels"
            raise ImageError(f"{problem}: make its --style-scales larger")
        if math.prod(size) > max(MOST_TIMES * height * width, LARGE_STYLE) and settings.tile is None:
            problem = f"style {i} would be {size[1]} x {size[0]} pixels, for a picture of {width} x {height}"
            advice = "make its --style-scales smaller, where 1 is as wide as the picture"
            raise ImageError(f"{problem}: {advice}, or give --tile 512 if it is meant")
    return tuple(sizes)


def content_size(height: int, width: int, settings: Settings) -> tuple[int, int]:
    """The result's (height, width) in pixels for a content image (or, without one, a style) of this size."""
    if settings.height and settings.width:
        return settings.height, settings.width
    if settings.width:
        return math.floor(height / width * settings.width), settings.width
    if settings.max_size and max(height, width) > settings.max_size:
        longer = max(height, width)
        return height * settings.max_size // longer, width * settings.max_size // longer
    return height, width


def style_size(height: int, width: int, scale: float, content_width: int) -> tuple[int, int]:
    """A style's (height, width) in pixels: `scale` of the content's width, both sides truncated."""
    factor = scale * content_width / width  # in this order, since rounding can change the size
    return int(height * factor), int(width * factor)


def sizes_in_use(
    height: int,
    width: int,
    settings: Settings,
    scale: float | None = None,
    model: tuple[int, int] | None = None,
) -> list[tuple[int, int]]:
    """The sizes, (height, width) in pixels, at which an image of this size is used; for images.read().

    They are the picture's size and, for a style, its own size. scale: of the style, else None. model: the
    size of the image whose shape the picture has, or None for this image.
    """
    picture = content_size(*(model or (height, width)), settings)
    return [picture] if scale is None else [picture, style_size(height, width, scale, picture[1])]
