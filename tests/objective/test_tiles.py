"""Pictures in tiles against the same whole: losses, gradient, runs, and what tiles are made of."""

import dataclasses

import numpy as np
import pytest
import reference
import tensorflow as tf
from by_tiles import assert_same_by_tiles
from conftest import random_image
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import VGG16, VGG19, low_rank_layers, network_of
from processes import Command

import vgg
from neural_style import main
from styling.objective import tiles
from styling.objective.evaluation import evaluation
from styling.pictures.images import Images, Warped
from styling.run import memory, runs
from styling.settings import Settings
from styling.system.errors import MemoryLimitError
from stylize import build_objective, stylize
from vgg import Layer

FEW = {"style_layers": ("relu1_1", "relu3_1"), "content_layers": ("relu2_2",)}  # which are built fast
RELATIVE = dict.fromkeys(("content_reduction", "style_reduction", "tv_reduction"), "relative")
SUMS = dict.fromkeys(RELATIVE, "sum")
SHIFTS = {"shift_weight": 900, "shift_layers": ("relu1_1", "relu3_1")}
# (Height, width) of the picture and of the style, and the tile. A few are enough: where tiles lie, and what
# they see, is tested below for all sizes.
SIZES = (
    ((130, 75), (60, 101), 32),
    ((1, 130), (90, 1), 16),
    ((1, 1), (1, 1), 16),
)
CASES = {
    **{f"defaults {picture}": ({}, (picture, *rest)) for picture, *rest in SIZES},
    "shifts": (FEW | SHIFTS | {"shifts": (1, 17), "pooling": "max"}, SIZES[0]),
    "normalized": (
        {"content_layers": ("relu1_2",), "style_layers": {"relu1_1": 1, "pool2": 3}, "normalize": True},
        ((97, 128), (33, 20), 50),
    ),
    "relative": (FEW | RELATIVE | SHIFTS | {"shifts": (1, 3)}, ((85, 111), (130, 7), 72)),
    "sums": (
        SUMS | {"content_layers": ("pool5", "conv3_2"), "style_layers": ("relu5_4",), "tv_weight": 1e-3},
        SIZES[0],
    ),
    "smoothness alone": ({"content_weight": 0, "style_weight": 0}, SIZES[0]),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "sums")) for name in CASES]
)
def test_losses_and_gradient_are_those_of_the_whole(network, name):
    terms, ((height, width), (style_height, style_width), tile) = CASES[name]
    content, style = random_image(height, width, 1), random_image(style_height, style_width, 2)
    x = network.preprocess(random_image(height, width, 3))
    assert_same_by_tiles(network, x, Settings(**terms), content, [style], tile=tile)


@pytest.mark.parametrize("reduction", ["sum", "relative"])
def test_likeness_to_the_frame_before_is_the_same_by_tiles(network, reduction):
    content, style, before = (random_image(75, 58, seed) for seed in (1, 2, 3))
    warped = Warped(before, np.random.default_rng(4).uniform(size=(75, 58)).astype(np.float32))
    x = network.preprocess(random_image(75, 58, 5))
    run = Settings(
        tv_reduction=reduction, tv_weight=1e-3, style_layers=("relu1_1",), content_layers=("relu1_1",)
    )
    losses = assert_same_by_tiles(network, x, run, content, [style], tile=20, warped=warped)
    assert list(losses) == ["content", "style", "tv", "temporal", "total"]
    image = x.numpy()[0] + network.mean_pixel
    expected, _ = reference.temporal(image.astype(float), before, warped.trust)
    factor = {"sum": image.size, "relative": 1 / 255**2}[reduction]
    assert float(losses["temporal"]) == pytest.approx(run.temporal_weight * factor * expected, rel=1e-4)


def test_a_low_rank_network_is_cut_as_the_network_that_it_stands_for():
    network, plain = network_of(low_rank_layers()), bare_layers(VGG16[:4])
    windows = (tiles.tiling(layers, (600, 700), 32).window for layers in (network.built(["pool4"]), plain))
    assert len(set(windows)) == 1
    content, style = random_image(75, 58, 1), random_image(60, 40, 2)
    x = network.preprocess(random_image(75, 58, 3))
    run = Settings(style_layers=("conv1_2a", "relu2_2", "conv3_1b"), content_layers=("relu1_2",))
    assert_same_by_tiles(network, x, run, content, [style], tile=20)


def bare_layers(convolutions):
    """The layers of a VGG with so many convolutions in its blocks, a pooling after each, without weights."""
    return [
        Layer(name, name[:4], tf.zeros([3, 3, 1, 1]) if name.startswith("conv") else None)
        for block, count in enumerate(convolutions, 1)
        for name in (*(f"conv{block}_{i}" for i in range(1, count + 1)), f"pool{block}")
    ]


@settings(deadline=None)
@given(st.integers(1, 700), st.integers(16, 200), st.integers(1, 5))
def test_every_position_counts_once_in_a_window_with_all_that_it_depends_on(side, tile, blocks):
    layers = bare_layers(VGG19[:blocks])
    axis = tiles.tiling(layers, (side, 1), tile).rows
    for level, whole in enumerate(axis.sides):
        counted = np.zeros(whole, int)
        for window, begin, end in (place[level] for place in axis.places):
            counted[window + begin : window + end] += 1
        assert (counted == 1).all()
    for places in axis.places:
        level = blocks
        first, last = axis.sides[-1], -1
        for layer in reversed([*layers, None]):
            if layer is None or layer.kind == "pool":
                window, begin, end = places[level]
                first, last = min(first, window + begin), max(last, window + end - 1)
            if layer is None:
                continue
            if layer.kind == "conv":
                first, last = max(first - 1, 0), min(last + 1, axis.sides[level] - 1)
                continue
            assert window <= first and last < window + axis.lengths[level] <= axis.sides[level]
            level -= 1
            first, last = 2 * first, min(2 * last + 1, axis.sides[level] - 1)
            assert places[level][0] % 2 == 0, "pooling pairs the positions that it pairs in the whole"
        window, begin, end = places[0]
        assert window <= min(first, window + begin) and last < window + axis.lengths[0] <= side


def test_cores_are_as_large_as_was_asked_and_windows_little_larger(network):
    layers = network.built(["relu5_1"])
    cut = tiles.tiling(layers, (3072, 4096), 512)
    assert len(cut.places) == 6 * 8
    # Half of relu5_1's receptive field beyond a position is 70 pixels.
    assert cut.window == (512 + 2 * 70, 512 + 2 * 70)
    assert tiles.tiling(layers, (300, 400), 512).window == (300, 400)


def test_one_trace_serves_all_tiles_of_a_run_and_the_next_run_of_its_sizes(network):
    calls = []

    class Counted(vgg.Network):
        def features(self, *arguments):
            calls.append(arguments)
            return super().features(*arguments)

    counted = Counted(network.layers, network.mean_pixel, network.sha256)
    contents = random_image(75, 130, 1), random_image(75, 130, 2)
    objectives = [
        build_objective(content, [content], counted, Settings(tile=32, **FEW)) for content in contents
    ]
    calls.clear()
    totals = {float(evaluation(objective)(tf.zeros([1, 75, 130, 3]))[0]["total"]) for objective in objectives}
    assert len(totals) == 2
    assert len(objectives[0].tiling.places) == 15
    assert len(calls) == 2, "one for the statistics, one for the gradient"


@pytest.mark.usefixtures("tiny_scales")
@pytest.mark.parametrize("optimizer", ["lbfgs", pytest.param("lbfgs-b", marks=pytest.mark.slow)])
def test_a_run_in_tiles_makes_the_picture_of_a_run_without(network, optimizer):
    content, style = random_image(60, 90, 1), random_image(80, 50, 2)
    run = Settings(iterations=4, seed=3, scales=(0.5, 1), optimizer=optimizer, learning_rate=2)
    run = dataclasses.replace(run, **FEW)
    whole, tiled = (
        list(stylize(content, [style], network, dataclasses.replace(run, tile=tile)))[-1] for tile in (0, 32)
    )
    np.testing.assert_allclose(tiled.image(), whole.image(), atol=0.1)
    assert tiled.losses()["total"] == pytest.approx(whole.losses()["total"], rel=1e-4)


def test_the_tile_follows_from_all_memory_not_from_what_is_free(network, container):
    content = random_image(400, 600, 1)
    layers = network.built(Settings().layers())
    need = memory.needed(layers, (400, 600), optimizer="adam")

    def settled(**settings):
        return runs.resolve(Images(content, (content,)), network, Settings(**settings)).settings.tile

    container(int(2.2 * need))
    assert settled() == 0
    container(int(2.2 * need), used=int(1.5 * need))
    assert settled() == 0
    container(int(1.8 * need))
    assert settled() == 512
    assert settled(tile=0) == 0
    assert settled(tile=100) == 100
    assert settled(histogram_weight=1) == 0
    container(int(2.2 * need))
    style = runs.resolve(Images(content, (content,)), network, Settings(style_scales=(8,))).settings
    assert style.tile == 512, "a style that is too large is looked at by tiles too"


def test_tiles_fit_where_the_whole_does_not(network, container):
    layers = network.built(Settings().layers())
    size = 4000, 6000
    container(int(memory.needed(layers, size, optimizer="adam")) - 2**20)
    with pytest.raises(MemoryLimitError, match="--tile 512"):
        memory.check_memory(layers, size, [])
    memory.check_memory(layers, size, [size], tile=512)
    with pytest.raises(MemoryLimitError) as error:
        memory.check_memory(layers, size, [], "lbfgs-b", tile=3000)
    assert "--width" in str(error.value) and "--tile" not in str(error.value), "smaller ones do not help"
    with pytest.raises(MemoryLimitError) as error:
        memory.check_memory(layers, size, [], by_tiles=False)
    assert "--tile" not in str(error.value)


def test_a_full_folder_for_temporary_files_is_named(network_file, image_files, tmp_path):
    flags = ["--network", network_file, "--tile", "16", "--output", "a.png", "--content-layers", "relu1_1"]
    flags += ["--content", image_files[0], "--styles", image_files[1]]
    process = Command(main, tmp_path, flags, {"TMPDIR": str(tmp_path)}, most_bytes=4096)
    _, line = process.finish(1)
    assert line.count("\n") == 1 and str(tmp_path) in line and "TMPDIR" in line


def test_stored_maps_come_back(network):
    rng = np.random.default_rng(1)
    maps = [
        {"a": rng.normal(size=(1, 3, 4, 5)).astype("f"), "b": rng.normal(size=(1, 2, 2, 7)).astype("f")}
        for _ in range(3)
    ]
    stored = tiles.Stored({name: tf.constant(part) for name, part in tile.items()} for tile in maps)
    for i in (2, 0, 1):
        for name, part in maps[i].items():
            np.testing.assert_array_equal(stored[i][name], part)
