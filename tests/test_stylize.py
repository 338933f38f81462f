"""The optimisation against the float64 model in reference.py, and the rules of the run."""

import dataclasses
import itertools
import shutil
import subprocess

import numpy as np
import pytest
import reference
import scipy.optimize
import tensorflow as tf
from conftest import random_image
from networks import MEAN_PIXEL, network_of, tiny_layers, write_mat
from PIL import Image

import stylize as method
import vgg
from styling.objective.evaluation import evaluation
from styling.optimizers import Adam, Lbfgs, LbfgsB
from styling.pictures import images
from styling.pictures.images import Images
from styling.run import runs
from styling.settings import STYLE_LAYERS, Settings
from styling.system.errors import DivergedError, ImageError, MemoryLimitError, NetworkError, SettingsError
from stylize import build_objective, stylize

FEW = {"style_layers": ("relu1_1",), "content_layers": ("relu1_1",)}  # which are built fast
RELATIVE = dict.fromkeys(("content_reduction", "style_reduction", "tv_reduction"), "relative")
CASES = {
    "defaults": Settings(),
    "max": Settings(pooling="max", style_layer_weight_exp=0.5, content_weight_blend=0.3),
    "layers": Settings(
        content_layers={"relu1_2": 2, "relu3_1": 0.5}, style_layers={"relu1_1": 1, "pool2": 3}
    ),
    "blend": Settings(style_blend_weights=(3, 1), tv_weight=0),
    "smoothness alone": Settings(style_weight=0, content_weight=0),
    "shift alone": Settings(
        content_weight=0, style_weight=0, shift_weight=7, shift_layers={"relu2_1": 1, "relu5_1": 30}
    ),
    "histogram alone": Settings(
        content_weight=0, style_weight=0, histogram_weight=2, histogram_layers=("pool1", "relu3_2")
    ),
    "everything": Settings(
        normalize=True, pooling="max", shift_weight=30, histogram_weight=20, style_blend_weights=(1, 3)
    ),
    # Whatever Gram matrices are divided by, relative losses are the same.
    "relative": Settings(
        **RELATIVE, normalize=True, shift_weight=30, histogram_weight=20, gram_divisor="none"
    ),
}


def prepared(image):
    return image.astype(np.float64) - MEAN_PIXEL


def reference_arguments(content, styles, run):
    """The arguments that reference.objective and reference.gradient share, with the network first."""
    layers, styles = tiny_layers(), [prepared(style) for style in styles]
    content = None if content is None else prepared(content)
    if run.normalize:
        seen = [image for image in (content, *styles) if image is not None]
        layers = reference.normalized(layers, seen, run.pooling)
    names = ("content_weight", "style_weight", "shift_weight", "histogram_weight", "tv_weight")
    terms = ("content", "style", "shift", "histogram")
    return {
        "layers": layers,
        "content": np.zeros((16, 16, 3)) if content is None else content,
        "styles": styles,
        "blend": reference.blend_weights(run.style_blend_weights or (1,) * len(styles)) if styles else [],
        "relative": [t for t in ("content", "style", "tv") if getattr(run, f"{t}_reduction") == "relative"],
        **{f"{term}_layers": run.layer_weights(term) for term in terms},
        **{name: getattr(run, name) for name in (*names, "pooling", "shifts")},
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


def test_fine_structure_of_one_style_goes_with_the_coarse_one_of_another(network):
    content, styles = random_image(24, 32, 1), [random_image(24, 32, 2), random_image(24, 32, 3)]
    x = network.preprocess(random_image(24, 32, 4))
    structure = Settings(style_structure=("fine", "coarse"), style_blend_weights=(1, 3), shift_weight=5)

    def losses_of(styles, run, layers=STYLE_LAYERS):
        layers = dict.fromkeys(layers, 0.2)
        run = dataclasses.replace(run, style_layers=layers, shift_layers=layers)
        return build_objective(content, styles, network, run)(x)

    both = losses_of(styles, structure)
    alone = Settings(shift_weight=5)
    fine = losses_of(styles[:1], alone, ("relu1_1", "relu2_1"))
    coarse = losses_of(styles[1:], alone, ("relu3_1", "relu4_1", "relu5_1"))
    for name in ("style", "shift"):
        np.testing.assert_allclose(both[name], fine[name] + coarse[name], rtol=1e-5)
    every, plain = (
        losses_of(styles, dataclasses.replace(structure, style_structure=of)) for of in (("all", "all"), None)
    )
    assert every == plain


def test_without_content_or_without_styles_the_rest_is_the_reference_models(network):
    content, styles, x = random_image(17, 24, 1), [random_image(20, 16, 2)], random_image(17, 24, 3)
    run = Settings(content_weight=0, shift_weight=5, histogram_weight=3, normalize=True)
    objective = build_objective(None, styles, network, run, (17, 24))
    assert_model(objective, x, reference_arguments(None, styles, run))
    run = Settings(style_weight=0)
    arguments = reference_arguments(content, [], run)
    assert_model(build_objective(content, [], network, run), x, arguments)


def test_where_the_target_is_0_a_relative_loss_is_the_mean():
    # Without biases, an image of the mean pixel has no features at all, and in 8 x 8 its Gram matrices are 0.
    layers = [(*layer, None if bias is None else 0 * bias) for *layer, bias in tiny_layers()]
    network = network_of(layers)
    nothing = np.broadcast_to(MEAN_PIXEL, (20, 24, 3))
    run = Settings(shift_weight=9, histogram_weight=9, tv_weight=0)
    of = nothing, [nothing], network
    x = network.preprocess(random_image(20, 24, 2))
    means, relative = (
        build_objective(*of, dataclasses.replace(run, **changes))(x) for changes in ({}, RELATIVE)
    )
    assert {name: float(loss) for name, loss in relative.items()} == {
        name: pytest.approx(float(loss)) for name, loss in means.items()
    }


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


def smooth_image(height, width, seed):
    """Few colours, none of them near 0 or 255."""
    coarse = np.random.default_rng(seed).uniform(60, 200, (3, 4, 3))
    return images.resize(coarse.astype(np.float32), height, width)


def test_lbfgs_is_lower_than_adam_and_no_higher_than_scipy_for_as_many_evaluations(network):
    run = Settings(style_layers=("relu1_1", "relu2_1", "relu3_1"), content_layers=("relu3_1",))
    compiled = evaluation(build_objective(smooth_image(24, 32, 1), [random_image(24, 24, 2)], network, run))

    def lowest(optimizer):
        totals = []

        def evaluate(x):
            terms, gradient = compiled(x)
            totals.append(float(terms["total"]))
            return terms, gradient

        start = network.preprocess(MEAN_PIXEL + images.noise(24, 32, seed=1))
        next(step for step in optimizer.steps(evaluate, start) if len(totals) >= 40)
        return min(totals[:40])

    ours = lowest(Lbfgs())
    assert ours < lowest(Adam(learning_rate=10))
    assert ours < 1.05 * lowest(LbfgsB())


# Precision.


def test_a_run_in_bfloat16_comes_as_low_as_one_in_float32(network):
    content, style = smooth_image(40, 56, 1), random_image(48, 56, 2)
    of_both = {}
    for precision in ("float32", "bfloat16"):
        layers = Settings(content_layers=("relu2_2",), style_layers=("relu1_1", "relu2_1"))
        changes = {"iterations": 40, "optimizer": "lbfgs", "initial_noiseblend": 0, "precision": precision}
        *_, last = stylize(content, [style], network, dataclasses.replace(layers, **changes))
        exact = build_objective(content, [style], network, layers)(last.state.x)
        assert np.isclose(last.losses()["total"], exact["total"], rtol=0.01)
        of_both[precision] = float(exact["total"])
    assert of_both["bfloat16"] != of_both["float32"]
    assert np.isclose(*of_both.values(), rtol=0.1)  # both go on to fall


@pytest.mark.skipif(not shutil.which("lscpu"), reason="there is no lscpu to tell what the processor has")
def test_the_fastest_precision_is_bfloat16_where_the_processor_has_it(network):
    told = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    has_it = bool({"avx512_bf16", "amx_bf16"} & set(told.split()))
    images = random_image(20, 24, 1), [random_image(20, 24, 2)]
    run = runs.resolve(Images(images[0], tuple(images[1])), network, Settings(precision="fastest"))
    assert run.settings.precision == ("bfloat16" if has_it else "float32")


# Coarse to fine.


@pytest.mark.usefixtures("tiny_scales")
def test_a_coarse_scale_is_a_run_at_its_size_and_the_next_starts_from_its_end_enlarged(network):
    content, style, initial = (smooth_image(24, 32, k) for k in (1, 2, 3))
    run = Settings(iterations=6, learning_rate=2, scales=(0.5, 1), scale_shares=(2, 1))
    steps = list(stylize(content, [style], network, run, initial))
    assert [step.iteration for step in steps] == list(range(7))

    alone = dataclasses.replace(run, iterations=4, width=16, scales=(1,), scale_shares=None)
    coarse = list(stylize(content, [style], network, alone, initial))
    for step, small in zip(steps[:4], coarse[:4], strict=True):
        assert step.losses() == pytest.approx(small.losses(), rel=1e-4)
    for step, small in zip(steps[:5], coarse, strict=True):
        channels = [Image.fromarray(channel) for channel in np.moveaxis(small.image(), -1, 0)]
        large = [np.asarray(channel.resize((32, 24), Image.Resampling.BICUBIC)) for channel in channels]
        assert np.min(large) > 0 and np.max(large) < 255, "the case must be one in which nothing is clipped"
        np.testing.assert_allclose(step.image(), np.stack(large, axis=-1), atol=1e-2)

    assert np.abs(steps[6].image() - steps[4].image()).max() > 1
    objective = build_objective(content, [images.resize(style, 24, 32)], network, run)
    for step in steps[4:]:
        expected = {name: float(loss) for name, loss in objective(network.preprocess(step.image())).items()}
        assert step.losses() == pytest.approx(expected, rel=1e-4)


@pytest.mark.usefixtures("tiny_scales")
@pytest.mark.parametrize("shares", [None, (1, 0, 2), (0, 0, 1)])
def test_every_iteration_of_every_scale_has_a_number_and_a_whole_picture(network, shares):
    content = random_image(18, 22, 1)
    run = Settings(iterations=4, style_weight=0, scales=(0.3, 0.6, 1), scale_shares=shares, seed=1)
    run = dataclasses.replace(run, content_layers=("relu1_1",))
    steps = list(stylize(content, [], network, run))
    assert [step.iteration for step in steps] == list(range(5))
    assert {step.image().shape for step in steps} == {step.result().shape for step in steps} == {(18, 22, 3)}


@pytest.mark.usefixtures("tiny_scales")
def test_no_number_comes_twice_where_a_coarse_scale_ends_early(network):
    run = Settings(iterations=400, optimizer="lbfgs", content_weight=0, style_weight=0, width=6, height=5)
    run = dataclasses.replace(run, scales=(0.5, 1), seed=1)
    numbers = [step.iteration for step in stylize(None, [], network, run)]
    assert numbers[-1] < 400, "the case must be one in which a scale ends early"
    assert numbers == list(range(len(numbers)))


@pytest.mark.usefixtures("tiny_scales")
def test_an_iteration_is_told_before_the_next_is_made(network, monkeypatch):
    made = []

    def counted(objective, **options):
        evaluate = evaluation(objective, **options)
        return lambda x: (made.append(x.shape), evaluate(x))[1]

    monkeypatch.setattr(method, "evaluation", counted)
    run = Settings(iterations=6, style_weight=0, content_layers=("relu1_1",), scales=(0.5, 1), seed=1)
    counts = [len(made) for _ in stylize(random_image(24, 32, 1), [], network, run)]
    # The end of the coarse scale is told as the beginning of the next.
    assert counts == [1, 2, 3, 5, 6, 7, 8]


@pytest.mark.usefixtures("tiny_scales")
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_start_that_was_enlarged_is_within_the_bounds_too(network, optimizer):
    # Cubic interpolation overshoots beside the edges of black and white.
    content = np.kron(np.indices((4, 5)).sum(axis=0)[..., None] % 2 * 255, np.ones((8, 8, 3)))
    content = content.astype(np.float32)
    content[..., 2] = 0  # without a colour, the image would be shown in gray
    run = Settings(iterations=4, style_weight=0, tv_weight=0, content_layers=("relu1_1",), clip=True)
    run = dataclasses.replace(run, scales=(0.5, 1), scale_shares=(1, 3), optimizer=optimizer)
    *_, first, _, _, last = stylize(content, [], network, run, initial=255 - content)
    objective = build_objective(content, [], network, run)
    for step in (first, last):
        # Were a pixel outside, it would be clipped in the image, whose loss would be another.
        expected = objective(network.preprocess(step.image()))["total"]
        assert step.losses()["total"] == pytest.approx(float(expected), rel=1e-4), step.iteration


@pytest.mark.usefixtures("tiny_scales")
@pytest.mark.parametrize("compared", [{"best_of_all": True}, {"checkpoint_iterations": 2}])
def test_the_result_is_the_best_of_the_last_scale(network, compared):
    # The coarse scale starts at no content loss, to which its end, enlarged, does not come back.
    content, style = random_image(24, 24, 1), random_image(24, 24, 2)
    run = Settings(iterations=10, content_weight=500, tv_weight=0, learning_rate=20, beta1=0.99)
    run = dataclasses.replace(run, scales=(0.5, 1), **compared)
    steps = list(stylize(content, [style], network, run, initial=content))
    totals = [step.losses()["total"] for step in steps]
    candidates = range(6, 11, 1 if run.best_of_all else 2)
    best = min(candidates, key=totals.__getitem__)
    assert min(totals[2:5:2]) < totals[best], "the case must be one in which a coarse loss is lower"
    assert np.array_equal(steps[10].result(), steps[best].image())


@pytest.mark.parametrize(("width", "updates"), [(400, {192: 4, 200: 2, 400: 2}), (192, {192: 8})])
def test_no_coarse_scale_has_less_than_192_pixels_on_its_longer_side(network, width, updates):
    content = random_image(30, 40, 1)
    run = Settings(iterations=8, style_weight=0, content_layers=("relu1_1",), width=width, seed=1)
    steps = list(stylize(content, [], network, dataclasses.replace(run, scales=(0.1, 0.25, 0.5, 1))))
    sizes = [(3 * wide // 4, wide) for wide, count in updates.items() for _ in range(count)]
    # What one update leads to is where the next begins.
    assert [step.state.x.shape[1:3] for step in steps] == [*sizes, sizes[-1]]
    pixels = [high * wide for high, wide in sizes]
    assert [step.pixels_left for step in steps] == [sum(pixels[i:]) for i in range(9)]


# The start.


def first_image(content, network, run, initial=None):
    return next(stylize(content, [content], network, dataclasses.replace(run, **FEW), initial)).image()


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
        expected = mean + (1 - expected_blend) * (start - mean) + expected_blend * noise
        assert np.allclose(image, np.clip(expected, 0, 255), atol=1e-3), (initial is None, blend)


def test_seeds_and_uniform_noise(network):
    content = random_image(16, 20, 1)
    uniform = first_image(content, network, Settings(seed=7, noise="uniform"))
    np.testing.assert_allclose(uniform, images.uniform_noise(16, 20, seed=7), atol=1e-3)
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


@pytest.mark.usefixtures("tiny_scales")
def test_keeping_colors_at_every_scale(network):
    content, style = random_image(16, 20, 1), random_image(16, 20, 2)
    run = Settings(iterations=4, seed=1, scales=(0.5, 1), **FEW)
    kept = stylize(content, [style], network, dataclasses.replace(run, colors="content"))
    for plain, step in zip(stylize(content, [style], network, run), kept, strict=True):
        assert np.allclose(step.image(), reference.keep_colors(plain.image(), content), atol=1e-2)


def test_a_run_of_images_without_colour_gives_a_picture_without(network):
    gray, other = (images.to_gray(random_image(16, 20, seed)) for seed in (1, 2))
    colourful = random_image(16, 20, 3)
    run = Settings(iterations=3, seed=1, **FEW)
    *_, last = stylize(gray, [other], network, run)
    luma = network.unprocess(last.state.x) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(last.result(), np.stack([luma] * 3, axis=-1), atol=1e-3)
    for content, style, initial in (
        (colourful, other, None),
        (gray, colourful, None),
        (gray, other, colourful),
    ):
        assert not images.is_gray(next(stylize(content, [style], network, run, initial)).image())


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

    alone = Settings(content_weight=0, style_layers=("relu1_1",))
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

    def losses(style_layers, **changes):
        settings = Settings(style_layers=style_layers, **changes)
        return next(stylize(content, [content], network, settings)).losses()

    assert losses(dict.fromkeys(STYLE_LAYERS, 0.0) | layers)
    assert losses(layers | {"relu5_1": 0.0})
    with pytest.raises(NetworkError, match="relu5_1"):
        losses(layers | {"relu5_1": 0.1})
    with pytest.raises(NetworkError, match="relu5_2"):
        losses(layers, content_weight_blend=0.9)


def test_errors_come_at_the_call(network):
    content = random_image(16, 16, 1)
    with pytest.raises(ImageError, match=r"style 1 would be 0 x 0 .*--style-scales"):
        stylize(content, [content], network, Settings(style_scales=(0.01,)))
    with pytest.raises(ImageError, match=r"\[H, W, 3\], not \[16, 16, 2\]"):
        stylize(content, [content[..., :2]], network)
    with pytest.raises(SettingsError, match="content"):
        stylize(None, [content], network, Settings())
    with pytest.raises(MemoryLimitError, match=r"--width \d+"):
        stylize(content, [content], network, Settings(width=10**5))
    for tile, error in ((None, ImageError), (0, MemoryLimitError)):  # with a tile, a huge style is meant
        settings = Settings(style_scales=(5,), width=100, tile=tile)
        with pytest.raises(error, match=r"style 1.*--style-scales"):
            stylize(content, [random_image(4000, 4, 2)], network, settings)


@pytest.mark.usefixtures("tiny_scales")
def test_errors_of_a_coarse_scale_come_at_the_call_too(network):
    content, wide = random_image(16, 16, 1), random_image(2, 40, 2)
    scales = Settings(scales=(0.125, 1))
    assert stylize(content, [content], network, scales)
    with pytest.raises(ImageError, match=r"the picture would be 5 x 0 .*--scales"):
        stylize(wide, [content], network, scales)
    with pytest.raises(ImageError, match=r"style 2 would be 2 x 0 .*--style-scales"):
        stylize(content, [content, wide], network, scales)
    shifted = Settings(shift_weight=1, shifts=(9,), shift_layers=("relu1_1",))
    assert stylize(content, [content], network, shifted)
    with pytest.raises(SettingsError, match="shifts"):
        stylize(content, [content], network, dataclasses.replace(shifted, scales=(0.5, 1)))


def test_a_diverging_run_stops_with_advice_always_at_the_same_iteration(network):
    # Beside so large an eps Adam is plain gradient descent, which grows step by step until it overflows.
    content, style = random_image(16, 16, 1), random_image(16, 16, 2)
    steps = stylize(content, [style], network, Settings(iterations=60, seed=1, learning_rate=1e22, eps=1e20))
    with pytest.raises(DivergedError, match="--learning-rate") as error:
        list(steps)
    assert error.value.iteration == 10


def test_a_single_pixel_has_a_gradient_of_zero(network):
    run = Settings(content_weight=0, style_weight=0, width=1, height=1, iterations=2, seed=1)
    first, *_, last = stylize(None, [], network, run)
    assert last.losses()["total"] == 0 and np.array_equal(first.image(), last.image())
