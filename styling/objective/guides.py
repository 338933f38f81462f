"""Guides: what a mask means for a layer's feature map.

A guide is [1, h, w, 1]: each pooling averages the mask, and the guide is its square root. A Gram matrix
contains the guided map twice, so each position has the weight of the mask (Gatys et al. 2017, "Controlling
Perceptual Factors in Neural Style Transfer", section 4).
"""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from styling.pictures.masks import Layout
from styling.settings import Settings
from styling.system.errors import ImageError
from styling.system.quiet import tf
from vgg import POOLS, Network

Guides = dict[str, tf.Tensor]


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


def remarks(
    layouts: Sequence[Layout], sizes: Sequence[tuple[int, int]], network: Network, settings: Settings
) -> tuple[str, ...]:
    """A line for each mask and guide that is too small for some layers, which then ignore its region.

    sizes: the (height, width) of each layout. Raises ImageError if a mask or guide is too small for all
    layers.
    """
    layers = {*settings.layer_weights("style"), *settings.layer_weights("shift")}
    lacking: dict[str, set[str]] = {}
    for (height, width), layout in zip(sizes, layouts, strict=True) if layers else ():
        for name, mask in _named(layout):
            there = guides(mask, network, layers, settings.mask_erosion)
            if there is not None and not there:
                size = f"{width} x {height} pixels"
                raise ImageError(f"{name} is too small for every layer at {size}; draw it larger")
            if there is not None:
                lacking.setdefault(name, set()).update(layers - there.keys())
    order = [layer.name for layer in network.layers]
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
