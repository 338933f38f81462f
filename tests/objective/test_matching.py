"""Nearest neighbours and patches: against NumPy models, finite differences, and the whole by tiles."""

import dataclasses

import numpy as np
import pytest
import reference
import tensorflow as tf
from by_tiles import assert_same_by_tiles
from conftest import random_image
from networks import tiny_layers

from styling.objective.evaluation import evaluation
from styling.pictures import masks
from styling.pictures.images import Images
from styling.settings import Settings
from styling.system.errors import ImageError
from stylize import build_objective, paint

ALONE = {"content_weight": 0, "tv_weight": 0, "style_weight": 2}
NEIGHBORS = Settings(
    style_measure="neighbors",
    style_layers={"relu1_2": 1, "relu3_1": 3, "relu4_1": 2},
    match_positions=9999,
    **ALONE,
)
PATCHES = Settings(
    style_measure="patches", style_layers={"relu2_1": 1, "relu3_1": 3}, style_reduction="sum", **ALONE
)
CONTENT, STYLE, PICTURE = (
    random_image(*size, seed) for *size, seed in ((40, 52, 1), (48, 36, 2), (40, 52, 3))
)


def features(image, network):
    return reference.features(tiny_layers(), image.astype(float) - network.mean_pixel, "avg")


def matched(network, settings, x, at=0, styles=(STYLE,), **more):
    return build_objective(CONTENT, styles, network, settings, **more).matched(x, at)


@pytest.mark.parametrize("contrast", [False, True])
def test_neighbors_are_those_of_the_definition_and_contrast_counts_in_the_first_two_blocks(network, contrast):
    run = dataclasses.replace(NEIGHBORS, style_contrast=contrast)
    x = network.preprocess(PICTURE)
    F, S = features(PICTURE, network), features(STYLE, network)
    expected = 0
    for name, weight in run.style_layers.items():
        loss = reference.contrast_loss if contrast and name == "relu1_2" else reference.neighbors_loss
        expected += weight * loss(F[name], S[name])
    assert float(matched(network, run, x)(x)["style"]) == pytest.approx(2 * expected, rel=1e-4)


def test_a_style_counts_at_the_layers_of_its_structure_alone(network):
    x = network.preprocess(PICTURE)
    F, S, C = (features(image, network) for image in (PICTURE, STYLE, CONTENT))
    costs = {
        name: [w * reference.neighbors_loss(F[name], A[name]) for A in (S, C)]
        for name, w in NEIGHBORS.style_layers.items()
    }
    fine, coarse = costs["relu1_2"][0], costs["relu3_1"][1] + costs["relu4_1"][1]
    for styles, structure, expected in (
        ((STYLE,), ("fine",), fine),
        ((STYLE, CONTENT), ("fine", "coarse"), fine + coarse),
    ):
        run = dataclasses.replace(NEIGHBORS, style_structure=structure)
        found = matched(network, run, x, styles=styles)(x)["style"]
        assert float(found) == pytest.approx(2 * expected, rel=1e-4)


def test_hypercolumns_are_found_by_the_photograph_and_compared_with_the_picture(network):
    run = dataclasses.replace(NEIGHBORS, hypercolumn_iterations=5)
    x = network.preprocess(PICTURE)
    columns = []
    for image in (PICTURE, CONTENT, STYLE):
        maps = features(image, network)
        sides = (side // 4 for side in image.shape[:2])
        columns.append(reference.hypercolumns([maps[name] for name in run.style_layers], *sides))
    expected = reference.hypercolumn_loss(*columns)
    assert float(matched(network, run, x)(x)["style"]) == pytest.approx(2 * expected, rel=1e-3)
    by_layers = matched(network, NEIGHBORS, x)(x)["style"]
    assert float(matched(network, run, x, at=5)(x)["style"]) == pytest.approx(float(by_layers))


@pytest.mark.parametrize("settings", [NEIGHBORS, PATCHES], ids=["neighbors", "patches"])
def test_the_gradient_is_that_of_the_loss_while_matches_stand(network, settings):
    x = network.preprocess(PICTURE)
    evaluate = evaluation(matched(network, settings, x))
    _, gradient = evaluate(x)
    direction = tf.constant(np.random.default_rng(4).standard_normal(x.shape), tf.float32)
    ends = [float(evaluate(x + step * direction)[0]["total"]) for step in (-0.02, 0.02)]
    assert (ends[1] - ends[0]) / 0.04 == pytest.approx(float(tf.reduce_sum(gradient * direction)), rel=0.02)


MASK = np.zeros((20, 30), np.float32)
MASK[:, :14] = 1


@pytest.mark.parametrize(
    "settings",
    [
        dataclasses.replace(NEIGHBORS, style_contrast=True),
        dataclasses.replace(NEIGHBORS, hypercolumn_iterations=1, match_positions=50),
        PATCHES,
    ],
    ids=["neighbors", "hypercolumns", "patches"],
)
def test_masks_guides_and_tiles(network, settings):
    """A half that a style paints alone has its loss alone; by tiles all is as in the whole."""
    few = dataclasses.replace(settings, style_layers=tuple(settings.style_layers), width=130)
    images = masks.checked(
        Images(random_image(75, 130, 1), (STYLE, CONTENT), None, (MASK, 1 - MASK), (None, MASK))
    )
    layout = masks.layout(images, few, (75, 130), [(48, 36), (40, 52)])
    x = network.preprocess(random_image(75, 130, 3))
    for at in (0, 1):
        assert_same_by_tiles(
            network, x, few, images.content, images.styles, tile=32, layout=layout, matched=at
        )


def test_only_what_is_guided_is_taken(network):
    """Of a painting that is half red and half blue, a guide to the red half gives a red picture."""
    painting = np.zeros((64, 64, 3), np.float32)
    painting[:, :32, 0], painting[:, 32:, 2] = 220, 220
    painting += random_image(64, 64, 5) / 8
    guide = np.zeros((64, 64), np.float32)
    guide[:, :32] = 1
    run = Settings(
        style_measure="neighbors", style_layers=("relu1_1", "relu2_1"), **ALONE, iterations=30,
        optimizer="lbfgs", initial_noiseblend=0, seed=1,
    )  # fmt: skip
    red, blue = (
        paint(CONTENT, [painting], network, run, style_guides=[each]).mean((0, 1))
        for each in (guide, 1 - guide)
    )
    assert red[0] > red[2] and blue[2] > blue[0]


def test_a_painting_smaller_than_a_patch_is_refused(network):
    with pytest.raises(ImageError, match=r"style 1 is smaller than a patch of relu3_1.*--style-scales"):
        paint(CONTENT, [random_image(8, 8, 1)], network, dataclasses.replace(PATCHES, style_scales=(0.15,)))


def test_one_colour_is_painted_without_a_fault(network):
    plain = np.full((40, 40, 3), 90, np.float32)
    for settings in (NEIGHBORS, PATCHES):
        run = dataclasses.replace(settings, iterations=2, content_weight=1, initial_noiseblend=0)
        assert np.isfinite(paint(CONTENT, [plain], network, run)).all()
