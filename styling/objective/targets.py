"""What a picture is compared with: the content's feature maps, and the styles' statistics."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from styling.objective import losses, tiles
from styling.objective.losses import Statistic
from styling.objective.tiles import Features, View
from styling.settings import Settings
from styling.system.quiet import tf
from vgg import Network

Maps = Sequence[Features] | tiles.Stored  # for each window
Masks = dict[
    str, tuple[tf.Tensor | None, Any]
]  # by layer, its mask, None for all positions, and mask_sizes()


def cut(network: Network, names: Iterable[str], settings: Settings, size: tuple[int, int]) -> tiles.Tiling:
    """The tiling of images of a size, (height, width), if these layers are used."""
    reaches = dict.fromkeys(settings.layer_weights("shift"), max(settings.shifts))
    if settings.hypercolumn_iterations:  # their coarse maps are enlarged
        reaches = dict.fromkeys(settings.layer_weights("style"), 1) | reaches
    return tiles.tiling(network.built(names), size, settings.tile or 0, reaches)


def mean_activations(
    images: Sequence[tf.Tensor], network: Network, settings: Settings
) -> dict[str, np.ndarray]:
    """The mean activation [C] of every filter over all images, by the name of the ReLU."""
    names = network.relus(settings.layers())
    sums: defaultdict[str, Any] = defaultdict(float)
    positions: Counter[str] = Counter()
    for x in images:
        tiling = cut(network, {*names, *settings.layers()}, settings, x.shape[1:3])
        for view in tiling.views(network, x, names, settings.pooling):
            for name, features in view.features.items():
                counted = losses.core(features, view.parts.get(name))
                sums[name] += tf.reduce_sum(counted, axis=(0, 1, 2)).numpy()
                positions[name] += math.prod(counted.shape[:3])
    return {name: sums[name] / positions[name] for name in sums}


def content(x: tf.Tensor, network: Network, tiling: tiles.Tiling, settings: Settings) -> Maps:
    """The content layers' maps, for each window. Raises StyleError if there is no disk space for them."""
    views = tiling.views(network, x, settings.layer_weights("content"), settings.pooling)
    maps = (view.features for view in views)
    return list(maps) if tiling.is_whole else tiles.Stored(maps)


def mean_squares(maps: Maps, tiling: tiles.Tiling) -> dict[str, float]:
    """The mean square of the content's maps by layer, from the maps of all windows."""
    squares: defaultdict[str, float] = defaultdict(float)
    for i, place in enumerate(tiling.places):
        for layer, values in maps[i].items():
            part = tiling.part(place, layer)
            squares[layer] += float(losses.content(values, tf.zeros_like(values), part))
    return squares


def at_layers(statistic: Statistic, view: View, masks: Masks) -> dict[tuple, tf.Tensor]:
    """The means of a statistic over the positions of each layer's mask, by (layer, *key)."""
    means: dict[tuple, tf.Tensor] = {}
    for layer, (mask, sizes) in masks.items():
        values = losses.masked(statistic, view.features[layer], mask, view.parts.get(layer))
        by_key = keyed(layer, values)
        means |= {key: by_key[key] / size for key, size in keyed(layer, sizes).items() if key in by_key}
    return means


def keyed(layer: str, statistic: Any) -> dict[tuple, Any]:
    """A layer's statistic by (layer,), or by (layer, axis, shift) where there are several."""
    if isinstance(statistic, dict):
        return {(layer, *key): values for key, values in statistic.items()}
    return {(layer,): statistic}


def of_style(
    style: tf.Tensor,
    network: Network,
    settings: Settings,
    statistics: Mapping[str, tuple[Statistic, Masks]],
    shapes: Mapping[str, tuple[int, int, int]],
) -> dict[str, dict[tuple, tf.Tensor]]:
    """A style's statistics for each term, by the term's name, then by (layer, *key).

    statistics: for each term, and within which part of the painting. shapes: of the picture's maps; the
    style's sorted values are as many as those of the picture.
    """
    names = {layer for _, masks in statistics.values() for layer in masks}
    views = cut(network, settings.layers(), settings, style.shape[1:3]).views(
        network, style, names, settings.pooling
    )
    whole = reduce(
        added,
        (
            {name: at_layers(statistic, view, masks) for name, (statistic, masks) in statistics.items()}
            for view in views
        ),
    )
    for key, values in whole.get("histogram", {}).items():
        whole["histogram"][key] = losses.quantiles(values, math.prod(shapes[key[0]][:2]))
    return whole


def added(a: Any, b: Any) -> Any:
    """The sum of the statistics of two windows; those of a whole image are the sum over all its windows."""
    return tf.nest.map_structure(tf.add, a, b)


def in_precision(network: Network, settings: Settings) -> Network:
    """The network, in the precision of the settings."""
    return network.in_bfloat16 if settings.precision == "bfloat16" else network
