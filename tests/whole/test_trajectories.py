"""The losses and pictures of the best known TensorFlow program of this family, at the same settings."""

import json
import subprocess
import sys

import numpy as np
import pytest

import vgg
from styling.command.flags import build_parser
from styling.command.jobs import plan
from styling.pictures import images
from stylize import stylize

CASES = ("blend", "full", *(pytest.param(name, marks=pytest.mark.slow) for name in ("avg", "max", "weights")))
MAKE_MAT = {
    "net-small-old.mat": ["--size", "small", "--layout", "old"],
    "net-small-new.mat": ["--size", "small", "--layout", "new"],
    "net-full-old.mat": ["--size", "full", "--layout", "old"],
}


@pytest.mark.parametrize("name", CASES)
def test_losses_and_picture_are_the_published_programs(shared, tmp_path, name):
    case = json.loads((shared / "reference" / "trajectories.json").read_text())[name]
    network = tmp_path / case["network"]
    make = [sys.executable, shared / "networks" / "make_mat.py", network, *MAKE_MAT[case["network"]]]
    subprocess.run(make, check=True)

    size = ["--width", str(case["width"]), "--iterations", str(case["iterations"])]
    options = build_parser().parse_args([*case["arguments"], *size, "--output", "unused.png"])
    content, initial, *styles = (
        images.read(shared / path) for path in (*options.content, *options.initial, *options.styles)
    )
    expected = {losses["updates"]: losses["total"] for losses in case["losses"]}
    deviations = {}
    for progress in stylize(content, styles, vgg.load(network), plan(options)[0].settings, initial):
        if progress.iteration in expected:
            total = progress.losses()["total"]
            deviations[progress.iteration] = abs(total / expected[progress.iteration] - 1)
    picture = images.read(shared / "reference" / case["output"])
    rms = np.sqrt(np.mean((images.to_bytes(progress.result()) - picture) ** 2))
    later = max(deviation for updates, deviation in deviations.items() if updates > 1)
    print(f"{name}: {max(deviations[0], deviations[1]):.1e} at 0 and 1, {later:.1e} later, {rms:.1f} RMS")

    assert deviations.keys() == expected.keys()
    assert max(deviations[0], deviations[1]) < 2e-5
    assert later < 0.004
    assert rms < 6
