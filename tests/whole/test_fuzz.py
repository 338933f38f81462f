"""Damaged and hostile input: whatever a file or a name holds, one of the program's own errors comes of it."""

import contextlib
import io
import random
import subprocess
import sys

import numpy as np
import pytest
from conftest import PEAK, ROOT
from networks import tiny_layers, write_mat
from PIL import Image

import vgg
from styling.pictures import images
from styling.run import states
from styling.settings import recipes
from styling.sweeps import specs
from styling.system.errors import ImageError, NetworkError, RecipeError, SpecError, StateError

ENDS = b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"


def mutated(contents, seed):
    """The bytes with some of them changed, lost or added, most of them near the start, where headers are."""
    rng, contents = random.Random(seed), bytearray(contents)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        near = min(int(rng.expovariate(20 / len(contents))), len(contents) - 1)
        at = rng.choice([near, rng.randrange(len(contents))])
        kind = rng.randrange(5)
        if kind < 2:
            contents[at] = rng.randrange(256)
        elif kind == 2:
            contents[at : at + 4] = rng.choice(ENDS)
        elif kind == 3:
            del contents[at : at + rng.randrange(1, 9)]
        else:
            contents[at:at] = rng.randbytes(rng.randrange(1, 9))
        if not contents:
            break
    return bytes(contents)


def read_damaged(read, refusal, path, contents):
    """What is read from a file with these contents; None where it is refused, in a line that names it."""
    path.write_bytes(contents)
    try:
        return read(path)
    except refusal as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
        return None


# Networks. Bytes are not changed here, since scipy's reader crashes on some.


def test_a_network_that_is_cut_off_is_refused(tmp_path):
    whole = write_mat(tmp_path / "a.mat", tiny_layers(), compress=True).read_bytes()
    for end in np.linspace(0, 0.9 * len(whole), 12, dtype=int):
        assert read_damaged(vgg.load, NetworkError, tmp_path / "a.mat", whole[:end]) is None


# Images.

FORMATS = ["png", "jpeg", "webp", "tiff", "gif", "bmp", "ppm", "tga", "ico", "pcx", "dds", "jpeg2000"]


@pytest.fixture(scope="module")
def picture_bytes():
    """A picture of 64 x 48 pixels in every format, TIFF also compressed."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    picture = Image.fromarray(np.kron(coarse, np.ones((8, 8, 1), np.uint8)))
    found = []
    for name, options in [*((name, {}) for name in FORMATS), ("tiff", {"compression": "tiff_lzw"})]:
        file = io.BytesIO()
        with contextlib.suppress(OSError, KeyError):  # Pillow is built without some formats at times
            picture.save(file, name, **options)
            found.append(file.getvalue())
    return found


@pytest.mark.parametrize("count", [150, pytest.param(20_000, marks=pytest.mark.slow)])
def test_mutated_images_are_refused_or_read(picture_bytes, tmp_path, count):
    for seed in range(count):
        contents = mutated(picture_bytes[seed % len(picture_bytes)], seed)
        image = read_damaged(images.read, ImageError, tmp_path / "a", contents)
        if image is not None:
            assert image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.float32
            assert image.size and np.isfinite(image).all() and image.min() >= 0 and image.max() <= 255


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
def test_a_small_image_that_claims_a_huge_size_is_not_believed(tmp_path):
    files = [tmp_path / f"a.{ending}" for ending in ("png", "jpg", "tif", "bmp")]
    for file in files:
        Image.new("L", (13000, 13000)).save(file)
        contents = file.read_bytes()
        file.write_bytes(contents[: min(len(contents) // 2, 3000)])
    program = f"""{PEAK}
import sys
from styling.pictures import images
from styling.system.errors import ImageError
before, refused = peak(), 0
for file in sys.argv[1:]:
    try:
        images.read(file)
    except ImageError:
        refused += 1
print(refused, peak() - before)"""
    command = [sys.executable, "-c", program, *map(str, files)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    refused, kibibytes = map(int, result.stdout.split())
    assert refused == len(files) and kibibytes < 256 * 1024  # as float32 RGB one would be 2 GiB


# Saved runs.


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_mutated_state_is_refused_or_whole(tmp_path, count):
    path = tmp_path / "run.state"
    x = np.random.default_rng(1).normal(size=(1, 4, 5, 3)).astype(np.float32)
    saved = states.Saved(
        {"width": 5}, [("content", "/a", "0")], [(1.0, 2.0)], {}, {"iteration": np.array(7), "x": x}
    )
    states.write(path, saved)
    whole = path.read_bytes()
    for seed in range(count):
        found = read_damaged(states.read, StateError, path, mutated(whole, seed))
        if found is not None:  # what a zip file holds beside its parts, such as times, may change
            assert found.settings == saved.settings and found.history == saved.history
            assert found.iteration == 7 and np.array_equal(found.arrays["x"], x)


# Recipes and specs.


def read_recipe(path):
    return recipes.read(str(path))


def read_cells(path):
    """The cells of a spec, whatever images it names."""
    spec = specs.read(str(path))
    cells = specs.cells(spec, {})
    with contextlib.suppress(SpecError):
        specs.locate(cells, spec, {}, [path.parent])
    return cells


ODD_WORDS = ["", "3", "-1", "nan", "[]", "{}", '""', "true", "1e999", "[[]]", '"\\u0000"', "0xf" + 99 * "f"]


def shuffled(contents, seed):
    """A spec with some of its words in the places of others, which is TOML more often than random bytes."""
    rng, words = random.Random(seed), contents.decode().split(" ")
    for _ in range(rng.choice([1, 1, 2, 4])):
        other = rng.choice(words)
        words[rng.randrange(len(words))] = rng.choice([other, *ODD_WORDS])
    return " ".join(words).encode()


@pytest.mark.parametrize("count", [100, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("kind", "read", "refusal", "change"),
    [("recipes", read_recipe, RecipeError, mutated), ("figures", read_cells, SpecError, shuffled)],
    ids=["recipe", "spec"],
)
def test_mutated_recipes_and_specs_are_read_or_refused(tmp_path, count, kind, read, refusal, change):
    whole = [file.read_bytes() for file in recipes.shipped(kind).values()]
    for seed in range(count):
        read_damaged(read, refusal, tmp_path / "a.toml", change(whole[seed % len(whole)], seed))
