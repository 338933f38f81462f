"""The loss terms: pure functions of feature maps and images.

Feature maps are float32 [1, h, w, C], images [1, H, W, 3]; every loss is a scalar. The normalisations are
those of Athalye's neural-style (2015): means, so that a weight means the same at every size.
"""

import tensorflow as tf


def content(features: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of two feature maps (Gatys et al. 2015, eq. 1, as a mean)."""
    return tf.reduce_mean(tf.math.squared_difference(features, target))


def gram(features: tf.Tensor) -> tf.Tensor:
    """Gram matrix F^T F / (h * w * C) of a feature map, [C, C] (Gatys et al. 2015, eq. 3, normalised)."""
    channels = features.shape[-1]
    flat = tf.reshape(features, [-1, channels])  # (h * w, C)
    return tf.matmul(flat, flat, transpose_a=True) / tf.cast(tf.size(features), tf.float32)


def style(gram_matrix: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of two Gram matrices (Gatys et al. 2015, eq. 4, as a mean)."""
    return tf.reduce_mean(tf.math.squared_difference(gram_matrix, target))


def total_variation(x: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of vertical neighbours plus that of horizontal ones (Mahendran & Vedaldi 2015).

    A direction in which the image has no neighbours adds nothing.
    """
    vertical = x[:, 1:] - x[:, :-1]
    horizontal = x[:, :, 1:] - x[:, :, :-1]
    parts = [tf.reduce_mean(tf.square(part)) for part in (vertical, horizontal) if 0 not in part.shape]
    return tf.add_n(parts) if parts else tf.zeros([])
