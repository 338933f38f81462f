"""Winograd's convolution and its gradient against the float64 model; tests/test_vgg.py has a large layer."""

import numpy as np
import reference
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from styling.network import winograd


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 14), st.integers(1, 14), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1)
)
def test_it_is_a_convolution_at_any_size(height, width, channels, filters, seed):
    rng = np.random.default_rng(seed)
    x, kernel = rng.normal(size=(height, width, channels)), rng.normal(size=(3, 3, channels, filters))
    found = winograd.convolve(tf.constant(x[None], tf.float32), tf.constant(kernel, tf.float32))[0]
    assert found.shape == (height, width, filters)
    np.testing.assert_allclose(found, reference.conv(x, kernel, np.zeros(filters)), atol=5e-5)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 14), st.integers(1, 14), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1)
)
def test_back_it_is_the_gradient_at_any_size(height, width, channels, filters, seed):
    rng = np.random.default_rng(seed)
    upstream = rng.normal(size=(height, width, filters))
    kernel = rng.normal(size=(3, 3, channels, filters))
    found = winograd.convolve(
        tf.constant(upstream[None], tf.float32), tf.constant(kernel, tf.float32), back=True
    )
    assert found.shape == (1, height, width, channels)
    expected = reference.conv_gradient(np.zeros((height, width, channels)), kernel, upstream)
    np.testing.assert_allclose(found[0], expected, atol=5e-5)
