"""Masks and guides: where styles paint, against the float64 model, by tiles, and by what must not change."""

import dataclasses

import imageio.v3 as iio
import numpy as np
import pytest
import reference
from by_tiles import assert_same_by_tiles
from conftest import random_image, words
from networks import MEAN_PIXEL, tiny_layers

from styling.objective.evaluation import evaluation
from styling.pictures import images, masks
from styling.pictures.images import Images
from styling.run import runs
from styling.settings import Settings
from styling.system.errors import ImageError, SettingsError
from stylize import build_objective, paint, stylize

SIZE = 40, 56
CONTENT, FIRST, SECOND, OTHER = (random_image(40, 56, seed) for seed in range(1, 5))
X = random_image(40, 56, 9)


def ramp(start, end, size=SIZE):
    """A mask that rises from left to right, from 0 at `start` to 1 at `end`, of a width of 1."""
    across = np.clip((np.linspace(0, 1, size[1]) - start) / (end - start), 0, 1)
    return np.tile(across.astype(np.float32), (size[0], 1))


LEFT = np.zeros(SIZE, np.float32)
LEFT[:, :28] = 1
RIGHT = 1 - LEFT
TOP = np.zeros(SIZE, np.float32)
TOP[:24] = 1


def objective_of(network, settings, given):
    run = runs.resolve(given, network, settings)
    (scale,) = run.scales
    own = scale.resized(run.images)
    layout = masks.layout(run.images, run.settings, scale.size, scale.styles)
    return build_objective(own.content, own.styles, network, run.settings, scale.size, layout)


def model(x, run, parts, styles, guides):
    """The terms style and shift. parts: by style, the mask [H, W] that is its share of the picture."""
    layers = tiny_layers()
    of_x = reference.features(layers, x, "avg")
    style = shift = 0
    for part, painting, guide in zip(parts, styles, guides, strict=True):
        of_style = reference.features(layers, painting - MEAN_PIXEL, "avg")
        here, there = reference.shrunk(part, layers), reference.shrunk(guide, layers)
        for layer, weight in run.layer_weights("style").items():
            G, A = (
                reference.guided_gram(of_x[layer], here[layer]),
                reference.guided_gram(of_style[layer], there[layer]),
            )
            style += run.style_weight * part.mean() * weight * np.mean((G - A) ** 2)
        for layer, weight in run.layer_weights("shift").items():
            pairs = [
                (reference.shifted_grams(F[layer] * T, run.shifts), reference.shifted_grams(T, run.shifts))
                for F, T in (
                    (of_x, np.sqrt(here[layer])[..., None]),
                    (of_style, np.sqrt(there[layer])[..., None]),
                )
            ]
            (Gs, n), (As, m) = pairs
            both = [np.mean((Gs[key] / n[key] - As[key] / m[key]) ** 2) for key in Gs]
            shift += run.shift_weight * part.mean() * weight * np.mean(both)
    return style, shift


def test_losses_and_gradient_are_those_of_the_model(network):
    layers = ("relu1_1", "relu2_1", "relu3_1")
    run = Settings(
        content_weight=0, tv_weight=0, style_layers=layers, shift_weight=300, shift_layers=layers[:2],
        shifts=(1, 3), style_blend_weights=(3, 1),
    )  # fmt: skip
    a, b, guide = ramp(0.7, 0.3), ramp(0.4, 0.8), ramp(0.2, 0.6)
    given = Images(CONTENT, (FIRST, SECOND), None, (a, b), (None, guide))
    found, gradient = evaluation(objective_of(network, run, given))(network.preprocess(X))
    painted, blend = np.minimum(a + b, 1), 0.75 * a + 0.25 * b
    parts = [painted * share * mask / np.where(blend > 0, blend, 1) for share, mask in ((0.75, a), (0.25, b))]
    assert sum(parts) == pytest.approx(painted, abs=1e-6)
    of = run, [part.astype(float) for part in parts], (FIRST, SECOND), (np.ones(SIZE), guide.astype(float))
    x = X - MEAN_PIXEL
    style, shift = model(x, *of)
    assert float(found["style"]) == pytest.approx(style, rel=1e-4)
    assert float(found["shift"]) == pytest.approx(shift, rel=1e-4)
    direction = np.random.default_rng(5).normal(size=X.shape) * (painted[..., None] > 0)
    step = 1e-4
    slope = (sum(model(x + step * direction, *of)) - sum(model(x - step * direction, *of))) / (2 * step)
    assert float(np.sum(gradient.numpy()[0] * direction)) == pytest.approx(slope, rel=1e-3)


def test_the_contents_weight_differs_by_region(network):
    run = Settings(style_weight=1, content_layers=("relu3_1",), mask_content_weights=(0.25, 2))
    given = Images(CONTENT, (FIRST, SECOND), None, (ramp(0.7, 0.3), ramp(0.3, 0.7)))
    loss = objective_of(network, run, given)(network.preprocess(X))["content"]
    layers = tiny_layers()
    of_x, of_content = (
        reference.features(layers, image - MEAN_PIXEL, "avg")["relu3_1"] for image in (X, CONTENT)
    )
    weights = reference.shrunk(0.25 * ramp(0.7, 0.3) + 2.0 * ramp(0.3, 0.7), layers)["relu3_1"][..., None]
    assert float(loss) == pytest.approx(5 * np.mean(weights * (of_x - of_content) ** 2), rel=1e-4)


def test_by_tiles_it_is_the_same(network):
    run = Settings(
        mask_content_weights=(1, 3), style_layers=("relu1_1", "relu2_1"), content_layers=("relu2_1",),
        mask_erosion=True, shift_weight=90, shifts=(1, 3), shift_layers=("relu2_1",),
    )  # fmt: skip
    of_styles = (ramp(0.9, 0.1), ramp(0.2, 0.4)), (TOP, None)
    given = masks.checked(Images(random_image(50, 90, 1), (FIRST, SECOND), None, *of_styles, ramp(0.8, 0.9)))
    layout = masks.layout(given, run, (50, 90), [SIZE, SIZE])
    x = network.preprocess(random_image(50, 90, 2))
    assert_same_by_tiles(network, x, run, given.content, given.styles, tile=24, layout=layout)


FEW = Settings(iterations=3, seed=1, style_layers=("relu1_1", "relu2_1"), content_layers=("relu2_1",))


def test_a_white_mask_changes_nothing_and_one_mask_is_for_all(network):
    of = CONTENT, [FIRST, SECOND], network, FEW
    white = np.ones((7, 5), np.float32)
    plain = paint(*of)
    assert np.array_equal(plain, paint(*of, style_masks=[white], style_guides=[None, white]))
    assert np.array_equal(plain, paint(*of, style_masks=[None, white]))
    masked = paint(*of, style_masks=[LEFT])
    assert np.array_equal(masked, paint(*of, style_masks=[LEFT, LEFT]))
    assert not np.array_equal(masked, plain)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs-b"])
def test_the_picture_stays_the_photograph_where_nothing_paints(network, optimizer):
    run = dataclasses.replace(FEW, optimizer=optimizer, mask_feather=0)
    picture = paint(CONTENT, [FIRST], network, run, style_masks=[LEFT], content_mask=TOP)
    stays = (LEFT == 0) | (TOP == 1)
    assert np.array_equal(picture[stays], CONTENT[stays])
    assert np.abs(picture - CONTENT)[~stays].mean() > 20


def test_the_seam_fades_within_its_width_and_only_in_what_is_painted():
    seam = masks.feathered(np.ones(SIZE, np.float32) - RIGHT, 0.2)  # 11 pixels
    assert (seam[:, 28:] == 0).all()
    assert (seam[:, :16] == 1).all()
    assert (np.diff(seam[0]) <= 0).all()
    assert np.diff(seam[0, 17:29]).min() > -0.2


def test_what_is_eroded_knows_nothing_of_the_other_region(network):
    run = dataclasses.replace(FEW, content_weight=0, tv_weight=0, mask_erosion=True)
    with_first, with_other = (
        paint(CONTENT, [style, SECOND], network, run, style_masks=[LEFT, RIGHT]) for style in (FIRST, OTHER)
    )
    assert np.array_equal(with_first[:, 28:], with_other[:, 28:])
    assert not np.array_equal(with_first[:, :28], with_other[:, :28])


def test_a_small_region_is_painted_as_strongly_as_a_large_one(network):
    x = network.preprocess(np.tile(random_image(16, 16, 1), (6, 8, 1)))
    run = Settings(style_layers=("relu1_1",), content_weight=0, tv_weight=0, tile=0)
    pulls = []
    for width in (16, 112):
        mask = np.zeros((96, 128), np.float32)
        mask[:, :width] = 1
        given = Images(random_image(96, 128, 2), (FIRST,), None, (mask,))
        _, gradient = evaluation(objective_of(network, run, given))(x)
        pulls.append(np.abs(gradient[:, :, 4:12]).mean())
    assert pulls[0] == pytest.approx(pulls[1], rel=0.1)


def test_a_region_that_is_too_small_for_a_layer_does_without_it(network):
    dot = np.zeros(SIZE, np.float32)
    dot[8:14, 8:14] = 1
    run = runs.resolve(Images(CONTENT, (FIRST,), None, (dot,)), network, Settings())
    assert run.remarks == ("the mask of style 1 is too small for relu4_1, relu5_1, which does without it",)
    speck = np.zeros(SIZE, np.float32)
    speck[0, 0] = 1
    with pytest.raises(ImageError, match="the mask of style 1 is too small for every layer at 56 x 40"):
        runs.resolve(Images(CONTENT, (FIRST,), None, (speck,)), network, Settings(mask_erosion=True))


@pytest.mark.parametrize(
    ("given", "changes", "flag"),
    [
        ({"style_masks": 3}, {}, "style_masks"),
        ({"style_guides": 3}, {}, "style_guides"),
        ({"style_masks": 1, "content": False}, {"content_weight": 0}, "style_masks"),
        ({}, {"mask_content_weights": (1, 2)}, "mask_content_weights"),
        ({"style_masks": 2}, {"mask_content_weights": (1, 2, 3)}, "mask_content_weights"),
        ({}, {"mask_erosion": True}, "mask_erosion"),
        ({"content_mask": True}, {"histogram_weight": 1}, "histogram_weight"),
    ],
)
def test_what_does_not_go_together(given, changes, flag):
    with pytest.raises(SettingsError) as caught:
        Settings(**changes).check_images(**{"content": True, "styles": 2, "initial": False} | given)
    assert caught.value.name == flag


# Files and the command line.


def test_a_masks_luma_counts_as_far_as_it_is_opaque(tmp_path, caplog):
    levels = np.array([[0, 3, 128, 252, 255]], np.uint8)
    full = np.full_like(levels, 255)
    drawn = {
        "gray": [levels],
        "color": [levels, levels, levels],
        "opaque": [levels, levels, levels, full],
        "white strokes": [full, full, full, levels],
    }
    for name, channels in drawn.items():
        iio.imwrite(tmp_path / f"{name}.png", np.stack(channels, axis=-1) if len(channels) > 1 else levels)
        assert images.read_mask(tmp_path / f"{name}.png") == pytest.approx(
            np.array([[0, 0, 128 / 255, 1, 1]]), abs=1e-6
        ), name
    # One pixel that is not quite opaque does not make the rest a mask of opacity.
    almost = np.stack([levels, levels, levels, full], axis=-1)
    almost[0, 4, 3] = 200
    iio.imwrite(tmp_path / "almost.png", almost)
    assert images.read_mask(tmp_path / "almost.png") == pytest.approx(
        np.array([[0, 0, 128 / 255, 252 / 255, 200 / 255]]), abs=0.02
    )
    assert not caplog.messages
    red = np.zeros((2, 2, 3), np.uint8)
    red[0, :, 0] = 255
    iio.imwrite(tmp_path / "red.png", red)
    assert images.read_mask(tmp_path / "red.png")[0] == pytest.approx([0.299, 0.299], abs=1e-3)
    assert caplog.messages == [
        f"{tmp_path / 'red.png'}: is a mask in colours; what counts is how light they are"
    ]
    iio.imwrite(tmp_path / "black.png", np.stack([0 * levels] * 3 + [levels], axis=-1))
    with pytest.raises(ImageError, match=r"black.png: is a mask with nothing in it"):
        images.read_mask(tmp_path / "black.png")


@pytest.fixture
def folder(folder):
    """The test's folder, with masks of the left half and the right."""
    for name, mask in (("left", LEFT), ("right", RIGHT), ("black", 0 * LEFT)):
        iio.imwrite(folder / f"{name}.png", (mask * 255).astype(np.uint8))
    return folder


GOOD = words("--content content.png --styles style1.png style2.png --network tiny.mat --quiet --seed 1")
GOOD += words("--style-layers relu1_1 relu2_1 --content-layers relu2_1")
MASKED = [*GOOD, *words("--style-masks left.png right.png --style-guides all left.png")]


def test_a_run_with_masks_goes_on_to_the_same_bytes_and_not_with_another_mask(neural_style, folder):
    neural_style(*MASKED, *words("--output whole.png --iterations 6"), check=0)
    neural_style(*MASKED, *words("--output half.png --iterations 3 --save-state run.npz"), check=0)
    go_on = words("--resume run.npz --output rest.png --iterations 6 --quiet --network tiny.mat")
    neural_style(*go_on, check=0)
    assert (folder / "rest.png").read_bytes() == (folder / "whole.png").read_bytes()
    (folder / "left.png").write_bytes((folder / "right.png").read_bytes())
    result = neural_style(*go_on, "--overwrite", check=1)
    assert "left.png: is not the image that --style-masks had" in result.stderr


@pytest.mark.parametrize(
    ("more", "status", "line"),
    [
        ("--style-masks gone.png", 2, "--style-masks: gone.png"),
        ("--style-masks black.png", 1, "black.png: is a mask with nothing in it"),
    ],
)
def test_a_wrong_mask_ends_in_a_line(neural_style, folder, more, status, line):
    result = neural_style(*GOOD, *words(f"--output out.png --iterations 1 {more}"), check=status)
    assert line in result.stderr and result.stderr.count("\n") == 1
    assert not (folder / "out.png").exists()


def test_every_scale_and_colour_goes_with_masks(network):
    run = dataclasses.replace(FEW, scales=(0.5, 1), width=200)
    for name in ("content", "luminance"):
        of = CONTENT, [FIRST], network, dataclasses.replace(run, colors=name)
        *_, last = stylize(*of, style_masks=[LEFT], style_guides=[TOP])
        right = images.resize(CONTENT, 142, 200)[:, 104:]
        assert np.array_equal(last.result()[:, 104:], right), name
