"""Targets: what the content and the styles give for a picture to be compared with.

Runs that share some of them, as the runs of a sweep do, compute them once: each has a key, a digest of all
that it depends on, and is looked up by that among those that are kept.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

import vgg
from styling import losses, tiles
from styling.settings import Settings
from styling.states import fingerprint
from vgg import Network

Features = dict[str, tf.Tensor]
Parts = dict[str, losses.Part]
Keys = dict[Any, str]
Kept = dict[str, Any]


def keys(
    content: np.ndarray | None,
    styles: Sequence[np.ndarray],
    network: Network,
    settings: Settings,
    size: tuple[int, int],
) -> dict[str, Keys]:
    """The keys of the targets that these images, as large as they are, give for a picture of this size.

    They are of "means" and "content", by layer, and of "style 0", "style 1" ..., by term and layer. The
    content has some only where the picture is not cut into tiles, since its maps are on the disk then.
    """
    seen = [fingerprint(image) for image in (*styles, content) if image is not None]
    common = [network.sha256, settings.pooling, settings.padding, settings.precision]
    common.append(seen if settings.normalize else None)
    if settings.tile:  # how the tiles are cut decides how sums over them are rounded
        deepest = network.built(settings.layers())[-1].name
        common += [settings.tile, deepest, sorted(_reaches(settings).items())]
    found = {"means": [], "content": []}
    if settings.normalize:
        found["means"] = [(name, "mean") for name in network.relus(settings.layers())]
    if len(cut(network, settings.layers(), settings, size).places) == 1:
        found["content"] = [(name, seen[-1]) for name in settings.layer_weights("content")]
    terms = (("style", None), ("shift", settings.shifts), ("histogram", size))
    for i, share in enumerate(settings.style_shares(len(styles))):
        if share:
            found[f"style {i}"] = [
                ((term, name), (seen[i], more))
                for term, more in terms
                for name in settings.layer_weights(term)
            ]
    return {
        subject: {
            name: hashlib.sha256(repr((common, name, parts)).encode()).hexdigest() for name, parts in own
        }
        for subject, own in found.items()
    }


def known(keys: Keys, kept: Kept | None, compute: Callable[[], dict[Any, Any]]) -> dict[Any, Any]:
    """The targets of these keys, kept ones, or else what compute() gives, which is kept then."""
    if kept is None:
        return compute()
    if any(key not in kept for key in keys.values()):
        found = compute()
        kept |= {key: found[name] for name, key in keys.items()}
    return {name: kept[key] for name, key in keys.items()}


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
    """The content layers' maps of every tile's window."""
    found = windows(x, network, tiling, settings.layer_weights("content"), settings.pooling)
    maps = (features for features, _ in found)
    return list(maps) if len(tiling.places) == 1 else tiles.Stored(maps)


def mean_squares(maps: Sequence[Features], tiling: tiles.Tiling) -> dict[str, float]:
    """The mean square of the content's maps by layer, from those of every tile's window."""
    squares = Counter()
    for i, place in enumerate(tiling.places):
        for layer, values in maps[i].items():
            part = tiling.part(place, tiling.levels[layer])
            squares[layer] += float(losses.content(values, tf.zeros_like(values), part))
    return squares


def windows(
    x: tf.Tensor, network: Network, tiling: tiles.Tiling, names: Iterable[str], pooling: str
) -> Iterator[tuple[Features, Parts | None]]:
    """An image's feature maps: whole, or for each tile those of its window, and what counts in them."""
    if len(tiling.places) == 1:
        yield network.features(x, names, pooling), None
        return
    for place in map(tf.constant, tiling.places):
        yield tiling.features(network, tiling.cut(x, place), names, pooling, place)


def cut(network: Network, names: Iterable[str], settings: Settings, size: tuple[int, int]) -> tiles.Tiling:
    """How images of a size, (height, width), are cut where these layers are looked at."""
    return tiles.tiling(network.built(names), size, settings.tile or 0, _reaches(settings))


def _reaches(settings: Settings) -> dict[str, int]:
    """How many positions beyond a tile the run looks at, by layer."""
    return dict.fromkeys(settings.layer_weights("shift"), max(settings.shifts))
