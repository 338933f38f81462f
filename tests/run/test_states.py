"""Runs that are stopped and gone on with, against the same runs unbroken, and files that hold no such run."""

import dataclasses
import io
import json
import signal
import zipfile

import imageio.v3 as iio
import numpy as np
import pytest
from conftest import random_image, words
from processes import Command

from neural_style import main
from styling.optimizers import lbfgs_b
from styling.run import states
from styling.run.states import State
from styling.settings import Settings
from styling.system.errors import StateError
from stylize import stylize

RUNS = {
    "adam": Settings(),
    "best of all": Settings(best_of_all=True, learning_rate=90, scales=(0.5, 1)),
    "gradient descent": Settings(optimizer="normalized-gradient-descent", checkpoint_iterations=2),
    "lbfgs in bounds": Settings(optimizer="lbfgs", clip=True, scales=(0.5, 1)),
    "lbfgs-b": Settings(optimizer="lbfgs-b", scales=(0.5, 1)),
    "calls of lbfgs-b": Settings(optimizer="lbfgs-b", evaluations=5),
    "tiles": Settings(tile=16, scales=(0.5, 1)),
    "neighbors": Settings(style_measure="neighbors", optimizer="lbfgs", match_iterations=3, scales=(0.5, 1)),
    "hypercolumns": Settings(style_measure="neighbors", hypercolumn_iterations=5, match_iterations=2),
    "in bfloat16": Settings(precision="bfloat16", clip=True, learning_rate=80),
}


@pytest.mark.usefixtures("tiny_scales")
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
def test_a_run_goes_on_from_any_iteration_to_the_same_bytes(network, run, tmp_path, monkeypatch):
    monkeypatch.setattr(lbfgs_b, "CALL", 3)  # so that scipy's calls end within the run
    few = {"style_layers": ("relu1_1", "relu2_1"), "content_layers": ("relu2_1",)}
    run = dataclasses.replace(run, iterations=9, seed=2, **few)
    images = random_image(33, 28, 1), [random_image(20, 31, 2)]
    unbroken = list(stylize(*images, network, run))
    path = tmp_path / "run.state"
    for stop in (0, 4, 9) if len(run.scales) == 1 else (4, 6):
        stopped = unbroken[stop]
        states.write(path, states.Saved({}, [], arrays=stopped.state.arrays()))
        state = State.from_arrays(states.read(path).arrays)
        resumed = list(stylize(*images, network, run, state=state))
        assert [progress.iteration for progress in resumed] == list(range(stop, 10))
        for ours, theirs in zip(resumed, unbroken[stop:], strict=True):
            assert ours.losses() == theirs.losses()
        assert resumed[-1].image().tobytes() == unbroken[-1].image().tobytes()
        assert resumed[-1].result().tobytes() == unbroken[-1].result().tobytes()


def test_a_state_of_other_sizes_is_refused(network):
    content, style = random_image(33, 28, 1), random_image(20, 31, 2)
    *_, progress = stylize(content, [style], network, Settings(iterations=2))
    for other in (Settings(iterations=1), Settings(iterations=2, width=20)):
        with pytest.raises(StateError):
            stylize(content, [style], network, other, state=progress.state)


# Files.


def saved():
    rng = np.random.default_rng(1)
    arrays = {"iteration": np.array(7), "x": rng.normal(size=(1, 4, 5, 3)).astype(np.float32)}
    picture = rng.uniform(0, 255, (2, 3, 3))
    images = [("content", "/a/b.png", "0" * 64)]
    return states.Saved({"width": 5, "scales": [0.5, 1.0]}, images, [(1.0, 2.0)], {3: picture}, arrays)


def test_a_saved_run_comes_back(tmp_path):
    states.write(tmp_path / "a", saved())
    found, expected = states.read(tmp_path / "a"), saved()
    for part in ("settings", "images", "history", "iteration"):
        assert getattr(found, part) == getattr(expected, part)
    for part in ("pictures", "arrays"):
        assert getattr(found, part).keys() == getattr(expected, part).keys()
        for name, array in getattr(expected, part).items():
            assert np.array_equal(getattr(found, part)[name], array)
            assert getattr(found, part)[name].dtype == array.dtype


def forged(header=None, **arrays):
    """The bytes of a file with these parts."""
    if header is not None:
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def claiming(shape):
    """A file whose one array claims a shape."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        array = io.BytesIO()
        np.lib.format.write_array_header_1_0(array, {"descr": "<f4", "fortran_order": False, "shape": shape})
        archive.writestr("header.npy", array.getvalue() + bytes(64))
    return file.getvalue()


def bomb():
    """A small file that unpacks to 200 MB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("header.npy", bytes(200_000_000))
    return file.getvalue()


GOOD_HEADER = {"format": 1, "program": "1", "settings": {}, "images": [], "history": [], "arrays": []}


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"a picture" * 99,
        claiming((2**40,)),
        claiming((-1,)),
        bomb(),
        forged(a=np.zeros(3)),
        forged([]),
        forged(GOOD_HEADER | {"format": 99}),
        forged(GOOD_HEADER | {"history": [["a"]]}),
        forged(GOOD_HEADER | {"images": 3}),
        forged(GOOD_HEADER, other=np.zeros(2)),
        forged(pickled=np.array([{"a": 1}], dtype=object)),
    ],
    ids=lambda contents: str(len(contents)),
)
def test_what_is_no_saved_run_is_refused(tmp_path, contents):
    path = tmp_path / "run.state"
    path.write_bytes(contents)
    with pytest.raises(StateError, match=r"run\.state"):
        states.read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"arrays": {"x": np.zeros(3)}},
        {"arrays": {"iteration": np.zeros(2, int)}},
        {"arrays": {"iteration": np.array("7")}},
        {"images": [("content", "a\0b", "")]},
        {"pictures": {1: np.zeros((3, 3, 3), int)}},
    ],
)
def test_a_whole_file_with_wrong_contents_is_refused(tmp_path, change):
    states.write(tmp_path / "run.state", dataclasses.replace(saved(), **change))
    with pytest.raises(StateError, match=r"run\.state"):
        states.read(tmp_path / "run.state")


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs-b"])
def test_a_state_with_wrong_arrays_is_refused(network, optimizer):
    images = random_image(33, 28, 1), [random_image(20, 31, 2)]
    run = Settings(iterations=2, optimizer=optimizer, best_of_all=True, style_weight=0)
    *_, progress = stylize(*images, network, run)
    arrays = progress.state.arrays()
    for name, array in arrays.items():
        changed = [arrays | {name: np.array("text")}, arrays | {name: array[None].astype(np.float64)}]
        left_out = {key: value for key, value in arrays.items() if key != name}
        if not name.endswith("/x"):  # a best image, which need not be there
            changed.append(left_out)
        for wrong in changed:
            with pytest.raises(StateError):
                list(stylize(*images, network, run, state=State.from_arrays(wrong)))
    if optimizer == "lbfgs-b":
        far = arrays | {"memory/01": np.array(lbfgs_b.CALL, np.int32)}
        with pytest.raises(StateError):
            list(stylize(*images, network, run, state=State.from_arrays(far)))


# The command line.


@pytest.fixture
def begin(tmp_path, network_file, image_files):
    """Starts the program in the test's folder; returns the process."""
    inputs = ["--content", image_files[0], "--styles", image_files[1], "--network", network_file]

    def start(*arguments, images=True, **keywords):
        return Command(main, tmp_path, [*arguments, *(inputs if images else [])], **keywords)

    return start


LONG = words("--iterations 60 --seed 3 --threads 1 --progress-write --print-iterations 20 --progress-grid")


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGTERM, signal.SIGHUP))],
)
def test_a_stopped_run_goes_on_to_the_same_files(begin, tmp_path, number):
    for name in ("broken", "unbroken"):
        (tmp_path / name).mkdir()
    optimizer = words(
        f"--scales 0.5 1 --width 200 --optimizer {'lbfgs' if number == signal.SIGINT else 'adam'} "
        "--style-layers relu1_1 relu2_1 --content-layers relu2_1"
    )
    process = begin(*LONG, *optimizer, "--output", "broken/a.png", "--save-state", "run.state")
    assert any(line.startswith("iteration 20 ") for line in process.stdout)
    process.send_signal(number)
    _, line = process.finish(128 + number)
    assert line.count("\n") == 1 and "broken/a.png" in line and "--resume run.state" in line
    first = (tmp_path / "broken" / "a.png").read_bytes()
    # The saved run knows its images, its network and its settings.
    again = words("--resume run.state --overwrite --progress-write --print-iterations 20 --progress-grid")
    begin(*again, "--output", "broken/a.png", images=False).finish()
    begin(*LONG, *optimizer, "--output", "unbroken/a.png").finish()
    for path in (tmp_path / "unbroken").iterdir():
        assert path.read_bytes() == (tmp_path / "broken" / path.name).read_bytes(), path.name
    assert (tmp_path / "broken" / "a.png").read_bytes() != first


def killed_run(begin, tmp_path, moments, *arguments):
    """Kill a run after each of some seconds, going on each time from what is saved, and let it end."""
    run = ["--output", "a.png", "--overwrite", "--save-state-iterations", "1", *arguments]
    state = tmp_path / "run.state"
    for moment in moments:
        resume = ["--resume", state] if state.exists() else ["--save-state", state]
        process = begin(*run, *resume)
        if moment is None:
            break
        while not state.exists() and process.returncode is None:
            process.wait(0.01)
        process.wait(moment)
        process.kill()
        process.wait()
    process.finish()
    return (tmp_path / "a.png").read_bytes()


MANY = np.random.default_rng(1).uniform(0, 4, 25)  # seconds


@pytest.mark.parametrize(
    ("arguments", "moments"),
    [
        ("--iterations 100", [0.2]),
        pytest.param("--optimizer lbfgs --scales 0.5 1 --width 200", MANY, marks=pytest.mark.slow),
        pytest.param("--optimizer lbfgs-b --tile 16", MANY, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_killed_ends_with_the_unbroken_runs_picture(begin, tmp_path, arguments, moments):
    run = [*words("--iterations 300 --seed 3 --threads 1"), *words(arguments)]
    killed = killed_run(begin, tmp_path, [*moments, None], *run)
    begin(*run, "--output", "b.png").finish()
    assert killed == (tmp_path / "b.png").read_bytes()


def test_what_goes_with_a_saved_run_and_what_does_not(neural_style, network_file, tmp_path, image_files):
    content, style, other = image_files
    inputs = ["--content", content, "--styles", style, "--network", network_file]
    first = words("--iterations 4 --seed 1 --save-state c-progress.txt --output a.png")
    neural_style(*inputs, *first, check=0)
    (tmp_path / "run.state").write_bytes((tmp_path / "c-progress.txt").read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    for arguments, status, word in (
        ("--style-weight 9", 2, "--style-weight"),
        ("--iterations 3", 2, "--iterations"),
        ("--recipe best", 2, "--recipe"),
        (f"--content {style}", 1, "style1.png"),
        (f"--styles {style} {other}", 2, "--styles"),
        ("--resume c-progress.txt --progress-write --overwrite", 2, "--progress-write"),
    ):
        line = neural_style(*words(f"--resume run.state --output c.png {arguments}"), check=status).stderr
        assert line.count("\n") == 1 and word in line
        assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    neural_style(*words("--resume run.state --output b.png --iterations 6"), check=0)
    neural_style(*inputs, *words("--iterations 6 --seed 1 --output d.png"), check=0)
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "d.png").read_bytes()


def start(folder):
    """Everything that a run can write, as made by an earlier one, by the name of its file."""
    progress = ("a-progress.txt", "a-progress.png", "a-progress-grid.png")
    for name in ("a.png", "c2.png", "c4.png", *progress, "a.state"):
        (folder / name).write_bytes(f"the old {name}".encode())
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("limit", [0, 5000, pytest.param(40_000, marks=pytest.mark.slow)])
def test_a_full_disk_at_any_write_loses_nothing_and_ends_in_a_line(begin, tmp_path, limit):
    (tmp_path / "run").mkdir()
    before = start(tmp_path / "run")
    writes = "--progress-write --progress-plot --progress-grid --checkpoint-output run/c{}.png --overwrite"
    states_too = "--checkpoint-iterations 2 --save-state run/a.state --save-state-iterations 1 --iterations 4"
    # A limit on the size of files is a disk that is full once one has that size.
    process = begin(
        *words(f"--output run/a.png {writes} {states_too}"),
        environment={"TMPDIR": str(tmp_path / "run")},
        most_bytes=limit,
    )
    lines = process.finish(1)[1].splitlines()
    assert all(line.startswith("neural-style: ") for line in lines) and "error" in lines[-1]
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for name, contents in after.items():
        assert contents == before[name] or len(contents) <= limit
        if contents != before[name] and name.endswith(".png"):
            assert iio.imread(contents).size
    assert after.keys() == before.keys(), "nothing half written is left"


def test_a_state_that_cannot_be_written_leaves_the_one_before(begin, tmp_path):
    begin(*words("--iterations 2 --save-state run.state --output a.png --tile 0 --seed 1")).finish()
    before = (tmp_path / "run.state").read_bytes()
    more = words("--resume run.state --iterations 4 --save-state-iterations 1 --output b.png")
    process = begin(*more, images=False, most_bytes=10_000)
    assert "run.state" in process.finish(1)[1]
    assert (tmp_path / "run.state").read_bytes() == before
    assert (tmp_path / "b.png").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
