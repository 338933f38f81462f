"""The NumPy model held against something that is independent of it: SciPy, finite differences, hand sums."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import tiny_layers
from scipy.signal import correlate2d

few = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 6)

# conv1_2 makes the second block's input depend on neighbours; 7x5 meets odd pooling at both pools.
SHAPE = (7, 5, 3)
TERMS = {
    "content_weight": 5.0,
    "style_weight": 500.0,
    "tv_weight": 100.0,
    "shift_weight": 300.0,
    "histogram_weight": 50.0,
}


def problem(seed, pooling, **weights):
    """objective()'s arguments, positional and named: (layers, x, content, styles), {...}."""
    rng = np.random.default_rng(seed)
    layers = tiny_layers((2, 1), (4, 5))
    x, content = rng.normal(0, 50, (2, *SHAPE))
    styles = [rng.normal(0, 50, (6, 9, 3)), rng.normal(0, 50, (3, 4, 3))]
    rest = {
        "content_layers": {"relu1_2": 0.3, "pool2": 0.9, "conv1_1a": 0},
        "style_layers": {"relu1_1": 0.2, "conv1_2": 0.5, "relu2_1": 0.7},
        "shift_layers": {"relu1_1": 0.6, "relu2_1": 0.3, "conv1_1a": 0},
        "shifts": [1, 2, 4, 6],  # 4 and 6 do not fit everywhere
        "histogram_layers": {"conv1_1": 0.4, "relu2_1": 0.8, "conv1_1a": 0},
        "blend": [0.25, 0.75],
        "pooling": pooling,
    }
    return (layers, x, content, styles), rest | weights


def pieces(layers, x, pooling):
    """Which ReLUs are open, who wins the max pools, the values' ranks: the smooth piece that x lies in."""
    seen = reference.features(layers, x, pooling)
    signs = [seen[name] > 0 for name, kind, _, _ in layers if kind == "conv"]
    winners = [reference.windows(seen[n], -np.inf).argmax(axis=2) for n in ("relu1_2", "relu2_1")]
    maps = [seen[n].reshape(-1, seen[n].shape[-1]) for n in ("conv1_1", "relu2_1")]
    orders = [np.argsort(flat, axis=0, kind="stable") for flat in maps]
    return np.concatenate([a.ravel() for a in (*signs, *(winners if pooling == "max" else ()), *orders)])


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("relative", [(), ("content", "style", "tv")], ids=["means", "relative"])
def test_gradient_is_the_slope_of_the_objective_along_directions_and_pixels(pooling, relative):
    (layers, x, content, styles), rest = problem(3, pooling, **TERMS, relative=relative)
    found = reference.gradient(layers, x, content, styles, **rest)
    step = 1e-3
    random = np.random.default_rng(4).normal(size=(5, *SHAPE))
    for direction in (*random, *np.eye(x.size).reshape(-1, *SHAPE)[::4]):
        ahead, behind = x + step * direction, x - step * direction
        assert np.array_equal(pieces(layers, ahead, pooling), pieces(layers, behind, pooling)), "a kink"
        rise = [reference.objective(layers, p, content, styles, **rest)["total"] for p in (ahead, behind)]
        slope = (rise[0] - rise[1]) / (2 * step)
        # The absolute part is for pixels with almost no slope, where the difference is only rounding.
        limit = 1e-8 * np.linalg.norm(found)
        assert np.sum(found * direction) == pytest.approx(slope, rel=1e-6, abs=limit)


def test_objective_by_hand_on_a_network_that_is_one_relu():
    flat = np.ones((2, 2, 3))
    x = np.stack([np.full((2, 3), -1.0), np.full((2, 3), 3.0)])  # relu: 0 above, 3 below
    images = [("relu", "relu", None, None)], x, flat, [2 * flat, 0 * flat]
    rest = {
        "content_layers": {"relu": 0.5}, "style_layers": {"relu": 0.25}, "blend": [0.75, 0.25],
        "content_weight": 4, "style_weight": 8, "tv_weight": 10, "pooling": "avg",
    }  # fmt: skip
    terms = reference.objective(*images, **rest)
    assert terms["content"] == pytest.approx(4 * 0.5 * (1 + 4) / 2)
    # Gram entries: x (9 + 9) / 12 = 3/2, first style 4 * 4 / 12 = 4/3, second style 0.
    assert terms["style"] == pytest.approx(8 * 0.25 * (0.75 * (1 / 6) ** 2 + 0.25 * 1.5**2))
    assert terms["tv"] == pytest.approx(10 * 4**2)
    assert terms["total"] == pytest.approx(terms["content"] + terms["style"] + terms["tv"])
    relative = reference.objective(*images, **rest, relative=("content", "style", "tv"))
    assert relative["content"] == pytest.approx(4 * 0.5 * (1 + 4) / 2)
    # The first style's entries are all 4/3; the second's are 0, so that its mean stays.
    assert relative["style"] == pytest.approx(8 * 0.25 * (0.75 * (1 / 8) ** 2 + 0.25 * 1.5**2))
    assert relative["tv"] == pytest.approx(10 * 4**2 / 255**2)


@few
@given(sides, sides, seeds)
def test_convolution_agrees_with_scipy(h, w, seed):
    rng = np.random.default_rng(seed)
    x, kernel, bias = rng.normal(size=(h, w, 2)), rng.normal(size=(3, 3, 2, 4)), rng.normal(size=4)
    for o, plane in enumerate(np.moveaxis(reference.conv(x, kernel, bias), -1, 0)):
        # "full" has one row and column more on every side than zero padding "same".
        whole = sum(correlate2d(x[..., i], kernel[..., i, o], mode="full") for i in range(2))
        assert plane == pytest.approx(whole[1:-1, 1:-1] + bias[o], abs=1e-12)


@pytest.mark.parametrize(
    ("pooling", "x", "pooled"),
    [
        ("max", [[1, 2, 5, 6], [3, 4, 8, 7]], [[4, 8]]),
        ("avg", [[1, 2, 5, 6], [3, 4, 8, 7]], [[2.5, 6.5]]),
        ("max", [[-1, -2, -3], [-4, -5, -6], [-7, -8, -9]], [[-1, -3], [-7, -9]]),
        ("avg", [[1, 2, 3], [4, 5, 6], [7, 8, 9]], [[3, 4.5], [7.5, 9]]),
        ("max", [[-3]], [[-3]]),
        ("avg", [[-3]], [[-3]]),
    ],
)
def test_pooling_by_hand(pooling, x, pooled):
    assert reference.pool(np.array(x, float)[..., None], pooling)[..., 0].tolist() == pooled


@pytest.mark.parametrize(
    ("values", "style", "matched"),
    [
        ([3, 1, 2], [10, 30, 20], [30, 10, 20]),
        ([3, 1, 2], [10, 50], [50, 10, 30]),
        ([2, 1], [10, 20, 50], [50, 10]),
        ([3, 1, 2, 4], [9, 0, 6, 30, 3], [8, 0, 4, 30]),  # at ranks 8/3, 0, 4/3 and 4 of 0 3 6 9 30
        ([5, 5, 1], [1, 2, 3], [2, 3, 1]),  # equal values keep their order
        ([7], [4, 2, 3], [2]),
        ([2, 3, 1], [8], [8, 8, 8]),
    ],
)
def test_histogram_matching_by_hand(values, style, matched):
    F, S = np.array(values, float)[None, :, None], np.array(style, float)[:, None, None]
    assert reference.match_histogram(F, S)[0, :, 0] == pytest.approx(np.array(matched, float))
