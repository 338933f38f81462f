"""Masks: where each style paints a picture, and which part of its painting a style is taken from.

A mask is float32 [H, W], from 0 (no) to 1 (fully), of any size: it is resized with its image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage
from PIL import Image

from styling.pictures.images import Images
from styling.settings import Settings
from styling.system.errors import ImageError


@dataclass(frozen=True)
class Region:
    """A region that some styles paint together. mask: [H, W], or None for the whole picture. shares: of the
    loss, by the styles' indices."""

    mask: np.ndarray | None
    shares: dict[int, float]


@dataclass(frozen=True)
class Layout:
    """Which style paints where, for a picture of one size.

    regions: of the styles. guides: the part of each painting that counts, [h, w], or None for all.
    painted: [H, W], 0 where the picture stays the photograph; None for 1 everywhere. content: [H, W], a
    factor for the weight of the content, or None.
    """

    regions: tuple[Region, ...]
    guides: tuple[np.ndarray | None, ...]
    painted: np.ndarray | None = None
    content: np.ndarray | None = None

    @classmethod
    def whole(cls, shares: Sequence[float]) -> "Layout":
        """All styles together paint everything. shares: of the loss, by style."""
        return cls((Region(None, dict(enumerate(shares))),), (None,) * len(shares))


def checked(images: Images) -> Images:
    """The images with one mask and one guide for each style; None replaces a white one, () if all are None.

    Raises ImageError for a mask that is black all over.
    """
    count = len(images.styles)
    masks, guides = (
        tuple(map(_checked, masks * count if len(masks) == 1 else masks))
        for masks in (images.style_masks, images.style_guides)
    )
    if images.content_mask is not None and _checked(images.content_mask) is None:
        raise ImageError("the content mask is white all over, which leaves nothing to paint")
    return replace(
        images,
        style_masks=() if all(mask is None for mask in masks) else masks,
        style_guides=() if all(guide is None for guide in guides) else guides,
    )


def _checked(mask: np.ndarray | None) -> np.ndarray | None:
    if mask is None:
        return None
    if not mask.any():
        raise ImageError("a mask is black all over, so that nothing is in it")
    return None if (mask == 1).all() else mask.astype(np.float32)


def resize(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by linear interpolation; a smaller mask is an average."""
    resized = Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized), 0, 1)


def mostly(mask: np.ndarray) -> np.ndarray:
    """The positions that are mostly within a mask, or those most within it, bool."""
    return mask >= min(0.5, mask.max())


def fitted(mask: np.ndarray | None, size: Sequence[int]) -> np.ndarray | None:
    """The mask at this (height, width); None if there is no mask."""
    return None if mask is None else resize(mask, *size[:2])


def layout(
    images: Images, settings: Settings, size: tuple[int, int], style_sizes: Sequence[tuple[int, int]]
) -> Layout:
    """Which style paints where in a picture of this (height, width); images as checked() gives them.

    style_sizes: those of the styles.

    Where masks overlap, their styles blend by their weights. A region's share of the loss is its share of the
    picture, so that each position is painted as strongly as without masks. Raises ImageError if resizing, or
    the content mask, leaves nothing of a mask.
    """
    shares = settings.style_shares(len(images.styles))
    guides = tuple(map(fitted, images.style_guides or (None,) * len(shares), style_sizes))
    if not (images.style_masks or settings.mask_content_weights) and images.content_mask is None:
        return replace(Layout.whole(shares), guides=guides)
    open_to = np.ones(size, np.float32)
    if images.content_mask is not None:
        open_to -= resize(images.content_mask, *size)
    masks = [
        open_to if mask is None else open_to * resize(mask, *size)
        for mask in images.style_masks or (None,) * len(shares)
    ]
    for i, (mask, share) in enumerate(zip(masks, shares, strict=True), 1):
        if share and not mask.any():
            raise ImageError(f"style mask {i}: nothing of it is left at {size[1]} x {size[0]}")
    counted = [mask for mask, share in zip(masks, shares, strict=True) if share]
    painted = np.minimum(sum(counted), 1) if counted else open_to
    blend = sum(share * mask for mask, share in zip(masks, shares, strict=True))
    regions: dict[bytes, Region] = {}
    content = 1 - painted
    factors = settings.mask_content_weights or (1.0,) * len(shares)
    for i, (mask, share, factor) in enumerate(zip(masks, shares, factors, strict=True)):
        if share:
            part = painted * mask / np.where(blend > 0, blend, 1)
            region = regions.setdefault(part.tobytes(), Region(part, {}))
            region.shares[i] = share * float(part.mean())
            content = content + factor * share * part
    return Layout(
        tuple(regions.values()),
        guides,
        None if (painted == 1).all() else painted,
        content if settings.mask_content_weights else None,
    )


def feathered(painted: np.ndarray, share: float) -> np.ndarray:
    """The painted mask, [H, W], fading out towards its edge over a `share` of the longer side."""
    width = share * max(painted.shape)
    if width < 1:
        return painted
    distance = scipy.ndimage.distance_transform_edt(painted > 0)
    t = np.minimum(distance / width, 1)
    return (painted * t * t * (3 - 2 * t)).astype(np.float32)
