"""Targets: the content's feature maps and the styles' statistics, which a picture is compared with."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

import vgg
from styling.objective import losses, tiles
from styling.settings import Settings
from styling.system.quiet import tf
from vgg import Network

Features = dict[str, tf.Tensor]
Parts = dict[str, losses.Part]


def mean_activations(
    images: Sequence[tf.Tensor], network: Network, settings: Settings
) -> dict[str, np.ndarray]:
    """The mean activation [C] of every filter over all images, by the name of the ReLU."""
    names = network.relus(settings.layers())

    def maps() -> Iterator[Features]:
        for x in images:
            tiling = cut(network, {*names, *settings.layers()}, settings, x.shape[1:3])
            for features, parts in windows(x, network, tiling, names, settings.pooling):
                yield features if parts is None else {n: parts[n].core(features[n]) for n in names}

    return vgg.mean_activations(maps())


def content(x: tf.Tensor, network: Network, tiling: tiles.Tiling, settings: Settings) -> Sequence[Features]:
    """The content layers' feature maps, for each tile's window."""
    found = windows(x, network, tiling, settings.layer_weights("content"), settings.pooling)
    maps = (features for features, _ in found)
    return list(maps) if len(tiling.places) == 1 else tiles.Stored(maps)


def mean_squares(maps: Sequence[Features], tiling: tiles.Tiling) -> dict[str, float]:
    """The mean square of the content's maps by layer, from the maps of all tiles' windows."""
    squares = Counter()
    for i, place in enumerate(tiling.places):
        for layer, values in maps[i].items():
            part = tiling.part(place, tiling.levels[layer])
            squares[layer] += float(losses.content(values, tf.zeros_like(values), part))
    return squares


def windows(
    x: tf.Tensor, network: Network, tiling: tiles.Tiling, names: Iterable[str], pooling: str
) -> Iterator[tuple[Features, Parts | None]]:
    """An image's feature maps, whole or for each tile's window, and the part that counts in each."""
    if len(tiling.places) == 1:
        yield network.features(x, names, pooling), None
        return
    for place in map(tf.constant, tiling.places):
        yield tiling.features(network, tiling.cut(x, place), names, pooling, place)


def cut(network: Network, names: Iterable[str], settings: Settings, size: tuple[int, int]) -> tiles.Tiling:
    """The tiling of images of a size, (height, width), if these layers are used."""
    return tiles.tiling(network.built(names), size, settings.tile or 0, _reaches(settings))


def _reaches(settings: Settings) -> dict[str, int]:
    """By layer, how many positions beyond a tile the losses use."""
    return dict.fromkeys(settings.layer_weights("shift"), max(settings.shifts))


def added(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """The sum of two sets of statistics; a whole image's are the sum over its windows."""
    return tf.nest.map_structure(tf.add, a, b)


def in_precision(network: Network, settings: Settings) -> Network:
    """The network, in the precision of the settings."""
    return network.in_bfloat16 if settings.precision == "bfloat16" else network
