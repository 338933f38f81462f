"""The benchmarks run, and the sides that they compare compute the same losses."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT


def measure(script, *arguments):
    """What one of the benchmarks prints."""
    command = [sys.executable, ROOT / "benchmarks" / script, *arguments]
    result = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_all_sides_are_measured_and_compute_the_same(network_file):
    flags = ["--sizes", "48x36", "--repeats", 1, "--rounds", 1]
    tables = measure("run.py", "--networks", network_file, *flags)
    for side, least in (("ours", 1e-5), ("ours, fastest", 0.1), ("tf.function", 0), ("eager", 1e-5)):
        [apart] = re.findall(rf"\| {side} \|.*\| (\S+) \|$", tables, re.MULTILINE)
        assert float(apart) <= least, side
    assert len(re.findall(r"\| (first|with its cache) \| [\d.]+ \|", tables)) == 2


@pytest.mark.slow
def test_a_film_and_its_frames_painted_apart_are_measured(tmp_path):
    flags = ["--frames", 3, "--width", 64, "--alone", 6]
    table = measure("film.py", "--output", tmp_path / "films", *flags)
    errors = re.findall(r"\| (weight 30|frames alone) \| ([\d.]+) \|", table)
    (film, steady), (frames, flickering) = errors
    assert (film, frames) == ("weight 30", "frames alone") and 2 * float(steady) < float(flickering)
    assert len(list((tmp_path / "films").glob("*/*.png"))) == 6
