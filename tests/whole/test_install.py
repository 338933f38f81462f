"""What ships is found wherever the program is installed, from any working directory."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

from styling.network.networks import SMALL

IMAGES = "harbour still_life strokes mosaic woodcut bricks glass facets watercolour"
SHIPPED = (
    SMALL,
    "decoder.npz",
    *(f"{name}.jpg" for name in IMAGES.split()),
    "white.png",
    "sweep.html",
    "web",
)
FIND = """
from styling.network.networks import find
from styling.system.files import data_folder
from styling.settings.recipes import shipped
from styling.sweeps import specs
print(data_folder())
print(find("small").is_file())
print(*shipped())
print(*shipped("figures"))
"""
RECIPES, FIGURES = (
    {path.stem for path in (ROOT / "data" / name).glob("*.toml")} for name in ("recipes", "figures")
)


def find_from(folder, path):
    """What data_folder(), the small network, the recipes and the figures are for a process in `folder` that
    imports from `path`."""
    environment = os.environ | {"PYTHONPATH": str(path)}
    result = subprocess.run(
        [sys.executable, "-c", FIND], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    data, found, *names = result.stdout.splitlines()
    return Path(data), found == "True", *(set(line.split()) for line in names)


def test_a_checkout_has_what_ships(tmp_path):
    data, found, recipes, figures = find_from(tmp_path, ROOT)
    assert found and data == ROOT / "data"
    assert len(recipes) >= 10 and recipes == RECIPES and len(figures) >= 8 and figures == FIGURES
    assert all((data / name).exists() for name in SHIPPED)


def test_a_wheel_has_what_ships(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        assert not any(re.match("tests|training|benchmarks", name) for name in archive.namelist())
    installed = tmp_path / "site" / "styling"
    folders = {path.parent.name for path in (ROOT / "styling").glob("*/__init__.py")}
    assert folders < set(os.listdir(installed))
    data = installed / "data"
    others = {"__init__.py", "README.md", "recipes", "figures"}
    assert {path.name for path in data.iterdir()} == others | set(SHIPPED)
    for folder, names in (("recipes", RECIPES), ("figures", FIGURES)):
        assert {path.name for path in (data / folder).iterdir()} == {f"{name}.toml" for name in names}
    assert find_from(tmp_path, tmp_path / "site") == (data, True, RECIPES, FIGURES)


STATE = """
import logging, os, signal, sys
import imageio.v3, numpy, PIL.GifImagePlugin, PIL.Image, PIL.ImageFile, PIL.PngImagePlugin
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow, threadpoolctl
def state():
    modules = [PIL.Image, PIL.ImageFile, PIL.PngImagePlugin, PIL.GifImagePlugin]
    limits = [(k, v) for m in modules for k, v in vars(m).items() if k.isupper() and isinstance(v, int)]
    signals = [signal.getsignal(number) for number in signal.valid_signals()]
    loggers = [logging.getLogger(name).level for name in ("", "tensorflow", "PIL", "imageio")]
    return dict(os.environ), limits, signals, loggers, numpy.geterr(), sys.path, sys.excepthook
before = state()
import stylize, styling, vgg
assert state() == before
"""


@pytest.mark.slow
def test_importing_the_program_changes_nothing_of_other_libraries():
    subprocess.run([sys.executable, "-c", STATE], cwd=ROOT, check=True)
