"""A convolution and an average pooling whose gradients are faster than TensorFlow's own."""

from collections.abc import Callable

import numpy as np

from styling.network import winograd
from styling.system.quiet import tf


def convolve(
    x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, dtype: tf.DType, flipped: Callable[[], tf.Tensor]
) -> tf.Tensor:
    """x [1, h, w, in] -> [1, h, w, out]: stride 1, zero padding, computed in `dtype`; a gradient for x alone.

    kernel: [k, k, in, out]. bias: [out]. flipped: returns flip(kernel); only called where that is needed.
    """
    # On a GPU, cuDNN chooses the algorithm by itself.
    is_wide = winograd.pays(x.shape, kernel.shape) and not tf.config.list_logical_devices("GPU")

    @tf.custom_gradient
    def product(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        if is_wide:
            y = winograd.convolve(x, kernel)
            return tf.nn.bias_add(y, bias), lambda dy: winograd.convolve(dy, kernel, back=True)
        back = _back_to_pixels if kernel.shape[:3] == (3, 3, 3) else _direct
        y = tf.nn.bias_add(_direct(x, kernel), tf.cast(bias, x.dtype))
        return y, lambda dy: back(dy, flipped())

    # Winograd's algorithm in float32 is no slower than a direct convolution in bfloat16.
    return product(tf.cast(x, tf.float32 if is_wide else dtype))


def flip(kernel: tf.Tensor) -> tf.Tensor:
    """The kernel of the convolution that is the gradient, [k, k, in, out] -> [k, k, out, in]."""
    with tf.init_scope():  # not a part of the graph that asks for it first, so that others can use it too
        return tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])


def _direct(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(x, tf.cast(kernel, x.dtype), strides=1, padding="SAME")


def _back_to_pixels(dy: tf.Tensor, flipped: tf.Tensor) -> tf.Tensor:
    """The gradient for an image, [1, h, w, C] -> [1, h, w, 3], by a kernel [3, 3, C, 3].

    Each of the kernel's three rows is first applied along the rows; then a second convolution adds the three
    results. A single convolution with three outputs takes nearly twice as long.
    """
    by_row = tf.reshape(tf.transpose(flipped, [1, 2, 0, 3]), [1, 3, dy.shape[3], 9])
    # Row i of the second kernel takes the results of row i of the first one, (3, 1, 9, 3).
    thirds = np.eye(9).reshape(9, 3, 3).transpose(1, 0, 2)[:, None]
    return _direct(_direct(dy, by_row), tf.constant(thirds, dy.dtype))


@tf.custom_gradient
def average_pool(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """The mean of each 2x2 window, [1, h, w, C] -> [1, ceil(h/2), ceil(w/2), C]."""
    _, height, width, channels = x.shape

    def gradient(dy: tf.Tensor) -> tf.Tensor:
        if height % 2 or width % 2:
            return tf.raw_ops.AvgPoolGrad(
                orig_input_shape=x.shape, grad=dy, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME"
            )
        # If all windows are whole, repeating each value gives the same, and is faster.
        windows = (dy / 4)[:, :, None, :, None]  # (1, h/2, 1, w/2, 1, C)
        repeated = tf.broadcast_to(windows, [1, height // 2, 2, width // 2, 2, channels])
        return tf.reshape(repeated, [1, height, width, channels])

    return tf.nn.avg_pool2d(x, ksize=2, strides=2, padding="SAME"), gradient
