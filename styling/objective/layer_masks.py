"""What a mask means for a layer's feature map: the mask, [1, h, w, 1], at the layer's size.

Each pooling averages it (Gatys et al. 2017, "Controlling Perceptual Factors in Neural Style Transfer",
section 4, where the root of it is called a guidance channel).
"""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from styling.pictures.masks import Layout
from styling.settings import Settings
from styling.system.errors import ImageError
from styling.system.quiet import tf
from vgg import POOLS, Network

LayerMasks = dict[str, tf.Tensor]


def at_layers(
    mask: np.ndarray, network: Network, layers: Collection[str], erosion: bool = False
) -> LayerMasks:
    """A mask [H, W] at each layer.

    erosion: whether a position has the least value of the mask in its receptive field, not the average.
    """
    masks, x = {}, tf.constant(mask[None, :, :, None])
    for layer in network.built(layers):
        if layer.kind == "pool":
            x = _least(x, 2, 2) if erosion else POOLS["avg"](x)
        elif layer.kind == "conv" and erosion:
            x = _least(x, layer.kernel.shape[0], 1)
        if layer.name in layers:
            masks[layer.name] = x
    return masks


def _least(x: tf.Tensor, side: int, stride: int) -> tf.Tensor:
    """The minimum of each window; positions beyond the border are ignored."""
    return -tf.nn.max_pool2d(-x, side, stride, "SAME")


def of_style(mask: np.ndarray, network: Network, layers: Collection[str], settings: Settings) -> LayerMasks:
    """A mask, or a guide, at each layer in which it covers at least one position."""
    masks = at_layers(mask, network, layers, settings.mask_erosion)
    return {layer: x for layer, x in masks.items() if float(tf.reduce_sum(x)) >= 1}


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
            covered = of_style(mask, network, layers, settings)
            if not covered:
                size = f"{width} x {height} pixels"
                raise ImageError(f"{name} is too small for every layer at {size}; draw it larger")
            lacking.setdefault(name, set()).update(layers - covered.keys())
    order = [layer.name for layer in network.layers]
    return tuple(
        f"{name} is too small for {', '.join(sorted(missing, key=order.index))}, which does without it"
        for name, missing in lacking.items()
        if missing
    )


def _named(layout: Layout) -> Iterator[tuple[str, np.ndarray]]:
    """The masks and guides of a layout, with their names for people."""
    for region in layout.regions:
        if region.mask is not None:
            yield f"the mask of style {' and '.join(str(i + 1) for i in region.shares)}", region.mask
    for i, guide in enumerate(layout.guides, 1):
        if guide is not None:
            yield f"the guide of style {i}", guide
