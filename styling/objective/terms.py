"""The terms of the loss, and the objective that they make."""

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import numpy as np

from styling.objective import guides as guiding
from styling.objective import losses, targets, tiles
from styling.objective.guides import Guides
from styling.objective.targets import Features, Parts
from styling.pictures import images, masks
from styling.settings import Settings
from styling.system.quiet import tf
from vgg import Network


@dataclass(frozen=True)
class StyleTarget:
    """A style's statistics by layer, and its shares of the blend there.

    factors: what the mean squared differences are multiplied by, a number for each tensor of the statistics.
    """

    shares: dict[str, float]
    statistics: dict[str, Any]
    factors: dict[str, Any]


@dataclass(frozen=True)
class StyleTerm:
    """A term that pulls a statistic of the picture's feature maps towards the same statistic of the styles'.

    statistic: feature map -> statistic; with `part`, the share of a window in it. distance: the picture's
    statistic, the target's and its factors -> a scalar. layers: their weights. targets: one for each style
    with a share. guides: the region that counts, and its sizes, by layer; None for all positions.
    """

    weight: float
    layers: dict[str, float]
    statistic: Callable[..., Any]
    distance: Callable[[Any, Any, Any], tf.Tensor]
    targets: tuple[StyleTarget, ...] = ()
    guides: dict[str, tuple[tf.Tensor, Any]] | None = None

    def within(self, guides: Guides | None) -> "StyleTerm":
        """The same term limited to a region, with the layers that its guides have."""
        if guides is None:
            return self
        layers = {layer: weight for layer, weight in self.layers.items() if layer in guides}
        sizes = {layer: losses.guide_sizes(self.statistic, guides[layer]) for layer in layers}
        return replace(self, layers=layers, guides={layer: (guides[layer], sizes[layer]) for layer in layers})

    def statistics(self, features: Features, parts: Parts | None = None) -> dict[str, Any]:
        """The statistic of the feature maps by layer. parts: which part of each map counts; None for all."""
        found = {}
        for layer in self.layers:
            part = {"part": parts[layer]} if parts else {}
            if self.guides is None:
                found[layer] = self.statistic(features[layer], **part)
            else:
                found[layer] = losses.guided(self.statistic, features[layer], *self.guides[layer], **part)
        return found

    def loss(self, statistics: dict[str, Any]) -> tf.Tensor:
        """The weighted term, a scalar, of the picture's statistics by layer."""
        terms = []
        for layer, weight in self.layers.items():
            for target in self.targets:
                if layer not in target.statistics:  # its guide is too small there, or it is not wanted
                    continue
                scale = partial(operator.mul, self.weight * weight * target.shares[layer])
                factors = tf.nest.map_structure(scale, target.factors[layer])
                terms.append(self.distance(statistics[layer], target.statistics[layer], factors))
        return losses.total(terms)


@dataclass(frozen=True)
class Objective:
    """What is minimised: called with x [1, H, W, 3], it returns the weighted loss terms and their total.

    tiling: how a picture is cut. content: target feature maps by layer, one entry for each tile's window.
    content_layers: the factor of each layer's mean squared difference, a scalar. content_guides: weights of
    the positions, [1, h, w, 1], if they differ. terms: the terms that compare with the styles, by name, one
    for each region. painted: boolean [1, H, W, 1], false where the picture stays the photograph; None if it
    is painted everywhere. warped: for a frame of a film, the frame before with its trust, [1, H, W, 4].
    """

    network: Network
    pooling: str
    tiling: tiles.Tiling
    content: Sequence[Features]
    content_layers: dict[str, tf.Tensor]
    content_weight: float
    content_guides: Guides
    terms: dict[str, tuple[StyleTerm, ...]]
    tv_weight: float
    tv_reduction: str
    painted: tf.Tensor | None = None
    temporal_weight: float = 0.0
    warped: tf.Tensor | None = None

    def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """x [1, H, W, 3], minus the mean pixel, without tiles -> weighted scalars by the names of
        Settings.losses."""
        features = self.network.features(x, self.layers, self.pooling)
        local = self.local(x, features, self.content[0], warped=self.warped)
        return self.ordered(local, self.compared(self.statistics(features)))

    @property
    def layers(self) -> set[str]:
        """All layers whose feature maps the losses use."""
        terms = itertools.chain(*self.terms.values())
        return set(self.content_layers).union(*(term.layers for term in terms))

    @property
    def frame(self) -> dict[str, Any]:
        """The fields that change from frame to frame of a film, apart from the content's feature maps."""
        return {"content_layers": self.content_layers, "warped": self.warped}

    @property
    def without_frame(self) -> "Objective":
        """The objective without the fields that change from frame to frame of a film."""
        return replace(self, content=(), warped=None)

    def of_frame(
        self, content: np.ndarray | None, warped: images.Warped | None, settings: Settings
    ) -> "Objective":
        """The same objective for another content and another frame before it; raises StyleError."""
        network, maps = self.network, None
        if settings.layer_weights("content"):
            maps = targets.content(network.preprocess(content), network, self.tiling, settings)
        return replace(
            self,
            content=maps or [{}] * len(self.tiling.places),
            content_layers=_content_factors(
                maps, self.tiling, network.shapes(*self.tiling.size, settings.layers()), settings
            ),
            warped=warped
            and tf.concat([network.preprocess(warped.pixels), warped.trust[None, ..., None]], -1),
        )

    def local(
        self,
        x: tf.Tensor,
        features: Features,
        content: Features,
        parts: Parts | None = None,
        part: losses.Part | None = None,
        warped: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """The content, tv and temporal terms, which are sums over positions, of a picture or a window of it.

        parts, part: what counts in the window's feature maps and in the window itself. warped: the same
        window of self.warped.
        """
        of = parts or dict.fromkeys(self.content_layers)
        terms = [
            weight
            * losses.content(features[layer], content[layer], of[layer], self.content_guides.get(layer))
            for layer, weight in self.content_layers.items()
        ]
        found = {
            "content": self.content_weight * losses.total(terms),
            "tv": self.tv_weight * losses.total_variation(x, self.tv_reduction, part),
        }
        if warped is not None:
            found["temporal"] = self.temporal_weight * losses.temporal(x, warped, self.tv_reduction, part)
        return found

    def statistics(self, features: Features, parts: Parts | None = None) -> dict[str, Any]:
        """The statistics that the other terms compare, by name; they are sums over positions as well."""
        return {
            name: [term.statistics(features, parts) for term in terms] for name, terms in self.terms.items()
        }

    def compared(self, statistics: dict[str, Any]) -> dict[str, tf.Tensor]:
        """The other terms, by name, from the whole picture's statistics."""
        return {
            name: reduce(tf.add, map(StyleTerm.loss, terms, statistics[name]))
            for name, terms in self.terms.items()
        }

    @staticmethod
    def ordered(local: dict[str, tf.Tensor], compared: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """All terms in the order of Settings.losses, and their total."""
        terms = {"content": local["content"]} | compared | local
        return terms | {"total": losses.total(list(terms.values()))}


def build_objective(
    content: np.ndarray | None,
    styles: Sequence[np.ndarray],
    network: Network,
    settings: Settings,
    size: tuple[int, int] | None = None,
    layout: masks.Layout | None = None,
    warped: images.Warped | None = None,
) -> Objective:
    """The objective with these images, at the sizes that they have, as its targets.

    size: (height, width) of the picture; the content's by default. layout: which style paints where; by
    default, each paints the whole picture. warped: of the picture's size. Images larger than settings.tile
    are evaluated in tiles. Raises NetworkError as stylize() does, and StyleError if there is no disk space
    for the content's features.
    """
    size = size or content.shape[:2]
    prepared = [network.preprocess(style) for style in styles]
    target = None if content is None else network.preprocess(content)
    if settings.normalize:
        seen = [*prepared, *([] if target is None else [target])]
        network = network.normalized(targets.mean_activations(seen, network, settings), settings.layers())
    network = targets.in_precision(network, settings)
    tiling = targets.cut(network, settings.layers(), settings, size)
    if layout is None:
        shares = dict(enumerate(settings.style_shares(len(styles))))
        layout = masks.Layout((masks.Region(None, shares),), (None,) * len(styles))
    content_guides = {}
    if layout.content is not None:
        content_guides = guiding.means(layout.content, network, settings.layer_weights("content"))
    objective = Objective(
        network=network,
        pooling=settings.pooling,
        tiling=tiling,
        content=(),
        content_layers={},
        content_weight=settings.content_weight,
        content_guides=content_guides,
        terms=_style_terms(prepared, network, settings, size, layout),
        tv_weight=settings.tv_weight,
        tv_reduction=settings.tv_reduction,
        painted=None if layout.painted is None else tf.constant(layout.painted[None, ..., None] > 0),
        temporal_weight=settings.temporal_weight,
    )
    return objective.of_frame(content, warped, settings)


def _content_factors(
    maps: Sequence[Features] | None,
    tiling: tiles.Tiling,
    shapes: dict[str, tuple[int, int, int]],
    settings: Settings,
) -> dict[str, tf.Tensor]:
    """The content layers' weights, times the factor from a mean squared difference to the reduction."""
    factors = settings.layer_weights("content")
    if settings.content_reduction == "sum":
        factors = {layer: weight * math.prod(shapes[layer]) for layer, weight in factors.items()}
    if settings.content_reduction == "relative" and factors:
        squares = targets.mean_squares(maps, tiling)
        factors = {
            layer: weight * losses.relative_factor(squares[layer]) for layer, weight in factors.items()
        }
    return {layer: tf.constant(factor, tf.float32) for layer, factor in factors.items()}


def _style_factor(statistic: tf.Tensor, settings: Settings) -> float:
    """The factor from a mean squared difference to a style's statistic to the reduction of the settings."""
    if settings.style_reduction == "relative":
        return losses.relative_factor(float(tf.reduce_mean(tf.square(statistic))))
    return 1.0  # the factor of a sum is the same for every style, so it is part of the layer's weight


def _style_terms(
    styles: Sequence[tf.Tensor],
    network: Network,
    settings: Settings,
    size: tuple[int, int],
    layout: masks.Layout,
) -> dict[str, tuple[StyleTerm, ...]]:
    """The terms that compare with the styles, by name, for each region; "style" is there even without a
    weight."""
    shapes = network.shapes(*size, settings.layers())
    style_layers = {
        name: weight * losses.gram_factor(shapes[name], settings.gram_divisor, settings.style_reduction)
        for name, weight in settings.layer_weights("style").items()
    }
    shift_layers, histogram_layers = (settings.layer_weights(term) for term in ("shift", "histogram"))
    shifted_grams = partial(losses.shifted_grams, shifts=settings.shifts)
    terms = {
        "style": StyleTerm(settings.style_weight, style_layers, losses.gram, losses.style),
        "shift": StyleTerm(settings.shift_weight, shift_layers, shifted_grams, losses.shift),
        "histogram": StyleTerm(
            settings.histogram_weight, histogram_layers, losses.sorted_values, losses.histogram
        ),
    }
    terms = {name: term for name, term in terms.items() if name in settings.losses}
    layers = {layer for term in terms.values() for layer in term.layers}

    def within(mask: np.ndarray | None) -> dict[str, StyleTerm]:
        guides = guiding.guides(mask, network, layers, settings.mask_erosion)
        return {name: term.within(guides) for name, term in terms.items()}

    own = settings.layers_of_styles(len(styles), layers)
    found = {name: [] for name in terms}
    for region in layout.regions or (masks.Region(None, {}),):
        wanted = {name: [] for name in terms}
        for i, share in region.shares.items():
            if not (share and layers):
                continue
            of_style = _statistics(styles[i], network, settings, within(layout.guides[i]), shapes)
            shares = {layer: _share_at(layer, i, region.shares, own) for layer in own[i]}
            for name, every in of_style.items():
                statistics = {layer: statistic for layer, statistic in every.items() if layer in shares}
                factors = tf.nest.map_structure(partial(_style_factor, settings=settings), statistics)
                wanted[name].append(StyleTarget(shares, statistics, factors))
        for name, term in within(region.mask).items():
            found[name].append(replace(term, targets=tuple(wanted[name])))
    return {name: tuple(of_regions) for name, of_regions in found.items()}


def _share_at(layer: str, style: int, shares: dict[int, float], own: Sequence[set[str]]) -> float:
    """A style's share at a layer; the shares of styles that do not use the layer go to the others."""
    if all(layer in own[i] for i in shares):
        return shares[style]
    counting = sum(share for i, share in shares.items() if layer in own[i])
    return shares[style] * sum(shares.values()) / counting


def _statistics(
    style: tf.Tensor,
    network: Network,
    settings: Settings,
    terms: dict[str, StyleTerm],
    shapes: dict[str, tuple[int, int, int]],
) -> dict[str, dict[str, Any]]:
    """The statistics of a style that each term compares, by layer."""
    tiling = targets.cut(network, settings.layers(), settings, style.shape[1:3])
    layers = {layer for term in terms.values() for layer in term.layers}
    windows = targets.windows(style, network, tiling, layers, settings.pooling)
    found = reduce(
        targets.added,
        ({name: term.statistics(*window) for name, term in terms.items()} for window in windows),
    )
    for layer, values in found.get("histogram", {}).items():
        found["histogram"][layer] = losses.quantiles(values, math.prod(shapes[layer][:2]))
    return found
