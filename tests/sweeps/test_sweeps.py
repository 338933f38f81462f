"""Sweeps from the command line to the pictures, and what stops them; against neural-style, run by run."""

import contextlib
import csv
import io
import json
import os
import pty
import re
import shutil
import signal
import termios
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from html import unescape
from multiprocessing import Pipe
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import psutil
import pytest
from conftest import run_sweep, words
from processes import Command, make_all

from styling.command import jobs
from styling.run import states
from styling.settings import recipes
from styling.sweeps import driver, planning, results, specs, workers
from styling.sweeps.__main__ import build_parser, main, read_cells
from styling.sweeps.results import Cell, Result
from styling.sweeps.workers import Painted
from styling.system import limits

OUT = words("--output out --network tiny.mat")
ONE = words(f"--workers 1 --threads {jobs.cores()}")  # as many as this process has
BASE = 'content = "content.png"\nstyles = "style1.png"\n'


def fill(folder, network_file, image_files):
    """Put the images and a link to the network into a folder, and return it."""
    folder.mkdir(exist_ok=True)
    for path in image_files:
        shutil.copy(path, folder)
    (folder / "tiny.mat").symlink_to(network_file)
    return folder


@pytest.fixture
def folder(tmp_path, network_file, image_files, monkeypatch):
    """The test's folder, which is the working directory."""
    folder = fill(tmp_path / "work", network_file, image_files)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def here(folder):
    """Runs the command line in this process, in the test's folder."""
    return partial(run_sweep, folder)


def write(folder, text, name="spec.toml"):
    (folder / name).write_text(text, encoding="utf-8")
    return name


def cells_for(arguments):
    """The cells for a command line."""
    return read_cells(build_parser().parse_args(words(arguments)))[1]


def table_of(folder):
    """The rows of a sweep's table, by their labels."""
    with open(folder / "results.csv", encoding="utf-8", newline="") as file:
        return {row["label"]: row for row in csv.DictReader(file)}


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# A sweep that is made without a hitch.

GRID = """
title = "Größe & <Form>"
content = "content.png"
styles = "style1.png"
columns = [{ label = "one", seed = 1 }, { label = "two", seed = 2 }]
[settings]
width = 24
iterations = 3
[[rows]]
label = 'two "styles"/🎨 at once'
styles = ["style2.png", "style1.png"]
style_blend_weights = [3, 1]
initial = "style1.png"
initial_noiseblend = 0.5
[[rows]]
label = "yuan"
recipe = "yuan2018"
initial_noiseblend = 0.5
"""
ROWS = ('two "styles"/🎨 at once', "yuan")
LABELS = [f"{row}, {column}" for row in ROWS for column in ("one", "two")]


@pytest.fixture(scope="module")
def grid(tmp_path_factory, network_file, image_files):
    """The folder of a finished sweep, and what it printed."""
    folder = fill(tmp_path_factory.mktemp("grid") / "work", network_file, image_files)
    write(folder, GRID)
    stdout, stderr = run_sweep(folder, "spec.toml", *OUT, *ONE)
    assert stderr == ""
    return folder, stdout


@pytest.fixture
def copied(grid, folder):
    """A copy of that folder, with which a test may do as it likes."""
    shutil.copytree(grid[0] / "out", folder / "out")
    shutil.copy(grid[0] / "spec.toml", folder)
    return folder


def test_each_picture_is_the_one_of_neural_style(grid, neural_style):
    folder, out, pictures = grid[0], grid[0] / "out", []
    for row in [*table_of(out).values()][1::2]:
        images = [
            "--content",
            folder / row["content"],
            "--styles",
            *map(folder.joinpath, words(row["styles"])),
        ]
        images += ["--initial", folder / row["initial"]] if row["initial"] else []
        recipe = (out / row["file"]).with_suffix(".toml")
        flags = ["--recipe", recipe, "--output", recipe.with_name("again.png"), "--overwrite"]
        printed = neural_style(*images, *flags, check=0).stdout
        assert f"total loss {float(row['total_loss']):.6g} after 3 iterations" in printed
        pictures.append((out / row["file"]).read_bytes())
        assert recipe.with_name("again.png").read_bytes() == pictures[-1]
        recipe.with_name("again.png").unlink()
        recipe.with_name("again-progress-grid.png").unlink(missing_ok=True)
    assert len(set(pictures)) == len(ROWS)


def test_all_that_is_promised_is_there(grid):
    folder, printed = grid
    out = folder / "out"
    table = table_of(out)
    assert list(table) == LABELS
    for i, row in enumerate(table.values()):
        assert (row["page"], row["row"], row["column"]) == ("1", str(i // 2 + 1), str(i % 2 + 1))
        assert (row["status"], row["error"], row["updates"], row["width"]) == ("done", "", "3", "24")
        path = out / row["file"]
        losses = json.loads(path.with_suffix(".json").read_text())["losses"]
        assert {"content", "style", "total"} <= losses.keys()
        assert all(row[f"{name}_loss"] == repr(loss) for name, loss in losses.items())
        assert path.with_name(f"{path.stem}-losses.svg").read_text().startswith("<?xml")
        assert path.with_name(f"{path.stem}-grid.png").exists() == row["label"].startswith("yuan")
        recipe = tomllib.loads(path.with_suffix(".toml").read_text())
        assert recipe["threads"] == jobs.cores() and recipe["device"] == "cpu" and recipe["tile"] == 0
        assert iio.imread(path).shape == (18, 24, 3)
        assert f"{i + 1} of 4: {row['label']}: total loss" in printed
    assert {path.name for path in out.iterdir()} == {"runs", "results.csv", "sheet.png", "index.html"}
    assert all(re.fullmatch(r"[\w.=-]{1,120}", path.name) for path in (out / "runs").iterdir())
    page = (out / "index.html").read_text()
    assert all(label in unescape(page) for label in ("Größe & <Form>", *LABELS, "4 of 4 runs done"))
    assert "<Form>" not in page


def test_the_same_command_again_computes_nothing_and_a_dry_run_lists_the_runs(copied, here):
    before = times(copied)
    lines = here("spec.toml", *OUT, "--dry-run")[0].splitlines()
    assert lines[:-1] == [f"{label}: done" for label in LABELS]
    assert lines[-1].startswith("0 of 4 runs to compute")
    lines = here("spec.toml", *words("--output new --network tiny.mat --dry-run"))[0].splitlines()[-5:]
    assert lines[:-1] == [f"{label}: 3 iterations" for label in LABELS]
    assert times(copied) == before
    sheet = (copied / "out" / "sheet.png").read_bytes()
    assert here("spec.toml", *OUT, "--quiet") == ("", "")
    runs = copied / "out" / "runs"
    assert times(runs) == {path: when for path, when in before.items() if path.parent == runs}
    assert (copied / "out" / "sheet.png").read_bytes() == sheet


def read_to_the_end(terminal):
    """All that is shown on a terminal, which is closed then."""
    shown = b""
    with contextlib.suppress(OSError):  # which is how a terminal ends
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    return shown


def test_a_new_row_computes_only_its_own_runs_and_shows_a_bar(copied):
    """The terminal is one that nobody types at. Runs are found again under other labels, in another order."""
    before, table = times(copied / "out" / "runs"), table_of(copied / "out")
    spec = GRID.replace('"yuan"', '"simple"').replace(
        '{ label = "one", seed = 1 }, { label = "two", seed = 2 }',
        '{ label = "two", seed = 2 }, { label = "one", seed = 1 }',
    )
    write(copied, spec + '\n[[rows]]\nlabel = "flat"\ncontent = "style2.png"\npreserve_colors = true\n')
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 120))
    with ThreadPoolExecutor() as executor, open(theirs, "w") as terminal, io.StringIO() as stdout:
        reading = executor.submit(read_to_the_end, ours)
        with contextlib.redirect_stderr(terminal), contextlib.redirect_stdout(stdout):
            assert main(["spec.toml", *OUT, *ONE]) == 0
        assert "2 of 6 runs to compute" in stdout.getvalue()
    shown = reading.result()
    assert b"5 of 6 runs" in shown and b"%" in shown and b"Traceback" not in shown
    after, again = times(copied / "out" / "runs"), table_of(copied / "out")
    assert {path: after[path] for path in before} == before
    assert [*again][2:] == ["simple, two", "simple, one", "flat, two", "flat, one"]
    for label, row in table.items():
        assert again[label.replace("yuan", "simple")]["file"] == row["file"]
    assert {row["status"] for row in again.values()} == {"done"}


def test_a_run_whose_files_are_lost_or_damaged_is_computed_again(copied, here):
    files = [copied / "out" / row["file"] for row in table_of(copied / "out").values()]
    files[0].unlink()
    whole = json.loads(files[3].with_suffix(".json").read_text())
    for file, text in zip(files[1:3], ("[" * 2000, json.dumps(whole | {"losses": ["total"]})), strict=True):
        file.with_suffix(".json").write_text(text)
    lines = here("spec.toml", *OUT, "--dry-run")[0].splitlines()[-5:]
    assert ["done" in line for line in lines[:-1]] == [False] * 3 + [True]


# How many runs at a time.


@pytest.mark.parametrize(
    ("cores", "runs", "given", "expected"),
    [
        ([8], 20, {}, (8, 1)),
        ([8], 0, {}, (1, 8)),
        ([8], 3, {}, (3, 2)),
        ([8], 20, {"threads": 4}, (2, 4)),
        ([8], 20, {"workers": 2}, (2, 4)),
        ([8], 20, {"workers": 3, "threads": 5}, (3, 5)),
        ([2, 4], 20, {}, (6, 1)),
        ([2, 4], 2, {}, (2, 2)),
    ],
)
def test_cores_are_shared_out(cores, runs, given, expected):
    assert workers.share_cores(cores, runs, **{"workers": None, "threads": None} | given) == expected


def test_a_sweep_that_is_continued_has_as_many_threads_as_before(copied, here, monkeypatch):
    for path in [*(copied / "out" / "runs").glob("*.json")][1:]:
        path.unlink()
    monkeypatch.setattr(jobs, "cores", lambda: 18)
    for flags, expected in (
        ("", "4 at a time, threads: 4"),
        ("--threads 5", "3 at a time, threads: 5"),
        ("--workers 2", "2 at a time, threads: 9"),
        ("--workers 2 --threads 5", "2 at a time, threads: 5"),
    ):
        line = here("spec.toml", *OUT, "--dry-run", *words(flags))[0].splitlines()[-1]
        assert line == f"3 of 4 runs to compute, {expected}"
    monkeypatch.setattr(limits, "free_memory", lambda: 400 * 2**20)  # less than a run needs
    assert here("spec.toml", *OUT, "--dry-run")[0].splitlines()[-1].endswith("1 at a time, threads: 18")


# Runs that fail.

FAILING = """
content = "content.png"
styles = "style1.png"
columns = [
    { label = "fine" },
    { label = "lacking", style_layers = ["conv1_2a"] },
    { label = "damaged", content = "broken.png" },
    { label = "diverging", learning_rate = 1e30 },
    { label = "as fine", best_of_all = false },
]
[settings]
width = 24
iterations = 3
"""


def test_a_run_that_fails_does_not_stop_the_others(folder, here):
    (folder / "broken.png").write_bytes(b"no picture")
    write(folder, FAILING)
    _, stderr = here("spec.toml", *OUT, check=1)
    errors = {
        "lacking": "tiny.mat: the network has no layer conv1_2a",
        "damaged": "broken.png: is no image",
        "diverging": "the loss became NaN or infinite",
    }
    *lines, last = stderr.splitlines()
    assert len(lines) == 3 and last.startswith("neural-style-sweep: 3 of 4 runs failed: ")
    table = table_of(folder / "out")
    assert [row["status"] for row in table.values()] == ["done", *3 * ["failed"], "done"]
    page = unescape((folder / "out" / "index.html").read_text())
    for label, error in errors.items():
        assert table[label]["error"].count(error) == 1 and table[label]["file"] == ""
        assert sum(f"{label} failed" in line and error in line for line in lines) == 1
        assert table[label]["error"] in page
    assert table["fine"]["file"] == table["as fine"]["file"], "one run in two places"
    assert len(list((folder / "out" / "runs").glob("*.png"))) == 1

    # The same command again, once one of them is mended.
    shutil.copy(folder / "style2.png", folder / "broken.png")
    before = times(folder / "out" / "runs")
    stdout, stderr = here("spec.toml", *OUT, *ONE, check=1)
    assert "2 of 4 runs to compute" in stdout and "2 of 4 runs failed" in stderr
    again = table_of(folder / "out")
    assert again["damaged"]["status"] == "done" and again["diverging"]["status"] == "failed"
    after = times(folder / "out" / "runs")
    assert {path: after[path] for path in before} == before


# Sweeps that are stopped.

LONG = words("--workers 2 --threads 1 --save-state-iterations 20")


def long_spec(iterations):
    return f"{BASE}rows = {{ seed = [1, 2] }}\n[settings]\nwidth = 24\niterations = {iterations}\n"


def iterations_of(folder):
    """The iterations of the saved states in the folder of a sweep, by their paths."""
    found = {}
    for path in (folder / "out" / "runs").glob("[!.]*.state"):
        with contextlib.suppress(OSError):  # the run is done by now
            found[path] = states.read(path).iteration
    return found


def wait_for_states(folder, before):
    """Wait until states of both runs have been saved that are later than these."""
    until = time.monotonic() + 200
    while len(now := iterations_of(folder)) < 2 or any(now[path] <= before.get(path, 0) for path in now):
        assert time.monotonic() < until, f"the runs do not advance beyond {before}"
        time.sleep(0.02)


def kill_a_worker(folder, before):
    """Kill a process of the sweep that this process runs, once its runs have advanced."""
    wait_for_states(folder, before)
    children = psutil.Process().children(recursive=True)
    max(children, key=psutil.Process.create_time).kill()  # the newest are those that compute


@pytest.mark.slow
def test_a_sweep_that_is_stopped_in_every_way_comes_to_the_same_pictures(folder):
    write(folder, long_spec(8000))
    before = {}
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        process = Command(main, folder, ["spec.toml", *OUT, *LONG])
        wait_for_states(folder, before)
        children = psutil.Process(process.pid).children(recursive=True)
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)  # Ctrl-C is for a group
        _, stderr = process.finish(status)
        assert not psutil.wait_procs(children, timeout=60)[1]
        assert number == signal.SIGKILL or "interrupted; the same command continues the sweep" in stderr
        assert number == signal.SIGKILL or (folder / "out" / "sheet.png").exists()
        before = iterations_of(folder)
    for path in before:  # a mark that shows that they continue from here
        states.write(path, replace(states.read(path), seconds=1000.0))
    with ThreadPoolExecutor() as executor:
        killed = executor.submit(kill_a_worker, folder, before)
        _, stderr = run_sweep(folder, "spec.toml", *OUT, *LONG)
        killed.result()
    assert stderr.count("\n") == 1 and "the run continues in another" in stderr
    common = "--content content.png --styles style1.png --network tiny.mat --width 24 --threads 1"
    lines = [f"{common} --iterations 8000 --seed {seed} --output {seed}.png" for seed in (1, 2)]
    Command(make_all, folder, lines).finish()
    for row, alone in zip(table_of(folder / "out").values(), ("1.png", "2.png"), strict=True):
        assert (folder / "out" / row["file"]).read_bytes() == (folder / alone).read_bytes()
        assert float(row["seconds"]) > 1000
    assert not iterations_of(folder)


class Recorded:
    """A worker that plays back recorded events of its run; None stands for its loss."""

    def __init__(self, events):
        self.connection, self.other_end = Pipe()
        for event in events:
            if event is None:
                self.other_end.close()
            else:
                self.other_end.send(event)

    def kill(self):
        self.connection.close()


def test_a_run_whose_worker_is_lost_goes_on_from_its_last_state_and_fails_at_the_third_loss(folder, capsys):
    spec = specs.read(write(folder, long_spec(9)))
    first, second = cells = specs.cells(spec, {"network": "tiny.mat"})
    specs.locate(cells, spec, {}, [])
    planning.plan(cells, Path("out"))
    done, seen = Result("done", "", 5, 1.0, {"content": 1.0, "total": 2.0}), []

    def worker(run):
        if run is second:
            return Recorded([Painted(done, [], np.zeros((18, 24, 3), np.float32), [])])
        seen.append(run.job.saved.iteration if run.job.saved else 0)
        return Recorded([3, states.Saved({}, [], arrays={"iteration": np.array(7)}), None])

    assert driver.Sweep(Path("out"), spec, cells).compute(worker, 2) == 1
    assert seen == [0, 7, 7] and second.result == done
    assert first.result.status == "failed" and "3 times" in first.result.error
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all(line.startswith("neural-style-sweep: ") for line in lines)


# What the command line refuses, and where images are found.


@pytest.mark.parametrize(
    ("arguments", "status", "parts"),
    [
        ("", 2, ["SPEC", "--output", "--help"]),
        ("gatys2015-fig33 --output out", 2, ["SPEC", "gatys2015-fig3", "--list-figures"]),
        ("content.png --output out", 2, ["SPEC", "content.png", ".toml"]),
        ("lacking.toml --output out", 1, ["a.png (https://a)", "b.png", "--images"]),
        ("varied.toml --output out --seed 3", 2, ["--seed", "rows", "varied.toml"]),
        ("spec.toml --output out --network lost.mat", 2, ["--network", "lost.mat"]),
        ("spec.toml --output out --content content.png style1.png", 2, ["--content", "several"]),
        ("spec.toml --output out --image content.png=", 2, ["--image", "NAME=FILE"]),
        ("spec.toml --output out --image other.png=content.png", 2, ["--image", "other.png", "content.png"]),
        ("spec.toml --output out --images content.png", 2, ["--images", "content.png"]),
        ("spec.toml --output content.png", 2, ["--output", "file"]),
        ("spec.toml --output mine", 2, ["--output", "sheet.png", "--overwrite"]),
        ("spec.toml --output out --workers 0", 2, ["--workers", "at least 1"]),
        ("spec.toml --output out --cluster 127.0.0.1:9", 2, ["--cluster", "127.0.0.1:9 cannot be joined"]),
    ],
)
def test_what_is_wrong_is_refused_in_a_line(here, folder, arguments, status, parts):
    for name, text in {
        "spec": BASE,
        "varied": BASE + "rows = { seed = [1, 2] }",
        "lacking": 'content = "a.png"\nstyles = "b.png"\n[published]\n"a.png" = "https://a"',
    }.items():
        write(folder, text, f"{name}.toml")
    (folder / "mine").mkdir()
    (folder / "mine" / "sheet.png").write_bytes(b"mine")
    before = times(folder)
    stdout, stderr = here(*words(arguments), "--quiet", check=status)
    assert stdout == "" and stderr.count("\n") == 1 and stderr.startswith("neural-style-sweep: error: ")
    assert all(part in stderr for part in parts) and len(stderr) < 1000
    assert times(folder) == before and not (folder / "out").exists()


def test_names_that_are_no_text_do_no_harm(here, folder, monkeypatch):
    monkeypatch.setattr(driver, "follow", lambda *ignored: (event for event in ()))
    odd = os.fsdecode(b"\xff\xfe")
    other = fill(folder / odd, folder / "tiny.mat", [folder / "content.png", folder / "style1.png"])
    write(other, BASE)
    here(f"{odd}/spec.toml", *OUT)
    assert list(table_of(folder / "out")) == ["the run"]


def test_images_are_taken_from_where_the_flags_say(folder):
    other = fill(folder / "other", folder / "tiny.mat", [folder / "content.png", folder / "style1.png"])
    write(other, BASE)  # a flag's image is not taken for the spec's of the same name
    [cell] = cells_for("other/spec.toml --output out --initial content.png")
    named = {"content": other / "content.png", "styles": other / "style1.png"}
    found = {flag: path.absolute() for flag, path in cell.job.files.images}
    assert found == named | {"initial": folder / "content.png"}

    write(folder, BASE + "[[rows]]\nlabel = 'a'\n[[rows]]\nlabel = 'b'\ninitial = 'start.png'")
    flags = "--images other --image start.png=style2.png style1.png=other/style1.png"
    a, b = ([path for _, path in cell.job.files.images] for cell in cells_for(f"spec.toml -o out {flags}"))
    assert a == [Path("other/content.png"), Path("other/style1.png")]
    assert b == [*a, Path("style2.png")]


def test_list_figures_has_a_line_for_each(here):
    stdout, _ = here("--list-figures")
    assert sorted(line.split()[0] for line in stdout.splitlines()) == sorted(recipes.shipped("figures"))


@pytest.mark.parametrize(
    ("labels", "start"),
    [
        (("tv weight 0.5", "a=b"), "tv-weight-0.5-a=b-"),
        (("../../etc", "🎨", "C:\\x"), "etc-C-x-"),
        (("Ü" * 300,), 40 * "Ü" + "-"),
    ],
)
def test_any_labels_make_a_name_of_a_file_that_is_found_again(tmp_path, labels, start):
    stem = results.stem(labels, {}, "parts")
    assert re.fullmatch(re.escape(start) + "[0-9a-f]{10}", stem)
    run = Cell((0, 0, 0), labels, None, tmp_path / stem)
    run.file("-losses.svg").touch()
    assert results.stems(tmp_path) == {}
    for ending in (".json", ".state"):  # when it is done, and before
        run.file(ending).touch()
        assert results.stem(("others",), results.stems(tmp_path), "parts") == stem
        run.file(ending).unlink()
