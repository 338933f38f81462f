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
import subprocess
import sys
import termios
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from html import unescape
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import psutil
import pytest
from conftest import ROOT, run_sweep, words
from networks import VGG16, tiny_layers, write_mat
from processes import Command, make_all

from styling.command import jobs
from styling.run import states
from styling.settings import recipes
from styling.sweeps import driver, planning, results, specs, workers
from styling.sweeps.__main__ import build_parser, main, read_cells
from styling.sweeps.results import Result
from styling.sweeps.workers import Advanced, Checkpoint, Failed, Finished, WorkerLostError

OUT = words("--output out --network tiny.mat")
ONE = words("--workers 1 --threads 1")
BASE = 'content = "content.png"\nstyles = "style1.png"\n'


def fill(folder, network_file, image_files):
    """Put the images and a link to the network into a folder, and return it."""
    folder.mkdir(exist_ok=True)
    for path in image_files:
        shutil.copy(path, folder)
    (folder / "tiny.mat").symlink_to(network_file)
    return folder


@pytest.fixture
def folder(tmp_path, network_file, image_files):
    return fill(tmp_path / "work", network_file, image_files)


def write(folder, text, name="spec.toml"):
    (folder / name).write_text(text, encoding="utf-8")
    return name


def begin(folder, *arguments):
    """Start a sweep in a folder, as a process in a group of its own."""
    command = [sys.executable, "-m", "styling.sweeps", "spec.toml", *OUT, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)


def finished(process, status=0):
    """What a process has written to stdout and stderr, once it has ended with this status."""
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == status, stderr
    assert "Traceback" not in stderr
    return stdout, stderr


def painted(folder, lines):
    """What neural-style prints for these command lines, in a process with threads of its own."""
    printed, _ = Command(make_all, folder, lines).finish()
    assert printed.count("> 0\n") == len(lines)
    return printed


@pytest.fixture
def here(folder):
    """Runs the command line in this process, in the test's folder."""
    return partial(run_sweep, folder)


def compute_nothing(monkeypatch):
    """Let no run be computed, and no process be started."""
    monkeypatch.setattr(driver.Sweep, "compute", lambda *ignored: None)


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

[settings]
width = 24
iterations = 3

[[rows]]
label = "plain"
[[rows]]
label = "all terms"
normalize = true
shift_weight = 1
shifts = [1, 2]
histogram_weight = 1
[[rows]]
label = 'two "styles"/🎨 at once'
styles = ["style2.png", "style1.png"]
initial = "style1.png"
initial_noiseblend = 0.5
scales = [0.5, 1]
[[rows]]
label = "yuan"
recipe = "yuan2018"
initial_noiseblend = 0.5

[[columns]]
label = "one"
seed = 1
[[columns]]
label = "two"
seed = 2
"""
LABELS = [
    f"{row}, {column}"
    for row in ("plain", "all terms", 'two "styles"/🎨 at once', "yuan")
    for column in ("one", "two")
]
SOME = LABELS[0], LABELS[3], LABELS[4], LABELS[7]


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


def test_each_picture_is_the_one_of_neural_style(grid):
    folder, _ = grid
    table, lines = table_of(folder / "out"), []
    for number, label in enumerate(SOME):
        stem, row = Path(table[label]["file"]).stem, table[label]
        images = f"--content {row['content']} --styles {row['styles']}"
        images += f" --initial {row['initial']}" if row["initial"] else ""
        lines.append(f"--recipe out/runs/{stem}.toml {images} --output again{number}.png")
    printed = painted(folder, lines)
    for number, label in enumerate(SOME):
        file = folder / "out" / table[label]["file"]
        assert (folder / f"again{number}.png").read_bytes() == file.read_bytes(), label
    totals = re.findall(r"total loss (\S+) after 3 iterations", printed)
    assert totals == [f"{float(table[label]['total_loss']):.6g}" for label in SOME]
    different = {(folder / "out" / row["file"]).read_bytes() for row in table.values()}
    assert len(different) == len(LABELS)


def test_all_that_is_promised_is_there(grid):
    folder, printed = grid
    out = folder / "out"
    table = table_of(out)
    assert list(table) == LABELS
    for i, row in enumerate(table.values()):
        assert (row["page"], row["row"], row["column"]) == ("1", str(i // 2 + 1), str(i % 2 + 1))
        assert (row["status"], row["error"], row["updates"], row["width"]) == ("done", "", "3", "24")
        stem = Path(row["file"]).stem
        found = json.loads((out / "runs" / f"{stem}.json").read_text())
        assert found["status"] == "done" and [at for at, *_ in found["history"]] == [0, 1, 2, 3]
        last = dict(zip(found["names"], found["history"][-1][1:], strict=True))
        assert all(row[f"{name}_loss"] == repr(loss) for name, loss in last.items())
        assert (out / "runs" / f"{stem}-losses.svg").read_text().startswith("<?xml")
        assert (out / "runs" / f"{stem}-grid.png").exists() == row["label"].startswith("yuan")
        recipe = tomllib.loads((out / "runs" / f"{stem}.toml").read_text())
        assert recipe["threads"] == 1 and recipe["device"] == "cpu" and recipe["tile"] == 0
        assert iio.imread(out / row["file"]).shape == (18, 24, 3)
        assert f"{i + 1} of 8: {row['label']}: total loss" in printed
    names = {path.name for path in out.iterdir()}
    assert names == {"runs", "results.csv", "sheet.png", "index.html", "sweep.toml"}
    assert all(re.fullmatch(r"[\w.=-]{1,120}", path.name) for path in (out / "runs").iterdir())
    record = tomllib.loads((out / "sweep.toml").read_text())
    assert record["title"] == "Größe & <Form>" and record["threads"] == 1
    page = (out / "index.html").read_text()
    assert all(label in unescape(page) for label in ("Größe & <Form>", *LABELS, "8 of 8 runs done"))
    assert "<Form>" not in page


def test_the_same_command_again_computes_nothing(copied, here):
    before = times(copied / "out" / "runs")
    sheet = (copied / "out" / "sheet.png").read_bytes()
    stdout, stderr = here("spec.toml", *OUT)
    assert "to compute" not in stdout and stderr == ""
    assert times(copied / "out" / "runs") == before
    assert (copied / "out" / "sheet.png").read_bytes() == sheet
    assert here("spec.toml", *OUT, "--quiet") == ("", "")


def test_a_dry_run_lists_the_runs_and_writes_nothing(copied, here):
    before = times(copied)
    lines = here("spec.toml", *OUT, "--dry-run")[0].splitlines()
    assert lines[:-1] == [f"{label}: done" for label in LABELS]
    assert lines[-1].startswith("0 runs to compute, 8 done")
    lines = here("spec.toml", *words("--output new --network tiny.mat --dry-run"))[0].splitlines()[-9:]
    assert lines[:-1] == [f"{label}: 3 iterations" for label in LABELS]
    assert re.match(r"8 runs to compute, 0 done; \d runs? at a time with \d threads?", lines[-1])
    assert times(copied) == before


def test_runs_are_found_again_under_other_labels_and_in_another_order(copied, here):
    before = times(copied / "out" / "runs")
    first, rest = GRID.split("[[columns]]", 1)
    one, two = rest.split("[[columns]]")
    write(copied, f"{first}[[columns]]{two}[[columns]]{one}".replace('"plain"', '"simple"'))
    table = table_of(copied / "out")
    here("spec.toml", *OUT)
    again = table_of(copied / "out")
    assert list(again)[:2] == ["simple, two", "simple, one"]
    for label, row in again.items():
        assert row["file"] == table[label.replace("simple", "plain")]["file"]
    assert times(copied / "out" / "runs") == before
    page = unescape((copied / "out" / "index.html").read_text())
    assert "simple, one" in page and "plain, one" not in page


def read_to_the_end(terminal):
    """All that is shown on a terminal, which is closed then."""
    shown = b""
    with contextlib.suppress(OSError):  # which is how a terminal ends
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    return shown


def test_a_new_row_computes_only_its_own_runs_and_shows_a_bar(copied, here, monkeypatch):
    """The terminal is one that nobody types at."""
    monkeypatch.chdir(copied)
    before, table = times(copied / "out" / "runs"), table_of(copied / "out")
    write(copied, GRID + '\n[[rows]]\nlabel = "flat"\ncontent = "style2.png"\npreserve_colors = true\n')
    sheet = (copied / "out" / "sheet.png").read_bytes()
    _, line = here("spec.toml", *OUT, check=2)
    assert line.startswith("neural-style-sweep: error: argument --output: ") and line.count("\n") == 1
    assert "Größe & <Form>" in line and "--overwrite" in line
    assert (copied / "out" / "sheet.png").read_bytes() == sheet

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 120))
    with ThreadPoolExecutor() as executor, open(theirs, "w") as terminal, io.StringIO() as stdout:
        reading = executor.submit(read_to_the_end, ours)
        with contextlib.redirect_stderr(terminal), contextlib.redirect_stdout(stdout):
            assert main(["spec.toml", *OUT, *ONE, "--overwrite"]) == 0
        assert "2 runs to compute, 8 done" in stdout.getvalue()
    shown = reading.result()
    assert b"9 of 10 runs" in shown and b"%" in shown and b"Traceback" not in shown
    after = times(copied / "out" / "runs")
    assert {path: after[path] for path in before} == before
    again = table_of(copied / "out")
    assert {label: again[label]["file"] for label in table} == {
        label: row["file"] for label, row in table.items()
    }
    assert {row["status"] for row in again.values()} == {"done"}
    assert set(again) - set(table) == {"flat, one", "flat, two"}


def test_a_run_whose_files_are_lost_or_damaged_is_computed_again(copied, here):
    table = table_of(copied / "out")
    stems = [Path(row["file"]).stem for row in table.values()]
    (copied / "out" / "runs" / f"{stems[0]}.png").unlink()
    for stem, text in zip(stems[1:5], ("", "{}", '{"status": "done"}', "[" * 9), strict=True):
        (copied / "out" / "runs" / f"{stem}.json").write_text(text)
    whole = json.loads((copied / "out" / "runs" / f"{stems[5]}.json").read_text())
    for name, value in (("names", ["total"]), ("history", [[1]]), ("seconds", "long"), ("more", 1)):
        (copied / "out" / "runs" / f"{stems[5]}.json").write_text(json.dumps(whole | {name: value}))
        arguments = words("--output out --network tiny.mat --dry-run --quiet")
        lines = here("spec.toml", *arguments)[0].splitlines()
        assert ["done" in line for line in lines[:-1]] == [False] * 6 + [True] * 2


# How many runs at a time.


def forge(folder, **values):
    """Change what the record of a sweep says."""
    record = recipes.load(folder / "out" / "sweep.toml") | values
    text = "\n".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in record.items())
    (folder / "out" / "sweep.toml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("cores", "runs", "gib_free", "given", "expected"),
    [
        (8, 20, 99, {}, (8, 1)),
        (8, 4, 99, {}, (4, 2)),
        (8, 1, 99, {}, (1, 8)),
        (8, 0, 99, {}, (1, 8)),
        (8, 20, 5, {}, (3, 2)),  # a run needs 1 GiB, and 0.6 GiB for TensorFlow
        (8, 20, 0, {}, (1, 8)),
        (8, 20, 99, {"threads": 4}, (2, 4)),
        (8, 20, 0, {"workers": 2}, (2, 4)),
        (8, 20, 99, {"workers": 3, "threads": 5}, (3, 5)),
    ],
)
def test_cores_are_shared_out_as_far_as_memory_allows(monkeypatch, cores, runs, gib_free, given, expected):
    monkeypatch.setattr(workers, "free_memory", lambda: gib_free * 2**30)
    assert workers.share_cores(cores, runs, 2**30, **given) == expected


def test_a_sweep_keeps_its_threads_unless_others_are_asked_for(copied, here, monkeypatch):
    for path in (copied / "out" / "runs").glob("*.json"):
        path.unlink()
    forge(copied, threads=7)
    monkeypatch.setattr(jobs, "cores", lambda: 21)
    for flags, expected in (
        ("", "3 runs at a time with 7 threads each"),
        ("--threads 3", "7 runs at a time with 3 threads each"),
        ("--workers 2", "2 runs at a time with 10 threads each"),
        ("--workers 2 --threads 5", "2 runs at a time with 5 threads each"),
    ):
        assert here("spec.toml", *OUT, "--dry-run", *words(flags))[0].splitlines()[-1].endswith(expected)
    forge(copied, threads=0)  # not by this program
    assert "has files that are not from a sweep" in here("spec.toml", *OUT, "--dry-run", check=2)[1]


# Runs that fail.

FAILING = """
content = "content.png"
styles = "style1.png"
recipe = "yuan2018"
[settings]
width = 24
iterations = 60
[[columns]]
label = "fine"
[[columns]]
label = "lacking"
style_layers = ["conv1_2a"]
[[columns]]
label = "damaged"
content = "broken.png"
[[columns]]
label = "diverging"
clip = false
learning_rate = 1e30
[[columns]]
label = "as fine"
best_of_all = true
[[columns]]
label = "漢字"
seed = 5
"""


def test_a_run_that_fails_does_not_stop_the_others(folder, here):
    (folder / "broken.png").write_bytes(b"no picture")
    write(folder, FAILING.replace("漢字", 70 * "漢字"))
    stdout, stderr = here("spec.toml", *OUT, check=1)
    errors = {
        "lacking": "tiny.mat: the network has no layer conv1_2a",
        "damaged": "broken.png: is no image",
        "diverging": "the loss became NaN or infinite",
    }
    *lines, last = stderr.splitlines()
    assert len(lines) == 3 and last.startswith("neural-style-sweep: 3 runs failed: ")
    table = table_of(folder / "out")
    assert [row["status"] for row in table.values()] == ["done", *3 * ["failed"], "done", "done"]
    page = unescape((folder / "out" / "index.html").read_text())
    for label, error in errors.items():
        assert table[label]["error"].count(error) == 1 and table[label]["file"] == ""
        assert sum(f"{label} failed" in line and error in line for line in lines) == 1
        assert table[label]["error"] in page
    assert table["fine"]["file"] == table["as fine"]["file"], "one run in two places"
    assert len(list((folder / "out" / "runs").glob("*.png"))) == 4, "two pictures and their grids"

    record = tomllib.loads((folder / "out" / "sweep.toml").read_text())
    assert record["threads"] == max(jobs.cores() // 3, 1), "three runs were computed"
    recipe = tomllib.loads((folder / "out" / table["fine"]["file"]).with_suffix(".toml").read_text())
    assert recipe["threads"] == record["threads"]
    assert f"with {record['threads']} thread" in stdout

    # The same command again, once one of them is mended.
    shutil.copy(folder / "style2.png", folder / "broken.png")
    before = times(folder / "out" / "runs")
    stdout, stderr = here("spec.toml", *OUT, *ONE, check=1)
    assert "2 runs to compute, 2 done" in stdout and "2 runs failed" in stderr
    again = table_of(folder / "out")
    assert again["damaged"]["status"] == "done" and again["diverging"]["status"] == "failed"
    after = times(folder / "out" / "runs")
    assert {path: after[path] for path in before} == before


# Sweeps that are stopped.

LONG = words("--workers 2 --threads 1 --save-state-iterations 20")


def long_spec(iterations):
    return f"{BASE}rows = {{ seed = [1, 2] }}\n[settings]\nwidth = 24\niterations = {iterations}\n"


def unbroken(folder, iterations):
    """The pictures of the two runs of such a spec by neural-style, by their seeds."""
    common = "--content content.png --styles style1.png --network tiny.mat --width 24 --threads 1"
    common += f" --iterations {iterations}"
    painted(folder, [f"{common} --seed {n} --output {n}.png" for n in (1, 2)])
    return [(folder / f"{n}.png").read_bytes() for n in (1, 2)]


def saved_runs(folder):
    """The saved states in the folder of a sweep, by their stems."""
    found = {}
    for path in (folder / "out" / "runs").glob("[!.]*.state"):
        with contextlib.suppress(OSError):  # the run is done by now
            found[path.stem] = states.read(path)
    return found


def iterations_of(folder):
    """The iterations of the saved states, by stem."""
    return {stem: saved.iteration for stem, saved in saved_runs(folder).items()}


def wait_for_states(folder, before):
    """Wait until states of both runs have been saved that are later than these."""
    until = time.monotonic() + 200
    while time.monotonic() < until:
        now = iterations_of(folder)
        if len(now) == 2 and all(now[stem] > before.get(stem, 0) for stem in now):
            return
        time.sleep(0.02)
    raise AssertionError(f"the runs do not advance beyond {before}")


def gone(children):
    """Whether processes end by themselves."""
    return not psutil.wait_procs(children, timeout=60)[1]


def children_of(pid=None):
    return psutil.Process(pid).children(recursive=True)


def stop(process, folder, number, status, before):
    """Stop a sweep by a signal; its saved states are later than before."""
    children = children_of(process.pid)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as Ctrl-C does
    else:
        process.send_signal(number)
    _, stderr = finished(process, status)
    assert gone(children)
    saved = saved_runs(folder)
    assert len(saved) == 2 and all(saved[stem].iteration > before.get(stem, 0) for stem in saved)
    if number != signal.SIGKILL:
        assert stderr.count("\n") == 1 and "interrupted; the same command continues the sweep" in stderr
        assert [row["status"] for row in table_of(folder / "out").values()] == ["waiting", "waiting"]
        assert (folder / "out" / "sheet.png").exists() and (folder / "out" / "index.html").exists()


def kill_a_worker(folder, before):
    """Kill a process of the sweep that this process runs, once its runs have advanced."""
    wait_for_states(folder, before)
    max(children_of(), key=psutil.Process.create_time).kill()  # the newest are those that compute


def continue_to_the_end(folder, iterations):
    """Continue a sweep that was stopped, kill one of its processes meanwhile, and check its pictures."""
    before = iterations_of(folder)
    for stem, saved in saved_runs(folder).items():  # a mark that shows that they continue from here
        states.write(results.state(folder / "out", stem), replace(saved, seconds=1000.0))
    with ThreadPoolExecutor() as executor:
        killed = executor.submit(kill_a_worker, folder, before)
        stdout, stderr = run_sweep(folder, "spec.toml", *OUT, *LONG)
        killed.result()
    assert "2 runs to compute, 0 done" in stdout
    assert stderr.count("\n") == 1 and "the run continues in another" in stderr
    rows = table_of(folder / "out").values()
    assert [(folder / "out" / row["file"]).read_bytes() for row in rows] == unbroken(folder, iterations)
    for row in rows:
        assert float(row["seconds"]) > 1000
        found = json.loads((folder / "out" / row["file"]).with_suffix(".json").read_text())
        assert [at for at, *_ in found["history"]] == list(range(0, iterations + 1, iterations // 100))
    assert not saved_runs(folder)


@pytest.mark.slow
def test_a_sweep_that_is_stopped_in_every_way_comes_to_the_same_pictures(folder):
    write(folder, long_spec(8000))
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        before = iterations_of(folder)
        process = begin(folder, *LONG)
        wait_for_states(folder, before)
        stop(process, folder, number, status, before)
    continue_to_the_end(folder, 8000)


class Recorded:
    """A worker that plays back recorded events of each run; None stands for its loss."""

    def __init__(self, events_of):
        self.events_of = events_of

    def compute(self, planned):
        for event in self.events_of(planned):
            if event is None:
                raise WorkerLostError
            yield event

    def close(self):
        pass


@pytest.fixture
def sweep(folder, monkeypatch):
    """A sweep of two runs, ready to be computed."""
    monkeypatch.chdir(folder)
    spec = specs.read(write(folder, long_spec(9)))
    flags = specs.Variation("", None, {"network": "tiny.mat"})
    files = specs.find_images(specs.image_names(spec, flags), spec, {}, [])
    plan = planning.make_plan(specs.cells(spec, flags, files), Path("out"))
    (folder / "out" / "runs").mkdir(parents=True)
    return driver.Sweep(Path("out"), spec, plan, driver.Display(list(plan.runs.values()), 0, False))


DONE = Result("done", "", 5, 1.0, ("content", "total"), ((0, 2.0, 3.0), (5, 1.0, 2.0)))


def test_a_run_whose_workers_are_lost_again_and_again_fails(sweep, capsys):
    picture = np.zeros((18, 24, 3), np.float32)
    first, second = sweep.plan.stems

    def events(planned):
        return [Advanced(3), None] if planned.stem == first else [Finished(DONE, {}, picture, [])]

    sweep.compute(lambda: Recorded(events), 2)
    after = sweep.plan.results
    assert after[second] == DONE and after[first].status == "failed" and "3 times" in after[first].error
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all(line.startswith("neural-style-sweep: ") for line in lines)


def test_a_run_continues_from_its_checkpoint_when_its_worker_is_lost(sweep):
    first, second = sweep.plan.stems
    seen = []

    def events(planned):
        seen.append((planned.stem, planned.iterations_done))
        if planned.stem == second or planned.iterations_done:
            return [Failed("enough")]
        return [Checkpoint(states.Saved({}, [], arrays={"iteration": np.array(7)})), None]

    sweep.compute(lambda: Recorded(events), 1)
    assert seen == [(first, 0), (first, 7), (second, 0)]


# What the command line refuses.


def refused(here, arguments, status, parts):
    stdout, stderr = here(*arguments, check=status)
    assert stdout == "" and stderr.count("\n") == 1 and stderr.startswith("neural-style-sweep: error: ")
    for part in parts:
        assert part in stderr
    assert len(stderr) < 1000


@pytest.mark.parametrize(
    ("arguments", "status", "parts"),
    [
        ("", 2, ["SPEC", "--output", "--help"]),
        ("spec.toml", 2, ["--output"]),
        ("spec.toml --output out --wrokers 3", 2, ["--wrokers"]),
        ("gatys2015-fig33 --output out", 2, ["SPEC", "gatys2015-fig3", "--list-figures"]),
        ("missing.toml --output out", 2, ["SPEC", "missing.toml"]),
        (". --output out", 2, ["SPEC", "there is no ."]),
        ("sub/ --output out", 2, ["SPEC", "folder"]),
        ("content.png --output out", 2, ["SPEC", "content.png", ".toml"]),
        ("lacking.toml --output out", 1, ["a.png (https://a)", "b.png", "--images"]),
        ("varied.toml --output out --seed 3", 2, ["--seed", "rows", "varied.toml"]),
        ("varied.toml --output out --width 0", 2, ["--width", "at least 1"]),
        ("spec.toml --output out --recipe bets", 2, ["--recipe", "did you mean best"]),
        ("spec.toml --output out --network lost.mat", 2, ["--network", "lost.mat"]),
        ("spec.toml --output out --content lost.png", 2, ["--content", "lost.png"]),
        ("spec.toml --output out --content content.png style1.png", 2, ["--content", "several"]),
        ("spec.toml --output out --image content.png", 2, ["--image", "NAME=FILE"]),
        ("spec.toml --output out --image content.png=", 2, ["--image", "NAME=FILE"]),
        ("spec.toml --output out --image content.png=lost.png", 2, ["--image", "lost.png"]),
        ("spec.toml --output out --image other.png=content.png", 2, ["--image", "other.png", "content.png"]),
        ("spec.toml --output out --images lost", 2, ["--images", "lost"]),
        ("spec.toml --output out --images content.png", 2, ["--images", "content.png"]),
        ("spec.toml --output content.png", 2, ["--output", "file"]),
        ("spec.toml --output lost/out", 2, ["--output", "lost"]),
        ("spec.toml --output full", 2, ["--output", "full", "--overwrite"]),
        ("spec.toml --output mine", 2, ["--output", "mine", "--overwrite"]),
        ("spec.toml --output out --workers 0", 2, ["--workers", "at least 1"]),
        ("spec.toml --output out --threads 0", 2, ["--threads", "from 1 to 1024"]),
        ("spec.toml --output out --threads 5000", 2, ["--threads", "1024"]),
    ],
)
def test_what_is_wrong_is_refused_in_a_line(here, folder, arguments, status, parts):
    for name, text in {
        "spec": BASE,
        "varied": BASE + "rows = { seed = [1, 2] }",
        "lacking": 'content = "a.png"\nstyles = "b.png"\n[published]\n"a.png" = "https://a"',
    }.items():
        write(folder, text, f"{name}.toml")
    for name in ("sub", "full", "full/runs", "mine"):
        (folder / name).mkdir()
    (folder / "mine" / "sheet.png").write_bytes(b"mine")
    before = times(folder)
    refused(here, words(arguments), status, parts)
    assert times(folder) == before and not (folder / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(here, folder):
    (folder / "closed").mkdir(mode=0o500)
    write(folder, BASE)
    refused(here, words("spec.toml --output closed"), 2, ["--output", "closed"])
    refused(here, words("spec.toml --output closed/out"), 2, ["--output", "closed/out"])


def test_a_network_that_is_not_the_recipes_fails(here, folder):
    recipe = f'network = "{folder}/tiny.mat"\nnetwork_sha256 = "{64 * "0"}"\nwidth = 24\n'
    write(folder, recipe, "own.toml")
    write(folder, BASE + 'recipe = "own.toml"')
    _, stderr = here("spec.toml", *words("--output out"), check=1)
    assert "tiny.mat: is not the network of the recipe" in stderr
    assert table_of(folder / "out")["the run"]["status"] == "failed"


def test_the_weights_for_a_vgg16_are_those_of_its_runs_alone(folder, monkeypatch):
    monkeypatch.chdir(folder)
    write_mat(folder / "sixteen.mat", tiny_layers(VGG16))
    rows = "rows = { network = ['tiny.mat', 'sixteen.mat'] }\n[settings]\nvgg16.style_weight = 7\n"
    spec, flags = specs.read(write(folder, BASE + rows)), specs.Variation()
    files = specs.find_images(specs.image_names(spec, flags), spec, {}, [])
    plan = planning.make_plan(specs.cells(spec, flags, files), Path("out"))
    assert [cell.job.settings.style_weight for cell in plan.cells] == [500, 7]
    assert [plan.runs[stem].job.settings.style_weight for stem in plan.stems] == [500, 7]


def test_the_size_of_a_run_is_estimated_from_its_pictures(folder, monkeypatch):
    monkeypatch.chdir(folder)
    text = "rows = { width = [24, 240] }\ncolumns = { iterations = [10, 30] }\n"
    spec, flags = specs.read(write(folder, BASE + text)), specs.Variation("", None, {"network": "tiny.mat"})
    files = specs.find_images(specs.image_names(spec, flags), spec, {}, [])
    plan = planning.make_plan(specs.cells(spec, flags, files), Path("out"))
    small, longer, large, _ = (plan.runs[stem] for stem in plan.stems)
    assert (small.pixels, longer.pixels) == (10 * 24 * 18, 30 * 24 * 18)
    assert small.memory == longer.memory < large.memory


def test_names_that_are_no_text_do_no_harm(here, folder, monkeypatch):
    compute_nothing(monkeypatch)
    odd = os.fsdecode(b"\xff\xfe")
    other = fill(folder / odd, folder / "tiny.mat", [folder / "content.png", folder / "style1.png"])
    write(other, BASE)
    (other / "own.mat").write_bytes((folder / "tiny.mat").read_bytes())
    (folder / f"{odd}.png").write_bytes((folder / "content.png").read_bytes())
    here(f"{odd}/spec.toml", *OUT, "--content", f"{odd}.png")
    assert list(table_of(folder / "out")) == ["the run"]
    _, stderr = here(f"{odd}/spec.toml", *words("--output odd --network"), f"{odd}/own.mat", check=1)
    assert "rename the network's file" in stderr


def test_a_flags_image_is_not_taken_for_the_specs_of_the_same_name(folder, monkeypatch):
    monkeypatch.chdir(folder)
    other = fill(folder / "other", folder / "tiny.mat", [folder / "content.png", folder / "style1.png"])
    write(other, BASE)
    options = build_parser().parse_args(words("other/spec.toml --output out --initial content.png"))
    _, [cell] = read_cells(options)
    assert dict(cell.job.files.images) == {
        "content": Path("other/content.png"),
        "styles": Path("other/style1.png"),
        "initial": Path("content.png"),
    }


def test_images_are_taken_from_where_the_flags_say(folder, monkeypatch):
    monkeypatch.chdir(folder)
    fill(folder / "other", folder / "tiny.mat", [folder / "content.png", folder / "style1.png"])
    write(folder, BASE + "[[rows]]\nlabel = 'a'\n[[rows]]\nlabel = 'b'\ninitial = 'start.png'")
    flags = words("--images other --image start.png=style2.png style1.png=other/style1.png --output out")
    _, cells = read_cells(build_parser().parse_args(["spec.toml", *flags]))
    for cell, initial in zip(cells, ([], [Path("style2.png")]), strict=True):
        content, style, *start = (path for _, path in cell.job.files.images)
        assert (content, style, start) == (Path("other/content.png"), Path("other/style1.png"), initial)


def test_list_figures_has_a_line_for_each(here):
    stdout, _ = here("--list-figures")
    assert sorted(line.split()[0] for line in stdout.splitlines()) == sorted(recipes.shipped("figures"))


# Names of files.


@pytest.mark.parametrize(
    ("labels", "start"),
    [
        ((), ""),
        (("tv weight 0.5", "a=b"), "tv-weight-0.5-a=b-"),
        (("../../etc", "C:\\x"), "etc-C-x-"),
        (("🎨🎨", "/"), ""),
        (("x" * 300,), 80 * "x" + "-"),
        (("Ü" * 300,), 40 * "Ü" + "-"),
    ],
)
def test_any_labels_make_a_name_of_a_file(tmp_path, labels, start):
    stem = results.stem(labels, "0123456789")
    assert stem == f"{start}0123456789"
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / f"{stem}-losses.svg").touch()
    assert results.stems(tmp_path) == {}
    # By its files a run is found again, whatever it is called by then, when it is done and before.
    for path in (tmp_path / "runs" / f"{stem}.json", results.state(tmp_path, stem)):
        path.touch()
        assert results.stems(tmp_path) == {"0123456789": stem}
        path.unlink()
