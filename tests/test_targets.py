"""Targets that runs share: computed once, under keys that tell all that matters, and the same to the bit."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf
from conftest import random_image
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from networks import tiny_layers, write_mat

import stylize
import vgg
from styling.errors import SettingsError
from styling.settings import Settings
from styling.sweeps import planning, specs
from styling.sweeps.work import images_of, share_targets

pytestmark = pytest.mark.usefixtures("tiny_scales")

CONTENT, STYLE, OTHER = random_image(40, 52, 1), random_image(44, 40, 2), random_image(30, 46, 3)
RUN = Settings(iterations=2, seed=1, tile=0)
ALL = dataclasses.replace(RUN, shift_weight=2, histogram_weight=3, shifts=(1, 2))


def targets_of(network, run, content=CONTENT, styles=(STYLE,), kept=None):
    """The targets of a run by key."""
    kept = {} if kept is None else kept
    stylize.keep_targets(content, list(styles), network, run, kept)
    return kept


def same(a, b):
    pairs = zip(tf.nest.flatten(a), tf.nest.flatten(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


@pytest.fixture(scope="module")
def tiny(network_file, tmp_path_factory):
    """The tiny network; its own cache folder is of no use after the module."""
    return vgg.load(network_file, tmp_path_factory.mktemp("cache"))


# Keys.


def test_all_targets_have_the_keys_that_are_foretold(tiny):
    for run in (RUN, ALL, dataclasses.replace(ALL, normalize=True, scales=(0.5, 1))):
        kept = targets_of(tiny, run, styles=(STYLE, OTHER))
        assert kept.keys() == stylize.target_keys(CONTENT, [STYLE, OTHER], tiny, run)


@pytest.mark.parametrize(
    "change",
    [
        {"content_weight": 9},
        {"style_weight": 9},
        {"tv_weight": 0},
        {"shift_weight": 9},
        {"histogram_weight": 9},
        {"style_blend_weights": (1, 5)},
        {"style_layer_weight_exp": 3},
        {"style_layers": {"relu1_1": 3, "relu2_1": 1, "relu3_1": 1, "relu4_1": 1, "relu5_1": 1}},
        {"gram_divisor": "none"},
        {"content_reduction": "sum", "style_reduction": "sum", "tv_reduction": "sum"},
        {"content_reduction": "relative", "style_reduction": "relative", "tv_reduction": "relative"},
        {"optimizer": "lbfgs", "iterations": 99},
        {"learning_rate": 1, "clip": True, "best_of_all": True},
        {"seed": 5, "noise": "uniform"},
        {"initial_noiseblend": 0.5, "preserve_colors": True},
        {"width": 52},
    ],
    ids=lambda change: ", ".join(change),
)
def test_targets_are_shared_whatever_else_differs(tiny, change):
    of = CONTENT, [STYLE, OTHER], tiny
    assert stylize.target_keys(*of, dataclasses.replace(ALL, **change)) == stylize.target_keys(*of, ALL)


NONE_SHARED = {
    "pooling": {"pooling": "max"},
    "padding": {"padding": "edge"},
    "width": {"width": 40},
    "normalize": {"normalize": True},
    "tile": {"tile": 16, "histogram_weight": 0},
    "precision": {"precision": "bfloat16"},
}
SOME_SHARED = {
    "shifts": {"shifts": (1, 3)},
    "another scale": {"scales": (0.5, 1)},
    "a style's scale": {"style_scales": (1, 0.5)},
    "a layer": {"style_layers": ("relu1_1", "relu2_1")},
    "no content": {"content_weight": 0},
    "other content layers": {"content_layers": ("relu2_2",)},
    "one style": {"style_blend_weights": (1, 0)},
}


@pytest.mark.parametrize("change", [*NONE_SHARED, *SOME_SHARED])
def test_keys_differ_where_what_they_tell_differs(tiny, change):
    of = CONTENT, [STYLE, OTHER], tiny
    before = stylize.target_keys(*of, ALL)
    after = stylize.target_keys(*of, dataclasses.replace(ALL, **(NONE_SHARED | SOME_SHARED)[change]))
    assert after != before
    assert bool(after & before) == (change in SOME_SHARED)


def test_keys_tell_networks_and_images_apart(tiny, tmp_path):
    other = vgg.load(write_mat(tmp_path / "other.mat", tiny_layers(seed=5)))
    keys = stylize.target_keys(CONTENT, [STYLE], tiny, ALL)
    assert not keys & stylize.target_keys(CONTENT, [STYLE], other, ALL)
    nearly = STYLE.copy()
    nearly[20, 20, 1] += 1
    changed = stylize.target_keys(CONTENT, [nearly], tiny, ALL)
    of_content = stylize.target_keys(CONTENT, [], tiny, dataclasses.replace(RUN, style_weight=0))
    assert keys & changed == of_content and len(of_content) == 1
    # Where the filters are scaled by all images, nothing is shared unless all are the same.
    normal = dataclasses.replace(ALL, normalize=True)
    scaled = stylize.target_keys(CONTENT, [STYLE], tiny, normal)
    assert not scaled & stylize.target_keys(CONTENT, [STYLE, OTHER], tiny, normal)
    assert not scaled & stylize.target_keys(nearly, [STYLE], tiny, normal)


LAYERS = ["relu1_1", "relu1_2", "relu2_1", "relu3_1", "relu4_2", "relu5_1"]
some_layers = st.lists(st.sampled_from(LAYERS), min_size=1, max_size=3, unique=True).map(tuple)
RUNS = st.fixed_dictionaries(
    {},
    optional={
        "content_layers": some_layers,
        "style_layers": some_layers,
        "shift_layers": some_layers,
        "histogram_layers": some_layers,
        "content_weight": st.sampled_from([0.0, 1.0]),
        "shift_weight": st.sampled_from([0.0, 1.0]),
        "histogram_weight": st.sampled_from([0.0, 1.0]),
        "shifts": st.sampled_from([(1,), (2,), (1, 2), (1, 9)]),
        "gram_divisor": st.sampled_from(["size", "positions", "none"]),
        "pooling": st.sampled_from(["avg", "max"]),
        "normalize": st.booleans(),
        "width": st.sampled_from([30, 31, 52]),
        "scales": st.sampled_from([(0.5, 1), (0.6, 1)]),
        "style_scales": st.sampled_from([(1, 0.5), (0.9, 1)]),
        "style_blend_weights": st.sampled_from([(1, 0), (0, 1), (1, 3)]),
        "tile": st.sampled_from([16, 32]),
    },
).map(lambda values: values | ({"tile": 0} if values.get("histogram_weight") else {}))


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RUNS, RUNS)
def test_what_has_the_same_key_is_the_same_to_the_last_bit(tiny, first, second):
    # Runs that differ in little are the ones that share.
    second = first | dict(list(second.items())[:2])
    if second.get("histogram_weight"):
        second["tile"] = 0
    try:
        a, b = (
            targets_of(tiny, dataclasses.replace(RUN, **values), styles=(STYLE, OTHER))
            for values in (first, second)
        )
    except SettingsError as error:  # the picture has no room for any of the shifts
        assume(error.name != "shifts")
        raise
    for key in a.keys() & b.keys():
        assert same(a[key], b[key])


@pytest.mark.parametrize(
    ("other", "normalize"),
    [
        ({"style_layers": ("relu1_1", "relu2_1"), "content_layers": ("relu2_1",)}, False),
        ({"style_layers": ("relu1_1", "relu2_1"), "content_layers": ("relu2_1",)}, True),
        ({"style_layers": ("relu1_1", "relu4_1"), "content_weight": 0.0}, False),
        ({"shift_weight": 1.0, "shifts": (1, 9)}, False),
    ],
)
def test_sums_over_tiles_are_shared_only_where_the_tiles_are_the_same(tiny, other, normalize):
    run = dataclasses.replace(RUN, tile=16, normalize=normalize)
    a, b = (targets_of(tiny, changed) for changed in (run, dataclasses.replace(run, **other)))
    for key in a.keys() & b.keys():
        assert same(a[key], b[key])
    again = stylize.target_keys(CONTENT, [STYLE], tiny, dataclasses.replace(run, style_weight=7, seed=3))
    assert again == a.keys()


# Runs.


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"normalize": True, "pooling": "max"},
        {"shift_weight": 1.0, "shifts": (1, 3), "histogram_weight": 2.0, "gram_divisor": "none"},
        {"scales": (0.5, 1), "style_scales": (1, 0.7), "optimizer": "lbfgs"},
        {"tile": 16, "style_layers": ("relu1_1", "relu4_1")},
        {"precision": "bfloat16"},
        {"content_reduction": "relative", "style_reduction": "relative", "shift_weight": 1.0},
        {"width": 33, "style_blend_weights": (0, 1), "preserve_colors": True},
    ],
    ids=lambda change: ", ".join(change) or "defaults",
)
def test_a_run_with_targets_of_others_is_the_run_by_itself(tiny, change):
    run = dataclasses.replace(RUN, **change)
    of = CONTENT, [STYLE, OTHER], tiny
    kept = {}
    others = {"style_layers": ("relu2_1", "relu3_1")}, {"style_weight": 1, "content_layers": ("relu1_2",)}
    for other in ({}, *others):
        targets_of(tiny, dataclasses.replace(run, **other), styles=(STYLE, OTHER), kept=kept)
    kept = tf.nest.map_structure(lambda tensor: tf.constant(np.asarray(tensor)), kept)
    before = set(kept)
    for alone, sharing in zip(stylize.stylize(*of, run), stylize.stylize(*of, run, kept=kept), strict=True):
        assert alone.losses() == sharing.losses()
        assert alone.image().tobytes() == sharing.image().tobytes()
    assert kept.keys() == before, "nothing was left to be computed"


# Sweeps.


class Counted(vgg.Network):
    """A network that counts the images that pass through it."""

    passes: ClassVar[list] = []

    def features(self, x, *arguments):
        if tf.executing_eagerly():  # in a graph it is the picture's own
            self.passes.append(x.shape)
        return super().features(x, *arguments)


@pytest.fixture
def share(tiny, network_file, image_files, tmp_path):
    """Shares the targets of a spec's runs, and gives them, the targets, and the passes that were needed."""

    def make(text):
        path = tmp_path / "spec.toml"
        images = f'content = "{image_files[0]}"\nstyles = ["{image_files[1]}", "{image_files[2]}"]\n'
        path.write_text(images + text)
        spec, flags = specs.read(str(path)), specs.Layer("", None, {"network": str(network_file)})
        files = specs.find_images(specs.image_names(spec, flags), spec, {}, [])
        plan = planning.plan(specs.cells(spec, flags, files), tmp_path / "out")
        counted = Counted(tiny.layers, tiny.mean_pixel, tiny.sha256)
        Counted.passes.clear()
        keys, kept = share_targets(list(plan.tasks.values()), plan.pixels, lambda sha256: counted)
        return plan, keys, kept, counted, list(Counted.passes)

    return make


@pytest.mark.parametrize(
    ("text", "passes", "shared"),
    [
        # Each style and the content once, for four runs.
        ("rows = { tv_weight = [1, 2] }\ncolumns = { seed = [1, 2] }", 3, 11),
        # Another width, other images.
        ("rows = { width = [24, 30] }\ncolumns = { seed = [1, 2] }", 6, 22),
        # At the full size the two that are made in scales share with the one that is not.
        (
            "[settings]\ntv_weight = 0\n[[rows]]\nlabel = 'a'\n[[rows]]\nlabel = 'b'\nscales = [0.5, 1]\n",
            3,
            11,
        ),
        # The deepest has all layers of the others.
        (
            "rows = { style_layers = [['relu1_1'], ['relu1_1', 'relu2_1'], "
            "['relu1_1', 'relu2_1', 'relu3_1']] }",
            3,
            5,
        ),
        # The first style alone is shared.
        ("[[rows]]\nlabel = 'a'\n[[rows]]\nlabel = 'b'\nstyle_blend_weights = [1, 0]", 3, 6),
        # Nothing.
        ("rows = { width = [24, 30, 36] }", 0, 0),
        ("rows = { pooling = ['avg', 'max'] }", 0, 0),
        ("", 0, 0),
    ],
)
def test_what_runs_share_is_computed_once_and_nothing_else(share, text, passes, shared):
    plan, keys, kept, _, made = share(text)
    assert len(kept) == shared
    assert len(made) == passes
    assert keys.keys() == plan.tasks.keys()
    assert set().union(*keys.values()) == kept.keys()
    for key in kept:
        assert sum(key in own for own in keys.values()) > 1


def test_runs_whose_targets_are_all_shared_look_at_no_image_again(share, tiny):
    text = "rows = { style_weight = [1, 2] }\n[settings]\niterations = 2\nwidth = 24\nnormalize = true"
    plan, keys, kept, counted, made = share(text)
    assert len(made) == 6, "three images, once for the means and once for the statistics"
    for task in plan.tasks.values():
        content, styles, _ = images_of(task, plan.pixels)
        own = {key: tf.nest.map_structure(tf.constant, kept[key]) for key in keys[task.stem]}
        Counted.passes.clear()
        *_, sharing = stylize.stylize(content, styles, counted, task.settings, kept=own)
        *_, alone = stylize.stylize(content, styles, tiny, task.settings)
        assert sharing.image().tobytes() == alone.image().tobytes()
    assert Counted.passes == []
