"""Winograd's convolution and its gradient against the float64 model; tests/test_vgg.py has a large layer."""

import numpy as np
import reference
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from styling.network import winograd

sides, channels = st.integers(1, 14), st.integers(1, 5)


@settings(deadline=None, max_examples=25)
@given(sides, sides, channels, channels, st.integers(0, 2**32 - 1))
def test_it_is_a_convolution_and_back_its_gradient_at_any_size(height, width, inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    x, upstream = rng.normal(size=(height, width, inputs)), rng.normal(size=(height, width, outputs))
    kernel = rng.normal(size=(3, 3, inputs, outputs))
    y, gradient = (
        winograd.convolve(tf.constant(part[None], tf.float32), tf.constant(kernel, tf.float32), back)
        for part, back in ((x, False), (upstream, True))
    )
    np.testing.assert_allclose(y[0], reference.conv(x, kernel), atol=5e-5)
    np.testing.assert_allclose(gradient[0], reference.conv_gradient(kernel, upstream), atol=5e-5)
