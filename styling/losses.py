"""The loss terms: pure functions of feature maps and images.

Feature maps are float32 [1, h, w, C], images [1, H, W, 3]; every loss is a scalar. The normalisations are
those of Athalye's neural-style (2015): means, so that a weight means the same at every size. The sums and
divisors of other sources are had by an argument, or by gram_factor().
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

REDUCTIONS = {"mean": tf.reduce_mean, "sum": tf.reduce_sum}
AXES = SIDEWAYS, DOWN = 2, 1  # of a feature map


def content(features: tf.Tensor, target: tf.Tensor, reduction: str = "mean") -> tf.Tensor:
    """Mean or sum of the squared difference of two feature maps (Gatys et al. 2015, eq. 1)."""
    return REDUCTIONS[reduction](tf.math.squared_difference(features, target))


def gram(features: tf.Tensor) -> tf.Tensor:
    """Gram matrix F^T F / (h * w * C) of a feature map, [C, C] (Gatys et al. 2015, eq. 3, normalised)."""

    @tf.custom_gradient
    def symmetric(features: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # F stands in the product twice, so that one product with a symmetric matrix does for both.
            both = (upstream + tf.transpose(upstream)) / tf.cast(tf.size(features), tf.float32)
            return tf.nn.conv2d(features, both[None, None], strides=1, padding="SAME")

        return _correlation(features, features), gradient

    return symmetric(features)


def style(gram_matrix: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of two Gram matrices (Gatys et al. 2015, eq. 4, as a mean)."""
    return tf.reduce_mean(tf.math.squared_difference(gram_matrix, target))


def gram_factor(shape: tuple[int, int, int], divisor: str, reduction: str) -> float:
    """What style() is to be multiplied by for Gram matrices of another divisor, or for a sum.

    shape: the picture's feature map's (h, w, C). divisor: "size" for h * w * C, "positions" for h * w, "none"
    for 1. reduction: "mean" or "sum" of the squared difference.
    """
    height, width, channels = shape
    scale = {"size": 1, "positions": channels, "none": height * width * channels}[divisor]
    return float(scale) ** 2 * (channels**2 if reduction == "sum" else 1)


def shifted_grams(features: tf.Tensor, shifts: Sequence[int]) -> dict[tuple[int, int], tf.Tensor]:
    """A feature map's correlations with itself moved sideways and down (Berger & Memisevic 2016, eq. 5).

    Each [C, C], F[:, d:]^T F[:, :-d] / (number of positions * C), by axis and shift d; those for which the
    map is too small are left out.
    """
    height, width = features.shape[1:3]
    keys = [
        (axis, shift)
        for axis, side in ((SIDEWAYS, width), (DOWN, height))
        for shift in shifts
        if shift < side
    ]

    @tf.custom_gradient
    def correlate(features: tf.Tensor) -> tuple[list[tf.Tensor], Callable]:
        def gradient(*upstream: tf.Tensor) -> tf.Tensor:
            return sum(
                (_moved_sum(features, axis, dict(zip(keys, upstream, strict=True))) for axis in AXES), 0.0
            )

        return [_correlation(*_overlap(features, *key)) for key in keys], gradient

    return dict(zip(keys, correlate(features), strict=True)) if keys else {}


def shift(grams: dict[tuple[int, int], tf.Tensor], targets: dict[tuple[int, int], tf.Tensor]) -> tf.Tensor:
    """Mean of style() over the shifts that both maps have; 0 if there is none."""
    parts = [style(grams[key], targets[key]) for key in grams.keys() & targets.keys()]
    return tf.add_n(parts) / len(parts) if parts else tf.zeros([])


def sorted_values(features: tf.Tensor) -> tf.Tensor:
    """Every channel's values in ascending order, [C, h * w]: its histogram with nothing left out."""
    return tf.sort(tf.transpose(tf.reshape(features, [-1, features.shape[-1]])))


def quantiles(values: tf.Tensor, count: int) -> tf.Tensor:
    """Sorted values [C, n] -> [C, count]: as many places, evenly from smallest to largest, interpolated."""
    last = values.shape[1] - 1
    if count == last + 1:
        return values
    places = tf.linspace(tf.constant(0, tf.float64), last, count)
    below = tf.cast(tf.floor(places), tf.int32)
    share = tf.cast(places - tf.floor(places), tf.float32)
    upper = tf.gather(values, tf.minimum(below + 1, last), axis=1)
    return (1 - share) * tf.gather(values, below, axis=1) + share * upper


def histogram(values: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of a feature map and the map matched to a style's histogram, which is constant
    (Risser, Wilmot, Barnes 2017). Both are given as sorted_values(), [C, h * w], since exact matching pairs
    the k-th smallest value with the k-th smallest."""
    return tf.reduce_mean(tf.math.squared_difference(values, target))


def total_variation(x: tf.Tensor, reduction: str = "mean") -> tf.Tensor:
    """Mean (or sum) of squared differences of vertical neighbours plus that of horizontal ones.

    A direction in which the image has no neighbours adds nothing. (Mahendran & Vedaldi 2015.)
    """
    vertical = x[:, 1:] - x[:, :-1]
    horizontal = x[:, :, 1:] - x[:, :, :-1]
    parts = [REDUCTIONS[reduction](tf.square(part)) for part in (vertical, horizontal) if 0 not in part.shape]
    return tf.add_n(parts) if parts else tf.zeros([])


def _overlap(features: tf.Tensor, axis: int, shift: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The parts of a feature map that lie on each other once it is moved along an axis."""
    if axis == SIDEWAYS:
        return features[:, :, shift:], features[:, :, :-shift]
    return features[:, shift:], features[:, :-shift]


def _moved_sum(features: tf.Tensor, axis: int, upstream: dict[tuple[int, int], tf.Tensor]) -> tf.Tensor:
    """What the gradients of an axis' shifted Gram matrices come to for the feature map.

    Position p's gradient is the sum over shifts d of F[p - d] dG_d^T + F[p + d] dG_d, which one convolution
    with 2 D + 1 taps does at once, several times as fast as slicing and padding for each shift.
    """
    channels = features.shape[-1]
    largest = max((shift for key_axis, shift in upstream if key_axis == axis), default=0)
    taps = [tf.zeros([channels, channels])] * (2 * largest + 1)
    for (key_axis, shift), gradient in upstream.items():
        if key_axis == axis:
            size = tf.size(_overlap(features, axis, shift)[0], tf.int32)
            gradient = gradient / tf.cast(size, tf.float32)
            taps[largest - shift], taps[largest + shift] = tf.transpose(gradient), gradient
    kernel = tf.expand_dims(
        tf.stack(taps), 0 if axis == SIDEWAYS else 1
    )  # (1, taps, C, C) or (taps, 1, C, C)
    return tf.nn.conv2d(features, kernel, strides=1, padding="SAME")


def _correlation(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    channels = a.shape[-1]
    flat_a, flat_b = (tf.reshape(part, [-1, channels]) for part in (a, b))  # (positions, C)
    return tf.matmul(flat_a, flat_b, transpose_a=True) / tf.cast(tf.size(a), tf.float32)
