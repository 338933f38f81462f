"""The optimisation against the float64 model in reference.py, and the rules of the run."""

import dataclasses
import itertools

import numpy as np
import pytest
import reference
import scipy.optimize
import tensorflow as tf
from networks import MEAN_PIXEL, tiny_layers, write_mat

import vgg
from styling import images
from styling.errors import DivergedError, ImageError, MemoryLimitError, NetworkError, SettingsError
from styling.settings import STYLE_LAYERS, Settings
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
    "shift": Settings(shift_weight=900, shifts=(1, 3), style_layer_weight_exp=2),
    "shift alone": Settings(
        content_weight=0, style_weight=0, shift_weight=7, shift_layers={"relu2_1": 1, "relu5_1": 30}
    ),
    "histogram": Settings(histogram_weight=4, style_blend_weights=(1, 2), pooling="max"),
    "histogram alone": Settings(
        content_weight=0, style_weight=0, histogram_weight=2, histogram_layers=("pool1", "relu3_2")
    ),
    "normalized": Settings(normalize=True),
    "everything": Settings(
        normalize=True, pooling="max", shift_weight=30, histogram_weight=20, style_blend_weights=(1, 3)
    ),
}


def random_image(height, width, seed):
    return np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)


@pytest.fixture
def network(network_file):
    return vgg.load(network_file)


def prepared(image):
    return image.astype(np.float64) - MEAN_PIXEL


def reference_arguments(content, styles, run):
    """The arguments that reference.objective and reference.gradient share, with the network first."""
    layers, styles = tiny_layers(), [prepared(style) for style in styles]
    content = None if content is None else prepared(content)
    if run.normalize:
        seen = [image for image in (content, *styles) if image is not None]
        layers = reference.normalized(layers, seen, run.pooling)
    return {
        "layers": layers,
        "content": np.zeros((16, 16, 3)) if content is None else content,
        "styles": styles,
        "content_layers": run.layer_weights("content"),
        "style_layers": run.layer_weights("style"),
        "blend": reference.blend_weights(run.style_blend_weights or (1,) * len(styles)),
        "content_weight": run.content_weight,
        "style_weight": run.style_weight,
        "tv_weight": run.tv_weight,
        "pooling": run.pooling,
        "shift_weight": run.shift_weight,
        "shift_layers": run.layer_weights("shift"),
        "shifts": run.shifts,
        "histogram_weight": run.histogram_weight,
        "histogram_layers": run.layer_weights("histogram"),
    }


def assert_model(objective, image, arguments):
    """Hold an objective's terms and gradient at an image to the reference model's; returns the terms."""
    x = objective.network.preprocess(image)
    with tf.GradientTape() as tape:
        tape.watch(x)
        terms = objective(x)
    gradient = tape.gradient(terms["total"], x)[0]

    at = x[0].numpy().astype(np.float64)
    expected = reference.objective(x=at, **arguments)
    assert terms.keys() == expected.keys()
    for name in expected:
        assert np.isclose(terms[name], expected[name], rtol=3e-5), name
    expected = reference.gradient(x=at, **arguments)
    assert np.abs(gradient - expected).max() < 2e-4 * np.abs(expected).max()
    return terms


@pytest.mark.parametrize("run", CASES.values(), ids=CASES.keys())
def test_losses_and_gradient_are_the_reference_models(network, run):
    content, styles = random_image(19, 22, 1), [random_image(17, 24, 2), random_image(20, 16, 3)]
    objective = build_objective(content, styles, network, run)
    terms = assert_model(objective, random_image(19, 22, 4), reference_arguments(content, styles, run))
    assert tuple(terms) == run.losses


def test_without_content_or_without_styles_the_rest_is_the_reference_models(network):
    content, styles, x = random_image(17, 24, 1), [random_image(20, 16, 2)], random_image(17, 24, 3)
    for normalize in (False, True):
        run = Settings(content_weight=0, shift_weight=5, histogram_weight=3, normalize=normalize)
        objective = build_objective(None, styles, network, run, (17, 24))
        assert_model(objective, x, reference_arguments(None, styles, run))
        run = Settings(style_weight=0, normalize=normalize)
        objective = build_objective(content, [], network, run)
        arguments = reference_arguments(content, styles, run) | {"styles": [], "blend": []}
        if normalize:
            arguments["layers"] = reference.normalized(tiny_layers(), [prepared(content)], "avg")
        assert_model(objective, x, arguments)


@pytest.mark.parametrize("divisor", ["size", "positions", "none"])
def test_sums_and_divisors_are_the_reference_model_with_other_weights(network, divisor):
    run = Settings(
        content_layers=("relu2_2", "relu4_2"),
        style_layers={"relu1_1": 3, "relu3_1": 1},
        content_reduction="sum",
        style_reduction="sum",
        tv_reduction="sum",
        gram_divisor=divisor,
    )
    # In a square there are as many vertical differences as horizontal ones, 20 * 19 * 3.
    content, styles = random_image(20, 20, 1), [random_image(17, 24, 2), random_image(20, 16, 3)]
    arguments = reference_arguments(content, styles, run)
    sizes = {name: F.shape for name, F in reference.features(tiny_layers(), content, "avg").items()}
    # A Gram matrix over h*w*C times this is the one that the divisor makes.
    factors = {
        name: {"size": 1, "positions": C, "none": h * w * C}[divisor] for name, (h, w, C) in sizes.items()
    }
    arguments["content_layers"] = {name: 0.5 * np.prod(sizes[name]) for name in run.content_layers}
    arguments["style_layers"] = {
        name: weight * (factors[name] * sizes[name][2]) ** 2 for name, weight in run.style_layers.items()
    }
    arguments["tv_weight"] *= 20 * 19 * 3
    assert_model(build_objective(content, styles, network, run), random_image(20, 20, 4), arguments)


# The path.


def path_of(arguments, initial, run):
    """The iterates of a run, preprocessed, by the reference model."""
    clip = (-MEAN_PIXEL, 255 - MEAN_PIXEL) if run.clip else None

    def gradient_at(x):
        return reference.gradient(x=x, **arguments)

    start, values = prepared(initial), {"learning_rate": run.learning_rate}
    if run.optimizer == "adam":
        values |= {"beta1": run.beta1, "beta2": run.beta2, "eps": run.eps}
        return reference.adam(start, gradient_at, run.iterations, **values)
    if run.optimizer == "normalized-gradient-descent":
        values |= {"normalized": True, "eps": run.eps}
    return reference.gradient_descent(start, gradient_at, run.iterations, clip=clip, **values)


@pytest.mark.parametrize(
    "run",
    [
        Settings(iterations=6, eps=1.0, learning_rate=3),  # a large eps keeps rounding from being amplified
        Settings(iterations=6, optimizer="gradient-descent", learning_rate=3e-4),
        Settings(iterations=6, optimizer="normalized-gradient-descent", learning_rate=20, clip=True),
    ],
    ids=lambda run: run.optimizer,
)
def test_a_run_takes_the_reference_models_path(network, run):
    content, styles, initial = random_image(18, 20, 1), [random_image(18, 20, 2)], random_image(18, 20, 3)
    arguments = reference_arguments(content, styles, run)
    path = path_of(arguments, initial, run)
    assert np.abs(path[-1] - path[0]).mean() > 1, "the case must be one in which something happens"
    steps = list(stylize(content, styles, network, run, initial))
    assert [step.iteration for step in steps] == list(range(7))
    for step, x in zip(steps, path, strict=True):
        expected = reference.objective(x=x, **arguments)
        assert np.isclose(step.losses()["total"], expected["total"], rtol=1e-4)
        assert np.abs(step.image() - np.clip(x + MEAN_PIXEL, 0, 255)).max() < 0.02


@pytest.mark.parametrize("clip", [False, True])
def test_lbfgs_comes_as_far_as_scipy_with_the_reference_model(network, clip):
    run = Settings(iterations=5, optimizer="lbfgs-b", clip=clip)
    content, styles, initial = random_image(18, 20, 1), [random_image(18, 20, 2)], random_image(18, 20, 3)
    arguments = reference_arguments(content, styles, run)

    def evaluate(flat):
        x = flat.reshape(18, 20, 3)
        total = reference.objective(x=x, **arguments)["total"]
        return total, reference.gradient(x=x, **arguments).ravel()

    low, high = np.tile(-MEAN_PIXEL, 18 * 20), np.tile(255 - MEAN_PIXEL, 18 * 20)
    totals = [evaluate(prepared(initial).ravel())[0]]
    scipy.optimize.minimize(
        evaluate,
        prepared(initial).ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=scipy.optimize.Bounds(low, high) if clip else None,
        callback=lambda flat: totals.append(evaluate(flat)[0]),
        options={"maxiter": 5},
    )
    steps = list(stylize(content, styles, network, run, initial))
    assert [step.losses()["total"] for step in steps] == pytest.approx(totals, rel=2e-3)
    for step in steps if clip else []:
        # Were a pixel outside, it would be clipped in the image, whose loss would be another.
        total = reference.objective(x=prepared(step.image()), **arguments)["total"]
        assert total == pytest.approx(step.losses()["total"], rel=1e-4)


def test_a_run_ends_before_its_last_iteration_where_there_is_no_lower_loss(network):
    run = Settings(iterations=5000, optimizer="lbfgs-b", content_weight=0, style_weight=0, width=6, height=5)
    *_, last = stylize(None, [], network, run)
    assert 0 < last.iteration < 5000
    assert last.losses()["total"] < 1e-6  # smoothness alone ends in one colour
    assert last.result().shape == (5, 6, 3) and np.ptp(last.result(), axis=(0, 1)).max() < 0.1


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


def test_uniform_noise(network):
    content = random_image(16, 20, 1)
    run = Settings(seed=7, noise="uniform")
    image = first_image(content, network, run)
    assert image.min() > 127.99 and image.max() < 129.01 and 0.2 < image.std() < 0.4
    half = first_image(content, network, dataclasses.replace(run, initial_noiseblend=0.5))
    assert np.allclose(half, (content + image) / 2, atol=1e-3)


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


def test_the_best_of_all_is_any_image_but_the_start(network):
    run = Settings(iterations=12, best_of_all=True, learning_rate=20, beta1=0.99, tv_weight=0)
    content, style = random_image(16, 16, 1), random_image(16, 16, 2)
    steps = list(stylize(content, [style], network, run, initial=content))
    totals = [step.losses()["total"] for step in steps]
    best = totals.index(min(totals[1:]))
    assert best < 12, "the case must be one in which the end is not the best"
    for step in steps[1:]:
        lowest = min(range(1, step.iteration + 1), key=totals.__getitem__)
        assert np.array_equal(step.result(), steps[lowest].image())
    assert np.array_equal(steps[0].result(), steps[0].image())


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


def test_sizes_without_content(network):
    style, other = random_image(24, 40, 1), random_image(16, 16, 2)

    def size(run, styles=(style, other)):
        return next(stylize(None, styles, network, run)).image().shape[:2]

    alone = Settings(content_weight=0)
    assert size(alone) == (24, 40)
    assert size(dataclasses.replace(alone, width=20)) == (12, 20)
    assert size(dataclasses.replace(alone, width=20, height=33)) == (33, 20)
    assert size(Settings(content_weight=0, style_weight=0, width=5, height=7), []) == (7, 5)


# Errors.


def test_a_layer_of_weight_0_is_not_needed(tmp_path):
    shallow = list(itertools.takewhile(lambda layer: layer[0] != "conv4_3", tiny_layers()))
    network = vgg.load(write_mat(tmp_path / "shallow.mat", shallow, fully_connected=False))
    content = random_image(16, 16, 1)
    layers = {"relu1_1": 1.0, "relu4_1": 1.0}
    assert next(
        stylize(content, [content], network, Settings(style_layers=dict.fromkeys(STYLE_LAYERS, 0.0) | layers))
    ).losses()
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
    with pytest.raises(SettingsError, match="content"):
        stylize(None, [content], network, Settings())
    with pytest.raises(SettingsError, match="styles"):
        stylize(content, [], network, Settings())
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


def test_a_single_pixel_has_a_gradient_of_zero(network):
    run = Settings(content_weight=0, style_weight=0, width=1, height=1, iterations=2, seed=1)
    first, *_, last = stylize(None, [], network, run)
    assert last.losses()["total"] == 0 and np.array_equal(first.image(), last.image())
