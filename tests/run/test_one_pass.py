"""The picture of one pass: each part against the NumPy model, and what a user is promised of the whole."""

import dataclasses
import sys

import numpy as np
import pytest
import reference
from conftest import ROOT, random_image, run_in_process
from networks import VGG16, tiny_layers, write_mat

import neural_style
import stylize
import vgg
from styling.network import decoder
from styling.objective import neighbors
from styling.pictures import images
from styling.pictures.masks import Layout
from styling.run import one_pass
from styling.settings import Settings
from styling.system.errors import MemoryLimitError, NetworkError

DATA = ROOT / "data"
CHANNELS = (3, 4, 5, 6, 7)
WIDTHS = {"first": (70 + 48 + 64 + 1, 9), "second_a": (9 + 12, 8), "second_b": (8, 7), "third_a": (7 + 3, 6)}
WIDTHS |= {f"block{i}{part}": (9, 9) for i in (1, 2, 3) for part in "ab"} | {
    "third_b": (6, 5),
    "last": (5, 3),
}


@pytest.fixture(scope="module")
def small():
    return vgg.load(DATA / "vgg16-small.mat")


@pytest.fixture(scope="module")
def arrays():
    """A decoder for the tiny network, with random weights."""
    rng, channels = np.random.default_rng(5), 2 * 3 + 2 * 4 + 3 * 5 + 2 * 6
    found = {"scales": rng.uniform(0.5, 2, 9), "centre": rng.standard_normal(channels)}
    found["directions"] = rng.standard_normal((channels, 70)) / 5
    for name, (before, after) in WIDTHS.items():
        found[f"{name}/kernel"] = rng.standard_normal((3, 3, before, after)) / np.sqrt(9 * before)
        found[f"{name}/bias"] = rng.standard_normal(after) / 5
    return {name: value.astype(np.float32) for name, value in found.items()}


def image_of(name, height, width):
    return images.resize(images.read(DATA / f"{name}.jpg"), height, width)


def test_codes_are_the_models_whole_and_in_windows(arrays, tmp_path):
    layers, image = tiny_layers(VGG16, CHANNELS), random_image(144, 168, 1)
    write_mat(tmp_path / "tiny.mat", layers)
    network = vgg.load(tmp_path / "tiny.mat")
    features = reference.features(layers, image.astype(float) - network.mean_pixel, "avg")
    maps = [features[name] for name in neighbors.LAYERS]
    expected = reference.code(maps, *(arrays[name] for name in ("scales", "centre", "directions")))
    for tile in (0, 40):
        codes = neighbors.codes(image, network, decoder.from_arrays(arrays), tile)
        np.testing.assert_allclose(codes, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("rounds", [0, 1, 8])
def test_neighbors_are_the_models(rounds, monkeypatch):
    rng = np.random.default_rng(2)
    search, painting = (rng.standard_normal(shape).astype(np.float32) for shape in ((9, 12, 4), (11, 8, 4)))
    expected = reference.match(search.astype(float), painting.astype(float), neighbors.COHERENCE, rounds)
    monkeypatch.setattr(neighbors, "ROUNDS", rounds)
    places = neighbors.match(search, painting)
    assert {at: divmod(place, 8) for at, place in np.ndenumerate(places)} == expected


def test_neighbors_stay_within_a_guide_and_many_are_thinned(monkeypatch):
    rng = np.random.default_rng(3)
    painting = rng.standard_normal((40, 30, 5)).astype(np.float32)
    within = rng.random((40, 30)) < 0.3
    monkeypatch.setattr(neighbors, "MOST_CANDIDATES", 100)
    places = neighbors.match(rng.standard_normal((20, 20, 5)).astype(np.float32), painting, None, within)
    assert within.ravel()[places].all()


def test_the_collage_is_the_models():
    rng = np.random.default_rng(4)
    pixels, places = rng.random((20, 28, 3)).astype(np.float32), rng.integers(0, 35, (6, 9))
    expected = reference.collage(pixels, {at: divmod(place, 7) for at, place in np.ndenumerate(places)})
    np.testing.assert_allclose(one_pass.collage_of(pixels, places), expected, atol=1e-6)


def test_the_decoder_is_the_models_whole_and_in_windows(arrays):
    rng = np.random.default_rng(6)
    found, search = rng.standard_normal((2, 30, 26, 70)).astype(np.float32)
    collage = rng.random((120, 104, 3)).astype(np.float32)
    expected = reference.decode(arrays, found, collage, search, 0.7)
    assert np.abs(expected - collage).mean() > 0.1
    for tile in (0, 24):
        picture = decoder.from_arrays(arrays).decode(found, collage, search, 0.7, tile)
        np.testing.assert_allclose(picture, expected, atol=1e-4)


def paint(network, photo, styles, layout=None, **options):
    layout = layout or Layout.whole([1 / len(styles)] * len(styles))
    return one_pass.paint(photo, styles, layout, network, decoder.load(), **options)


def test_a_picture_is_the_same_twice_and_nearly_the_same_in_tiles(small):
    photo, style = image_of("harbour", 150, 190), image_of("mosaic", 160, 190)
    before = one_pass._remembered.cache_info().hits
    once, again, tiled = (paint(small, photo, [style], tile=tile) for tile in (0, 0, 96))
    assert one_pass._remembered.cache_info().hits == before + len(one_pass.SIZES)
    np.testing.assert_array_equal(once, again)
    assert once.shape == photo.shape and once.min() >= 0 and once.max() <= 255
    # A tie between neighbours may end the other way, by rounding.
    assert (np.abs(tiled - once).max(-1) > 1).mean() < 0.01


def test_shares_and_masks_say_which_painting_counts(small):
    photo = image_of("still_life", 96, 128)
    red, blue = np.zeros((2, 96, 128, 3), np.float32)
    red[..., 0] = blue[..., 2] = random_image(96, 128, 7)[..., 0]
    alone = paint(small, photo, [red])
    np.testing.assert_array_equal(paint(small, photo, [red, blue], Layout.whole([1.0, 0.0])), alone)
    half = np.zeros((96, 128), np.float32)
    half[:, :64] = 1
    run_images = images.Images(photo, (red, blue), style_masks=(half, 1 - half))
    settings = Settings(start="one-pass", iterations=0, style_weight=1)
    picture = stylize.paint(photo, [red, blue], small, settings, style_masks=run_images.style_masks)
    left, right = picture[:, :48].mean((0, 1)), picture[:, 80:].mean((0, 1))
    assert left[0] > 2 * left[2] and right[2] > 2 * right[0]
    mixed = paint(small, photo, [red, blue]).mean((0, 1))
    assert 0.5 < mixed[0] / mixed[2] < 2


def test_how_much_style(small):
    photo, style = image_of("still_life", 96, 128), image_of("glass", 96, 128)
    settings = Settings(start="one-pass", iterations=0, style_weight=1)
    pictures = [
        stylize.paint(photo, [style], small, dataclasses.replace(settings, style_weight=weight))
        for weight in (0.1, 0.2, 1, 10)
    ]
    distances = [np.abs(picture - photo).mean() for picture in pictures]
    assert distances[0] == 0 and distances == sorted(distances)


def test_what_is_new_in_a_frame_goes_on_from_what_is_known_of_it(small):
    """A camera moves by 5 pixels: near the seam, what is painted from the last picture fits it better."""
    scene, style = image_of("harbour", 96, 165), image_of("mosaic", 160, 190)
    last, content = paint(small, scene[:, :160], [style]), scene[:, 5:]
    known, trust = np.concatenate([last[:, 5:], content[:, -5:]], 1), np.ones((96, 160), np.float32)
    trust[:, -5:] = 0
    onward = paint(small, content, [style], before=images.Warped(known, trust))
    seam = np.s_[:, -30:-5]
    apart, alone = (
        np.abs(picture - known)[seam].mean() for picture in (onward, paint(small, content, [style]))
    )
    assert apart < 0.9 * alone


def test_a_run_goes_on_from_it(small):
    photo, style = image_of("still_life", 96, 128), image_of("glass", 96, 128)
    settings = Settings.from_recipe(
        "best", small, start="one-pass", iterations=2, scales=[1], precision="float32"
    )
    first, *_ = stylize.stylize(photo, [style], small, settings)
    np.testing.assert_allclose(first.image(), paint(small, photo, [style]), atol=0.01)


def test_what_does_not_fit_is_refused(network, monkeypatch):
    photo = random_image(64, 64, 0)
    settings = Settings.from_recipe("instant")
    with pytest.raises(NetworkError, match="--network small"):
        stylize.paint(photo, [photo], network, settings)
    monkeypatch.setattr(one_pass, "free_memory", lambda: 2**28)
    with pytest.raises(MemoryLimitError, match="a pass of 2048 x 1536 pixels needs about"):
        one_pass.check_memory((1536, 2048), [(1536, 2048)], 0)


def test_the_command(tmp_path):
    def run(recipe, output, *flags, check=0):
        files = "--content", DATA / "harbour.jpg", "--styles", DATA / "mosaic.jpg", "--output", output
        arguments = [*files, "--recipe", recipe, *flags]
        done = run_in_process(neural_style.main, tmp_path, arguments)
        assert done.returncode == check, done.stderr
        return done

    flags = "--width", 96, "--colors", "content", "--save-recipe", "a.toml"
    assert "painted in one pass" in run("instant", "a.png", *flags).stdout
    refused = run("instant", "b.png", "--learning-rate", 3, check=2)
    assert "--learning-rate: has no effect" in refused.stderr
    run("a.toml", "c.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "c.png").read_bytes()


@pytest.mark.slow
def test_the_strokes_are_the_paintings(small, shared, tmp_path, capsys):
    sys.path.append(str(shared))
    import judge

    strokes, contents = [], []
    for content, style in judge.PAIRS:
        names = [shared / f"images/{name}.jpg" for name in (content, style)]
        settings = Settings.from_recipe("instant", small, width=384)
        picture = stylize.paint(images.read(names[0]), [images.read(names[1])], small, settings)
        images.write(tmp_path / f"{content}-{style}.png", picture)
        judge.strokes(*names, [tmp_path / f"{content}-{style}.png"])
        strokes.append(float(capsys.readouterr().out.splitlines()[-1].split("mean")[1].split()[0]))
        contents.append(judge.judge(*names, [tmp_path / f"{content}-{style}.png"])[1][1])
    assert np.mean(strokes) <= 0.30 and np.mean(contents) <= 0.95
