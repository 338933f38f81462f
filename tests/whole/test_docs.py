"""README and docs: the example in Python runs without a word of TensorFlow's, and what they name is there."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from PIL import Image

import neural_style
from styling.sweeps import __main__ as sweeps
from styling.web import __main__ as web

FLAGS = ROOT / "docs" / "flags.md"  # which is made from the flags
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").glob("*.md")} - {FLAGS})]
OF_OTHERS = {"--head", "--address", "--judge"}  # flags of Ray's and of benchmarks/film.py that the pages name


def test_the_example_in_python_runs_and_tensorflow_is_quiet(tmp_path):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    small = code.replace("find()", 'find("small")').replace("width=512", "width=96, iterations=3")
    assert small.count("small") == small.count("width=96") == 1
    for name, image in (("photo", "harbour"), ("painting", "glass")):
        shutil.copy(ROOT / "data" / f"{image}.jpg", tmp_path / f"{name}.jpg")
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-c", small]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert Image.open(tmp_path / "picture.png").width == 96


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_and_files_that_a_page_names_are_there(page):
    text = page.read_text()
    parsers = neural_style.build_parser(), sweeps.build_parser(), web.build_parser()
    flags = {flag for parser in parsers for flag in parser._option_string_actions}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]", text))
    assert named - flags - OF_OTHERS == set()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    assert [link for link in links if not (page.parent / link).exists()] == []
