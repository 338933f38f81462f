"""The specs that ship, one for each published figure: what each shows, with either network, and of what."""

import contextlib
import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import sources
from networks import VGG16, tiny_layers, write_mat

from styling.network.networks import FILES
from styling.settings import STYLE_LAYERS, recipes
from styling.sweeps import specs

# The images of each figure's runs, as the source has them.
FIGURES = {
    "gatys2015-fig1": {"tubingen.jpg", "starry-night.jpg"},
    "gatys2015-fig2": {"tubingen.jpg", *(f"{name}.jpg" for name in sources.GATYS2015_RATIOS)},
    "gatys2015-fig3": {"tubingen.jpg", "kandinsky.jpg"},
    "gatys2016-fig6": {"tubingen.jpg", "starry-night.jpg"},
    "yuan2018": {"tubingen.jpg", "starry-night.jpg", "great-wave.jpg", "kandinsky.jpg"},
    "cs231n": {"tubingen.jpg", "starry-night.jpg", "the-scream.jpg", "kandinsky.jpg"},
    "tseng2017": {"tubingen.jpg", "starry-night.jpg"},
    "blend": {"golden-gate.jpg", "starry-night.jpg", "the-scream.jpg"},
    "colors": {"tubingen.jpg", "golden-gate.jpg", "starry-night.jpg", "the-scream.jpg", "kandinsky.jpg"},
}
GROWING = [STYLE_LAYERS[: count + 1] for count in range(len(STYLE_LAYERS))]
LAYERS = tiny_layers(channels=(1, 1, 1, 1, 1))
# The layers to look at that the networks have.
KNOWN = {
    "vgg19": {layer for layer, kind, *_ in LAYERS if kind == "relu"},
    "small": {layer for layer, kind, *_ in tiny_layers(VGG16) if kind == "relu"} - {"relu5_3"},
}


@pytest.fixture(autouse=True, scope="module")
def published(tmp_path_factory):
    """A published network in the working directory."""
    with contextlib.chdir(tmp_path_factory.mktemp("figures")):
        write_mat(Path(FILES["vgg19"]), LAYERS, fully_connected=False)
        yield


@pytest.fixture(params=KNOWN)
def network(request):
    return request.param


@cache
def cells(name, network):
    """The cells of a figure, with the settings that the network has."""
    found = specs.cells(specs.read(name), {"network": network})
    for cell in found:
        settings, _ = cell.job.settings.for_network(cell.job.vgg16, KNOWN[network], recipes.TYPES)
        cell.job = replace(cell.job, settings=settings)
    return found


def runs(name, network):
    """The runs of a figure, by labels."""
    return {cell.labels: cell.job for cell in cells(name, network)}


def images(run):
    """The names of a run's content, styles and start."""
    content, styles, initial = (
        [path.name for path in run.files.named(flag)] for flag in ("content", "styles", "initial")
    )
    return next(iter(content), None), styles, next(iter(initial), None)


def ratio(settings):
    """Content to style of Gatys et al., who have 1/2 and 1/4 before the two."""
    return 2 * settings.content_weight / (4 * settings.style_weight)


def terms(settings):
    """The names of the terms that count."""
    return {name for name in settings.losses[:-1] if getattr(settings, f"{name}_weight")}


def test_every_figure_that_ships_is_looked_at_here():
    assert set(recipes.shipped("figures")) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_it_has_different_runs_of_published_images_for_the_network_at_hand(name, network):
    spec, found = specs.read(name), cells(name, network)
    named = {path.name for cell in found for _, path in cell.job.files.images}
    assert named == set(spec.published) == FIGURES[name]
    assert all(len(where.split()) > 2 and "http" in where for where in spec.published.values())
    assert spec.title and 30 < len(spec.description) < 90 and "\n" not in spec.title + spec.description
    assert len({cell.labels for cell in found}) == len(found)
    for one, other in itertools.combinations(found, 2):
        assert one.job != other.job, f"{one.label}; {other.label}"
    for cell in found:
        assert cell.job.network.name == FILES[network] and cell.job.settings.layers() <= KNOWN[network]
        assert cell.job.settings.width in range(160, 321)


# Of each.


def test_gatys2015_fig1_has_the_content_and_the_style_of_growing_depth_alone(network):
    found = runs("gatys2015-fig1", network)
    assert list(found) == [(row, layer) for row in ("content", "style") for layer in STYLE_LAYERS]
    for (row, layer), run in found.items():
        settings = run.settings
        assert terms(settings) == {row} and settings.noiseblend(bool(images(run)[2])) == 1
        if row == "content":
            assert images(run) == ("tubingen.jpg", [], None)
            assert settings.layer_weights("content") == {layer: 1}
        else:
            assert images(run) == (None, ["starry-night.jpg"], None)
            growing = STYLE_LAYERS[: STYLE_LAYERS.index(layer) + 1]
            assert tuple(settings.layer_weights("style")) == growing


def test_gatys2015_fig3_has_growing_sets_of_layers_by_ratio(network):
    found = cells("gatys2015-fig3", network)
    assert [cell.place for cell in found] == [(0, row, column) for row in range(5) for column in range(4)]
    for cell in found:
        _, row, column = cell.place
        settings = cell.job.settings
        assert images(cell.job) == ("tubingen.jpg", ["kandinsky.jpg"], None)
        share = 1 / len(GROWING[row])
        assert settings.layer_weights("style") == pytest.approx(dict.fromkeys(GROWING[row], share))
        assert cell.labels[1] == f"1e-{5 - column}" and GROWING[row][-1] in cell.labels[0]
        first = found[column].job.settings
        assert (settings.content_weight, settings.style_weight) == (first.content_weight, first.style_weight)
        if network == "vgg19":
            assert ratio(settings) == pytest.approx(float(cell.labels[1]))
    weights = [cell.job.settings.content_weight for cell in found[:4]]
    assert [after / before for before, after in itertools.pairwise(weights)] == pytest.approx([10, 10, 10])
