"""The optimisation against the float64 model in reference.py, and the rules of the run."""

import dataclasses
import itertools

import numpy as np
import pytest
import reference
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import MEAN_PIXEL, tiny_layers, write_mat

import vgg
from styling import images, losses
from styling.errors import DivergedError, ImageError, MemoryLimitError, NetworkError, SettingsError
from styling.optimizers import adam
from styling.settings import Settings
from stylize import build_objective, stylize

CASES = {
    "defaults": Settings(),
    "max": Settings(pooling="max", style_layer_weight_exp=0.5, content_weight_blend=0.3),
    "layers": Settings(
        content_layers={"relu1_2": 2, "relu3_1": 0.5}, style_layers={"relu1_1": 1, "pool2": 3}
    ),
    "blend": Settings(style_blend_weights=(3, 1), tv_weight=0),
    "style alone": Settings(content_weight=0, style_blend_weights=(0, 1)),
    "content alone": Settings(style_weight=0),
    "smoothness alone": Settings(style_weight=0, content_weight=0),
}


def random_image(height, width, seed):
    return np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)


@pytest.fixture
def network(network_file):
    return vgg.load(network_file)


def reference_arguments(content, styles, run):
    """The arguments that reference.objective and reference.gradient share."""
    prepared = [style.astype(np.float64) - MEAN_PIXEL for style in styles]
    return {
        "content": content.astype(np.float64) - MEAN_PIXEL,
        "styles": prepared,
        "content_layers": run.layer_weights("content"),
        "style_layers": run.layer_weights("style"),
        "blend": reference.blend_weights(run.style_blend_weights or (1,) * len(styles)),
        "content_weight": run.content_weight,
        "style_weight": run.style_weight,
        "tv_weight": run.tv_weight,
        "pooling": run.pooling,
    }


@pytest.mark.parametrize("run", CASES.values(), ids=CASES.keys())
def test_losses_and_gradient_are_the_reference_models(network, run):
    content, styles = random_image(19, 22, 1), [random_image(17, 24, 2), random_image(20, 16, 3)]
    x = network.preprocess(random_image(19, 22, 4))
    with tf.GradientTape() as tape:
        tape.watch(x)
        terms = build_objective(content, styles, network, run)(x)
    gradient = tape.gradient(terms["total"], x)[0]

    arguments = reference_arguments(content, styles, run)
    expected = reference.objective(tiny_layers(), x[0].numpy().astype(np.float64), **arguments)
    for name in ("content", "style", "tv", "total"):
        assert np.isclose(terms[name], expected[name], rtol=2e-5), name
    expected = reference.gradient(tiny_layers(), x[0].numpy().astype(np.float64), **arguments)
    assert np.abs(gradient - expected).max() < 2e-4 * np.abs(expected).max()


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.randoms(use_true_random=False))
def test_a_gram_matrix_forgets_positions(height, width, channels, random):
    features = np.random.default_rng(random.randrange(2**32)).normal(size=(height * width, channels))
    shuffled = features[random.sample(range(height * width), height * width)]
    a, b = (
        losses.gram(tf.constant(f.reshape(1, height, width, channels), tf.float32))
        for f in (features, shuffled)
    )
    assert np.allclose(a, b, atol=1e-5)
    assert np.allclose(a, reference.gram(features.reshape(height, width, channels)), atol=1e-5)


def test_a_single_pixel_has_no_variation():
    assert losses.total_variation(tf.ones([1, 1, 1, 3])) == 0
    assert losses.total_variation(tf.constant([[[[0.0, 0, 0]], [[3.0, 3, 3]]]])) == 9


def test_adam_takes_the_reference_models_steps():
    values = {"learning_rate": 0.7, "beta1": 0.8, "beta2": 0.99, "eps": 1e-3}
    curvature = np.array([1, 10, 100.0])
    expected = reference.adam(np.array([3, -2, 1.0]), lambda x: curvature * x, 25, **values)
    optimizer = adam(**values)
    x = tf.constant([3, -2, 1.0])
    state = optimizer.init(x)
    for point in expected[1:]:
        x, state = optimizer.update(x, tf.constant(curvature, tf.float32) * x, state)
        assert np.allclose(x, point, rtol=1e-4, atol=1e-5)


def test_a_run_takes_the_reference_models_path(network):
    run = Settings(iterations=6, eps=1.0, learning_rate=3)  # a large eps keeps rounding from being amplified
    content, styles, initial = random_image(18, 20, 1), [random_image(18, 20, 2)], random_image(18, 20, 3)
    arguments = reference_arguments(content, styles, run)
    path = reference.adam(
        initial.astype(np.float64) - MEAN_PIXEL,
        lambda x: reference.gradient(tiny_layers(), x, **arguments),
        run.iterations,
        **{name: getattr(run, name) for name in ("learning_rate", "beta1", "beta2", "eps")},
    )
    steps = list(stylize(content, styles, network, run, initial))
    assert [step.iteration for step in steps] == list(range(7))
    for step, x in zip(steps, path, strict=True):
        expected = reference.objective(tiny_layers(), x, **arguments)
        assert np.isclose(step.losses()["total"], expected["total"], rtol=1e-4)
        assert np.abs(step.image() - np.clip(x + MEAN_PIXEL, 0, 255)).max() < 0.02


# The start.


def first_image(content, network, run, initial=None):
    return next(stylize(content, [content], network, run, initial)).image()


def test_starts(network):
    content, other = random_image(16, 20, 1), random_image(16, 20, 2)
    noise = images.noise(16, 20, seed=7)
    mean = MEAN_PIXEL.astype(np.float64)
    for initial, blend, expected_blend in (
        (None, None, 1),
        (None, 0, 0),
        (None, 0.4, 0.4),
        (other, None, 0),
        (other, 0.4, 0.4),
        (other, 1, 1),
    ):
        image = first_image(content, network, Settings(seed=7, initial_noiseblend=blend), initial)
        start = content if initial is None else initial
        expected = reference.initial_image(start - mean, noise / 0.256, expected_blend) + mean
        assert np.allclose(image, np.clip(expected, 0, 255), atol=1e-3), (initial is None, blend)


def test_seeds(network):
    content = random_image(16, 20, 1)
    one, same, other = (first_image(content, network, Settings(seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert not np.array_equal(*(first_image(content, network, Settings()) for _ in range(2)))


# The result.


def test_the_result_is_the_best_of_the_checkpoints_and_the_end(network):
    # Much momentum makes the loss rise and fall, so that the best checkpoint is not the end.
    run = Settings(iterations=12, checkpoint_iterations=5, learning_rate=20, beta1=0.99, tv_weight=0)
    content = random_image(16, 16, 1)
    steps = list(stylize(content, [random_image(16, 16, 2)], network, run, initial=content))
    totals = [step.losses()["total"] for step in steps]
    assert totals[10] < min(totals[5], totals[12]), "the case must be one in which a checkpoint is the best"
    assert min(totals) < totals[10], "the case must be one in which an iteration between is better still"
    assert np.array_equal(steps[12].result(), steps[10].image())
    assert np.array_equal(steps[7].result(), steps[min(5, 7, key=totals.__getitem__)].image())


def test_the_result_without_checkpoints_is_the_last_image(network):
    content = random_image(16, 16, 1)
    *_, last = stylize(content, [content], network, Settings(iterations=5, learning_rate=60, seed=3))
    assert np.array_equal(last.result(), last.image())


def test_keeping_colors(network):
    content, style = random_image(16, 16, 1), random_image(16, 16, 2)
    run = Settings(iterations=3, seed=1)
    *_, plain = stylize(content, [style], network, run)
    *_, kept = stylize(content, [style], network, dataclasses.replace(run, preserve_colors=True))
    assert np.allclose(kept.result(), reference.keep_colors(plain.result(), content), atol=1e-2)


def test_sizes_and_scales(network):
    content, style = random_image(30, 40, 1), random_image(30, 60, 2)
    step = next(stylize(content, [style], network, Settings(width=20, style_scales=(1.5,), seed=1)))
    assert step.image().shape == (15, 20, 3)
    resized = images.resize(content, 15, 20), images.resize(style, 15, 30)
    objective = build_objective(resized[0], [resized[1]], network, Settings())
    expected = objective(network.preprocess(step.image()))
    assert np.isclose(step.losses()["total"], expected["total"], rtol=1e-4)


# Errors.


def test_a_layer_of_weight_0_is_not_needed(tmp_path):
    shallow = list(itertools.takewhile(lambda layer: layer[0] != "conv4_3", tiny_layers()))
    network = vgg.load(write_mat(tmp_path / "shallow.mat", shallow, fully_connected=False))
    content = random_image(16, 16, 1)
    layers = {"relu1_1": 1.0, "relu4_1": 1.0}
    assert next(
        stylize(content, [content], network, Settings(style_layers=layers | {"relu5_1": 0.0}))
    ).losses()
    with pytest.raises(NetworkError, match="relu5_1"):
        stylize(content, [content], network, Settings(style_layers=layers | {"relu5_1": 0.1}))
    with pytest.raises(NetworkError, match="relu5_2"):
        stylize(content, [content], network, Settings(style_layers=layers, content_weight_blend=0.9))


def test_errors_come_at_the_call(network):
    content = random_image(16, 16, 1)
    with pytest.raises(SettingsError, match="style_scales"):
        stylize(content, [content], network, Settings(style_scales=(1, 1)))
    with pytest.raises(SettingsError, match="style_blend_weights"):
        stylize(content, [content], network, Settings(style_blend_weights=(1, 1)))
    with pytest.raises(ImageError, match=r"style 1 would be 0 x 0 .*--style-scales"):
        stylize(content, [content], network, Settings(style_scales=(0.01,)))
    with pytest.raises(ImageError, match=r"\[H, W, 3\], not \[16, 16\]"):
        stylize(content, [content[..., 0]], network)
    with pytest.raises(MemoryLimitError, match=r"--width \d+"):
        stylize(content, [content], network, Settings(width=10**6))
    with pytest.raises(MemoryLimitError, match=r"style 1.*--style-scales"):
        stylize(content, [content], network, Settings(style_scales=(10**5,)))


def test_a_diverging_run_stops_with_the_best_image_before(network):
    content, style = random_image(16, 16, 1), random_image(16, 16, 2)
    # Beside so large an eps Adam is plain gradient descent, which grows step by step until it overflows.
    run = Settings(iterations=60, learning_rate=1e22, eps=1e20, checkpoint_iterations=1, seed=1)
    steps = []
    with pytest.raises(DivergedError, match="--learning-rate") as error:
        steps.extend(stylize(content, [style], network, run))
    best = min(steps[1:], key=lambda step: step.losses()["total"])
    assert np.array_equal(error.value.image, best.image()) and len(steps) == error.value.iteration


def test_a_run_that_diverges_at_once_has_no_image(network):
    content = random_image(16, 16, 1)
    with pytest.raises(DivergedError) as error:
        list(stylize(content, [content], network, Settings(iterations=1, learning_rate=1e30)))
    assert error.value.image is None
