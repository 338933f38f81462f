"""What is minimised: the loss of a picture, from the targets that its images give, and the loss's gradient.

The loss is content_weight * content + style_weight * style + tv_weight * total variation, with the
normalisations of Athalye's neural-style (2015); settings choose other terms and normalisations. A large
picture is evaluated tile by tile (styling/tiles.py), with the same result.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import numpy as np
import tensorflow as tf

from styling import losses, targets, tiles
from styling.errors import SettingsError
from styling.optimizers import Evaluate
from styling.settings import Settings
from styling.targets import Features, Parts
from vgg import Network

ZERO = tf.UnconnectedGradients.ZERO


@dataclass(frozen=True)
class Target:
    """A style's statistics by layer, its share of the blend, and what its mean squared differences are
    multiplied by, a number for each tensor of the statistics."""

    share: float
    statistics: dict[str, Any]
    factors: dict[str, Any]


@dataclass(frozen=True)
class Match:
    """A term that pulls a statistic of the picture's feature maps towards the same statistic of the styles'.

    statistic: feature map -> what is compared; with `part`, what a window adds to that. distance: two of
    those and the target's factors -> a scalar. layers: their weights. targets: of each style with a share.
    """

    weight: float
    layers: dict[str, float]
    statistic: Callable[..., Any]
    distance: Callable[[Any, Any, Any], tf.Tensor]
    targets: tuple[Target, ...] = ()

    def statistics(self, features: Features, parts: Parts | None = None) -> dict[str, Any]:
        """The statistic of the feature maps by layer, or of the parts that count."""
        return {
            layer: self.statistic(features[layer], **({"part": parts[layer]} if parts else {}))
            for layer in self.layers
        }

    def loss(self, statistics: dict[str, Any]) -> tf.Tensor:
        """The weighted term, a scalar, of the picture's statistics by layer."""
        terms = []
        for layer, weight in self.layers.items():
            for target in self.targets:
                of_both = statistics[layer], target.statistics[layer]
                terms.append(target.share * weight * self.distance(*of_both, target.factors[layer]))
        return self.weight * sum(terms, tf.zeros([]))


@dataclass(frozen=True)
class Objective:
    """What is minimised: called with x [1, H, W, 3], it returns the weighted loss terms and their total.

    tiling: how a picture is cut. content: target feature maps by layer, of the tiles' windows in turn.
    content_layers: the factors of the layers' mean squared differences. matches: the terms that compare with
    the styles, by name.
    """

    network: Network
    pooling: str
    tiling: tiles.Tiling
    content: Sequence[Features]
    content_layers: dict[str, float]
    content_weight: float
    matches: dict[str, Match]
    tv_weight: float
    tv_reduction: str

    def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """x [1, H, W, 3], minus the mean pixel, all in one -> weighted scalars by name, as Settings.losses
        has them."""
        features = self.network.features(x, self.layers, self.pooling)
        local = self.local(x, features, self.content[0])
        return ordered(local, self.compared(self.statistics(features)))

    @property
    def layers(self) -> set[str]:
        """Every layer that is looked at."""
        return set(self.content_layers).union(*(match.layers for match in self.matches.values()))

    def local(
        self,
        x: tf.Tensor,
        features: Features,
        content: Features,
        parts: Parts | None = None,
        part: losses.Part | None = None,
    ) -> dict[str, tf.Tensor]:
        """The terms that are sums over positions, content and tv, of a picture or a window of it.

        parts, part: what counts in the window's feature maps and in the window itself.
        """
        of = parts or dict.fromkeys(self.content_layers)
        terms = [
            weight * losses.content(features[layer], content[layer], of[layer])
            for layer, weight in self.content_layers.items()
        ]
        return {
            "content": self.content_weight * sum(terms, tf.zeros([])),
            "tv": self.tv_weight * losses.total_variation(x, self.tv_reduction, part),
        }

    def statistics(self, features: Features, parts: Parts | None = None) -> dict[str, Any]:
        """What the other terms compare, by their names; sums over positions as well."""
        return {name: match.statistics(features, parts) for name, match in self.matches.items()}

    def compared(self, statistics: dict[str, Any]) -> dict[str, tf.Tensor]:
        """The other terms, by name, from the whole picture's statistics."""
        return {name: match.loss(statistics[name]) for name, match in self.matches.items()}


def ordered(local: dict[str, tf.Tensor], compared: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """All terms in the order of Settings.losses, and their total."""
    terms = {"content": local["content"], **compared, "tv": local["tv"]}
    return terms | {"total": sum(terms.values())}


def build_objective(
    content: np.ndarray | None,
    styles: Sequence[np.ndarray],
    network: Network,
    settings: Settings,
    size: tuple[int, int] | None = None,
) -> Objective:
    """The objective with these images, at the sizes that they have, as its targets.

    size: (height, width) of the picture; the content's by default. Images larger than settings.tile are
    looked at by tiles. Raises SettingsError or NetworkError as stylize() does, StyleError where the content's
    features find no room.
    """
    size = size or content.shape[:2]
    check_shifts(network, settings, size)
    if settings.padding == "edge":
        network = network.edge_padded
    prepared = [network.preprocess(style) for style in styles]
    target = None if content is None else network.preprocess(content)
    if settings.normalize:
        seen = [*prepared, *([] if target is None else [target])]
        network = network.normalized(targets.mean_activations(seen, network, settings), settings.layers())
    network = in_precision(network, settings)
    tiling = targets.cut(network, settings.layers(), settings, size)
    maps = None
    if settings.layer_weights("content"):
        maps = targets.content(target, network, tiling, settings)
    return Objective(
        network=network,
        pooling=settings.pooling,
        tiling=tiling,
        content=maps or [{}] * len(tiling.places),
        content_layers=_content_factors(maps, tiling, network.shapes(*size, settings.layers()), settings),
        content_weight=settings.content_weight,
        matches=_matches(prepared, network, settings, size),
        tv_weight=settings.tv_weight,
        tv_reduction=settings.tv_reduction,
    )


def in_precision(network: Network, settings: Settings) -> Network:
    """The network, computed as precisely as the settings say."""
    return network.in_bfloat16 if settings.precision == "bfloat16" else network


def _content_factors(
    maps: Sequence[Features] | None,
    tiling: tiles.Tiling,
    shapes: dict[str, tuple[int, int, int]],
    settings: Settings,
) -> dict[str, float]:
    """The content layers' weights times what turns a mean squared difference into what the reduction says."""
    weights = settings.layer_weights("content")
    if settings.content_reduction == "sum":
        return {layer: weight * math.prod(shapes[layer]) for layer, weight in weights.items()}
    if settings.content_reduction == "relative" and weights:
        squares = targets.mean_squares(maps, tiling)
        return {layer: weight * losses.relative_factor(squares[layer]) for layer, weight in weights.items()}
    return weights


def _style_factor(statistic: tf.Tensor, settings: Settings) -> float:
    """What turns a mean squared difference to a style's statistic into what the reduction says."""
    if settings.style_reduction == "relative":
        return losses.relative_factor(float(tf.reduce_mean(tf.square(statistic))))
    return 1.0  # a sum's is the same for every style, and one with its layer's weight


def _matches(
    styles: Sequence[tf.Tensor],
    network: Network,
    settings: Settings,
    size: tuple[int, int],
) -> dict[str, Match]:
    """The terms that compare with the styles, by name; the style itself also where it has no weight."""
    shapes = network.shapes(*size, settings.layers())
    style_layers = {
        name: weight * losses.gram_factor(shapes[name], settings.gram_divisor, settings.style_reduction)
        for name, weight in settings.layer_weights("style").items()
    }
    shift_layers, histogram_layers = (settings.layer_weights(term) for term in ("shift", "histogram"))
    shifted_grams = partial(losses.shifted_grams, shifts=settings.shifts)
    matches = {
        "style": Match(settings.style_weight, style_layers, losses.gram, losses.style),
        "shift": Match(settings.shift_weight, shift_layers, shifted_grams, losses.shift),
        "histogram": Match(
            settings.histogram_weight, histogram_layers, losses.sorted_values, losses.histogram
        ),
    }
    matches = {name: match for name, match in matches.items() if name in settings.losses}
    wanted = {name: [] for name in matches}
    for share, style in zip(settings.style_shares(len(styles)), styles, strict=True):
        if share and any(match.layers for match in matches.values()):
            for name, statistics in _statistics(style, network, settings, matches, shapes).items():
                factors = tf.nest.map_structure(partial(_style_factor, settings=settings), statistics)
                wanted[name].append(Target(share, statistics, factors))
    return {name: replace(match, targets=tuple(wanted[name])) for name, match in matches.items()}


def _statistics(
    style: tf.Tensor,
    network: Network,
    settings: Settings,
    matches: dict[str, Match],
    shapes: dict[str, tuple[int, int, int]],
) -> dict[str, dict[str, Any]]:
    """What each term compares of a style, by layer."""
    tiling = targets.cut(network, settings.layers(), settings, style.shape[1:3])
    layers = {layer for match in matches.values() for layer in match.layers}
    windows = targets.windows(style, network, tiling, layers, settings.pooling)
    found = reduce(
        _added, ({name: match.statistics(*window) for name, match in matches.items()} for window in windows)
    )
    for layer, values in found.get("histogram", {}).items():
        found["histogram"][layer] = losses.quantiles(values, math.prod(shapes[layer][:2]))
    return found


def operations(network: Network, size: tuple[int, int], settings: Settings) -> int:
    """Multiplications and additions of an evaluation with its gradient at this size, (height, width), by the
    definition: convolutions and Gram matrices, there and back."""
    layers = network.built(settings.layers())
    shapes = network.shapes(*size, [layer.name for layer in layers])
    count = 0
    for layer in layers:
        height, width, channels = shapes[layer.name]
        if layer.kind == "conv":
            count += height * width * math.prod(layer.kernel.shape)
        if layer.name in settings.layer_weights("style"):
            count += height * width * channels**2
    return 2 * 2 * count


def check_shifts(network: Network, settings: Settings, size: tuple[int, int]) -> None:
    """Raise SettingsError where no layer of a picture of this size is large enough for any of the shifts."""
    layers = settings.layer_weights("shift")
    shapes = network.shapes(*size, layers).values()
    if layers and min(settings.shifts) >= max(max(height, width) for height, width, _ in shapes):
        raise SettingsError("shifts", "are as large as every layer of --shift-layers; give smaller ones")


def _added(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return tf.nest.map_structure(tf.add, a, b)


def evaluation(objective: Objective) -> Evaluate:
    """What maps x [1, H, W, 3] to its losses by name and the gradient of their total."""
    return _whole(objective) if len(objective.tiling.places) == 1 else _by_tiles(objective)


def _whole(objective: Objective) -> Evaluate:
    @tf.function(autograph=False)
    def evaluate(x: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            terms = objective(x)
        # A single pixel's smoothness does not depend on the image, and has a gradient of 0.
        return terms, tape.gradient(terms["total"], x, unconnected_gradients=ZERO)

    return evaluate


def _by_tiles(objective: Objective) -> Evaluate:
    """Over the tiles twice: for the statistics, and, once the terms' gradients for those are known, for x."""
    tiling = objective.tiling
    places = [tf.constant(place) for place in tiling.places]

    def maps(window: tf.Tensor, place: tf.Tensor) -> tuple[Features, Parts]:
        return tiling.features(objective.network, window, objective.layers, objective.pooling, place)

    @tf.function(autograph=False)
    def statistics(x: tf.Tensor, place: tf.Tensor) -> dict[str, Any]:
        return objective.statistics(*maps(tiling.cut(x, place), place))

    @tf.function(autograph=False)
    def compare(found: dict[str, Any]) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(found)
            terms = objective.compared(found)
            total = sum(terms.values())
        return terms, tape.gradient(total, tf.nest.flatten(found), unconnected_gradients=ZERO)

    @tf.function(autograph=False)
    def descend(
        x: tf.Tensor, place: tf.Tensor, content: Features, upstream: list[tf.Tensor]
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        window = tiling.cut(x, place)
        with tf.GradientTape() as tape:
            tape.watch(window)
            features, parts = maps(window, place)
            terms = objective.local(window, features, content, parts, tiling.part(place))
            sources = [*terms.values(), *tf.nest.flatten(objective.statistics(features, parts))]
        seeds = [*(tf.ones_like(term) for term in terms.values()), *upstream]
        return terms, tape.gradient(sources, window, output_gradients=seeds, unconnected_gradients=ZERO)

    def evaluate(x: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        compared, upstream = compare(reduce(_added, (statistics(x, place) for place in places)))
        gradient, local = tf.Variable(tf.zeros_like(x)), None
        for i, place in enumerate(places):
            terms, share = descend(x, place, objective.content[i], upstream)
            tiling.add(gradient, share, place)
            local = terms if local is None else _added(local, terms)
        return ordered(local, compared), gradient.value()

    return evaluate
