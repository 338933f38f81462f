"""The rules of the settings: ranges, contradictions, layer weights, shares and sizes."""

import dataclasses
import math
import runpy

import numpy as np
import pytest
import reference
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from networks import VGG16, network_of, tiny_layers

from styling.settings import STYLE_LAYERS, Settings, build
from styling.system.errors import SettingsError

A, B, C, D = "relu1_2", "relu2_2", "relu3_2", "relu3_3"  # none of them a default
WRONG = [
    ("iterations", {"iterations": 0}),
    ("style_layers", {"style_layers": "relu1_1"}),
    ("max_size", {"max_size": 100, "width": 100}),
    ("learning_rate", {"learning_rate": math.inf}),
    ("eps", {"eps": 1e-50}),  # which is 0 in 32 bits, as the next two are 1 and infinite
    ("beta1", {"beta1": 1 - 1e-10}),
    ("content_weight", {"content_weight": -1}),
    ("style_weight", {"content_weight": 0, "style_weight": 0, "tv_weight": 0}),
    ("content_weight_blend", {"content_weight_blend": 1.1}),
    ("style_scales", {"style_scales": (100,)}),  # in percent
    ("style_structure", {"style_structure": ("fine", "rough")}),
    ("scales", {"scales": ()}),
    ("scales", {"scales": (0.5, 0.25, 1)}),
    ("scale_shares", {"scale_shares": (1,), "scales": (0.5, 1)}),
    ("style_blend_weights", {"style_blend_weights": (0, 0)}),
    ("pooling", {"pooling": "mean"}),
    ("content_layers", {"content_layers": {"relu4_2": 0}}),
    ("content_layers", {"content_layers": {"relu4_2": 1}, "content_weight_blend": 0.5}),
    ("style_layers", {"style_layers": ("relu1_1", "relu1_1")}),
    ("style_layers", {"style_layers": {"relu1_1": 1}, "style_layer_weight_exp": 2}),
    ("histogram_layers", {"histogram_layers": {"relu1_1": math.inf}}),
    ("shifts", {"shifts": (2, 2)}),
    ("evaluations", {"evaluations": 20}),
    ("tile", {"tile": 64, "histogram_weight": 1}),
    ("optimizer", {"style_measure": "neighbors", "optimizer": "lbfgs-b"}),
    ("threads", {"threads": 1025}),
    ("threads", {"threads": True}),
    *(("device", {"device": value}) for value in ("tpu", "gpu:", "cpu\n")),
]


@pytest.mark.parametrize(("name", "values"), WRONG, ids=[str(values) for _, values in WRONG])
def test_a_wrong_setting_is_named(name, values):
    with pytest.raises(SettingsError) as error:
        build(values)
    assert error.value.name == name


def test_values_are_of_the_settings_type():
    run = Settings(
        content_weight=np.float64(3), scales=np.float32([0.5, 1]), shifts=[np.int64(2)], tv_weight=1
    )
    assert (run.content_weight, run.scales, run.shifts, run.tv_weight) == (3.0, (0.5, 1.0), (2,), 1.0)
    assert Settings(style_layers={"pool1": np.float32(3)}).style_layers == {"pool1": 3.0}
    assert type(run.content_weight) is float and type(run.shifts[0]) is int
    assert run == dataclasses.replace(run) and hash(run)


def test_a_recipe_is_settings_with_others_in_place_of_its_own():
    best = Settings.from_recipe("best", width=512, iterations=7)
    assert (best.width, best.iterations, best.optimizer) == (512, 7, "lbfgs")
    assert best.style_measure == "neighbors"
    with pytest.raises(SettingsError, match="did you mean best"):
        Settings.from_recipe("bset")


def test_a_recipe_has_other_weights_for_vgg16_and_leaves_out_what_a_network_lacks():
    stated = Settings.from_recipe("prisma2017")
    vgg16 = network_of(tiny_layers(VGG16))
    assert Settings.from_recipe("prisma2017", vgg16).content_weight == 1.5e11 != stated.content_weight
    assert Settings.from_recipe("prisma2017", vgg16, content_weight=3).content_weight == 3
    shallow = network_of(tiny_layers(VGG16)[:-5])  # up to relu5_1
    fitting = Settings.from_recipe("prisma2017", shallow)
    assert stated.layers() - fitting.layers() == {"relu5_2", "relu5_3"}


def test_the_table_of_flags_is_current():
    write = runpy.run_path(ROOT / "docs" / "flags.py")
    assert (ROOT / "docs" / "flags.md").read_text() == write["markdown"](write["build_parser"]())


def test_a_number_for_each_style():
    settings = Settings(style_scales=(1, 2), style_blend_weights=(1, 3))
    assert settings.scales_of_styles(2) == (1, 2) and settings.style_shares(2) == (0.25, 0.75)
    for count in (0, 1, 3):
        with pytest.raises(SettingsError, match="2 of them given for"):
            settings.scales_of_styles(count)
        with pytest.raises(SettingsError, match="2 of them given for"):
            settings.style_shares(count)


ALONE = {"content_weight": 0}
NOTHING = {"content_weight": 0, "style_weight": 0}
# Settings, whether there is a content, how many styles, whether there is an initial image; what is wrong.
IMAGES = [
    ({}, (True, 1, False), None),
    ({}, (False, 1, False), "content"),
    ({}, (False, 1, True), "content"),  # its features are a target, whatever the start is
    ({}, (True, 0, False), "styles"),
    (ALONE, (False, 1, False), None),
    (ALONE, (False, 0, False), "styles"),
    (ALONE | {"initial_noiseblend": 0.5}, (False, 1, False), "content"),
    (ALONE | {"initial_noiseblend": 0.5}, (False, 1, True), None),
    (ALONE | {"colors": "content"}, (False, 1, False), "colors"),
    (ALONE | {"width": 5, "height": 5}, (False, 1, False), None),
    (ALONE | {"width": 5, "height": 5}, (True, 1, False), "height"),
    ({"style_weight": 0}, (True, 0, False), None),
    ({"style_weight": 0, "shift_weight": 1}, (True, 0, False), "styles"),
    (NOTHING, (False, 0, True), "height"),
    (NOTHING | {"width": 5, "height": 5}, (False, 0, False), None),
    ({"style_scales": (1, 2)}, (True, 1, False), "style_scales"),
    ({"style_structure": ("fine", "coarse")}, (True, 1, False), "style_structure"),
    ({"style_blend_weights": (1,)}, (True, 2, False), "style_blend_weights"),
]


@pytest.mark.parametrize(("values", "given_images", "name"), IMAGES)
def test_the_images_that_a_run_needs(values, given_images, name):
    if name is None:
        return Settings(**values).check_images(*given_images)
    with pytest.raises(SettingsError) as error:
        Settings(**values).check_images(*given_images)
    assert error.value.name == name


WEIGHTS = st.lists(st.just(0.0) | st.floats(1e-30, 1e30), min_size=1, max_size=9).filter(any)


@given(WEIGHTS)
def test_styles_share_by_their_weights_whatever_these_sum_to(weights):
    shares = Settings(style_blend_weights=tuple(weights)).style_shares(len(weights))
    assert shares == pytest.approx(reference.blend_weights(weights))


@given(st.integers(1, 10**6), WEIGHTS, st.floats(1e-3, 1e3))
def test_the_iterations_are_shared_out_among_the_scales(iterations, shares, factor):
    scales = tuple((k + 1) / len(shares) for k in range(len(shares)))
    run = Settings(iterations=iterations, scales=scales, scale_shares=tuple(shares))
    counts = run.iterations_by_scale()
    assert sum(counts) == iterations and min(counts) >= 0 and all(type(count) is int for count in counts)
    for count, share in zip(counts, reference.blend_weights(shares), strict=True):
        assert abs(count - iterations * share) < 1.001
        assert share or not count, "a scale without a share has no iterations"
    equal = [dataclasses.replace(run, scale_shares=shares) for shares in (None, (1.0,) * len(scales))]
    assert equal[0].iterations_by_scale() == equal[1].iterations_by_scale()


@given(st.floats(1e-3, 1e3), st.integers(1, 8))
def test_style_layers_weigh_the_exponent_times_the_one_before(exponent, count):
    names = tuple(f"relu{1 + k // 2}_{1 + k % 2}" for k in range(count))
    weights = Settings(style_layers=names, style_layer_weight_exp=exponent).layer_weights("style")
    assert list(weights.values()) == pytest.approx(reference.style_layer_weights(count, exponent))


def test_layer_weights_by_the_rules():
    assert Settings().layer_weights("content") == {"relu4_2": 1}
    assert Settings(content_weight_blend=0.25).layer_weights("content") == {"relu4_2": 0.25, "relu5_2": 0.75}
    assert Settings(content_weight_blend=0).layer_weights("content") == {"relu5_2": 1}
    assert Settings(content_layers=(A, B)).layer_weights("content") == {A: 0.5, B: 0.5}
    assert Settings(content_layers={A: 3, B: 0}).layer_weights("content") == {A: 3}
    assert Settings().layer_weights("style") == dict.fromkeys(STYLE_LAYERS, 0.2)
    assert Settings(style_layer_weight_exp=0).layer_weights("style") == {"relu1_1": 1}
    assert Settings(style_layer_weight_exp=1e30).layer_weights("style")["relu5_1"] == 1
    assert Settings(style_layers={A: 2, B: 6}).layer_weights("style") == {A: 2, B: 6}
    assert Settings(style_weight=0).layer_weights("style") == {}
    assert Settings(content_weight=0).layer_weights("content") == {}


def test_the_layers_of_further_losses_by_the_rules():
    assert Settings().layer_weights("shift") == Settings().layer_weights("histogram") == {}
    shifted = Settings(shift_weight=1, style_layers=(A, B), style_layer_weight_exp=3, style_weight=0)
    assert shifted.layer_weights("shift") == {A: 0.25, B: 0.75} and shifted.layers() >= {A, B}
    named = Settings(shift_weight=1, shift_layers=(C, D), style_layer_weight_exp=3)
    assert named.layer_weights("shift") == {C: 0.5, D: 0.5}
    assert named.layers() == {C, D, *STYLE_LAYERS, "relu4_2"}
    histogram = Settings(histogram_weight=1, style_layers=(A, B))
    assert histogram.layer_weights("histogram") == {"relu1_1": 0.5, "relu4_1": 0.5}
    named = Settings(histogram_weight=1, histogram_layers={A: 3, B: 0})
    assert named.layer_weights("histogram") == {A: 3}
