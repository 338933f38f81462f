"""3x3 convolutions by Winograd's F(4x4, 3x3), with a quarter of the multiplications (Lavin & Gray 2015).

A map is cut into tiles of 4 x 4 outputs, which need 6 x 6 inputs each. Tiles and kernels are transformed. A
convolution is then a matrix product at each of the 36 places in a tile, and the result is transformed back.
The transforms are products with small constant matrices. They use the points 0, +-sqrt(1/2), +-sqrt(2)
and infinity, whose rounding errors are smaller than those of the usual 0, +-1, +-2 and infinity.
"""

import functools

import numpy as np

from styling.system.quiet import tf

TILE, WINDOW = 4, 6  # outputs and inputs of a tile along each axis
POINTS = (0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))  # and infinity
# The input and the output of a layer need at least the first number of channels, and one of them the second.
# From 128 to 128 channels, VGG-16 would save 4 % of a step, and take a tenth more memory at 2048 x 1536.
LEAST_CHANNELS, MOST_CHANNELS, LEAST_TILES = 128, 192, 48


def pays(shape: tuple[int | None, ...], kernel: tuple[int, ...]) -> bool:
    """Whether this is faster on a CPU than a direct convolution, for x and a kernel of these shapes."""
    _, height, width, before = shape
    size, _, _, channels = kernel
    if not (height and width and before):  # compiled for all sizes
        return False
    tiles = -(-height // TILE) * -(-width // TILE)
    wide = min(before, channels) >= LEAST_CHANNELS and max(before, channels) >= MOST_CHANNELS
    return size == 3 and wide and tiles >= LEAST_TILES


def convolve(x: tf.Tensor, kernel: tf.Tensor, back: bool = False) -> tf.Tensor:
    """x [1, h, w, in] and a kernel [3, 3, in, out] -> [1, h, w, out], stride 1, zero padding.

    back: the gradient of that for x instead, [1, h, w, out] -> [1, h, w, in], with no copy of the kernel.
    """
    data_transform, filter_transform, inverse_transform = _transforms()
    if back:
        filter_transform = np.ascontiguousarray(filter_transform[:, ::-1])  # the kernel turned by half a turn
    _, height, width, channels = x.shape
    inputs, filters = kernel.shape[2:]
    high, wide = -(-height // TILE), -(-width // TILE)
    with tf.control_dependencies([x]):  # else all kernels are transformed at the start, and stay in memory
        kernel = tf.identity(kernel)
    kernels = tf.matmul(filter_transform, tf.reshape(kernel, [9, -1]))
    padded = tf.pad(x[0], [[1, high * TILE + 1 - height], [1, wide * TILE + 1 - width], [0, 0]])
    tiles = tf.gather(tf.reshape(padded, [-1, channels]), _places(high, wide))  # (36, tiles, in)
    tiles = tf.matmul(data_transform, tf.reshape(tiles, [WINDOW**2, -1]))
    products = tf.matmul(  # (36, tiles, out)
        tf.reshape(tiles, [WINDOW**2, high * wide, channels]),
        tf.reshape(kernels, [WINDOW**2, inputs, filters]),
        transpose_b=back,
    )
    y = tf.matmul(inverse_transform, tf.reshape(products, [WINDOW**2, -1]))
    y = tf.transpose(tf.reshape(y, [TILE, TILE, high, wide, -1]), [2, 0, 3, 1, 4])
    return tf.reshape(y, [1, high * TILE, wide * TILE, -1])[:, :height, :width]


def _places(high: int, wide: int) -> np.ndarray:
    """Where each tile's inputs lie in the rows of the padded map, [36, high * wide]."""
    a, b, i, j = np.ix_(range(WINDOW), range(WINDOW), range(high), range(wide))
    places = (i * TILE + a) * (wide * TILE + 2) + j * TILE + b
    return places.reshape(WINDOW**2, high * wide).astype(np.int32)


@functools.cache
def _transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The data, filter and inverse transform in two dimensions, by Toom-Cook: [36, 36], [36, 9], [16, 36]."""
    powers = np.array([[p**k for k in range(WINDOW)] for p in POINTS] + [[0] * (WINDOW - 1) + [1]])
    data = np.linalg.inv(powers).T
    filters, inverse = powers[:, :3].copy(), powers[:, :TILE].T.copy()
    filters[-1], inverse[:, -1] = [0, 0, 1], [0] * (TILE - 1) + [1]
    # Factors of similar size round less than a large and a small one.
    scale = np.sqrt(np.abs(data).max(axis=1) / np.abs(filters).max(axis=1))[:, None]
    in_2d = [np.kron(matrix, matrix) for matrix in (data / scale, filters * scale, inverse)]
    data, filters, inverse = (matrix.astype(np.float32) for matrix in in_2d)
    return data, filters, inverse
