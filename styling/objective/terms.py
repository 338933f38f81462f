"""The terms of the loss: content, style, smoothness, and for films, steadiness.

A term is two functions and what they compare with. `statistic` looks at a View of the picture and gives
tensors that add up over the windows of tiles: a Gram matrix, or a sum of squared differences. `loss` makes a
scalar of the whole picture's statistic. evaluation.py needs no more to compute any term and its gradient,
whole or by tiles.

A new term is a function here that returns a Term, a line in stylize.build_objective(), and its settings. Its
`statistic` and `loss` are the same functions in every run: what a run decides is in `target` and `maps`,
which are arguments of the compiled evaluation, so that other targets of the same shapes (the next frame of a
film) need no compilation. What a term knows of each position, such as the features that it is to have there,
is in `maps`, one entry for each window; what it knows of the whole picture is in `target`.

A term that follows the picture is made by a Matcher (matching.py) again and again: its `maps` are what each
position was matched with, and constants while they stand.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from styling.objective import layer_masks, losses, targets, tiles
from styling.objective.layer_masks import LayerMasks
from styling.objective.losses import Statistic
from styling.objective.targets import Maps, Masks, at_layers, keyed
from styling.objective.tiles import Features, View
from styling.pictures.images import Warped
from styling.pictures.masks import Layout
from styling.settings import Settings
from styling.system.quiet import tf
from vgg import Network

Shapes = Mapping[str, tuple[int, int, int]]  # (h, w, C) by layer


class Target(NamedTuple):
    """What a term compares with, by the keys of its statistic.

    weights: of the loss, float32 scalars. values: the statistics that the picture should have, if its own are
    not differences already. rest: a constant of the loss. masks: of a term's layers.
    """

    weights: dict[Any, tf.Tensor]
    values: dict[Any, tf.Tensor] = {}  # noqa: RUF012
    rest: tf.Tensor | float = 0.0
    masks: Any = ()


@dataclass(frozen=True)
class Term:
    """A term of the loss. Terms of one name, such as a style's in several regions, are printed as their sum.

    layers: whose feature maps it needs. statistic: (view, target, map) -> tensors that add up over windows.
    loss: (statistic of the whole picture, target) -> weighted scalar. maps: by window, tensors that only
    its statistic needs; none for most terms.
    """

    name: str
    layers: tuple[str, ...]
    statistic: Callable[[View, Target, Features], dict[Any, tf.Tensor]]
    loss: Callable[[dict[Any, tf.Tensor], Target], tf.Tensor]
    target: Target = field(compare=False)
    maps: Maps | None = field(default=None, compare=False)


def weighted_sum(statistic: dict[Any, tf.Tensor], target: Target) -> tf.Tensor:
    """The loss of scalars that are differences already: their weighted sum."""
    return target.rest + losses.total([weight * statistic[key] for key, weight in target.weights.items()])


def distance(statistic: dict[Any, tf.Tensor], target: Target) -> tf.Tensor:
    """The loss of statistics: the weighted mean squared differences to the target's (Gatys et al. 2015, eq. 4
    and 5, as means)."""
    return target.rest + losses.total(
        [
            losses.sum_of_squares(statistic[key] - values, target.weights[key] / math.prod(values.shape))
            for key, values in target.values.items()
        ]
    )


def constants(numbers: Mapping[Any, float]) -> dict[Any, tf.Tensor]:
    """Numbers as tensors, so that others need no compilation."""
    return {key: tf.constant(number, tf.float32) for key, number in numbers.items()}


# The content.


def content(
    image: np.ndarray, network: Network, tiling: tiles.Tiling, settings: Settings, mask: np.ndarray | None
) -> Term:
    """The picture's feature maps are to be the content's (Gatys et al. 2015, eq. 1).

    mask: a factor for the weight of each pixel, [H, W]; None for 1 everywhere.
    """
    weights = settings.layer_weights("content")
    maps = targets.content(network.preprocess(image), network, tiling, settings)
    factors = dict.fromkeys(weights, 1.0)
    if settings.content_reduction == "sum":
        shapes = network.shapes(*tiling.size(), weights)
        factors = {layer: math.prod(shape) for layer, shape in shapes.items()}
    elif settings.content_reduction == "relative":
        squares = targets.mean_squares(maps, tiling)
        factors = {layer: losses.relative_factor(square) for layer, square in squares.items()}
    target = Target(
        constants({layer: settings.content_weight * weights[layer] * factors[layer] for layer in weights}),
        masks={} if mask is None else layer_masks.at_layers(mask, network, weights),
    )
    return Term("content", tuple(weights), content_differences, weighted_sum, target, maps)


def content_differences(view: View, target: Target, maps: Features) -> dict[str, tf.Tensor]:
    """The mean squared difference at each layer."""
    return {
        layer: losses.content(view.features[layer], values, view.parts.get(layer), target.masks.get(layer))
        for layer, values in maps.items()
    }


# The styles.


@dataclass(frozen=True)
class Comparison:
    """A statistic that is compared with the styles'.

    of_map: feature map -> statistic. layers: their weights. relative: whether mean squared differences are
    divided by the mean square of the style's.
    """

    name: str
    of_map: Statistic
    layers: dict[str, float]
    relative: bool

    def masks(self, at: LayerMasks | None, shapes: Shapes) -> Masks:
        """The masks of its layers that a mask covers. at: the mask at each layer, or None for all positions.
        shapes: of the image's maps."""
        masks: Masks = {}
        for layer in self.layers:
            mask = at and at.get(layer)
            if mask is not None or at is None:
                everywhere = tf.ones([1, *shapes[layer][:2], 1])
                masks[layer] = mask, losses.mask_sizes(self.of_map, everywhere if mask is None else mask)
        return masks

    def weights(
        self, style: Mapping[tuple, tf.Tensor], keys: Sequence[tuple], shares: Mapping[str, float]
    ) -> dict[tuple, float]:
        """The weights of a style's statistic, for each key that the picture has too. shares: by layer.

        A layer's shifts count as their mean.
        """
        common = [key for key in keys if key in style and key[0] in shares]
        counts = Counter(layer for layer, *_ in common)
        weights = {key: self.layers[key[0]] * shares[key[0]] / counts[key[0]] for key in common}
        if self.relative:
            for key in common:
                weights[key] *= losses.relative_factor(float(_mean_square(style[key])))
        return weights


def comparisons(settings: Settings, shapes: Shapes) -> list[Comparison]:
    """What the settings compare with the styles. shapes: (h, w, C) of the picture's maps, by layer."""
    compared = []
    for name, of_map in (
        ("style", losses.gram),
        ("shift", shifted_grams(settings.shifts)),
        ("histogram", losses.sorted_values),
    ):
        weight, layers = getattr(settings, f"{name}_weight"), settings.layer_weights(name)
        if name == "style" and settings.style_measure != "gram":  # which a Matcher compares
            continue
        factors = dict.fromkeys(layers, 1.0)
        if name == "style":
            reduction = settings.gram_divisor, settings.style_reduction
            factors = {layer: losses.gram_factor(shapes[layer], *reduction) for layer in layers}
        weights = {layer: weight * share * factors[layer] for layer, share in layers.items()}
        if weights:
            compared.append(Comparison(name, of_map, weights, settings.style_reduction == "relative"))
    return compared


@cache
def shifted_grams(shifts: tuple[int, ...]) -> Statistic:
    """losses.shifted_grams() for these shifts; for the same ones, the same function."""
    return partial(losses.shifted_grams, shifts=shifts)


@cache
def of_view(of_map: Statistic) -> Callable[[View, Target, Features], dict[tuple, tf.Tensor]]:
    """A statistic of feature maps, for all layers, as a Term needs it; of the same one, the same function."""
    return lambda view, target, _: at_layers(of_map, view, target.masks)


def styles(
    images: Sequence[np.ndarray], network: Network, size: tuple[int, int], settings: Settings, layout: Layout
) -> list[Term]:
    """Statistics of the picture's feature maps are to be the styles'; a term for each and each region.

    images: the styles. size: (height, width) of the picture. layout: which style paints where.
    """
    shapes = network.shapes(*size, settings.layers())
    compared = comparisons(settings, shapes)
    layers = {layer for comparison in compared for layer in comparison.layers}

    def at(mask: np.ndarray | None) -> LayerMasks | None:
        return None if mask is None else layer_masks.of_style(mask, network, layers, settings)

    used = {i for region in layout.regions for i, share in region.shares.items() if share and compared}
    statistics = {}
    for i in used:
        height, width = images[i].shape[:2]
        guide, of_style = at(layout.guides[i]), network.shapes(height, width, layers)
        within = {each.name: (each.of_map, each.masks(guide, of_style)) for each in compared}
        statistics[i] = targets.of_style(network.preprocess(images[i]), network, settings, within, shapes)
    layers_of = settings.layers_of_styles(len(images), layers)
    terms = []
    for region in layout.regions:
        mask, shares = at(region.mask), {i: share for i, share in region.shares.items() if share}
        shares_at = [{layer: share_at(layer, i, shares, layers_of) for layer in layers_of[i]} for i in shares]
        for comparison in compared if shares else ():
            masks = comparison.masks(mask, shapes)
            keys = [key for layer, (_, sizes) in masks.items() for key in keyed(layer, sizes)]
            wanted = [statistics[i][comparison.name] for i in shares]
            pairs = zip(wanted, shares_at, strict=True)
            weights = [comparison.weights(style, keys, by_layer) for style, by_layer in pairs]
            target = blend(wanted, weights)._replace(masks=masks)
            terms.append(Term(comparison.name, tuple(masks), of_view(comparison.of_map), distance, target))
    return terms


def blend(statistics: Sequence[Mapping[Any, tf.Tensor]], weights: Sequence[Mapping[Any, float]]) -> Target:
    """Several styles' statistics as one target: the mean of them by their weights.

    The sum over styles of w_i |G - A_i|^2 is W |G - A|^2 plus a constant, the sum of w_i |A_i - A|^2, where W
    is the sum of the weights and A the mean. (|.|^2 is a mean of squares here.)
    """
    values, sums, rest = {}, {}, 0.0
    for key in dict.fromkeys(key for each in weights for key in each):
        parts = [
            (each[key], style[key]) for style, each in zip(statistics, weights, strict=True) if key in each
        ]
        sums[key] = sum(weight for weight, _ in parts)
        values[key] = tf.add_n([weight / sums[key] * value for weight, value in parts])
        rest += sum(weight * float(_mean_square(value - values[key])) for weight, value in parts)
    return Target(constants(sums), values, tf.constant(rest, tf.float32))


def _mean_square(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.square(x))


def share_at(layer: str, style: int, shares: Mapping[int, float], layers_of: Sequence[set[str]]) -> float:
    """A style's share at a layer; the shares of styles that do not use the layer go to the others."""
    if all(layer in layers_of[i] for i in shares):
        return shares[style]
    if layer not in layers_of[style]:
        return 0.0
    counting = sum(share for i, share in shares.items() if layer in layers_of[i])
    return shares[style] * sum(shares.values()) / counting


# Pixels.


def smoothness(size: tuple[int, int], settings: Settings) -> Term:
    """Neighbouring pixels are to be alike. size: (height, width) of the picture."""
    factors = {
        axis: settings.tv_weight * losses.pixel_factor(settings.tv_reduction, count)
        for axis, count in losses.pairs(*size).items()
    }
    return Term("tv", (), differences, weighted_sum, Target(constants(factors)))


def differences(view: View, target: Target, _: Features) -> dict[int, tf.Tensor]:
    """The total variation of the pixels by axis."""
    return losses.total_variation(view.x, view.part)


def steadiness(warped: Warped, network: Network, settings: Settings) -> Term:
    """A frame of a film is to be the frame before, warped, where that can be trusted."""
    factor = losses.pixel_factor(settings.tv_reduction, warped.pixels.size)
    before = {"frame": network.preprocess(warped.pixels)}
    trust = {"frame": tf.constant(warped.trust[None, ..., None])}
    target = Target(constants({"frame": settings.temporal_weight * factor}), before, masks=trust)
    return Term("temporal", (), difference_to_frame, weighted_sum, target)


def difference_to_frame(view: View, target: Target, _: Features) -> dict[str, tf.Tensor]:
    """The mean squared difference to the warped frame, weighted by its trust (Ruder et al. 2016, eq. 7)."""
    before = target.values["frame"]
    if view.part is not None:
        before = view.part.window(before, *view.x.shape[1:3])
    return {"frame": losses.content(view.x, before, view.part, target.masks["frame"])}
