"""Recipes: what ships against its sources, what a file may say, and runs that are saved and repeated."""

import dataclasses
import hashlib
import re
import tomllib

import imageio.v3 as iio
import numpy as np
import pytest
import reference
import sources
from conftest import words
from networks import MEAN_PIXEL, VGG16, VGG19, network_of, tiny_layers, write_mat

from styling.command.flags import build_parser
from styling.command.jobs import output_names, plan
from styling.network.networks import FILES
from styling.settings import Running, Settings, build, recipes
from styling.system.errors import NetworkError, RecipeError, SettingsError
from stylize import build_objective

NAMES = tuple(recipes.shipped())
CONVOLUTIONS = {"vgg16": VGG16, "vgg19": VGG19}


def combined(name, **flags):
    return build(recipes.read(name).under(flags).values)


# What ships, against the sources.


def plain(run):
    """Of sources that write the terms as they are here."""
    terms = ("content", "style", "tv", "shift", "histogram")
    return {term: getattr(run, f"{term}_weight") for term in terms}


def by_ratio(run):
    """Of Gatys et al., with 1/2 before the sum over the content and 1/4 before the mean over the style."""
    return {"content": 2 * run.content_weight, "style": 4 * run.style_weight}


def by_layer(run):
    """Of those whose layers have a weight each, as CS231n, whose source leaves the content's layer open."""
    content = {name: run.content_weight * share for name, share in run.layer_weights("content").items()}
    style = {name: run.style_weight * weight for name, weight in run.layer_weights("style").items()}
    return {"content": content, "style": style, "tv": run.tv_weight}


STATEMENTS = {
    "athalye2015": (sources.athalye2015, plain),
    "best": (sources.neighbors, by_layer),
    "gram": (sources.relative, by_layer),
    "kolkin2022": (sources.kolkin2022, by_layer),
    "li2016": (sources.li2016, by_layer),
    "gatys2015": (sources.gatys2015, by_ratio),
    "gatys2016": (sources.gatys2015, by_ratio),
    "yuan2018": (sources.yuan2018, plain),
    "prisma2017": (sources.prisma2017, plain),
    "cs231n-style": (sources.cs231n, by_layer),
    "cs231n-inversion": (sources.cs231n, by_layer),
    "cs231n-texture": (sources.cs231n, by_layer),
    "tseng2017": (sources.tseng2017, plain),
    "tseng2017-plain": (sources.tseng2017_plain, plain),
}
# What the sources say of the procedure and of its weights, where they say it.
STATED = {
    "athalye2015": {
        "network": "vgg19", "optimizer": "adam", "learning_rate": 10, "beta1": 0.9, "beta2": 0.999,
        "eps": 1e-8, "iterations": 1000, "clip": False, "content_weight": 5, "style_weight": 500,
        "tv_weight": 100,
    },
    "kolkin2022": {
        "network": "vgg16", "optimizer": "pyramid-adam", "scales": (0.125, 0.25, 0.5, 1), "iterations": 1000,
        "hypercolumn_iterations": 800, "match_iterations": 1, "style_turns": True, "start": "blurred",
    },
    "li2016": {
        "network": "vgg19", "optimizer": "lbfgs", "scales": (0.25, 0.5, 1), "iterations": 300,
        "match_iterations": 1, "max_size": 384,
    },
    "gatys2015": {"network": "vgg19", "pooling": "avg", "tv_weight": 0},
    "gatys2016": {
        "network": "vgg19", "pooling": "avg", "normalize": True, "optimizer": "lbfgs-b", "tv_weight": 0,
    },
    "yuan2018": {
        "network": "vgg19", "content_weight": 1e3, "style_weight": 1e-2, "tv_weight": 0, "optimizer": "adam",
        "learning_rate": 10, "iterations": 1000, "clip": True, "best_of_all": True, "print_iterations": 100,
        "progress_grid": True, "initial_noiseblend": 0,
    },
    "prisma2017": {
        "network": "vgg16", "content_weight": 1.5, "style_weight": 10, "noise": "uniform", "clip": True,
        "optimizer": "normalized-gradient-descent", "learning_rate": 10, "eps": 1e-8, "iterations": 120,
        "tv_weight": 0,
    },
    "cs231n-style": {"network": "vgg19"},
    "cs231n-inversion": {"network": "vgg19", "style_weight": 0},
    "cs231n-texture": {"network": "vgg19", "content_weight": 0},
    "tseng2017": {
        "network": "vgg16", "pooling": "avg", "optimizer": "lbfgs-b", "iterations": 10,
        "initial_noiseblend": 0,
    },
    "tseng2017-plain": {},  # which differs from the one before in the extra terms alone
}  # fmt: skip
FROM_NOISE = (
    *("kolkin2022", "athalye2015", "gatys2015", "gatys2016", "prisma2017"),
    *("cs231n-inversion", "cs231n-texture"),
)


def test_every_recipe_that_ships_is_looked_at_here():
    minimising = {name for name in NAMES if combined(name)[0].iterations}
    own = {"best", "gram"}  # whose procedure is nobody else's
    assert minimising == set(STATEMENTS) == set(STATED) | own


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_objective_is_the_one_that_the_source_states(name):
    run, running = combined(name)
    layers = tiny_layers(CONVOLUTIONS.get(running.network, VGG16))
    network = network_of(layers)
    rng = np.random.default_rng(5)
    x, content, style = rng.uniform(0, 255, (3, 36, 44, 3)).astype(np.float32)
    run = dataclasses.replace(run, style_turns=False)  # no painting's turns are among the maps
    seen = network.preprocess(x)
    found = build_objective(content, [style], network, run).matched(seen, 0)(seen)

    x, content, style = (image.astype(np.float64) - MEAN_PIXEL for image in (x, content, style))
    if run.normalize:
        layers = reference.normalized(layers, [content, style], run.pooling)
    maps = [reference.features(layers, image, run.pooling) for image in (x, content, style)]
    statement, weights = STATEMENTS[name]
    expected = statement(*maps, x, weights(run))
    assert {term: float(loss) for term, loss in found.items()} == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", STATED)
def test_the_procedure_is_the_one_that_the_source_states(name):
    run, running = combined(name)
    found = dataclasses.asdict(running) | dataclasses.asdict(run)
    assert {key: found[key] for key in STATED[name]} == STATED[name]
    assert run.noiseblend(False) == (1 if name in FROM_NOISE else 0)


@pytest.mark.parametrize(
    ("name", "ratios"), [("gatys2015", sources.GATYS2015_RATIOS), ("gatys2016", sources.GATYS2016_RATIOS)]
)
def test_the_ratio_of_content_and_style_is_one_of_the_articles(name, ratios):
    weights = by_ratio(combined(name)[0])
    assert any(weights["content"] / weights["style"] == pytest.approx(ratio) for ratio in ratios.values())


def test_recipes_that_differ_little():
    extra, without = (combined(name)[0] for name in ("tseng2017", "tseng2017-plain"))
    assert extra.losses == ("content", "style", "shift", "histogram", "tv", "total")
    same = dataclasses.replace(
        extra, shift_weight=0, histogram_weight=0, shifts=without.shifts, histogram_layers=None
    )
    assert same == without
    assert combined("athalye2015")[0] == Settings(), "which is what the program does by itself"


# Runs on the command line.


PICTURE = words("--content content.png --styles style1.png --width 24 --output out.png --seed 1")


def write_recipe(folder, text, name="own.toml"):
    (folder / name).write_text(text)
    return name


@pytest.fixture
def folder(folder):
    """The test's folder, with tiny networks under the published networks' names."""
    for name, convolutions in CONVOLUTIONS.items():
        write_mat(folder / FILES[name], tiny_layers(convolutions))
    return folder


@pytest.mark.parametrize("name", ["best", "yuan2018"])
def test_recipes_paint(neural_style, folder, name):
    line, *_ = neural_style(*PICTURE, *words(f"--recipe {name} --iterations 2"), check=0).stdout.splitlines()
    assert re.fullmatch(rf"painting with {FILES[combined(name)[1].network]}(; in bfloat16.*)?", line)
    picture = iio.imread(folder / "out.png")
    assert picture.shape == (18, 24, 3) and picture.std() > 0
    if name == "yuan2018":
        assert iio.imread(folder / "out-progress-grid.png").shape[1] >= 5 * 24


def test_a_recipe_without_a_photograph_paints_what_the_network_has_layers_for(neural_style, folder):
    write_recipe(folder, "content_weight = 0\nstyle_layers = ['relu1_1', 'relu3_4']")
    flags = words("--styles style1.png --width 21 --height 26 --iterations 2 --output out.png")
    line, *_ = neural_style(*flags, *words("--recipe own.toml --network vgg16"), check=0).stdout.splitlines()
    assert FILES["vgg16"] in line and line.endswith("without relu3_4, which it lacks")
    assert iio.imread(folder / "out.png").shape == (26, 21, 3)


def test_a_run_that_ends_early_says_so(neural_style, folder):
    nothing = words("--content-weight 0 --style-weight 0 --width 6 --height 5 --seed 1 --output early.png")
    printed = neural_style(*nothing, *words("--optimizer lbfgs-b --iterations 5000"), check=0).stdout
    ending = r" after (\d+) iterations, as lbfgs-b finds no lower, in \d+ s; wrote early.png$"
    assert 0 < int(re.search(ending, printed.strip()).group(1)) < 5000
    assert np.ptp(iio.imread(folder / "early.png"), axis=(0, 1)).max() <= 1


def test_a_saved_run_is_repeated_exactly_and_only_with_its_network(neural_style, folder):
    flags = ["--content", "content.png", "--styles", "style1.png", "--width", "24"]
    recipe = ["--recipe", "cs231n-style", "--iterations", "3", "--initial-noiseblend", "0.5"]
    neural_style(*flags, *recipe, "--save-recipe", "run.toml", "--output", "one.png", check=0)
    table = tomllib.loads((folder / "run.toml").read_text())
    network = folder / FILES["vgg19"]
    assert table["network"] == str(network.resolve()) and table["device"] in ("cpu", "gpu:0")
    assert table["network_sha256"] == hashlib.sha256(network.read_bytes()).hexdigest()
    assert type(table["seed"]) is int and type(table["threads"]) is int
    saved, _ = combined(str(folder / "run.toml"))
    expected, _ = combined("cs231n-style", iterations=3, initial_noiseblend=0.5, width=24)
    assert saved == dataclasses.replace(expected, seed=table["seed"], tile=0)

    repeat = ["--content", "content.png", "--styles", "style1.png", "--recipe", "run.toml"]
    neural_style(*repeat, "--output", "two.png", check=0)
    assert (folder / "two.png").read_bytes() == (folder / "one.png").read_bytes()

    write_mat(network, tiny_layers(seed=5))
    result = neural_style(*repeat, "--output", "three.png", check=1)
    assert result.stderr.count("\n") == 1 and not (folder / "three.png").exists()
    assert network.name in result.stderr and "run.toml" in result.stderr and "--network" in result.stderr


# The command line's plan, which needs no network.


def test_a_recipes_checkpoints_are_compared_without_being_written(planned, folder):
    recipe = write_recipe(folder, "iterations = 3\ncheckpoint_iterations = 2")
    job = planned(f"--recipe {recipe}")
    assert job.settings.checkpoint_iterations == 2
    assert [flag for flag, _ in output_names(job)] == ["output"]
    with pytest.raises(SettingsError, match="goes with --checkpoint-output"):
        planned("--checkpoint-iterations 2")


@pytest.fixture
def planned(folder, monkeypatch):
    """The plan that the program makes in the folder for these words, with content and style."""
    monkeypatch.chdir(folder)

    def make(text):
        words = ["--content", "content.png", "--styles", "style1.png", "--output", "out.png", *text.split()]
        (job,) = plan(build_parser().parse_args(words))
        return job

    return make


def test_flags_win_over_the_recipe_and_recipes_over_the_defaults(planned):
    job = planned("--recipe yuan2018 --iterations 7 --content-weight 3 --no-clip --print-iterations 2")
    assert (job.settings.iterations, job.settings.content_weight, job.settings.clip) == (7, 3, False)
    assert job.settings.style_weight == 1e-2 and job.settings.best_of_all
    assert job.running.print_iterations == 2 and job.running.progress_grid
    assert not planned("--recipe yuan2018 --no-progress-grid --no-best-of-all").running.progress_grid


@pytest.mark.parametrize(
    ("recipe", "flags", "changes"),
    [
        ("max_size = 99", "--width 20", {"max_size": None}),
        ("width = 99", "--max-size 20", {"width": None}),
        ('content_layers = ["relu3_1"]', "--content-weight-blend 0.25", {"content_layers": None}),
        ("content_weight_blend = 0.5", "--content-layers relu3_1", {"content_weight_blend": None}),
        ("style_layer_weight_exp = 2", "--style-layers relu1_1=3", {"style_layer_weight_exp": None}),
        ("style_layers = { pool1 = 3 }", "--style-layer-weight-exp 2", {"style_layers": ("pool1",)}),
        ('optimizer = "lbfgs-b"\nevaluations = 5', "--optimizer adam", {"evaluations": None}),
        ("scales = [0.5, 1]\nscale_shares = [1, 2]", "--scales 0.25 0.5 1", {"scale_shares": None}),
        ("colors = 'matched'", "--preserve-colors", {"colors": "content"}),
        ("preserve_colors = true", "--no-preserve-colors", {"colors": "style"}),
        ('network_sha256 = "0"', "--network vgg16", {"network_sha256": None}),
    ],
)
def test_a_flag_takes_the_place_of_what_it_contradicts(planned, folder, recipe, flags, changes):
    job, alone = planned(f"--recipe {write_recipe(folder, recipe)} {flags}"), planned(flags)
    assert (job.settings, job.running) == tuple(
        dataclasses.replace(part, **{k: v for k, v in changes.items() if hasattr(part, k)})
        for part in (alone.settings, alone.running)
    )


@pytest.mark.parametrize(
    ("text", "colors"),
    [
        ("", "style"),
        ("preserve_colors = true", "content"),
        ('preserve_colors = false\ncolors = "matched"\npadding = "zero"', "matched"),
    ],
)
def test_an_empty_file_and_the_keys_of_earlier_versions_are_read(tmp_path, text, colors):
    assert combined(str(tmp_path / write_recipe(tmp_path, text)))[0] == Settings(colors=colors)


@pytest.mark.parametrize(
    ("convolutions", "flags", "weights"),
    [(VGG19, "", (1, 2, 3)), (VGG16, "--style-weight 9", (1, 9, 30))],
)
def test_the_weights_for_a_vgg16_are_for_any_network_of_its_layout(
    planned, folder, convolutions, flags, weights
):
    text = "content_weight = 1\nstyle_weight = 2\ntv_weight = 3\n[vgg16]\nstyle_weight = 20\ntv_weight = 30"
    job = planned(f"--recipe {write_recipe(folder, text)} {flags}")
    settings, _ = job.for_network(network_of(tiny_layers(convolutions)))
    assert (settings.content_weight, settings.style_weight, settings.tv_weight) == weights


def test_a_recipe_whose_network_is_not_here_has_the_one_that_is(planned, folder):
    def network_for(words):
        job = planned(words)
        return job.network.name, job.instead_of

    assert network_for("--recipe prisma2017") == (FILES["vgg16"], None)
    assert network_for("--recipe gram") == (FILES["vgg19"], None)
    assert network_for("--recipe best") == (FILES["small"], None)
    (folder / FILES["vgg16"]).unlink()
    assert network_for("--recipe prisma2017") == (FILES["vgg19"], "vgg16")
    (folder / FILES["vgg19"]).unlink()
    assert network_for("--recipe prisma2017") == (FILES["small"], "vgg16")
    assert network_for("--recipe prisma2017 --network small") == (FILES["small"], None)
    with pytest.raises(SettingsError, match="vgg16 is not here"):
        planned("--recipe prisma2017 --network vgg16")


# What the command line says no to.


@pytest.mark.parametrize(
    ("flags", "status", "parts"),
    [
        ("--recipe bad.toml", 1, ["bad.toml", "style_wieght", "style_weight"]),
        ("--recipe lost.toml", 1, ["lost.toml", "lost.mat", "--network"]),
        ("--recipe tall.toml", 1, ["tall.toml", "height"]),
        ("--shift-weight 1 --shifts 900 --recipe fine.toml", 2, ["--shifts", "smaller"]),
        ("--save-recipe bad.toml", 2, ["--save-recipe", "bad.toml", "--overwrite"]),
        ("--recipe fine.toml --save-recipe fine.toml --overwrite", 2, ["--save-recipe", "fine.toml"]),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_in_a_line(neural_style, folder, flags, status, parts):
    write_recipe(folder, "style_wieght = 3", "bad.toml")
    write_recipe(folder, "iterations = 3", "fine.toml")
    write_recipe(folder, 'network = "lost.mat"', "lost.toml")
    write_recipe(folder, "width = 30\nheight = 30", "tall.toml")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    needed = ["--content", "content.png", "--styles", "style1.png", "--output", "out.png"]
    result = neural_style(*needed, *flags.split(), check=status)
    assert result.stdout == "" and result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_list_recipes_has_a_line_for_each(neural_style):
    lines = neural_style("--list-recipes", check=0).stdout.splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(NAMES)
    assert all(len(line.split()) > 3 and len(line) < 110 for line in lines)


# Reading.


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("style_wieght = 3", ["style_wieght", "style_weight"]),
        ("[vgg16]\niterations = 3", ["iterations", "[vgg16]", "style_weight"]),
        ("iterations = 1.0", ["iterations", "whole number"]),
        ('style_weight = "500"', ["style_weight", "number"]),
        ('style_layers = "relu1_1"', ["style_layers", "names"]),
        ("tile = 3\n[vgg16]\nhistogram_weight = 3", ["tile"]),
        ("style_weight = " + 10000 * "9", ["TOML"]),
        ("shifts = " + 20000 * "[", ["TOML"]),
        (b"\xff\xfe", ["TOML"]),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_a_file_that_is_no_recipe_is_refused_by_its_name_and_key(tmp_path, text, parts):
    path = tmp_path / "own.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecipeError) as error:
        recipes.read(str(path))
    for part in (f"{path}: ", *parts):
        assert part in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize(("name", "near"), [("yuan2017", "yuan2018"), ("zzz", "--list")])
def test_a_name_that_is_no_recipes_is_answered_with_the_nearest(name, near):
    with pytest.raises(SettingsError, match=f"no {name}; .*{near}") as error:
        recipes.read(name)
    assert error.value.name == "recipe"


# Writing.


@pytest.mark.parametrize(
    ("run", "running"),
    [
        (Settings(), Running()),
        (
            Settings(
                iterations=2**63 - 1,
                seed=2**63 - 1,
                content_weight=1e-30,
                content_layers={"conv1_1": 1e30, "pool5": 3},
                style_layers=("relu3_1", "conv2_2"),
                shifts=(2**40, 1),
                style_scales=(1e-30, 10),
                gram_divisor="none",
            ),
            Running(network="Größe\n.mat", device="gpu:3", threads=1024, progress_grid=True),
        ),
    ],
)
def test_what_is_written_is_read_as_the_same(tmp_path, run, running):
    path = tmp_path / "run.toml"
    recipes.write(path, recipes.to_table(run, running))
    assert combined(str(path)) == (run, running)
    assert recipes.read(str(path)).description


# Layers that the network lacks.


def test_layers_that_are_missing_are_dropped_and_named_and_the_others_keep_their_weights():
    run = Settings(
        content_weight_blend=0.25,
        style_layer_weight_exp=2,
        shift_weight=1,
        histogram_weight=1,
        histogram_layers={"relu1_1": 3, "relu5_1": 4},
    )
    there = {"relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2"}
    assert run.for_network({}, run.layers(), ()) == (run, []), "nothing is missing, nothing changes"
    fitting, gone = run.for_network({}, there, ())
    assert gone == ["relu5_2", "relu5_1"]
    for term, lost in (("content", "relu5_2"), ("style", "relu5_1"), ("shift", "relu5_1")):
        before = run.layer_weights(term)
        assert before.pop(lost) > 0
        assert fitting.layer_weights(term) == before
    assert fitting.layer_weights("histogram") == {"relu1_1": 3}
    assert fitting.layers() <= there


def test_a_term_that_would_lose_every_layer_is_refused():
    with pytest.raises(NetworkError, match="content layers, relu4_2"):
        Settings().for_network({}, {"relu1_1"}, ())
    fitting, _ = Settings(content_weight=0).for_network({}, {"relu1_1"}, ())
    assert fitting.layer_weights("style") == {"relu1_1": 0.2}
