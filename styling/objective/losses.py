"""The loss terms: pure functions of feature maps and images.

Feature maps are float32 [1, h, w, C], images [1, H, W, 3]; every loss is a scalar. The normalisations are
those of Athalye's neural-style (2015): means, so that a weight means the same at every size. Factors give the
sums and divisors of other sources, and losses that are relative to their targets.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from styling.system.quiet import tf

AXES = SIDEWAYS, DOWN = 2, 1  # of a feature map
RANGE = 255  # of a pixel's values
Statistic = Callable[..., Any]  # of a feature map, or of the part of a window: tensors that add up over parts


class Part(NamedTuple):
    """The part of a window that counts: its rows top..bottom and columns left..right, scalars. height, width:
    of the whole map. row, column: where the window starts in the map."""

    top: tf.Tensor
    bottom: tf.Tensor
    left: tf.Tensor
    right: tf.Tensor
    height: int
    width: int
    row: tf.Tensor
    column: tf.Tensor

    def window(self, x: tf.Tensor, height: int, width: int) -> tf.Tensor:
        """Cut the window, of this size, out of a whole map [1, H, W, C]."""
        return tf.slice(x, [0, self.row, self.column, 0], [1, height, width, x.shape[-1]])

    def masked(self, x: tf.Tensor) -> tf.Tensor:
        """A window [1, h, w, C] with zeros at the positions that do not count."""
        rows, columns = tf.range(x.shape[1]), tf.range(x.shape[2])
        down = (rows >= self.top) & (rows < self.bottom)
        sideways = (columns >= self.left) & (columns < self.right)
        return tf.where((down[:, None] & sideways)[None, :, :, None], x, 0.0)


def core(x: tf.Tensor, part: Part | None) -> tf.Tensor:
    """The positions of a window [1, h, w, C] that count; a whole map has no part."""
    return x if part is None else x[:, part.top : part.bottom, part.left : part.right]


def content(
    features: tf.Tensor, target: tf.Tensor, part: Part | None = None, mask: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean squared difference of two feature maps (Gatys et al. 2015, eq. 1, as a mean).

    mask: weights of the whole map's positions, [1, h, w, 1]; 1 each by default.
    """
    difference = features - target
    if mask is not None:
        difference *= _root(mask, features, part)  # the squares have the weights
    return sum_of_squares(core(difference, part), 1 / _size(features, part))


def relative_factor(mean_square: float) -> float:
    """The factor that makes a mean squared difference relative to its target, which has this mean square.

    For a target that is 0 everywhere the factor is 1, which keeps the plain mean.
    """
    return 1 / mean_square if mean_square else 1.0


def gram(features: tf.Tensor, part: Part | None = None) -> tf.Tensor:
    """Gram matrix F^T F / (h * w * C) of a feature map, [C, C] (Gatys et al. 2015, eq. 3, normalised)."""
    size = _size(features, part)

    @tf.custom_gradient
    def symmetric(features: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # F is in the product twice, so one product with a symmetric matrix gives both gradients.
            both = (upstream + tf.transpose(upstream)) / size
            kernel = tf.reshape(both, [1, 1, *both.shape])
            return tf.nn.conv2d(features, kernel, strides=1, padding="SAME")

        flat = rows(features)
        return tf.matmul(flat, flat, transpose_a=True) / size, gradient

    return symmetric(core(features, part))


def masked(
    statistic: Statistic, features: tf.Tensor, mask: tf.Tensor | None, part: Part | None = None
) -> Any:
    """A statistic of a feature map's positions by their weights in a mask (Gatys et al. 2017, eq. 2).

    statistic: gram, or shifted_grams with shifts, which contain the map twice: it is multiplied by the root
    of the mask, [1, h, w, 1] of the whole map. Divided by mask_sizes(), it is a mean over these positions.
    """
    return statistic(features if mask is None else _root(mask, features, part) * features, part=part)


def mask_sizes(statistic: Statistic, mask: tf.Tensor) -> Any:
    """The share of all positions that the statistic counts within a mask, without shifts that count none."""
    sizes = tf.nest.map_structure(tf.squeeze, statistic(tf.sqrt(mask)))
    if isinstance(sizes, dict):
        positions = math.prod(mask.shape)
        return {key: size for key, size in sizes.items() if float(size) * positions >= 1}
    return sizes


def gram_factor(shape: tuple[int, int, int], divisor: str, reduction: str) -> float:
    """The factor for mean squared differences that gives Gram matrices of another divisor, or a sum.

    shape: (h, w, C) of the picture's feature map. divisor: "size" is h * w * C, "positions" is h * w, "none"
    is 1. reduction: "mean" or "sum" of the squared difference, or "relative" to the target, for which the
    divisor cancels and the factor is 1.
    """
    if reduction == "relative":
        return 1.0
    height, width, channels = shape
    scale = {"size": 1, "positions": channels, "none": height * width * channels}[divisor]
    return float(scale) ** 2 * (channels**2 if reduction == "sum" else 1)


def shifted_grams(
    features: tf.Tensor, shifts: Sequence[int], part: Part | None = None
) -> dict[tuple[int, int], tf.Tensor]:
    """A feature map's correlations with itself moved sideways and down (Berger & Memisevic 2016, eq. 5).

    Each [C, C], F[:, d:]^T F[:, :-d] / (number of positions * C), by axis and shift d; shifts as large as the
    map are left out. In a part, a pair counts if its first position counts, so a window must reach beyond the
    part by the largest shift.
    """
    channels = features.shape[-1]
    height, width = features.shape[1:3] if part is None else (part.height, part.width)
    sizes = {(SIDEWAYS, d): height * (width - d) * channels for d in shifts if d < width} | {
        (DOWN, d): (height - d) * width * channels for d in shifts if d < height
    }

    def correlation(features: tf.Tensor, axis: int, shift: int) -> tf.Tensor:
        if axis == SIDEWAYS:
            pair = features[:, :, shift:], features[:, :, :-shift]
        else:
            pair = features[:, shift:], features[:, :-shift]
        a, b = (rows(core(x, part)) for x in pair)
        return tf.matmul(a, b, transpose_a=True) / sizes[axis, shift]

    @tf.custom_gradient
    def correlate(features: tf.Tensor) -> tuple[list[tf.Tensor], Callable]:
        def gradient(*upstream: tf.Tensor) -> tf.Tensor:
            scaled = {key: dG / sizes[key] for key, dG in zip(sizes, upstream, strict=True)}
            return sum((_moved_sum(features, axis, scaled, part) for axis in AXES), 0.0)

        return [correlation(features, *key) for key in sizes], gradient

    return dict(zip(sizes, correlate(features), strict=True)) if sizes else {}


def sorted_values(features: tf.Tensor, part: None = None) -> tf.Tensor:
    """Every channel's values in ascending order, [C, h * w] (Risser, Wilmot, Barnes 2017, by exact matching).

    The mean squared difference to a style's sorted values is that of the map and the same map matched to the
    style's histogram, since matching pairs the k-th smallest value with the k-th smallest. There are no
    histograms of parts.
    """
    return tf.sort(tf.transpose(rows(features)))


def quantiles(values: tf.Tensor, count: int) -> tf.Tensor:
    """Sorted values [C, n] -> [C, count]: quantiles at even distances, by linear interpolation."""
    places, known = np.linspace(0, values.shape[1] - 1, count), np.arange(values.shape[1])
    return tf.constant(
        np.stack([np.interp(places, known, channel) for channel in values.numpy()]), tf.float32
    )


def total_variation(x: tf.Tensor, part: Part | None = None) -> dict[int, tf.Tensor]:
    """Mean squared difference of neighbouring pixels by axis, DOWN and SIDEWAYS (Mahendran & Vedaldi 2015).

    An image that is one pixel high or wide has no neighbours in that direction. In a part, a pair counts if
    its first pixel counts.
    """
    height, width = x.shape[1:3] if part is None else (part.height, part.width)
    by_axis = {}
    for axis, size in pairs(height, width, x.shape[-1]).items():
        by_axis[axis] = sum_of_squares(core(_differences(x, axis), part), 1 / size)
    return by_axis


def pairs(height: int, width: int, channels: int = 3) -> dict[int, int]:
    """The number of pairs of neighbouring values by axis, if there are any."""
    counts = {DOWN: (height - 1) * width * channels, SIDEWAYS: height * (width - 1) * channels}
    return {axis: count for axis, count in counts.items() if count}


def pixel_factor(reduction: str, count: int) -> float:
    """The factor from a mean over `count` squared differences of pixels to a reduction: "mean", "sum", or
    "relative" for the mean divided by 255^2."""
    return {"mean": 1, "sum": count, "relative": 1 / RANGE**2}[reduction]


def total(terms: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum of scalars, 0 if there are none."""
    return tf.add_n(terms) if terms else tf.zeros([])


def sum_of_squares(x: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """The sum of squares times a factor."""
    return 2 * factor * tf.nn.l2_loss(x)  # half the sum; its gradient is a single product


def _root(mask: tf.Tensor, features: tf.Tensor, part: Part | None) -> tf.Tensor:
    """The root of a whole map's mask, for a map or for a window of one."""
    return tf.sqrt(mask if part is None else part.window(mask, *features.shape[1:3]))


def _differences(x: tf.Tensor, axis: int) -> tf.Tensor:
    """The differences between each value and the next along an axis, [1, H, W - 1, C] sideways."""
    _, height, width, channels = x.shape
    # In flattened rows, neighbours have a fixed distance; slicing and its gradient take a tenth of the time.
    count, apart = (height, channels) if axis == SIDEWAYS else (1, width * channels)

    @tf.custom_gradient
    def difference(flat: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.pad(upstream, [[0, 0], [apart, 0]]) - tf.pad(upstream, [[0, 0], [0, apart]])

        return flat[:, apart:] - flat[:, :-apart], gradient

    shape = [1, height - (axis == DOWN), width - (axis == SIDEWAYS), channels]
    return tf.reshape(difference(tf.reshape(x, [count, -1])), shape)


def _size(features: tf.Tensor, part: Part | None) -> int:
    """The number of values in a whole map."""
    if part is None:
        return math.prod(features.shape)
    return part.height * part.width * features.shape[-1]


def _moved_sum(
    features: tf.Tensor, axis: int, upstream: dict[tuple[int, int], tf.Tensor], part: Part | None
) -> tf.Tensor:
    """The gradient for the feature map, from the gradients of an axis' shifted Gram matrices.

    Position p's gradient is the sum over shifts d of F[p - d] dG_d^T + F[p + d] dG_d. One convolution with
    2 D + 1 taps is several times as fast as slicing and padding for each shift. In a part, the first term
    counts where p - d counts, the second where p counts.
    """
    channels = features.shape[-1]
    shifts = {shift: gradient for (key_axis, shift), gradient in upstream.items() if key_axis == axis}
    largest = max(shifts, default=0)
    nothing = tf.zeros([channels, channels])
    before = [tf.transpose(shifts[d]) if d in shifts else nothing for d in range(largest, 0, -1)]
    after = [shifts.get(d, nothing) for d in range(1, largest + 1)]

    def moved(x: tf.Tensor, taps: list[tf.Tensor]) -> tf.Tensor:
        kernel = tf.expand_dims(tf.stack(taps), 0 if axis == SIDEWAYS else 1)  # (1, taps, C, C) sideways
        return tf.nn.conv2d(x, kernel, strides=1, padding="SAME")

    if part is None:
        return moved(features, [*before, nothing, *after])
    none = [nothing] * largest
    return moved(part.masked(features), [*before, nothing, *none]) + part.masked(
        moved(features, [*none, nothing, *after])
    )


def rows(features: tf.Tensor) -> tf.Tensor:
    """[1, h, w, C] -> [h * w, C]."""
    return tf.reshape(features, [-1, features.shape[-1]])
