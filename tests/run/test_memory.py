"""The estimate of memory against what a process really takes, and the advice that follows from it."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import PEAK, ROOT, random_image
from networks import tiny_layers, write_mat

import vgg
from styling.pictures.images import Images
from styling.run import memory, runs
from styling.settings import STYLE_LAYERS, Settings
from styling.system.errors import MemoryLimitError, StyleError

MEASURE = f"""{PEAK}
import sys
import numpy as np
import vgg
from styling.settings import Settings
from styling.system.device import configure
from stylize import stylize

configure()
network = vgg.load(sys.argv[1])
content = np.random.default_rng(0).uniform(0, 255, (600, 800, 3)).astype(np.float32)
masks = [content[..., 0] ** n / 255**n for n in range(1, int(sys.argv[3]) + 1)]
styles = [content[::4, ::4]] * max(len(masks), 1)
settings = Settings(iterations=2, style_scales=(0.25,) * len(styles), precision=sys.argv[2])
before = peak()
for progress in stylize(content, styles, network, settings, style_masks=masks):
    pass
print(peak() - before)
"""


@pytest.fixture(scope="module")
def quarter(tmp_path_factory):
    """A network of a quarter of VGG-19's widths, which is large enough to be measured."""
    path = tmp_path_factory.mktemp("quarter") / "quarter.mat"
    return write_mat(path, tiny_layers(channels=(16, 32, 64, 128, 128)), fully_connected=False)


def test_what_an_optimizer_remembers_counts(network_file, monkeypatch):
    # Pairs of an image's size, in 32 bits on the device and in 64 by scipy, beside what every step needs.
    monkeypatch.setattr(memory, "free_memory", lambda: 500_000_000)
    layers = vgg.load(network_file).built(STYLE_LAYERS)
    fits = {}
    for optimizer in ("adam", "lbfgs", "lbfgs-b"):
        with pytest.raises(MemoryLimitError) as error:
            memory.check_memory(layers, (30_000, 30_000), [], optimizer)
        fits[optimizer] = int(re.search(r"--width (\d+)", str(error.value)).group(1)) ** 2
    room = 5e8 - memory.START_BYTES
    for optimizer, corrections, size in (("lbfgs", 10, 4), ("lbfgs-b", 20, 8)):
        more = room / fits[optimizer] - room / fits["adam"]  # bytes a pixel
        assert 2 * corrections * 3 * size <= more < 1.6 * 2 * corrections * 3 * size


def test_what_masks_hold_counts(network_file):
    layers = vgg.load(network_file).built(STYLE_LAYERS)
    plain, masked = (
        memory.needed(layers, (400, 600), optimizer="adam", masked=of)
        for of in ({}, {"relu1_1": 2, "relu2_1": 2})
    )
    # Maps of 3 channels at every pixel and of 4 at a quarter of them; a guide and a mask at each position.
    assert masked - plain == pytest.approx(400 * 600 * 2 * 4 * ((3 + 4 / 4) + 2 * (1 + 1 / 4)))


def test_the_masks_of_a_run_are_those_of_its_regions_and_terms(network):
    content, left = random_image(30, 40, 1), np.zeros((30, 40), np.float32)
    left[:, :20] = 1
    run = Settings(style_layers=("relu1_1", "relu2_1"), shift_weight=1, shift_layers=("relu2_1",))
    for masks, expected in (
        ((), {}),
        ((left, 1 - left), {"relu1_1": 2, "relu2_1": 4}),
        ((left, left), {"relu1_1": 1, "relu2_1": 2}),  # which are one region
    ):
        of = runs.resolve(Images(content, (content, content), None, masks), network, run)
        assert of.masked == expected


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
@pytest.mark.parametrize(("precision", "masks"), [("float32", 0), ("bfloat16", 0), ("float32", 4)])
@pytest.mark.slow
def test_the_estimate_is_near_what_a_process_takes(quarter, precision, masks):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MEASURE, quarter, precision, str(masks)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    taken = int(result.stdout) * 1024
    network = vgg.load(quarter)
    computed = {"float32": network, "bfloat16": network.in_bfloat16}[precision]
    layers = computed.built([*STYLE_LAYERS, "relu4_2"])
    masked = dict.fromkeys(STYLE_LAYERS, masks)
    estimate = memory.needed(layers, (600, 800), optimizer="adam", masked=masked)
    assert 0.75 * taken < estimate < 1.9 * taken


def test_the_width_that_is_advised_fits_and_little_more_does_not(network_file):
    layers = vgg.load(network_file).built(STYLE_LAYERS)
    with pytest.raises(MemoryLimitError) as error:
        memory.check_memory(layers, (30_000, 30_000), [])
    width = int(re.search(r"--width (\d+)", str(error.value)).group(1))
    memory.check_memory(layers, (int(width * 0.95), int(width * 0.95)), [])  # what is free varies
    with pytest.raises(MemoryLimitError):
        memory.check_memory(layers, (int(width * 1.1), int(width * 1.1)), [])
    with pytest.raises(MemoryLimitError, match=r"style 2 .*--style-scales"):
        memory.check_memory(layers, (9, 9), [(9, 9), (width * 2, width * 2)])


def test_what_fails_on_a_device_is_explained():
    for error in (MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")):
        with pytest.raises(MemoryLimitError, match=r"400 x 300.*--width"), memory.device_errors(300, 400):
            raise error
    with pytest.raises(StyleError, match=r"failed: no stream$"), memory.device_errors(300, 400):
        raise tf.errors.InternalError(None, None, "no stream\nand more")


def test_matches_are_counted_before_a_run_starts(network):
    """Neighbours take memory by their number, hypercolumns and patches by the picture's size."""

    def counted(width, **changes):
        run = Settings(width=width, **({"style_measure": "neighbors"} | changes))
        return runs.resolve(Images(random_image(40, 40, 1), (random_image(40, 40, 2),)), network, run).matched

    assert counted(64) == counted(256) > 0
    assert counted(64, hypercolumn_iterations=5) < counted(256, hypercolumn_iterations=5)
    assert 16 * counted(64, style_measure="patches") == counted(256, style_measure="patches")
    assert counted(64, style_measure="gram") == 0
