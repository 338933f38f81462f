"""The command line as people meet it: a process with flags and files, above all with wrong ones."""

import contextlib
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import tomllib
import zlib

import imageio.v3 as iio
import numpy as np
import pytest
from conftest import PROGRAM, words
from networks import MEAN_PIXEL, tiny_layers, write_mat
from PIL import Image
from processes import Command

import neural_style as program
from styling import __version__
from styling.command import jobs, painting
from styling.settings import Running, Settings

GOOD = words("--content content.png --styles style1.png --network tiny.mat --output out.png")
# The flags of the program whose command line people know, all of which are to work here.
KNOWN_FLAGS = words("""--content --styles --output --iterations --print-iterations --checkpoint-output
    --checkpoint-iterations --progress-write --progress-plot --width --style-scales --network
    --content-weight-blend --content-weight --style-weight --style-layer-weight-exp --style-blend-weights
    --tv-weight --learning-rate --beta1 --beta2 --eps --initial --initial-noiseblend --preserve-colors
    --pooling --overwrite""")


def good_but(flag, value):
    """GOOD with another value of a flag, or with one that it has not."""
    if flag not in GOOD:
        return [*GOOD, flag, value]
    place = GOOD.index(flag)
    return [*GOOD[: place + 1], value, *GOOD[place + 2 :]]


@pytest.fixture(autouse=True)
def folder(tmp_path, network_file, image_files, monkeypatch):
    """The process's folder: three images, a network, and names that are taken."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)  # what users do not set
    for path in (*image_files, network_file):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "taken.png").write_bytes(b"precious")
    (tmp_path / "taken5.png").write_bytes(b"precious")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "out-progress.txt").write_bytes(b"precious")
    (tmp_path / "full" / "out-progress.png").write_bytes(b"precious")
    (tmp_path / "full" / "out-progress-grid.png").write_bytes(b"precious")
    return tmp_path


def contents(folder):
    """Every path in the folder, and its bytes, except for the network's cache."""
    paths = [path for path in folder.rglob("*") if "cache" not in path.relative_to(folder).parts]
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


@pytest.fixture
def refused(neural_style, folder):
    """Runs the program and holds it to its way of refusing; returns the one line that it says."""

    def run(status, *arguments, silent=True):
        before = contents(folder)
        result = neural_style(*arguments)
        assert "Traceback" not in result.stderr
        assert result.returncode == status, result.stderr
        assert result.stderr.startswith("neural-style: error: ")
        assert result.stderr.endswith("\n") and result.stderr.count("\n") == 1, result.stderr
        assert result.stdout == "" or not silent
        assert contents(folder) == before
        return result.stderr

    return run


def start(folder, *arguments, **keywords):
    """The program as a process that is still running."""
    return Command(program.main, folder, [*GOOD, *arguments], **keywords)


def table(text):
    """`--flag: value value` lines as (flag, value) pairs."""
    lines = [line.split(":", 1) for line in text.strip().splitlines()]
    return [(flag.strip(), value) for flag, values in lines for value in words(values)]


# What shows on the command line: exit status 2.


# One flag of each kind; the settings' own tests have the bounds of each.
@pytest.mark.parametrize(
    ("flag", "value"),
    table("""
        --iterations: -1 1.5 nan inf ten
        --threads: 0 99999999999
        --seed: -1 9223372036854775808
        --save-state-iterations: 0 1.5 2
        --learning-rate: 0 -1 nan inf fast
        --beta1: -0.1 1 nan
        --content-weight-blend: 1.1
        --style-scales: 0 -1 nan
        --style-blend-weights: -1
        --content-layers: relu4_2=-1 relu4_2=nan relu4_2=0 relu4_2= relu4_2=x
        --shifts: 0 1.5 far
        --pooling: median
        --device: tpu gpu: gpu:x cpu:0
    """),
)
def test_a_value_out_of_range_is_refused_with_the_flag(refused, flag, value):
    assert flag in refused(2, *GOOD, flag, value)


@pytest.mark.parametrize(
    ("flag", "value", "problem"),
    [
        ("--iterations", "1e3", "1e3 is not a whole number of at least 0"),
        ("--style-weight", "3,5", "3,5 is not a number of at least 0"),
    ],
)
def test_what_is_no_number_is_told_in_plain_words(refused, flag, value, problem):
    assert refused(2, *GOOD, flag, value).endswith(f"error: argument {flag}: {problem}\n")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("--width 20 --max-size 20", "--max-size"),
        ("--tile 99 --histogram-weight 3", "--tile"),
        ("--style-scales 1 1", "--style-scales"),
        ("--styles style1.png style2.png --style-blend-weights 1", "--style-blend-weights"),
        ("--content-weight 0 --style-weight 0 --tv-weight 0", "weight"),
        ("--content-layers relu4_2=1 relu5_2", "relu5_2"),
        ("--content-layers relu9_9", "--content-layers"),
        ("--style-layers relu4_1=1 Relu4-2=2", "did you mean relu4_2?"),
        ("--content-layers relu4_2=1 --content-weight-blend 0.5", "--content-layers"),
        ("--style-layers", "--style-layers"),
        ("--styles", "--styles"),
        ("--width 20 --height 20", "--height"),
        ("--scales 0.5 1 --scale-shares 1", "--scale-shares"),
        ("--optimizer adam --evaluations 5", "--evaluations"),
        ("--normalize yes", "yes"),
        ("--iteration 5", "--iteration"),
        ("stray.png", "stray.png"),
    ],
)
def test_flags_at_odds_are_refused(refused, arguments, word):
    assert word in refused(2, *GOOD, *words(arguments))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--contnt content.png", "--contnt: there is no such flag; did you mean --content?"),
        ("--style style1.png", "did you mean --styles?"),
        ("--zzz", "--help"),
        ("\u2014content content.png", "two hyphens, as in --content"),
        ("--styles style1.png,style2.png", "spaces, not commas"),
        ("--styles https://host.org/a.png", "https://host.org/a.png is a URL; download it"),
        ("--recipe instant --iterations 3", "--iterations: has no effect with instant, which minimises"),
        ("--optimizer lbfgs --learning-rate 1", "--learning-rate: has no effect with --optimizer lbfgs"),
        ("--shift-layers relu1_1", "--shift-layers: has no effect without --shift-weight"),
        ("--tv-weight 0 --tv-reduction sum", "--tv-weight"),
        ("--initial-noiseblend 0 --noise uniform", "--noise: has no effect"),
        ("--initial style2.png --initial-noiseblend 1", "--initial: has no effect"),
        ("--mask-feather 0.1", "--mask-feather: has no effect without --style-masks or --content-mask"),
        ("--height 20", "--height: goes together with --width, for a picture without --content"),
        ("--content style2.png", "--output: out.png is one picture; name a folder"),
        ("--content style2.png --output there --save-state x", "--save-state: goes with one picture"),
    ],
)
def test_slips_are_told_with_what_to_do(refused, arguments, told):
    assert told in refused(2, *GOOD, *words(arguments))


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        ("--styles style1.png --content-weight 0 --preserve-colors", "--colors"),
        ("--styles style1.png --content-weight 0 --initial-noiseblend 0.5", "--content"),
        ("--styles style1.png --content-weight 0 --style-scales 1 1", "--style-scales"),
        ("--content content.png --style-weight 0 --histogram-weight 1", "--styles"),
        ("--content-weight 0 --style-weight 0", "--height"),
    ],
)
def test_images_that_a_run_lacks_are_asked_for(refused, arguments, flag):
    assert flag in refused(2, *words(arguments), *words("--network tiny.mat --output out.png"))


@pytest.mark.parametrize("flag", ["--content", "--styles", "--output"])
def test_what_cannot_be_left_out_is_asked_for(refused, flag):
    place = GOOD.index(flag)
    assert flag in refused(2, *GOOD[:place], *GOOD[place + 2 :])


@pytest.mark.parametrize("flag", ["--content", "--styles", "--initial", "--network"])
@pytest.mark.parametrize("name", ["missing.png", "full", "content.png/x.png", "pipe", "loop", "x" * 300])
def test_an_input_that_is_no_readable_file_is_refused(refused, folder, flag, name):
    if (flag, name) == ("--content", "full"):
        name = "full/empty"  # a folder with images is many contents
        (folder / name).mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    try:
        line = refused(2, *good_but(flag, name))
    finally:
        os.unlink(folder / "pipe")
        os.unlink(folder / "loop")
    assert flag in line and name in line


def test_files_and_folders_without_permission_are_refused(neural_style_process, folder):
    (folder / "locked").mkdir(mode=0o500)
    (folder / "taken.png").chmod(0o200)
    if os.access(folder / "taken.png", os.R_OK):
        pytest.skip("the superuser may read and write everything")
    for flag, name in (("--content", "taken.png"), ("--output", "locked/out.png")):
        result = neural_style_process(*good_but(flag, name))
        assert result.returncode == 2 and result.stderr.count("\n") == 1
        assert name in result.stderr and "ermission" in result.stderr
    assert not list((folder / "locked").iterdir())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("--output taken.png", "taken.png"),
        ("--output taken.png/out.png", "taken.png"),
        ("--output full", "full"),
        ("--output missing/out.png", "missing"),
        ("--output out.xyz", ".xyz"),
        ("--output out", "out"),
        ("--output loop.png", "loop.png"),
        (f"--output {'x' * 300}.png", "x" * 20),
        ("--output content.png --overwrite", "content.png"),
        ("--output full/../style1.png --overwrite", "style1.png"),
        ("--output link.png --overwrite", "link.png"),
        ("--initial style2.png --output style2.png --overwrite", "style2.png"),
        ("--network tiny.png --output tiny.png --overwrite", "tiny.png"),
        ("--output full/out.png --progress-write", "out-progress.txt"),
        ("--save-recipe missing/run.toml", "missing"),
        ("--save-recipe other.png", ".toml"),
        ("--save-recipe full", "full"),
        ("--checkpoint-output c{}.png", "--checkpoint-iterations"),
        ("--checkpoint-iterations 5", "--checkpoint-output"),
        ("--checkpoint-iterations 5 --checkpoint-output c.png", "c.png"),
        ("--checkpoint-iterations 5 --checkpoint-output c{:0}.xyz", ".xyz"),
        ("--checkpoint-iterations 5 --checkpoint-output c%d", "c5"),
        ("--checkpoint-iterations 5 --checkpoint-output c{.png", "c{.png"),
        ("--checkpoint-iterations 5 --checkpoint-output missing/c{}.png", "missing"),
        ("--checkpoint-iterations 5 --checkpoint-output taken{}.png", "taken5.png"),
        ("--checkpoint-iterations 5 --checkpoint-output o{}.png --output o10.png", "o10.png"),
        ("--checkpoint-iterations 5 --checkpoint-output o%d.png --output o10.png --overwrite", "o10.png"),
        ("--checkpoint-iterations 1 --checkpoint-output style{}.png --overwrite", "style1.png"),
    ],
)
def test_an_output_that_cannot_be_or_would_destroy_something_is_refused(refused, folder, arguments, word):
    (folder / "tiny.png").write_bytes((folder / "tiny.mat").read_bytes())
    (folder / "link.png").symlink_to("content.png")
    try:
        (folder / "loop.png").symlink_to("loop.png")
        assert word in refused(2, *GOOD, "--iterations", "20", *words(arguments))
    finally:
        os.unlink(folder / "loop.png")


def test_a_gpu_that_is_not_there_is_refused(refused):
    assert "--device" in refused(2, *GOOD, "--device", "gpu:99")


# What is found inside files, or while running: exit status 1.


def png_header(width, height):
    """A PNG that says it is of this size, and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("flag", "name"),
    table("""
        --content: text.png empty.png half.png half.jpg nothing.png vast.png network.png
        --styles: half.png
        --initial: empty.png
    """),
)
def test_a_file_that_holds_no_whole_image_is_refused(refused, folder, flag, name):
    whole = iio.imread(folder / "content.png")
    jpeg = iio.imwrite("<bytes>", whole, extension=".jpg")
    png = (folder / "content.png").read_bytes()
    damaged = {
        "text.png": b"not an image\n",
        "empty.png": b"",
        "half.png": png[: len(png) // 2],
        "half.jpg": jpeg[: len(jpeg) // 2],
        "nothing.png": png_header(0, 10),
        "vast.png": png_header(100_000, 100_000),
        "network.png": (folder / "tiny.mat").read_bytes(),
    }
    (folder / name).write_bytes(damaged[name])
    assert name in refused(1, *good_but(flag, name))


def test_a_picture_too_large_for_its_format_is_refused(refused):
    assert "out.jpg" in refused(1, *GOOD, "--output", "out.jpg", "--width", "70000")


def test_a_truncated_network_is_refused(refused, folder):
    data = (folder / "tiny.mat").read_bytes()
    (folder / "half.mat").write_bytes(data[: len(data) // 2])
    assert "half.mat" in refused(1, *GOOD, "--network", "half.mat")


def test_a_network_that_lacks_a_layer_asked_for_is_refused(refused, folder):
    write_mat(folder / "shallow.mat", tiny_layers((2, 2, 4, 4), (3, 4, 5, 6)))
    line = refused(1, *GOOD, "--network", "shallow.mat")
    assert "relu5_1" in line
    assert "shallow.mat" in line or "--style-layers" in line


@pytest.mark.parametrize(
    ("scale", "width", "status"), [("0.001", "24", 1), ("10", "1000", 1), ("1e308", "24", 2)]
)
def test_a_style_scale_that_gives_an_absurd_size_is_refused(refused, scale, width, status):
    assert "--style-scales" in refused(status, *GOOD, "--style-scales", scale, "--width", width)


def test_a_picture_that_does_not_fit_in_memory_is_refused_with_a_width_that_does(refused):
    line = refused(1, *GOOD, "--width", "200000")
    fits = int(re.search(r"--width (\d+)", line).group(1))
    assert 40 <= fits < 200_000


def test_a_loss_that_turns_nan_stops_the_run_and_writes_nothing_bad(refused):
    line = refused(1, *GOOD, "--learning-rate", "1e30", "--iterations", "50", silent=False)
    assert "--learning-rate" in line and "nothing was written" in line


def test_a_loss_that_turns_nan_later_leaves_the_last_good_picture(neural_style, folder):
    # With beta2 at 0 the step has the gradient of one moment below it, so that it soon explodes.
    wild = words("--learning-rate 1e7 --beta2 0 --seed 1 --iterations 100")
    before = contents(folder)
    result = neural_style(*GOOD, *wild, *words("--checkpoint-output c{}.png --checkpoint-iterations 1"))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    assert "--learning-rate" in result.stderr and "out.png" in result.stderr
    written = {path.name for path in contents(folder).keys() - before.keys()}
    assert {"out.png", "c1.png"} <= written and "c100.png" not in written
    assert all(iio.imread(folder / name).shape == (30, 40, 3) for name in written)


# Answers that need no TensorFlow.


def test_help_names_every_flag(neural_style):
    result = neural_style("--help", check=0)
    assert result.stderr == ""
    for flag in KNOWN_FLAGS:
        assert re.search(rf"{flag}(?![\w-])", result.stdout), flag


def test_version_is_the_package_s(neural_style):
    assert neural_style("--version", check=0).stdout == f"neural-style {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "--version",
        "--list-recipes",
        "",
        "--iterations 0",
        "--style-scales 1 1",
        "--output taken.png",
        "--recipe yuan2018 --height 5",
    ],
)
def test_help_and_usage_errors_do_not_import_tensorflow(folder, arguments):
    alone = arguments in ("--help", "--version", "--list-recipes", "")
    given = words(arguments) if alone else [*GOOD, *words(arguments)]
    command = [sys.executable, "-X", "importtime", PROGRAM, *given]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    imported = re.findall(r"^import time:.*\| *(\S+)$", result.stderr, re.MULTILINE)
    assert "argparse" in imported
    assert not {"tensorflow", "scipy", "matplotlib"} & set(imported)


# Pictures.


def printed(stdout):
    """The printed iterations: {iteration: [content, style, tv, total]} as text."""
    lines = re.findall(
        r"^iteration (\d+) of \d+, [\d.]+ s: content (\S+)  style (\S+)  tv (\S+)  total (\S+)$",
        stdout,
        re.MULTILINE,
    )
    return {int(iteration): losses for iteration, *losses in lines}


def test_a_whole_run_and_the_same_again(neural_style, folder):
    run = [*GOOD, *words("--styles style2.png --style-scales 0.8 1 --style-blend-weights 1,3")]
    run += words("--width 33 --iterations 20 --checkpoint-iterations 10 --seed 3")
    blend = words("--content-weight-blend 0.25")
    layers = words("--content-layers relu4_2=0.25 relu5_2=0.75")  # the same by their names
    told = words("--print-iterations 6 --progress-write --progress-plot --checkpoint-output c{:03}.png")
    first = neural_style(*run, *blend, *told, check=0)
    assert first.stderr == ""
    assert "out.png" in first.stdout.splitlines()[-1]
    assert {path.name for path in folder.glob("c[0-9]*.png")} == {"c010.png", "c020.png"}
    for name in ("out.png", "c010.png", "c020.png"):
        assert iio.imread(folder / name).shape == (24, 33, 3)  # 30 / 40 * 33 = 24.75
    # What is written at the last checkpoint is the result.
    assert (folder / "out.png").read_bytes() == (folder / "c020.png").read_bytes()
    assert iio.imread(folder / "out-progress.png").std() > 0

    # The table has the printed lines' figures, to the digits that those show.
    lines = printed(first.stdout)
    assert list(lines) == [0, 6, 12, 18, 20]
    rows = {int(row[0]): row[1:] for row in np.loadtxt(folder / "out-progress.txt")}
    assert rows.keys() >= lines.keys()
    for iteration, losses in lines.items():
        assert [f"{loss:.4g}" for loss in rows[iteration]] == losses
        assert rows[iteration][3] == pytest.approx(sum(rows[iteration][:3]), rel=1e-6)
    assert rows[20][3] < rows[0][3]

    # Same seed, same bytes, whatever is said on the way; another seed, other bytes, over the old ones.
    quiet = words("--quiet --checkpoint-output d%d.png --output again.jpg")
    again = neural_style(*run, *layers, *quiet, check=0)
    assert again.stdout == again.stderr == ""
    assert (folder / "d10.png").read_bytes() == (folder / "c010.png").read_bytes()
    assert (folder / "d20.png").read_bytes() == (folder / "out.png").read_bytes()
    with Image.open(folder / "again.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (33, 24))
    other = words("--seed 4 --overwrite --checkpoint-output d%d.png")
    neural_style(*run, *blend, *other, check=0)
    assert (folder / "out.png").read_bytes() != (folder / "c020.png").read_bytes()
    assert (folder / "d20.png").read_bytes() == (folder / "out.png").read_bytes()
    assert not list(folder.glob(".*"))


def test_many_photographs_are_painted_each_as_by_itself(neural_style, folder):
    run = words("--styles style1.png --network tiny.mat -w 24 --iterations 3 --seed 1 --progress-write")
    (folder / "photos").mkdir()
    for name in ("content.png", "style2.png"):
        (folder / "photos" / name).write_bytes((folder / name).read_bytes())
    (folder / "photos" / "notes.txt").write_text("no image")
    (folder / "broken.png").write_bytes(b"")

    many = [*words("--content photos broken.png -o painted"), *run]
    first = neural_style(*many, check=1)
    assert "broken.png: is empty" in first.stderr and first.stderr.endswith(
        "2 of 3 pictures are painted; failed: broken.png\n"
    )
    made = {"content.png", "content-progress.txt", "style2.png", "style2-progress.txt"}
    assert {path.name for path in (folder / "painted").iterdir()} == made

    neural_style(*words("--content photos/style2.png -o alone.png"), *run, check=0)
    assert (folder / "painted" / "style2.png").read_bytes() == (folder / "alone.png").read_bytes()

    (folder / "painted" / "style2.png").unlink()
    (folder / "painted" / "style2-progress.txt").unlink()
    (folder / "painted" / "content.png").write_bytes(b"precious")
    again = neural_style(*many, check=1)
    assert "2 of 3 pictures to be made" in again.stdout
    assert (folder / "painted" / "content.png").read_bytes() == b"precious"
    assert (folder / "painted" / "style2.png").read_bytes() == (folder / "alone.png").read_bytes()


def test_photographs_of_the_same_name_are_kept_apart_and_what_is_none_is_passed_over(neural_style, folder):
    run = words("--styles style1.png --network tiny.mat -w 24 --iterations 2 --seed 1 --quiet")
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "photo.png").write_bytes((folder / "content.png").read_bytes())
    (folder / "two" / "broken.jpg").write_bytes(b"no image")
    (folder / "two" / "folder.jpg").mkdir()
    os.mkfifo(folder / "two" / "pipe.jpg")
    result = neural_style(*words("--content one two -o painted"), *run, check=1)
    painted = sorted(str(path.relative_to(folder)) for path in (folder / "painted").rglob("*.*"))
    assert painted == ["painted/one/photo.png", "painted/two/photo.png"]
    last = "neural-style: 2 of 3 pictures are painted; failed: two/broken.jpg\n"
    assert result.stderr.endswith(last) and "folder.jpg" in result.stderr and "pipe.jpg" in result.stderr

    # No folder is made for nothing, and none has photographs and pictures.
    (folder / "two" / "photo.png").unlink()
    neural_style(*words("--content two -o nothing"), *run, check=1)
    assert not (folder / "nothing").exists()
    for arguments in ("--content one -o one", "--content one/photo.png taken.png -o one"):
        assert "--output: one has " in neural_style(*words(arguments), *run, check=2).stderr


def test_a_run_from_coarse_to_fine_is_saved_and_repeated(neural_style, folder):
    run = words("--scales 0.5 1 --scale-shares 3 1 --iterations 8 --optimizer lbfgs --width 240")
    run += words("--save-recipe run.toml")
    shown = words("--print-iterations 1 --checkpoint-iterations 4 --checkpoint-output c{}.png")
    first = neural_style(*GOOD, *run, *shown, check=0)
    lines = printed(first.stdout)
    assert list(lines) == list(range(9))
    coarse, fine = (
        "192 x 144 pixels (scale 1 of 2)\niteration 0 ",
        "240 x 180 pixels (scale 2 of 2)\niteration 6 ",
    )
    assert first.stdout.count(coarse) == first.stdout.count(fine) == 1
    # The sixth iteration's end is where the second scale starts, of which each iteration lowers the loss.
    totals = [float(losses[3]) for losses in lines.values()]
    assert totals[:6] == sorted(totals[:6], reverse=True) and totals[6:] == sorted(totals[6:], reverse=True)
    assert iio.imread(folder / "c4.png").shape == iio.imread(folder / "out.png").shape == (180, 240, 3)
    again = words("--recipe run.toml --quiet --output again.png")
    neural_style(*words("--content content.png --styles style1.png"), *again, check=0)
    assert (folder / "again.png").read_bytes() == (folder / "out.png").read_bytes()


def test_the_precision_that_was_the_fastest_is_told_and_saved(neural_style, folder):
    run = words("--precision fastest --iterations 3 --width 24")
    first = neural_style(*GOOD, *run, "--save-recipe", "run.toml", check=0)
    precision = tomllib.loads((folder / "run.toml").read_text())["precision"]
    assert precision in ("float32", "bfloat16")
    assert ("in bfloat16" in first.stdout.splitlines()[0]) == (precision == "bfloat16")
    again = words("--content content.png --styles style1.png --recipe run.toml --output again.png")
    second = neural_style(*again, check=0)
    assert (folder / "again.png").read_bytes() == (folder / "out.png").read_bytes()
    assert "bfloat16" not in second.stdout, "it is what was asked for"


def test_large_images_are_read_no_larger_than_the_picture_needs(folder):
    y, x = np.mgrid[:3600, :4800].astype(np.uint8)
    Image.fromarray(np.stack([x, y, x + y], axis=-1)).save(folder / "large.jpg")
    large, small = folder / "large.jpg", folder / "content.png"  # 40 x 30 pixels
    for content, settings, sides in (
        (large, Settings(width=100), [600, 600, 600]),
        (large, Settings(max_size=200, style_scales=(2,)), [1200, 2400, 1200]),
        (large, Settings(), [4800, 4800, 4800]),  # the picture has the size of the content
        (small, Settings(), [Image.open(small).width, 600, 600]),
        (None, Settings(width=100), [600, 600]),
    ):
        named = [("content", content), ("styles", large), ("initial", large)]
        files = jobs.Files(tuple(pair for pair in named if pair[1]), folder / "out.png")
        job = jobs.Job(files, settings, Running(), folder / "tiny.mat", {}, None, frozenset())
        found = painting.read_images(job)
        assert [image.shape[1] for _, _, image in found] == sides


def test_initial_and_noise_are_blended(neural_style, folder):
    still = words("--learning-rate 1e-6 --iterations 1 --max-size 20")
    neural_style(*GOOD, *still, "--initial", "style1.png", "--initial-noiseblend", "0.75", check=0)
    with Image.open(folder / "style1.png") as image:
        initial = np.asarray(image.resize((20, 15), Image.Resampling.BICUBIC), float)
    start = 0.25 * initial + 0.75 * MEAN_PIXEL
    # Noise of deviation 0.256 * 0.75 and rounding.
    assert np.abs(iio.imread(folder / "out.png") - start).max() < 1.5


def test_preserve_colors_keeps_the_chroma_of_the_content(neural_style, folder):
    content = iio.imread(folder / "content.png") // 3 + 80  # clear of 0 and 255, where chroma is clipped
    iio.imwrite(folder / "content.png", content)
    few = words("--initial content.png --learning-rate 3 --iterations 10 --preserve-colors")
    neural_style(*GOOD, *few, check=0)
    with Image.open(folder / "out.png") as image:
        difference = np.abs(np.asarray(image.convert("YCbCr"), int) - ycbcr(content))
    assert difference[..., 0].max() > 10
    assert difference[..., 1:].max() <= 2


def ycbcr(array):
    return np.asarray(Image.fromarray(array).convert("YCbCr"), int)


def test_a_grid_of_the_best_of_all_and_of_further_losses(neural_style, folder):
    run = words("--width 24 --iterations 20 --seed 1 --best-of-all --progress-grid --progress-write")
    losses = words("--shift-weight 300 --shifts 1 2 --histogram-weight 2")
    # With so much momentum the loss rises and falls.
    momentum = words("--learning-rate 20 --beta1 0.99 --initial content.png --tv-weight 0")
    result = neural_style(*GOOD, *run, *losses, *momentum, check=0)
    header, *rows = (folder / "out-progress.txt").read_text().splitlines()
    assert words(header) == words("# updates content style shift histogram tv total")
    table = np.array([words(row) for row in rows], float)
    assert table[:, 6] == pytest.approx(table[:, 1:6].sum(axis=1), rel=1e-5)
    assert (table[:, 3] > 0).all() and (table[:, 4] > 0).all()
    assert "shift " in result.stdout and "histogram " in result.stdout

    best = int(table[1:, 6].argmin()) + 1
    assert best < 20, "the case must be one in which the end is not the best"
    # Ten pictures of 24 x 18 pixels in two rows of five on white.
    grid = iio.imread(folder / "out-progress-grid.png")
    gap = (grid.shape[1] - 5 * 24) // 4
    assert grid.shape == (2 * 18 + gap, 5 * 24 + 4 * gap, 3) and gap > 0
    assert (grid[18 : 18 + gap] == 255).all() and (grid[:, 24 : 24 + gap] == 255).all()
    pictures = [
        grid[top : top + 18, left : left + 24]
        for top in (0, 18 + gap)
        for left in range(0, grid.shape[1], 24 + gap)
    ]
    assert len({picture.tobytes() for picture in pictures}) == 10
    out = iio.imread(folder / "out.png")
    assert [np.array_equal(out, picture) for picture in pictures] == [2 * k == best for k in range(1, 11)]


# While it runs.


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs-b"])
def test_ctrl_c_writes_the_picture_and_says_where(folder, optimizer):
    long = words(f"--iterations 10000 --print-iterations 1 --optimizer {optimizer}")
    process = start(folder, *long)
    assert any(line.startswith("iteration 3 ") for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, stderr = process.finish(130)
    assert stderr.count("\n") == 1 and "out.png" in stderr
    assert iio.imread(folder / "out.png").shape == (30, 40, 3)


def test_ctrl_c_in_a_batch_leaves_no_half_painted_picture(folder):
    many = words("--content content.png style2.png --styles style1.png --network tiny.mat --output many")
    process = Command(program.main, folder, [*many, *words("--iterations 10000 --print-iterations 1")])
    assert any(line.startswith("iteration 3 ") for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, stderr = process.finish(130)
    assert stderr.endswith("0 of 2 pictures are painted; the same command goes on from there\n")
    assert not (folder / "many").exists()


def test_a_terminal_gets_a_bar_with_iteration_losses_and_time_left(folder):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 150))
    process = start(folder, "--iterations", "5000", stderr=theirs)
    os.close(theirs)
    seen, bar = "", re.compile(r"[1-9]\d*/5000 \[\d+:\d+, [\d:]+ left\], .*style \d.*total \d")
    try:
        while not bar.search(seen):
            seen += os.read(ours, 4096).decode()  # fails if the process ends before
        process.send_signal(signal.SIGINT)
        process.finish(130)
        while "\n" not in seen:
            seen += os.read(ours, 4096).decode()
    finally:
        process.kill()
        os.close(ours)
    assert "Traceback" not in seen


def test_a_file_made_meanwhile_is_not_replaced(folder):
    process = start(folder, *words("--iterations 60 --print-iterations 1"))
    assert process.stdout.readline()
    (folder / "out.png").write_bytes(b"precious")
    stdout, _ = process.finish()
    assert "wrote out-1.png" in stdout
    assert (folder / "out.png").read_bytes() == b"precious"
    assert iio.imread(folder / "out-1.png").shape == (30, 40, 3)


def test_a_folder_that_disappears_loses_neither_the_run_nor_the_picture(folder, monkeypatch):
    (folder / "gone").mkdir()
    (folder / "refuge").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder / "refuge"))
    run = words("--iterations 60 --print-iterations 1 --output gone/out.png")
    checkpoints = words("--checkpoint-output gone/c{}.png --checkpoint-iterations 60")
    process = start(folder, *run, *checkpoints)
    assert process.stdout.readline()
    (folder / "gone").rmdir()
    _, stderr = process.finish(1)
    first, last = stderr.splitlines()
    assert "gone/c60.png" in first and "gone/out.png" in last and "refuge/out.png" in last
    assert iio.imread(folder / "refuge" / "out.png").shape == (30, 40, 3)


def test_a_pipe_that_nobody_reads_does_not_lose_the_picture(folder):
    run = [sys.executable, PROGRAM, *GOOD, "--iterations", "30", "--print-iterations", "1"]
    result = subprocess.run(
        ["sh", "-c", '"$@" | head -n 2 >head', "sh", *run], cwd=folder, capture_output=True, text=True
    )
    assert "Traceback" not in result.stderr
    assert iio.imread(folder / "out.png").shape == (30, 40, 3), result.stderr


@pytest.mark.parametrize("where", ["/dev/full", None])
def test_a_stdout_that_is_full_or_closed_does_not_lose_the_picture(folder, monkeypatch, where):
    if where and not os.path.exists(where):
        pytest.skip(f"this system has no {where}")
    monkeypatch.chdir(folder)
    with open(where or os.devnull, "w") as stdout:
        # None is what Python makes of a stdout that is closed.
        with contextlib.redirect_stdout(where and stdout):
            status = program.main([*GOOD, "--iterations", "3", "--print-iterations", "1"])
        with contextlib.suppress(OSError):  # a full disk takes nothing
            stdout.close()
    assert status == 0
    assert iio.imread(folder / "out.png").shape == (30, 40, 3)
