"""The command line as people meet it: a process with flags and files, above all with wrong ones."""

import os
import pty
import re
import signal
import subprocess
import sys
import termios
import tomllib

import imageio.v3 as iio
import numpy as np
import pytest
from conftest import ROOT, words
from networks import tiny_layers, write_mat
from PIL import Image
from processes import Command

import neural_style as program
from styling.command import jobs, painting
from styling.settings import Running, Settings

GOOD = words("--content content.png --styles style1.png --network tiny.mat --output out.png")


def good_but(flag, value):
    """GOOD with another value of a flag, or with one that it has not."""
    if flag not in GOOD:
        return [*GOOD, flag, value]
    place = GOOD.index(flag)
    return [*GOOD[: place + 1], value, *GOOD[place + 2 :]]


@pytest.fixture(autouse=True)
def folder(folder, monkeypatch):
    """The process's folder, with names that are taken."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)  # what users do not set
    (folder / "full").mkdir()
    for name in ("taken.png", "taken5.png", "full/out-progress.txt"):
        (folder / name).write_bytes(b"precious")
    return folder


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


# What shows on the command line: exit status 2.


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        # One flag of each kind; the settings' own tests have the bounds of each.
        ("--iterations 1.5", "--iterations: 1.5 is not a whole number of at least 0"),
        ("--seed 9223372036854775808", "--seed: 9223372036854775808 is too large"),
        ("--learning-rate nan", "--learning-rate: nan is not a number above 0"),
        ("--style-scales 1,0", "--style-scales: 1 0 is not"),
        ("--content-layers relu4_2=", "--content-layers: relu4_2= is not NAME=WEIGHT"),
        ("--content-layers relu4_2=1 relu5_2", "relu5_2 is not NAME=WEIGHT"),
        ("--content-layers relu4_2=1 relu4_2=2", "relu4_2 is named twice"),
        ("--style-layers relu4_1=1 Relu4-2=2", "did you mean relu4_2?"),
        ("--pooling median", "--pooling: invalid choice: 'median'"),
        ("--device gpu:99", "--device: gpu:99 is not here"),
        # Flags at odds.
        ("--width 20 --max-size 20", "--max-size: contradicts --width"),
        ("--style-scales 1 1", "--style-scales: 2 of them given for 1 style image"),
        ("--content-weight 0 --style-weight 0 --tv-weight 0", "weight: every weight is 0"),
        ("--optimizer lbfgs --learning-rate 1", "--learning-rate: has no effect with --optimizer lbfgs"),
        ("--initial-noiseblend 0 --noise uniform", "--noise: goes with noise in the start"),
        ("--initial style2.png --initial-noiseblend 1", "--initial: goes with --initial-noiseblend below 1"),
        ("--mask-feather 0.1", "--mask-feather: goes with --style-masks or --content-mask"),
        ("--width 20 --height 20", "--height: contradicts --content"),
        ("--temporal-weight 0", "--temporal-weight: goes with a film only"),
        ("--recipe instant --iterations 3", "--iterations: does not go with instant, which minimises"),
        ("--content style2.png", "--output: out.png is one picture; name a folder"),
        ("--content style2.png --output there --save-state x", "--save-state: goes with one picture"),
        # Slips.
        ("--contnt content.png", "--contnt: there is no such flag; did you mean --content?"),
        ("\u2014content content.png", "two hyphens, as in --content"),
        ("--styles style1.png,style2.png", "spaces, not commas"),
        ("--styles https://host.org/a.png", "https://host.org/a.png is a URL; download it"),
    ],
)
def test_slips_are_told_with_what_to_do(refused, arguments, told):
    assert told in refused(2, *GOOD, *words(arguments))


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        ("--styles style1.png --output out.png", "--content: is needed"),
        ("--content content.png --output out.png", "--styles: is needed"),
        ("--content content.png --styles style1.png", "--output; see neural-style --help"),
    ],
)
def test_what_a_run_lacks_is_asked_for(refused, arguments, flag):
    assert flag in refused(2, *words(arguments), "--network", "tiny.mat")


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("--content", "missing.png"),
        ("--styles", "content.png/x.png"),
        ("--initial", "pipe"),
        ("--network", "x" * 300),
    ],
)
def test_an_input_that_is_no_readable_file_is_refused(refused, folder, flag, name):
    os.mkfifo(folder / "pipe")
    try:
        line = refused(2, *good_but(flag, name))
    finally:
        os.unlink(folder / "pipe")
    assert flag in line and name in line


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("--output taken.png", "--output: taken.png exists"),
        ("--output full", "full is a folder"),
        ("--output out.xyz", "out.xyz has the ending .xyz; use one of .png"),
        (f"--output {'x' * 300}.png", "is too long for the name of a file"),
        ("--output full/../style1.png --overwrite", "style1.png is read by --styles, and would be lost"),
        ("--network tiny.png --output tiny.png --overwrite", "tiny.png is read by --network"),
        ("--output full/out.png --progress-write", "out-progress.txt exists"),
        ("--save-recipe other.png", "other.png has the ending .png; use one of .toml"),
        ("--checkpoint-output c{}.png", "goes with --checkpoint-iterations"),
        ("--checkpoint-iterations 5 --checkpoint-output c.png", "c.png makes the same name each time"),
        ("--checkpoint-iterations 5 --checkpoint-output taken%d.png", "taken5.png exists"),
        ("--checkpoint-iterations 5 --checkpoint-output o{}.png --output o10.png", "o10.png is written by"),
    ],
)
def test_an_output_that_cannot_be_or_would_destroy_something_is_refused(refused, folder, arguments, word):
    (folder / "tiny.png").write_bytes((folder / "tiny.mat").read_bytes())
    assert word in refused(2, *GOOD, "--iterations", "20", *words(arguments))


# What is found inside files, or while running: exit status 1.


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--initial half.png", "half.png: "),
        ("--network half.mat", "half.mat: "),
        ("--network shallow.mat", "relu5_1"),
        ("--output out.jpg --width 70000", "out.jpg"),
        ("--width 200000", "--width"),
    ],
)
def test_what_shows_in_files_or_before_the_first_step_is_refused(refused, folder, arguments, told):
    for name in ("content.png", "tiny.mat"):
        data = (folder / name).read_bytes()
        (folder / name).with_stem("half").write_bytes(data[: len(data) // 2])
    write_mat(folder / "shallow.mat", tiny_layers((2, 2, 4, 4), (3, 4, 5, 6)))
    assert told in refused(1, *GOOD, *words(arguments))


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


def test_help_and_usage_errors_do_not_import_tensorflow(folder):
    program = """import sys; import neural_style
for line in sys.argv[1:]:
    try:
        neural_style.main(line.split())
    except SystemExit:
        print({"tensorflow", "scipy", "matplotlib"} & set(sys.modules))"""
    wrong = ("--style-scales 1 1", "--output taken.png", "--recipe yuan2018 --height 5")
    lines = ["--help", "--version", "--list-recipes", "", *(" ".join([*GOOD, one]) for one in wrong)]
    command = [sys.executable, "-c", program, *lines]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.stdout.count("set()\n") == len(lines), result.stderr


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


@pytest.mark.usefixtures("tiny_scales")
def test_a_run_from_coarse_to_fine_is_saved_and_repeated(neural_style, folder):
    run = words("--scales 0.5 1 --scale-shares 3 1 --iterations 8 --optimizer lbfgs --width 40")
    run += words("--save-recipe run.toml --precision fastest")
    shown = words("--print-iterations 1 --checkpoint-iterations 4 --checkpoint-output c{}.png")
    first = neural_style(*GOOD, *run, *shown, check=0)
    lines = printed(first.stdout)
    assert list(lines) == list(range(9))
    precision = tomllib.loads((folder / "run.toml").read_text())["precision"]
    assert precision == ("bfloat16" if "in bfloat16" in first.stdout.splitlines()[0] else "float32")
    for begins in (
        "20 x 15 pixels (scale 1 of 2)\niteration 0 ",
        "40 x 30 pixels (scale 2 of 2)\niteration 6 ",
    ):
        assert first.stdout.count(begins) == 1
    # The sixth iteration's end is where the second scale starts, of which each iteration lowers the loss.
    totals = [float(losses[3]) for losses in lines.values()]
    assert totals[:6] == sorted(totals[:6], reverse=True) and totals[6:] == sorted(totals[6:], reverse=True)
    assert iio.imread(folder / "c4.png").shape == iio.imread(folder / "out.png").shape == (30, 40, 3)
    again = words("--recipe run.toml --quiet --output again.png")
    neural_style(*words("--content content.png --styles style1.png"), *again, check=0)
    assert (folder / "again.png").read_bytes() == (folder / "out.png").read_bytes()


def test_large_images_are_read_no_larger_than_the_picture_needs(folder):
    y, x = np.mgrid[:3600, :4800].astype(np.uint8)
    Image.fromarray(np.stack([x, y, x + y], axis=-1)).save(folder / "large.jpg")
    large, small = folder / "large.jpg", folder / "content.png"  # 40 x 30 pixels
    for content, settings, sides in (
        (large, Settings(width=100), [600, 600, 600]),
        (large, Settings(max_size=200, style_scales=(2,)), [1200, 2400, 1200]),
        (small, Settings(), [Image.open(small).width, 600, 600]),
        (None, Settings(width=100), [600, 600]),
    ):
        named = [("content", content), ("styles", large), ("initial", large)]
        files = jobs.Files(tuple(pair for pair in named if pair[1]), folder / "out.png")
        job = jobs.Job(files, settings, Running(), folder / "tiny.mat", {}, None, frozenset())
        found = painting.read_images(job)
        assert [image.shape[1] for _, _, image in found] == sides


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

    # Ten pictures of 24 x 18 pixels in two rows of five on white, of which the best is the result.
    grid = iio.imread(folder / "out-progress-grid.png")
    gap = (grid.shape[1] - 5 * 24) // 4
    assert grid.shape == (2 * 18 + gap, 5 * 24 + 4 * gap, 3) and gap > 0
    assert (grid[18 : 18 + gap] == 255).all() and (grid[:, 24 : 24 + gap] == 255).all()
    places = [(top, left) for top in (0, 18 + gap) for left in range(0, grid.shape[1], 24 + gap)]
    pictures = [grid[top : top + 18, left : left + 24] for top, left in places]
    best, out = int(table[1:, 6].argmin()) + 1, iio.imread(folder / "out.png")
    assert best < 20, "the case must be one in which the end is not the best"
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


def test_a_pipe_that_nobody_reads_any_longer_does_not_lose_the_picture(folder):
    process = start(folder, *words("--iterations 30 --print-iterations 1"))
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait()
    assert iio.imread(folder / "out.png").shape == (30, 40, 3)
