"""Shared fixtures: tiny networks, reference data if it is present, and the command line."""

import contextlib
import io
import os
import shutil
import subprocess
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import imageio.v3 as iio
import numpy as np
import pytest
from networks import tiny_layers, write_mat

hypothesis.settings.register_profile("any machine", deadline=None)  # a busy one takes its time
hypothesis.settings.load_profile("any machine")

ROOT = Path(__file__).parent.parent
# A script's peak memory in KiB. getrusage is not used, since it reports the parent's peak if that is higher.
PEAK = """
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
"""


def words(text):
    """The arguments in a text; none of them has a space."""
    return text.split()


def random_image(height, width, seed):
    """An image of noise."""
    return np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)


@pytest.fixture(scope="session", autouse=True)
def device():
    """TensorFlow, set up as in the program, before any test computes something."""
    from styling.command.jobs import cores
    from styling.system.device import configure

    return configure("cpu", cores())


def run_in_process(main, folder, arguments):
    """Call a command's main() in a folder, and return what subprocess.run would."""
    stdout, stderr = io.StringIO(), io.StringIO()
    redirected = contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr)
    with contextlib.chdir(folder), redirected[0], redirected[1]:
        try:
            status = main([*map(str, arguments)])
        except SystemExit as stop:
            status = stop.code
    return subprocess.CompletedProcess(arguments, status, stdout.getvalue(), stderr.getvalue())


def run_sweep(folder, *arguments, check=0):
    """Run neural-style-sweep in this process, in a folder; returns what it writes to stdout and stderr."""
    from styling.sweeps.__main__ import main

    result = run_in_process(main, folder, arguments)
    assert result.returncode == check, result.stderr
    return result.stdout, result.stderr


@pytest.fixture(scope="session", autouse=True)
def tests_cache(tmp_path_factory):
    """A cache folder for all tests: the user's stays unchanged, and each network is read only once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """A separate cache folder for the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "neural-style"


@pytest.fixture(scope="session")
def network_file(tmp_path_factory):
    """A tiny VGG-19 in the new layout."""
    return write_mat(tmp_path_factory.mktemp("network") / "tiny.mat", tiny_layers())


@pytest.fixture(scope="session")
def network(network_file):
    """The tiny network, loaded."""
    import vgg

    return vgg.load(network_file)


@pytest.fixture
def tiny_scales(monkeypatch):
    """Allow coarse scales of any size, so that a tiny picture has more than one scale."""
    from styling.run import sizes

    monkeypatch.setattr(sizes, "LEAST_SIDE", 1)


@pytest.fixture
def container(tmp_path, monkeypatch):
    """Puts this process into a container with so many bytes of memory, and so many of them used."""
    from styling.system import limits

    def enter(total, used=0):
        monkeypatch.setattr(limits, "_groups", lambda: [tmp_path])
        for name, text in {"max": total, "current": used, "stat": "active_file 0\ninactive_file 0"}.items():
            (tmp_path / f"memory.{name}").write_text(f"{text}\n")

    return enter


@pytest.fixture(scope="session")
def image_files(tmp_path_factory):
    """A content image of 40 x 30 pixels and two styles, of 36 x 36 and 50 x 24, as files."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(1)
    paths = []
    for name, height, width in (("content", 30, 40), ("style1", 36, 36), ("style2", 24, 50)):
        coarse = rng.integers(0, 256, (height // 6 + 1, width // 6 + 1, 3), np.uint8)
        paths.append(folder / f"{name}.png")
        iio.imwrite(paths[-1], np.kron(coarse, np.ones((6, 6, 1), np.uint8))[:height, :width])
    return paths


@pytest.fixture
def folder(tmp_path, network_file, image_files):
    """The test's folder, with content.png, style1.png, style2.png and tiny.mat."""
    for path in (*image_files, network_file):
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def shared():
    """The folder of reference data: NEURAL_STYLE_REFERENCE, or `shared` beside the checkout."""
    folder = Path(os.environ.get("NEURAL_STYLE_REFERENCE", ROOT.parent / "shared"))
    if not (folder / "reference" / "trajectories.json").is_file():
        pytest.skip(f"no reference data at {folder}; name its folder in NEURAL_STYLE_REFERENCE")
    return folder


@pytest.fixture(scope="session")
def chromium():
    """A browser."""
    reason = "needs playwright and a Chromium: pip install playwright, apt-get install chromium"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip(reason)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def neural_style(tmp_path):
    """Runs the command line in this process, in the test's folder; returns what subprocess.run would."""

    def run(*arguments, check=None):
        import neural_style

        result = run_in_process(neural_style.main, tmp_path, arguments)
        if check is not None:
            assert result.returncode == check, result.stderr
        return result

    return run
