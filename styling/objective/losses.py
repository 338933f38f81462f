"""The loss terms: pure functions of feature maps and images.

Feature maps are float32 [1, h, w, C], images [1, H, W, 3]; every loss is a scalar. The normalisations are
those of Athalye's neural-style (2015): means, so that a weight means the same at every size. Factors give the
sums and divisors of other sources, and losses that are relative to their targets.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from styling.system.quiet import tf

AXES = SIDEWAYS, DOWN = 2, 1  # of a feature map
RANGE = 255  # of a pixel's values


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

    def core(self, x: tf.Tensor) -> tf.Tensor:
        """The positions of a window [1, h, w, C] that count."""
        return x[:, self.top : self.bottom, self.left : self.right]

    def masked(self, x: tf.Tensor) -> tf.Tensor:
        """A window [1, h, w, C] with zeros at the positions that do not count."""
        rows, columns = tf.range(x.shape[1]), tf.range(x.shape[2])
        down = (rows >= self.top) & (rows < self.bottom)
        sideways = (columns >= self.left) & (columns < self.right)
        return tf.where((down[:, None] & sideways)[None, :, :, None], x, 0.0)


def content(
    features: tf.Tensor, target: tf.Tensor, part: Part | None = None, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean squared difference of two feature maps (Gatys et al. 2015, eq. 1, as a mean).

    weights: of the whole map's positions, [1, h, w, 1]; 1 each by default.
    """
    difference = features - target
    if weights is not None:
        of_window = weights if part is None else part.window(weights, *features.shape[1:3])
        difference *= tf.sqrt(of_window)  # the squares have the weights
    return _sum_of_squares(difference if part is None else part.core(difference), 1 / _size(features, part))


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

        flat = _flat(features)
        return tf.matmul(flat, flat, transpose_a=True) / size, gradient

    return symmetric(features if part is None else part.core(features))


def guided(
    statistic: Callable[..., Any], features: tf.Tensor, guide: tf.Tensor, sizes: Any, part: Part | None = None
) -> Any:
    """A statistic of the feature map times a guide, [1, h, w, 1] of the whole map (Gatys et al. 2017, eq. 2).

    statistic: gram, or shifted_grams with shifts. sizes: guide_sizes() of the statistic and the guide;
    divided by them, the statistic is the mean over the guide's region.
    """
    if part is None:
        found = statistic(guide * features)
    else:
        found = statistic(part.window(guide, *features.shape[1:3]) * features, part=part)
    if isinstance(sizes, dict):
        return {key: found[key] / size for key, size in sizes.items()}
    return found / sizes


def guide_sizes(statistic: Callable[..., Any], guide: tf.Tensor) -> Any:
    """The share of all positions that the statistic counts within a guide, without shifts that count none."""
    sizes = tf.nest.map_structure(tf.squeeze, statistic(guide))
    if isinstance(sizes, dict):
        positions = math.prod(guide.shape)
        return {key: size for key, size in sizes.items() if float(size) * positions >= 1}
    return sizes


def style(gram_matrix: tf.Tensor, target: tf.Tensor, factor: float = 1.0) -> tf.Tensor:
    """Mean squared difference of two Gram matrices (Gatys et al. 2015, eq. 4, as a mean), times a factor."""
    return _sum_of_squares(gram_matrix - target, factor / math.prod(gram_matrix.shape))


def gram_factor(shape: tuple[int, int, int], divisor: str, reduction: str) -> float:
    """The factor for style() that gives Gram matrices of another divisor, or a sum.

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
        pair = _overlap(features, axis, shift)
        a, b = map(_flat, pair if part is None else map(part.core, pair))
        return tf.matmul(a, b, transpose_a=True) / sizes[axis, shift]

    @tf.custom_gradient
    def correlate(features: tf.Tensor) -> tuple[list[tf.Tensor], Callable]:
        def gradient(*upstream: tf.Tensor) -> tf.Tensor:
            scaled = {key: dG / sizes[key] for key, dG in zip(sizes, upstream, strict=True)}
            return sum((_moved_sum(features, axis, scaled, part) for axis in AXES), 0.0)

        return [correlation(features, *key) for key in sizes], gradient

    return dict(zip(sizes, correlate(features), strict=True)) if sizes else {}


def shift(
    grams: dict[tuple[int, int], tf.Tensor],
    targets: dict[tuple[int, int], tf.Tensor],
    factors: dict[tuple[int, int], float],
) -> tf.Tensor:
    """Mean of style() over the shifts that both maps have, each with its factor; 0 if there is none."""
    parts = [style(grams[key], targets[key], factors[key]) for key in grams.keys() & targets.keys()]
    return total(parts) / max(len(parts), 1)


def sorted_values(features: tf.Tensor) -> tf.Tensor:
    """Every channel's values in ascending order, [C, h * w]: the same information as its histogram."""
    return tf.sort(tf.transpose(tf.reshape(features, [-1, features.shape[-1]])))


def quantiles(values: tf.Tensor, count: int) -> tf.Tensor:
    """Sorted values [C, n] -> [C, count]: quantiles at even distances, by linear interpolation."""
    last = values.shape[1] - 1
    if count == last + 1:
        return values
    places = tf.linspace(tf.constant(0, tf.float64), last, count)
    below = tf.cast(tf.floor(places), tf.int32)
    share = tf.cast(places - tf.floor(places), tf.float32)
    upper = tf.gather(values, tf.minimum(below + 1, last), axis=1)
    return (1 - share) * tf.gather(values, below, axis=1) + share * upper


def histogram(values: tf.Tensor, target: tf.Tensor, factor: float = 1.0) -> tf.Tensor:
    """Mean squared difference of a feature map and the same map matched to a style's histogram (Risser,
    Wilmot, Barnes 2017), times a factor. The matched map is constant in the gradient. Both are
    sorted_values(), [C, h * w], since exact matching pairs the k-th smallest value with the k-th smallest."""
    return _sum_of_squares(values - target, factor / math.prod(values.shape))


def total_variation(x: tf.Tensor, reduction: str = "mean", part: Part | None = None) -> tf.Tensor:
    """Mean (or sum) of squared differences of vertical neighbours, plus the same of horizontal neighbours.

    reduction: "mean", "sum", or "relative" for the mean divided by 255^2. An image that is one pixel high or
    wide has no neighbours in that direction. In a part, a pair counts if its first pixel counts. (Mahendran &
    Vedaldi 2015.)
    """
    channels = x.shape[-1]
    height, width = x.shape[1:3] if part is None else (part.height, part.width)
    terms = []
    for axis, size in ((DOWN, (height - 1) * width * channels), (SIDEWAYS, height * (width - 1) * channels)):
        if size:
            differences = _differences(x, axis)
            counted = differences if part is None else part.core(differences)
            terms.append(_sum_of_squares(counted, _factor(size, reduction)))
    return total(terms)


def temporal(x: tf.Tensor, warped: tf.Tensor, reduction: str = "mean", part: Part | None = None) -> tf.Tensor:
    """Mean (or sum) of squared differences to the warped frame before, weighted by its trust.

    warped: [1, H, W, 4], the frame like x, then the trust in each pixel, 0..1. reduction: as for
    total_variation(); means are over all pixels, trusted or not. (Ruder et al. 2016, eq. 7.)
    """
    difference = tf.sqrt(warped[..., 3:]) * (x - warped[..., :3])  # the squares have the trust as a weight
    counted = difference if part is None else part.core(difference)
    return _sum_of_squares(counted, _factor(_size(x, part), reduction))


def total(terms: Sequence[tf.Tensor]) -> tf.Tensor:
    """The sum of scalars, 0 if there are none."""
    return tf.add_n(terms) if terms else tf.zeros([])


def _factor(size: int, reduction: str) -> float:
    """The factor from a sum over `size` differences of pixels to a reduction."""
    return 1 / {"mean": size, "sum": 1, "relative": size * RANGE**2}[reduction]


def _sum_of_squares(x: tf.Tensor, factor: float) -> tf.Tensor:
    """The sum of squares times a factor."""
    return 2 * factor * tf.nn.l2_loss(x)  # half the sum; its gradient is a single product


def _differences(x: tf.Tensor, axis: int) -> tf.Tensor:
    """The differences between each value and the next along an axis, [1, H, W - 1, C] sideways."""
    _, height, width, channels = x.shape
    # In flattened rows, neighbours have a fixed distance; slicing and its gradient take a tenth of the time.
    rows, apart = (height, channels) if axis == SIDEWAYS else (1, width * channels)

    @tf.custom_gradient
    def difference(flat: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.pad(upstream, [[0, 0], [apart, 0]]) - tf.pad(upstream, [[0, 0], [0, apart]])

        return flat[:, apart:] - flat[:, :-apart], gradient

    shape = [1, height - (axis == DOWN), width - (axis == SIDEWAYS), channels]
    return tf.reshape(difference(tf.reshape(x, [rows, -1])), shape)


def _size(features: tf.Tensor, part: Part | None) -> int:
    """The number of values in a whole map."""
    if part is None:
        return math.prod(features.shape)
    return part.height * part.width * features.shape[-1]


def _overlap(features: tf.Tensor, axis: int, shift: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The two parts of a feature map that overlap when it is moved along an axis."""
    if axis == SIDEWAYS:
        return features[:, :, shift:], features[:, :, :-shift]
    return features[:, shift:], features[:, :-shift]


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


def _flat(features: tf.Tensor) -> tf.Tensor:
    """[1, h, w, C] -> [h * w, C]."""
    return tf.reshape(features, [-1, features.shape[-1]])
