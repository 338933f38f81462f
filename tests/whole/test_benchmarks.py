"""The benchmarks: what they measure is what the program does, and every section of them runs."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT, words

BENCHMARKS = ROOT / "benchmarks"


def answer(command, **arguments):
    """A worker's first answer."""
    process = [sys.executable, BENCHMARKS / "worker.py", command, json.dumps(arguments, default=str)]
    result = subprocess.run(process, input="\n", capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
def test_the_yardstick_is_where_its_recipe_ends_and_another_is_timed_until_it_is_as_low(
    neural_style, network_file, image_files
):
    content, style, _ = image_files
    run = {"network": network_file, "content": content, "style": style, "width": 24, "seed": 1}
    goal = answer("goal", **run)["loss"]
    flags = words("--recipe athalye2015 --width 24 --seed 1 --print-iterations 1000 --output out.png")
    files = ["--network", network_file, "--content", content, "--styles", style]
    last = neural_style(*flags, *files, check=0).stdout.splitlines()[-1]
    assert float(last.split()[2]) == pytest.approx(goal, rel=1e-3), last

    missed = answer("yardstick", **run, loss=0, recipe="best")
    assert not missed["reached"] and missed["least"] > 0
    found = answer("yardstick", **run, loss=1.2 * missed["least"], recipe="best")
    assert found["reached"] and missed["least"] <= found["least"] <= 1.2 * missed["least"]
    assert missed["evaluations"] > found["evaluations"] >= found["iterations"] > 0
    assert 0 < found["seconds"] < missed["seconds"] and found["adam"] > 0


@pytest.mark.slow
def test_every_section_runs(network_file, tmp_path):
    sizes = words("--sizes 48x36 --repeats 1 --rounds 1 --tile 16 --start-width 40")
    command = [sys.executable, BENCHMARKS / "run.py", "--networks", network_file, "small", *sizes]
    result = subprocess.run(
        [*command, "--output", tmp_path / "table.md"], capture_output=True, text=True, timeout=1800
    )
    assert result.returncode == 0, result.stderr
    written = (tmp_path / "table.md").read_text()
    headings = [line for line in written.splitlines() if line.startswith("## ")]
    titles = ("A step", "Memory", "Start: the o", "Start: the c", "Profile", "Whole", "Time")
    assert all(title in line for title, line in zip(titles, headings, strict=True)), headings
    rows = [line for line in written.splitlines() if line.startswith("| small")]
    reached = [row for row in rows if "harbour.jpg" in row and "not reached" not in row]
    assert len(reached) == 1
