"""Specs of sweeps: which runs a file comes to, and what is said of one that comes to none."""

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from styling.network.networks import SMALL
from styling.settings import combine, recipes
from styling.sweeps import specs
from styling.sweeps.specs import Variation
from styling.system.errors import SettingsError, SpecError

IMAGES = 'content = "content.png"\nstyles = "style.png"\n'
NOTHING = Variation()


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


def cells_of(path, flags=NOTHING, given=None, folders=()):
    spec = specs.read(str(path))
    files = specs.find_images(specs.image_names(spec, flags), spec, given or {}, folders)
    return specs.cells(spec, flags, files)


# Cells.

VALUES = {
    "seed": st.integers(0, 2**40),
    "iterations": st.integers(1, 10**6),
    "width": st.integers(1, 10**4),
    "style_weight": st.floats(1e-3, 1e6),
    "tv_weight": st.integers(0, 10**6),
    "normalize": st.booleans(),
    "noise": st.sampled_from(["normal", "uniform"]),
    "shifts": st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
}


@st.composite
def grids(draw):
    """The sets of settings of each axis; axes differ in what they are about."""
    keys = draw(st.permutations(sorted(VALUES)))
    axes = {}
    for axis in draw(st.sets(st.sampled_from(specs.AXES))):
        own = [keys.pop() for _ in range(draw(st.integers(1, 2)))]
        sets = st.fixed_dictionaries({key: VALUES[key] for key in own})
        axes[axis] = draw(st.lists(sets, min_size=1, max_size=4))
    return axes


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(grids(), st.booleans())
def test_a_grid_has_a_cell_for_each_page_row_and_column_in_this_order(folder, axes, short):
    table = {"content": "content.png", "styles": "style.png"}
    labels = {}
    for axis, sets in axes.items():
        if short and len(sets[0]) == 1:
            [key] = sets[0]
            table[axis] = {key: [one[key] for one in sets]}
        else:
            labels[axis] = [f"{axis} {i}" for i in range(len(sets))]
            table[axis] = [one | {"label": label} for one, label in zip(sets, labels[axis], strict=True)]
    found = cells_of(write(folder, tomli_w.dumps(table)))
    expected = []
    for i, page in enumerate(axes.get("pages", [{}])):
        for j, row in enumerate(axes.get("rows", [{}])):
            for k, column in enumerate(axes.get("columns", [{}])):
                expected.append(((i, j, k), {**page, **row, **column}))
    assert [cell.place for cell in found] == [place for place, _ in expected]
    for cell, (place, values) in zip(found, expected, strict=True):
        own = {name: getattr(cell.job.settings, name) for name in values}
        assert own == {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        assert len(cell.labels) == len(axes)
        for axis, index in zip(specs.AXES, place, strict=True):
            if axis in labels:
                assert labels[axis][index] in cell.labels


def test_a_spec_without_axes_is_one_run(folder):
    [cell] = cells_of(write(folder, IMAGES))
    assert (cell.place, cell.label) == ((0, 0, 0), "the run")
    assert list(cell.job.files.images) == [
        ("content", folder / "content.png"),
        ("styles", folder / "style.png"),
    ]
    assert cell.job.settings.seed is not None, "the same noise in all runs, each time"


LAYERS = """
recipe = "{folder}/own.toml"
content = "content.png"
styles = "style.png"
[settings]
style_weight = 2
tv_weight = 2
iterations = 2
seed = 2
width = 2
[[pages]]
label = "page"
iterations = 4
seed = 4
width = 4
[[rows]]
label = "row"
seed = 5
width = 5
[[columns]]
label = "column"
width = 6
"""


def test_what_is_nearer_to_the_run_wins(folder):
    names = ("content_weight", "style_weight", "tv_weight", "iterations", "seed", "width")
    write(folder, "\n".join(f"{name} = 1" for name in names), "own.toml")
    path = write(folder, LAYERS.format(folder=folder))
    [cell] = cells_of(path, Variation("", None, {"tv_weight": 3.0}))
    assert tuple(getattr(cell.job.settings, name) for name in names) == (1, 2, 3, 4, 5, 6)
    assert cell.labels == ("page", "row", "column")
    write(folder, "content_weight = 7", "other.toml")
    [cell] = cells_of(path, Variation("", str(folder / "other.toml"), {"tv_weight": 3.0}))
    assert tuple(getattr(cell.job.settings, name) for name in names) == (7, 2, 3, 4, 5, 6)


def test_what_an_axis_has_takes_the_place_of_what_it_contradicts(folder):
    text = IMAGES + "rows = { width = [20, 30] }\n[settings]\nmax_size = 99"
    assert [
        (cell.job.settings.width, cell.job.settings.max_size) for cell in cells_of(write(folder, text))
    ] == [
        (20, None),
        (30, None),
    ]
    [cell, _] = cells_of(write(folder, text), Variation("", None, {"max_size": 50}))
    assert (cell.job.settings.width, cell.job.settings.max_size) == (20, None)


VGG16_WEIGHTS = """
recipe = "{folder}/own.toml"
content = "content.png"
styles = "style.png"
[settings]
style_weight = 2
vgg16.tv_weight = 20
vgg16.content_weight = 20
[[rows]]
label = "row"
vgg16.content_weight = 30
"""


@pytest.mark.parametrize(("flags", "weights"), [({}, (10, 2, 20, 30)), ({"tv_weight": 4.0}, (10, 2, 4, 30))])
def test_of_the_weights_for_a_vgg16_later_ones_win(folder, flags, weights):
    own = "shift_weight = 1\nstyle_weight = 1\ntv_weight = 1\ncontent_weight = 1\n"
    write(folder, f"{own}[vgg16]\nshift_weight = 10\nstyle_weight = 10", "own.toml")
    path = write(folder, VGG16_WEIGHTS.format(folder=folder))
    [cell] = cells_of(path, Variation("", None, {"network": "elsewhere.mat"} | flags))
    names = ("shift_weight", "style_weight", "tv_weight", "content_weight")
    settings = cell.job.settings
    assert tuple(getattr(settings, name) for name in names) == (1, 2, flags.get("tv_weight", 1), 1)
    of_vgg16 = settings.for_network(cell.job.vgg16, ["relu3_3"], recipes.TYPES)[0]
    assert tuple(getattr(of_vgg16, name) for name in names) == weights


def test_an_axis_of_recipes_has_the_settings_of_each(folder):
    found = cells_of(write(folder, IMAGES + 'rows = { recipe = ["athalye2015", "yuan2018"] }'))
    for cell, name in zip(found, ("athalye2015", "yuan2018"), strict=True):
        recipe = recipes.read(name)
        expected, running = combine(recipe, {"seed": specs.SEED})
        assert cell.job.settings == expected and cell.job.vgg16 == recipe.vgg16 and cell.label == name
        assert cell.job.running.progress_grid == running.progress_grid
        assert cell.job.instead_of == "vgg19" and cell.job.network.name == SMALL


def test_a_flag_takes_the_place_of_an_image_and_of_what_the_spec_says(folder):
    (folder / "mine.png").touch()
    mine = str(folder / "mine.png")
    [cell] = cells_of(
        write(folder, IMAGES), Variation("", None, {}, {}, {"content": (mine,)}), {mine: folder / "mine.png"}
    )
    assert cell.job.files.images == (("content", folder / "mine.png"), ("styles", folder / "style.png"))


@pytest.mark.parametrize(
    ("axis", "flags", "name"),
    [
        ("rows = { seed = [1, 2] }", Variation("", None, {"seed": 3}), "seed"),
        ('columns = { recipe = ["best"] }', Variation("", "best"), "recipe"),
        ('pages = { content = ["style.png"] }', Variation("", None, {}, {}, {"content": ("a",)}), "content"),
        ('[[rows]]\nlabel = "a"\nvgg16.tv_weight = 3', Variation("", None, {"tv_weight": 3.0}), "tv_weight"),
    ],
)
def test_a_flag_for_what_an_axis_is_about_is_refused(folder, axis, flags, name):
    spec = specs.read(str(write(folder, IMAGES + axis)))
    with pytest.raises(SettingsError, match="leave it out") as error:
        specs.image_names(spec, flags)
    assert error.value.name == name


@pytest.mark.parametrize(
    ("axis", "labels"),
    [
        ("style_weight = [50, 500.0, 5e-4]", ["style weight 50", "style weight 500", "style weight 0.0005"]),
        ("normalize = [true, false]", ["normalize on", "normalize off"]),
        ("scales = [[1], [0.5, 1]]", ["scales 1", "scales 0.5, 1"]),
        ("style_layers = [{ relu1_1 = 2.5, relu2_1 = 1 }]", ["style layers relu1_1=2.5, relu2_1=1"]),
        ('style_layers = [["relu1_1", "relu2_1"]]', ["style layers relu1_1, relu2_1"]),
        ('optimizer = ["adam", "lbfgs"]', ["optimizer adam", "optimizer lbfgs"]),
        ('recipe = ["gatys2015"]', ["gatys2015"]),
        ('styles = ["style.png", ["style.png", "content.png"]]', ["style", "style and content"]),
        ('initial = ["content.png", []]', ["content", "no initial"]),
    ],
)
def test_the_values_of_an_axis_are_its_labels(folder, axis, labels):
    cells = cells_of(write(folder, f"{IMAGES}columns = {{ {axis} }}"))
    assert [cell.label for cell in cells] == labels


def test_images_can_differ_from_cell_to_cell(folder):
    sets = (
        '[[rows]]\nlabel = "a"\ninitial = "style.png"\n[[rows]]\nlabel = "b"\nstyles = []\nstyle_weight = 0'
    )
    a, b = cells_of(write(folder, IMAGES + sets))
    of_b = ("content", folder / "content.png")
    assert a.job.files.images == (of_b, ("styles", folder / "style.png"), ("initial", folder / "style.png"))
    assert b.job.files.images == (of_b,)


# Images.


def test_images_are_looked_for_where_they_are_most_likely_meant(folder):
    for name in ("first", "second"):
        (folder / name).mkdir()
    data = specs.data_folder()
    text = 'content = "mosaic.jpg"\nstyles = ["harbour.jpg", "style.png", "sub/deep.png"]'
    spec = specs.read(str(write(folder, text)))
    (folder / "sub").mkdir()
    (folder / "sub" / "deep.png").touch()
    names = specs.image_names(spec, NOTHING)
    assert names == ["mosaic.jpg", "harbour.jpg", "style.png", "sub/deep.png"]
    folders = [folder / "first", folder / "second"]

    def found(given=None):
        return list(specs.find_images(names, spec, given or {}, folders).values())

    others = [data / "harbour.jpg", folder / "style.png", folder / "sub" / "deep.png"]
    assert found() == [data / "mosaic.jpg", *others]
    for place in (folder, folder / "second", folder / "first"):
        (place / "mosaic.jpg").touch()
        assert found() == [place / "mosaic.jpg", *others]
    assert found({"mosaic.jpg": folder / "style.png"}) == [folder / "style.png", *others]


def test_all_images_that_are_missing_are_named_at_once_with_where_they_are_to_be_had(folder):
    long = "n" * 300 + ".png"
    text = f'content = "a.png"\nstyles = ["b.png", "{long}", "style.png"]\n[published]\n"b.png" = "https://b"'
    with pytest.raises(SpecError) as error:
        cells_of(write(folder, text))
    for part in ("spec.toml", "--images", "--image NAME=FILE", "a.png", "b.png (https://b)", long):
        assert part in str(error.value)
    assert "style.png" not in str(error.value)


# What is wrong.


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("title =", ["TOML"]),
        (bytes(range(256)), ["TOML"]),
        ("# " + 2**21 * "x", ["too large"]),
        ("rows = " + 20000 * "[", ["TOML"]),
        ("rows = { width = [0x" + 9000 * "f" + "] }", ["TOML"]),
        ("rows = { width = [" + 30 * "9" + "] }", ["width", "64 bits"]),
        ("rows = { style_layers = [{ relu1_1 = " + 400 * "9" + " }] }", ["style_layers", "numbers"]),
        ("colums = 3", ["colums", "columns"]),
        ("style_weight = 3", ["style_weight", "[settings]"]),
        ('"a\\nb" = 3', ["not a key of a spec"]),
        ("title = 3", ["title", "text"]),
        ("recipe = 3", ["recipe", "text"]),
        ("settings = 3", ["settings", "a table"]),
        ('[published]\n"a.png" = 3', ["published", "a.png", "text"]),
        ('content = ["content.png", "style.png"]', ["content", "more than one"]),
        ("styles = [1]", ["styles", "image"]),
        ("[settings]\nstyle_wieght = 3", ["settings", "style_wieght", "style_weight"]),
        ("[settings]\nwidth = 0", ["width", "at least 1"]),
        ('[settings]\nwidth = "0"', ["settings", "width", "whole number"]),
        ('[settings.vgg16]\nnetwork = "vgg16"', ["network", "[vgg16]"]),
        ('[settings]\ndescription = "a"', ["settings", "description"]),
        ('[settings]\nnetwork = ""', ["network", "name of a file"]),
        ("rows = 3", ["rows", "list"]),
        ("rows = []", ["rows", "empty"]),
        ("rows = { seed = 3 }", ["rows.seed", "list of values"]),
        ("rows = { seed = [1], width = [2] }", ["rows", "list"]),
        ("rows = [{ seed = 1 }]", ["rows", "without a label"]),
        ("rows = { sed = [1] }", ["rows", "sed", "seed"]),
        ("rows = { seed = [1, 'b'] }", ["rows", "seed", "'b'", "whole number"]),
        ("rows = { seed = [1, 2.5] }", ["rows", "seed", "2.5"]),
        ("rows = { width = [1979-05-27] }", ["rows", "width", "whole number"]),
        ("rows = { recipe = [3] }", ["rows", "recipe", "a name or a file"]),
        ("rows = { content = [['style.png', 'content.png']] }", ["rows", "content", "more than one"]),
        ("rows = { device = ['cpu', 'gpu'] }", ["rows", "device"]),
        ("rows = { width = [3, 0] }", ["rows: width: 0", "at least 1"]),
        ("[[rows]]\nlabel = 'tall'\nheight = 9", ["tall: height"]),
        (
            "[[pages]]\nlabel = 'a'\n[[columns]]\nlabel = 'b'\nnormalize = true\npooling = 'median'",
            ["columns: pooling", "median"],
        ),
        ("rows = { recipe = ['best', 'bets'] }", ["bets: recipe", "did you mean best"]),
        ("recipe = 'missing.toml'", ["recipe", "missing.toml"]),
        ("recipe = './'", ["recipe", "folder"]),
        ("rows = { network = ['vgg16'] }", ["vgg16: network", "vgg16 is not here"]),
        ("rows = { style_scales = [[1], [1, 2]] }", ["style scales 1, 2: style_scales", "2 of them"]),
        ("rows = { styles = [[], 'style.png'] }", ["no styles: styles is needed"]),
        (
            f"rows = {{ seed = {list(range(101))} }}\ncolumns = {{ width = {list(range(1, 101))} }}",
            ["10100 runs", "10000"],
        ),
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


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gatys2015-fig33", ["gatys2015-fig3", "--list-figures"]),
        ("zzz", ["no zzz", "--list-figures"]),
        ("missing.toml", ["missing.toml"]),
        ("nowhere/spec.toml", ["nowhere/spec.toml"]),
        ("./", ["folder"]),
        ("", ["there is no"]),
    ],
)
def test_a_name_of_no_spec_is_refused(name, parts):
    with pytest.raises(SettingsError) as error:
        specs.read(name)
    assert error.value.name == "spec"
    for part in parts:
        assert part in error.value.problem
