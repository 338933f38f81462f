"""The NumPy model held against something that is independent of it: SciPy, finite differences, hand sums."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d

few = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 6)

# conv1_2 makes the second block's input depend on neighbours; 7x5 meets odd pooling at both pools.
SHAPE = (7, 5, 3)
TERMS = {"content_weight": 5.0, "style_weight": 500.0, "tv_weight": 100.0}


def network(rng):
    """Two blocks of conv, relu, pool, 3 -> 4 -> 5 -> 6 channels, with random kernels and biases."""
    layers = []
    for block, number, before, after in ((1, 1, 3, 4), (1, 2, 4, 5), (2, 1, 5, 6)):
        kernel = rng.normal(0, np.sqrt(2 / (9 * before)), (3, 3, before, after))
        layers.append((f"conv{block}_{number}", "conv", kernel, rng.normal(0, 5, after)))
        layers.append((f"relu{block}_{number}", "relu", None, None))
        if (block, number) != (1, 1):
            layers.append((f"pool{block}", "pool", None, None))
    return layers


def problem(seed, pooling, **weights):
    """objective()'s arguments, positional and named: (layers, x, content, styles), {...}."""
    rng = np.random.default_rng(seed)
    layers = network(rng)
    x, content = rng.normal(0, 50, (2, *SHAPE))
    styles = [rng.normal(0, 50, (6, 9, 3)), rng.normal(0, 50, (3, 4, 3))]
    rest = {
        "content_layers": {"relu1_2": 0.3, "pool2": 0.9, "absent": 0},
        "style_layers": {"relu1_1": 0.2, "conv1_2": 0.5, "relu2_1": 0.7},
        "blend": [0.25, 0.75],
        "pooling": pooling,
    }
    return (layers, x, content, styles), rest | weights


def pieces(layers, x, pooling):
    """Which ReLUs are open and which positions win the max pools: the smooth piece that x lies in."""
    seen = reference.features(layers, x, pooling)
    signs = [seen[name] > 0 for name, kind, _, _ in layers if kind == "conv"]
    winners = [reference.windows(seen[n], -np.inf).argmax(axis=2) for n in ("relu1_2", "relu2_1")]
    return np.concatenate([a.ravel() for a in (*signs, *(winners if pooling == "max" else ()))])


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("kept", [*([term] for term in TERMS), list(TERMS)], ids="-".join)
def test_gradient_is_the_slope_of_the_objective_along_every_pixel_and_random_directions(pooling, kept):
    weights = {term: value * (term in kept) for term, value in TERMS.items()}
    (layers, x, content, styles), rest = problem(3, pooling, **weights)
    found = reference.gradient(layers, x, content, styles, **rest)
    random = np.random.default_rng(4).normal(size=(5, *SHAPE))
    step = 1e-3
    for direction in (*np.eye(x.size).reshape(-1, *SHAPE), *random):
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
    terms = reference.objective(
        [("relu", "relu", None, None)], x, flat, [2 * flat, 0 * flat],
        content_layers={"relu": 0.5}, style_layers={"relu": 0.25}, blend=[0.75, 0.25],
        content_weight=4, style_weight=8, tv_weight=10, pooling="avg",
    )  # fmt: skip
    assert terms["content"] == pytest.approx(4 * 0.5 * (1 + 4) / 2)
    # Gram entries: x (9 + 9) / 12 = 3/2, first style 4 * 4 / 12 = 4/3, second style 0.
    assert terms["style"] == pytest.approx(8 * 0.25 * (0.75 * (1 / 6) ** 2 + 0.25 * 1.5**2))
    assert terms["tv"] == pytest.approx(10 * 4**2)
    assert terms["total"] == pytest.approx(terms["content"] + terms["style"] + terms["tv"])


def test_an_image_that_is_its_own_content_and_style_costs_nothing_and_pulls_nowhere():
    (layers, x, _, _), rest = problem(5, "max", content_weight=5, style_weight=500, tv_weight=0)
    rest["blend"] = [1]
    assert reference.objective(layers, x, x, [x], **rest)["total"] == 0
    assert not reference.gradient(layers, x, x, [x], **rest).any()


@few
@given(sides, sides, st.floats(-128, 255))
def test_a_constant_image_has_no_total_variation_at_any_size(h, w, value):
    x = np.full((h, w, 3), value)
    weights = {"content_weight": 0, "style_weight": 0, "tv_weight": 100}
    (layers, _, _, styles), rest = problem(6, "avg", **weights)
    assert reference.objective(layers, x, x, styles, **rest)["tv"] == 0
    assert not reference.gradient(layers, x, x, styles, **rest).any()


def test_a_side_of_one_pixel_has_no_differences():
    weights = {"content_weight": 0, "style_weight": 0, "tv_weight": 2}
    (layers, _, _, styles), rest = problem(6, "avg", **weights)
    row = np.array([0.0, 1.0, 4.0])[None, :, None] * np.ones(3)  # differences 1 and 3, mean square 5
    for x in (row, row.transpose(1, 0, 2)):
        assert reference.objective(layers, x, x, styles, **rest)["tv"] == pytest.approx(2 * 5)
        slopes = reference.gradient(layers, x, x, styles, **rest).reshape(3, 3)[:, 0]
        assert slopes == pytest.approx(2 * 2 / 6 * np.array([-1, 1 - 3, 3]))


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


def test_pooling_gradient_by_hand():
    x = np.array([[7, 7, 0], [7, 7, 0], [1, 2, -1]], float)[..., None]
    dy = np.array([[4, 10], [6, 3]], float)[..., None]
    to_first = [[4, 0, 10], [0, 0, 0], [0, 6, 3]]  # ties go to the first maximum in row-major order
    shared = [[1, 1, 5], [1, 1, 5], [3, 3, 3]]
    assert reference.pool_gradient(x, dy, "max")[..., 0].tolist() == to_first
    assert reference.pool_gradient(x, dy, "avg")[..., 0].tolist() == shared


@few
@given(sides, sides, sides, seeds)
def test_gram_is_the_double_loop_over_channels(h, w, channels, seed):
    F = np.random.default_rng(seed).normal(size=(h, w, channels))
    G = reference.gram(F)
    assert G.shape == (channels, channels)
    for i in range(channels):
        for j in range(channels):
            assert G[i, j] == pytest.approx(np.sum(F[..., i] * F[..., j]) / (h * w * channels))


def test_weights_by_hand():
    assert reference.style_layer_weights(3, 2) == pytest.approx(np.array([1, 2, 4]) / 7)
    assert reference.style_layer_weights(5, 1) == pytest.approx(np.full(5, 0.2))
    assert reference.style_layer_weights(4, 0) == pytest.approx(np.array([1, 0, 0, 0]))
    assert reference.blend_weights([1, 3]) == pytest.approx(np.array([0.25, 0.75]))


def test_first_adam_update_is_the_learning_rate_against_the_sign():
    g = np.array([1e3, -1e5, 1e7])
    x0, x1 = reference.adam(np.zeros(3), lambda x: g, 1, learning_rate=10, beta1=0.9, beta2=0.999, eps=1e-8)
    assert not x0.any()
    assert x1 == pytest.approx(-10 * np.sign(g))


def test_adam_by_hand():
    # Gradient 2 at x = 0 gives m 1, v 1; gradient 4 elsewhere gives m 2.5, v 4.75; eps 1 shows its place.
    slope = {0.0: 2.0, -0.5: 4.0}
    path = reference.adam(0.0, lambda x: slope[float(x)], 2, learning_rate=1, beta1=0.5, beta2=0.75, eps=1)
    second = np.sqrt(1 - 0.75**2) / (1 - 0.5**2) * 2.5 / (np.sqrt(4.75) + 1)
    assert [float(x) for x in path] == pytest.approx([0, -0.5, -0.5 - second])


def test_start_by_hand():
    initial, noise = np.full((2, 3, 3), 10.0), np.full((2, 3, 3), -2.0)
    assert (reference.initial_image(initial, noise, 0) == initial).all()
    assert reference.initial_image(initial, noise, 1) == pytest.approx(0.256 * noise)
    assert reference.initial_image(initial, noise, 0.25) == pytest.approx(7.5 - 0.128 + 0 * noise)


@few
@given(sides, sides, seeds)
def test_keeping_colours_of_gray_images_leaves_the_luma(h, w, seed):
    result, content = np.random.default_rng(seed).uniform(0, 255, (2, h, w, 1)) * np.ones(3)
    assert reference.keep_colors(result, content) == pytest.approx(result)


@few
@given(sides, sides, seeds)
def test_keeping_colours_moves_the_content_along_gray_to_the_luma_of_the_result(h, w, seed):
    # Equal chroma means equal B - Y and R - Y, so that all three channels move by the difference in luma.
    result, content = np.random.default_rng(seed).uniform(0, 255, (2, h, w, 3))
    luma = [0.299 * i[..., 0] + 0.587 * i[..., 1] + 0.114 * i[..., 2] for i in (result, content)]
    moved = content + (luma[0] - luma[1])[..., None]
    assert reference.keep_colors(result, content) == pytest.approx(np.clip(moved, 0, 255), abs=1e-9)
