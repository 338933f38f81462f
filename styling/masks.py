"""Masks: where each style paints a picture, and which part of its painting a style is taken from.

A mask is float32 [H, W], from 0 (no) to 1 (fully), of any size: it is resized with its image. For a layer it
becomes a guide, [1, h, w, 1]: each pooling averages the mask, and the guide is its square root. A Gram matrix
contains the guided map twice, so each position has the weight of the mask (Gatys et al. 2017, "Controlling
Perceptual Factors in Neural Style Transfer", section 4).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage
from PIL import Image

from styling.errors import ImageError
from styling.images import Images
from styling.quiet import tf
from styling.settings import Settings
from vgg import POOLS, Network

if TYPE_CHECKING:
    from styling.runs import Run, Scale

Guides = dict[str, tf.Tensor]


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


def checked(images: Images) -> Images:
    """The images with one mask and one guide for each style; None replaces a white one, () if all are None.

    Raises ImageError for an array that is no mask or is black all over.
    """
    count = len(images.styles)
    masks, guides = (
        tuple(map(_checked, of * count if len(of) == 1 else of))
        for of in (images.style_masks, images.style_guides)
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
    if mask.ndim != 2 or mask.size == 0 or not (mask.min() >= 0 and mask.max() <= 1):
        raise ImageError(f"a mask must have the shape [H, W] and values from 0 to 1, not {list(mask.shape)}")
    if not mask.any():
        raise ImageError("a mask is black all over, so that nothing is in it")
    return None if (mask == 1).all() else mask.astype(np.float32)


def resize(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by linear interpolation; a smaller mask is an average."""
    resized = Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized), 0, 1)


def fitted(mask: np.ndarray | None, image: np.ndarray) -> np.ndarray | None:
    """The mask at the size of an image; None if there is no mask."""
    return None if mask is None else resize(mask, *image.shape[:2])


def layout(images: Images, settings: Settings, scale: "Scale") -> Layout:
    """Which style paints where at a scale; images as checked() gives them.

    Where masks overlap, their styles blend by their weights. A region's share of the loss is its share of the
    picture, so that each position is painted as strongly as without masks. Raises ImageError if resizing, or
    the content mask, leaves nothing of a mask.
    """
    shares = settings.style_shares(len(images.styles))
    guides = images.style_guides or (None,) * len(shares)
    guides = tuple(
        None if guide is None else resize(guide, *size)
        for guide, size in zip(guides, scale.styles, strict=True)
    )
    if not (images.style_masks or settings.mask_content_weights) and images.content_mask is None:
        return Layout((Region(None, dict(enumerate(shares))),), guides)
    open_to = np.ones(scale.size, np.float32)
    if images.content_mask is not None:
        open_to -= resize(images.content_mask, *scale.size)
    masks = [
        open_to if mask is None else open_to * resize(mask, *scale.size)
        for mask in images.style_masks or (None,) * len(shares)
    ]
    for i, (mask, share) in enumerate(zip(masks, shares, strict=True), 1):
        if share and not mask.any():
            raise ImageError(f"style mask {i}: nothing of it is left at {scale.size[1]} x {scale.size[0]}")
    counted = [mask for mask, share in zip(masks, shares, strict=True) if share]
    painted = np.minimum(sum(counted), 1) if counted else open_to
    blend = sum(share * mask for mask, share in zip(masks, shares, strict=True))
    regions, content = {}, 1 - painted
    factors = settings.mask_content_weights or (1.0,) * len(shares)
    for i, (mask, share, factor) in enumerate(zip(masks, shares, factors, strict=True)):
        if share:
            here = painted * mask / np.where(blend > 0, blend, 1)
            region = regions.setdefault(here.tobytes(), Region(here, {}))
            region.shares[i] = share * float(here.mean())
            content = content + factor * share * here
    return Layout(
        tuple(regions.values()),
        guides,
        None if (painted == 1).all() else painted,
        content if settings.mask_content_weights else None,
    )


def guides(
    mask: np.ndarray | None, network: Network, layers: Collection[str], erosion: bool
) -> Guides | None:
    """A mask's guides for the layers in which it covers at least one position; None if there is no mask.

    erosion: whether a position has the least value of the mask in its receptive field, not the average.
    """
    if mask is None:
        return None
    found, x = {}, tf.constant(mask[None, :, :, None])
    for layer in network.built(layers):
        if layer.kind == "pool":
            x = _least(x, 2, 2) if erosion else POOLS["avg"](x)
        elif layer.kind == "conv" and erosion:
            x = _least(x, layer.kernel.shape[0], 1)
        if layer.name in layers and float(tf.reduce_sum(x)) >= 1:
            found[layer.name] = tf.sqrt(x)
    return found


def _least(x: tf.Tensor, side: int, stride: int) -> tf.Tensor:
    """The minimum of each window; positions beyond the border are ignored."""
    return -tf.nn.max_pool2d(-x, side, stride, "SAME")


def means(mask: np.ndarray, network: Network, layers: Collection[str]) -> Guides:
    """The mask as the poolings average it, [1, h, w, 1] by layer."""
    found, x = {}, tf.constant(mask[None, :, :, None])
    for layer in network.built(layers):
        x = POOLS["avg"](x) if layer.kind == "pool" else x
        if layer.name in layers:
            found[layer.name] = x
    return found


def remarks(run: "Run") -> tuple[str, ...]:
    """A line for each mask and guide that is too small for some layers, which then ignore its region.

    Raises ImageError if a mask or guide is too small for all layers.
    """
    layers = {*run.settings.layer_weights("style"), *run.settings.layer_weights("shift")}
    lacking: dict[str, set[str]] = {}
    for scale, layout in zip(run.scales, run.layouts, strict=True) if layers else ():
        for name, mask in _named(layout):
            there = guides(mask, run.network, layers, run.settings.mask_erosion)
            if there is not None and not there:
                size = f"{scale.size[1]} x {scale.size[0]} pixels"
                raise ImageError(f"{name} is too small for every layer at {size}; draw it larger")
            if there is not None:
                lacking.setdefault(name, set()).update(layers - there.keys())
    order = [layer.name for layer in run.network.layers]
    return tuple(
        f"{name} is too small for {', '.join(sorted(missing, key=order.index))}, which does without it"
        for name, missing in lacking.items()
        if missing
    )


def _named(of: Layout) -> Iterator[tuple[str, np.ndarray | None]]:
    for region in of.regions:
        yield f"the mask of style {' and '.join(str(i + 1) for i in region.shares)}", region.mask
    for i, guide in enumerate(of.guides, 1):
        yield f"the guide of style {i}", guide


def feathered(painted: np.ndarray, share: float) -> np.ndarray:
    """The painted mask, [H, W], fading out towards its edge over a `share` of the longer side."""
    width = share * max(painted.shape)
    if width < 1:
        return painted
    distance = scipy.ndimage.distance_transform_edt(painted > 0)
    t = np.minimum(distance / width, 1)
    return (painted * t * t * (3 - 2 * t)).astype(np.float32)
