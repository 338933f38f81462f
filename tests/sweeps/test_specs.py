"""Specs of sweeps: which runs a file comes to, and what is said of one that comes to none."""

import itertools
from pathlib import Path

import pytest

from styling.network.networks import SMALL
from styling.settings import build, recipes
from styling.sweeps import specs
from styling.system.errors import SettingsError, SpecError
from styling.system.files import data_folder

IMAGES = 'content = "content.png"\nstyles = "style.png"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path):
    """The test's folder, with two images that nobody reads here."""
    for name in ("content.png", "style.png"):
        (tmp_path / name).touch()
    return tmp_path


def write(folder, text, name="spec.toml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def cells_of(path, flags=None, named=None, folders=()):
    spec = specs.read(str(path))
    cells = specs.cells(spec, flags or {})
    specs.locate(cells, spec, named or {}, folders)
    return cells


def settings_of(cell, names):
    return tuple(getattr(cell.job.settings, name) for name in names)


# Cells.


def test_a_grid_has_a_cell_for_each_page_row_and_column_in_this_order(folder):
    axes = "pages = { seed = [3, 4] }\nrows = { noise = ['normal', 'uniform'] }\n"
    axes += (
        "[[columns]]\nlabel = 'thin'\nwidth = 20\nshifts = [1, 2]\n[[columns]]\nlabel = 'wide'\nwidth = 90\n"
    )
    found = cells_of(write(folder, IMAGES + axes))
    places = list(itertools.product(range(2), repeat=3))
    assert [cell.place for cell in found] == places
    for cell, (page, row, column) in zip(found, places, strict=True):
        noise, width = ("normal", "uniform")[row], (20, 90)[column]
        assert settings_of(cell, ("seed", "noise", "width")) == (3 + page, noise, width)
        assert cell.job.settings.shifts == ((1, 2) if column == 0 else (1, 2, 4, 8))
        assert cell.label == f"seed {3 + page}, noise {noise}, {('thin', 'wide')[column]}"


def test_a_spec_without_axes_is_one_run(folder):
    [cell] = cells_of(write(folder, IMAGES))
    assert (cell.place, cell.label) == ((0, 0, 0), "the run")
    images = (("content", folder / "content.png"), ("styles", folder / "style.png"))
    assert cell.job.files.images == images
    assert cell.job.settings.seed is not None, "the same noise in all runs, each time"
    (folder / "mine.png").touch()
    [cell] = cells_of(folder / "spec.toml", {"content": [str(folder / "mine.png")]})
    assert cell.job.files.images == (("content", folder / "mine.png"), images[1])


LAYERS = """
recipe = "own.toml"
pages = [{ label = "page", iterations = 4, seed = 4, width = 4 }]
rows = [{ label = "row", seed = 5, width = 5 }]
columns = [{ label = "column", width = 6 }]
[settings]
style_weight = 2
tv_weight = 2
iterations = 2
seed = 2
width = 2
"""


def test_what_is_nearer_to_the_run_wins(folder):
    names = ("content_weight", "style_weight", "tv_weight", "iterations", "seed", "width")
    write(folder, "\n".join(f"{name} = 1" for name in names), "own.toml")
    path = write(folder, IMAGES + LAYERS)
    [cell] = cells_of(path, {"tv_weight": 3.0})
    assert settings_of(cell, names) == (1, 2, 3, 4, 5, 6) and cell.labels == ("page", "row", "column")
    write(folder, "content_weight = 7", "other.toml")
    [cell] = cells_of(path, {"recipe": str(folder / "other.toml"), "tv_weight": 3.0})
    assert settings_of(cell, names) == (7, 2, 3, 4, 5, 6)


def test_what_an_axis_has_takes_the_place_of_what_it_contradicts(folder):
    path = write(folder, IMAGES + "rows = { width = [20, 30] }\n[settings]\nmax_size = 99")
    for flags in ({}, {"max_size": 50}):
        sizes = [settings_of(cell, ("width", "max_size")) for cell in cells_of(path, flags)]
        assert sizes == [(20, None), (30, None)]


VGG16_WEIGHTS = """
recipe = "own.toml"
rows = [{ label = "row", vgg16 = { content_weight = 30 } }]
[settings]
style_weight = 2
vgg16 = { tv_weight = 20, content_weight = 20 }
"""


@pytest.mark.parametrize(("flags", "weights"), [({}, (10, 2, 20, 30)), ({"tv_weight": 4.0}, (10, 2, 4, 30))])
def test_of_the_weights_for_a_vgg16_later_ones_win(folder, flags, weights):
    own = "shift_weight = 1\nstyle_weight = 1\ntv_weight = 1\ncontent_weight = 1\n"
    write(folder, f"{own}[vgg16]\nshift_weight = 10\nstyle_weight = 10", "own.toml")
    [cell] = cells_of(write(folder, IMAGES + VGG16_WEIGHTS), {"network": "elsewhere.mat"} | flags)
    names = ("shift_weight", "style_weight", "tv_weight", "content_weight")
    assert settings_of(cell, names) == (1, 2, flags.get("tv_weight", 1), 1)
    of_vgg16 = cell.job.settings.for_network(cell.job.vgg16, ["relu3_3"], recipes.TYPES)[0]
    assert tuple(getattr(of_vgg16, name) for name in names) == weights


def test_an_axis_of_recipes_has_the_settings_of_each(folder):
    names = ("athalye2015", "yuan2018")
    for cell, name in zip(
        cells_of(write(folder, f"{IMAGES}rows = {{ recipe = {[*names]} }}")), names, strict=True
    ):
        recipe = recipes.read(name)
        expected, running = build(recipe.values | {"seed": specs.SEED})
        assert cell.job.settings == expected and cell.job.vgg16 == recipe.vgg16
        assert cell.label == f"recipe {name}"
        assert cell.job.running.progress_grid == running.progress_grid
        assert cell.job.instead_of == "vgg19" and cell.job.network.name == SMALL


@pytest.mark.parametrize(
    ("axis", "flags"),
    [
        ("rows = { seed = [1, 2] }", {"seed": 3}),
        ('columns = { recipe = ["best"] }', {"recipe": "best"}),
        ('pages = { content = ["style.png"] }', {"content": ["a"]}),
        ('[[rows]]\nlabel = "a"\nvgg16.tv_weight = 3', {"tv_weight": 3.0}),
    ],
)
def test_a_flag_for_what_an_axis_is_about_is_refused(folder, axis, flags):
    with pytest.raises(SettingsError, match="leave it out") as error:
        cells_of(write(folder, IMAGES + axis), flags)
    assert [error.value.name] == list(flags)


@pytest.mark.parametrize(
    ("axis", "labels"),
    [
        ("style_weight = [50, 500.0, 5e-4]", ["style weight 50", "style weight 500", "style weight 0.0005"]),
        ("normalize = [true, false]", ["normalize on", "normalize off"]),
        ("scales = [[1], [0.5, 1]]", ["scales 1", "scales 0.5 1"]),
        ("style_layers = [{ relu1_1 = 2.5, relu2_1 = 1 }]", ["style layers relu1_1=2.5 relu2_1=1"]),
        ('styles = [["style.png", "content.png"]]', ["styles style.png content.png"]),
        ('initial = ["content.png", []]', ["initial content.png", "initial none"]),
    ],
)
def test_the_values_of_an_axis_are_its_labels(folder, axis, labels):
    cells = cells_of(write(folder, f"{IMAGES}columns = {{ {axis} }}"))
    assert [cell.label for cell in cells] == labels


# Images.


def test_images_are_looked_for_where_they_are_most_likely_meant(folder):
    for name in ("first", "second", "sub"):
        (folder / name).mkdir()
    (folder / "sub" / "deep.png").touch()
    path = write(folder, 'content = "mosaic.jpg"\nstyles = ["harbour.jpg", "style.png", "sub/deep.png"]')
    data, folders = data_folder(), [folder / "first", folder / "second"]
    others = [data / "harbour.jpg", folder / "style.png", folder / "sub" / "deep.png"]

    def found(named=None):
        [cell] = cells_of(path, named=named, folders=folders)
        return [file for _, file in cell.job.files.images]

    assert found() == [data / "mosaic.jpg", *others]
    for place in (folder, folder / "second", folder / "first"):
        (place / "mosaic.jpg").touch()
        assert found() == [place / "mosaic.jpg", *others]
    assert found({Path("mosaic.jpg"): folder / "style.png"}) == [folder / "style.png", *others]


def test_all_images_that_are_missing_are_named_at_once_with_where_they_are_to_be_had(folder):
    text = 'content = "a.png"\nstyles = ["b.png", "style.png"]\n[published]\n"b.png" = "https://b"'
    with pytest.raises(SpecError) as error:
        cells_of(write(folder, text))
    for part in ("spec.toml", "--images", "--image NAME=FILE", "a.png", "b.png (https://b)"):
        assert part in str(error.value)
    assert "style.png" not in str(error.value)


# What is wrong.


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (bytes(range(256)), ["TOML"]),
        ("rows = { width = [" + 30 * "9" + "] }", ["width", "too large"]),
        ("colums = 3", ["colums", "columns"]),
        ("style_weight = 3", ["style_weight", "[settings]"]),
        ("recipe = 3", ["recipe: 3", "a name or a file"]),
        ('[published]\n"a.png" = 3', ["published", "a.png", "text"]),
        ('content = ["content.png", "style.png"]', ["content: ", "the name of an image"]),
        ("[settings]\nstyle_wieght = 3", ["settings", "style_wieght", "style_weight"]),
        ('[settings.vgg16]\nnetwork = "vgg16"', ["network", "[vgg16]"]),
        ('[settings]\ndescription = "a"', ["settings", "description"]),
        ("rows = []", ["rows: [] is not a setting with a list of values"]),
        ("rows = { seed = 3 }", ["rows: {'seed': 3}", "list of values"]),
        ("rows = [{ seed = 1 }]", ["rows", "without a label"]),
        ("rows = { seed = [1, 'b'] }", ["rows", "seed", "'b'", "whole number"]),
        ("rows = { content = [['style.png', 'content.png']] }", ["rows: content: ", "the name of an image"]),
        ("rows = { device = ['cpu', 'gpu'] }", ["rows", "device"]),
        ("[[rows]]\nlabel = 'tall'\nheight = 9", ["tall: height"]),
        ("[[columns]]\nlabel = 'b'\npooling = 'median'", ["columns: pooling", "median"]),
        ("rows = { recipe = ['best', 'bets'] }", ["recipe bets: recipe", "did you mean best"]),
        ("rows = { style_scales = [[1], [1, 2]] }", ["style scales 1 2: style_scales", "2 of them"]),
        ("rows = { styles = [[], 'style.png'] }", ["styles none: styles is needed"]),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_what_is_wrong_is_said_with_the_files_name_and_the_key(folder, text, parts):
    if isinstance(text, str):
        head = IMAGES.splitlines()
        text = "\n".join([*(line for line in head if not text.startswith(line.split()[0])), text]).encode()
    path = folder / "spec.toml"
    path.write_bytes(text)
    with pytest.raises(SpecError) as error:
        cells_of(path)
    for part in (f"{path}: ", *parts):
        assert part in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
