"""The loss terms alone, values and gradients, against the float64 model in reference.py."""

import math

import numpy as np
import pytest
import reference
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from styling.objective import losses
from styling.objective.terms import blend, distance

AXES = {"sideways": losses.SIDEWAYS, "down": losses.DOWN}
few = settings(deadline=None, max_examples=25)
sides = st.integers(1, 7)
sizes = st.tuples(sides, sides)
seeds = st.integers(0, 2**32 - 1)
some_shifts = st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True)


def feature_map(size, channels, seed):
    """A map [h, w, C] as a ReLU leaves it: half of it 0, so that there are ties."""
    return np.maximum(np.random.default_rng(seed).normal(size=(*size, channels)), 0)


def tensor(F):
    return tf.constant(F[None], tf.float32)


def value_and_gradient(loss, F):
    x = tensor(F)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    gradient = tape.gradient(value, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return float(value), gradient.numpy()[0]


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * max(np.abs(expected).max(), 1e-3))


def shift_loss(S, shifts, F):
    """The shift loss as a function of a map like F, as in terms.py: a mean over what both maps have."""
    found, of_F = (losses.shifted_grams(tensor(G), tuple(shifts)) for G in (S, F))
    common = found.keys() & of_F.keys()
    target = blend([found], [dict.fromkeys(common, 1 / max(len(common), 1))])
    return lambda x: distance(losses.shifted_grams(x, tuple(shifts)), target)


@few
@given(sizes, sizes, st.integers(1, 4), some_shifts, seeds)
def test_the_shift_loss_and_its_gradient_are_the_reference_models(size, style_size, channels, shifts, seed):
    F, S = feature_map(size, channels, seed), feature_map(style_size, channels, seed + 1)
    value, gradient = value_and_gradient(shift_loss(S, shifts, F), F)
    assert_close(value, reference.shift_loss(F, S, shifts))
    assert_close(gradient, reference.shift_gradient(F, S, shifts))


@pytest.mark.parametrize("key", [("sideways", 2), ("down", 3)])
def test_the_gradient_of_a_single_entry_goes_to_its_two_channels(key):
    # The loss looks at whole matrices; one entry G[a, b] alone shows a gradient that is transposed.
    F = feature_map((5, 6), 3, 1)
    axis, d = key
    value, gradient = value_and_gradient(lambda x: losses.shifted_grams(x, (1, 2, 3))[AXES[axis], d][0, 2], F)
    assert_close(value, reference.shifted_grams(F, [d])[key][0, 2])
    step = np.zeros_like(F)
    for place in np.ndindex(*F.shape):
        step[place] = 1e-6
        higher, lower = (reference.shifted_grams(G, [d])[key][0, 2] for G in (F + step, F - step))
        assert gradient[place] == pytest.approx((higher - lower) / 2e-6, abs=1e-5), place
        step[place] = 0
    assert np.abs(gradient[..., 0]).max() > 0 and np.abs(gradient[..., 1]).max() == 0


# Histograms.


@few
@given(sizes, sizes, st.integers(1, 4), seeds)
def test_the_histogram_loss_and_its_gradient_are_the_reference_models(size, style_size, channels, seed):
    F, S = feature_map(size, channels, seed), feature_map(style_size, channels, seed + 1)
    values = losses.quantiles(losses.sorted_values(tensor(S)), math.prod(size))
    target = blend([{0: values}], [{0: 1.0}])
    value, gradient = value_and_gradient(
        lambda x: distance({0: losses.sorted_values(x)}, target), F.astype(np.float32)
    )
    assert_close(value, reference.histogram_loss(F, S))
    assert_close(gradient, reference.histogram_gradient(F, S))  # which holds the matched map constant


# Reductions and divisors.


@few
@given(sizes, st.integers(1, 5), seeds)
def test_gram_factors_make_other_sources_normalisations(size, channels, seed):
    F, S = feature_map(size, channels, seed), feature_map(size, channels, seed + 1)
    positions = math.prod(size)
    G, A = (np.einsum("hwi,hwj->ij", part, part) for part in (F, S))
    found = float(tf.reduce_mean((losses.gram(tensor(F)) - losses.gram(tensor(S))) ** 2))
    for divisor, scale in (("size", positions * channels), ("positions", positions), ("none", 1)):
        for reduction, reduce in (("mean", np.mean), ("sum", np.sum)):
            factor = losses.gram_factor((*size, channels), divisor, reduction)
            expected = reduce((G / scale - A / scale) ** 2)
            assert factor * found == pytest.approx(expected, rel=1e-3), (divisor, reduction)


@few
@given(sizes, st.integers(1, 5), seeds)
def test_total_variation_is_a_mean_or_a_sum_or_relative_to_the_range(size, channels, seed):
    F = feature_map(size, channels, seed)
    found, axes = losses.total_variation(tensor(F)), (losses.DOWN, losses.SIDEWAYS)
    expected = {axis: d for axis, d in zip(axes, reference.differences(F), strict=True) if d.size}
    assert losses.pairs(*size, channels) == {axis: d.size for axis, d in expected.items()}
    reductions = {"mean": np.mean, "sum": np.sum, "relative": lambda squares: np.mean(squares) / 255**2}
    for axis, d in expected.items():
        for name, reduce in reductions.items():
            factor = losses.pixel_factor(name, d.size)
            assert factor * float(found[axis]) == pytest.approx(reduce(d**2), rel=1e-4, abs=1e-6)
    assert found.keys() == expected.keys()


@few
@given(sizes, seeds)
def test_the_temporal_loss_is_the_models_with_its_gradient(size, seed):
    rng = np.random.default_rng(seed)
    x, before, trust = rng.normal(size=(*size, 3)), rng.normal(size=(*size, 3)), rng.uniform(size=size)
    expected, expected_gradient = reference.temporal(x, before, trust)
    found, gradient = value_and_gradient(
        lambda F: losses.content(F, tensor(before), None, tensor(trust[..., None])), x
    )
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-9)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-7)
