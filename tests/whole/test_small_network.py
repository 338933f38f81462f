"""The network that ships, against the one that it derives from: VGG-16, where the reference data is."""

import numpy as np
import pytest
import tensorflow as tf

import vgg
from styling.network import networks
from styling.pictures import images

HELD_OUT = ("face", "golden-gate", "great-wave", "shipwreck", "sleeper", "stata", "the-scream", "tubingen")
WIDTH = 384
# By layer: the least share of variance explained, and the largest relative error of the Gram matrix.
FIGURES = {
    "relu1_1": (0.999, 0.001),
    "relu2_1": (0.97, 0.004),
    "relu3_1": (0.945, 0.007),
    "relu4_1": (0.9, 0.025),
    "relu4_2": (0.86, 0.05),
    "relu5_1": (0.77, 0.085),
}
MOST_BYTES = 10 * 2**20


@pytest.fixture(scope="module")
def features(shared):
    """By image, the features of the real VGG-16 and of the small network, [h * w, C] by layer."""
    small = vgg.load(networks.find("small"))
    weights = np.load(shared / "networks" / "vgg16.npz")
    real = {name: [tf.constant(weights[f"{name}/{part}"]) for part in ("kernel", "bias")] for name in names()}

    def real_features(x):
        found = {}
        for name, (kernel, bias) in real.items():
            if name.endswith("_1") and name != "conv1_1":
                x = tf.nn.avg_pool2d(x, 2, 2, "SAME")
            x = found[name.replace("conv", "relu")] = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + bias)
        return found

    def flat(found):
        return {layer: found[layer].numpy().reshape(-1, found[layer].shape[-1]) for layer in FIGURES}

    pairs = []
    for name in HELD_OUT:
        image = images.read(shared / "images" / f"{name}.jpg")
        x = small.preprocess(images.resize(image, WIDTH * image.shape[0] // image.shape[1], WIDTH))
        pairs.append((flat(real_features(x)), flat(small.features(x, FIGURES))))
    return pairs


def names():
    """VGG-16's convolutions up to conv5_1."""
    counts = {1: 2, 2: 2, 3: 3, 4: 3, 5: 1}
    return [f"conv{block}_{i}" for block, count in counts.items() for i in range(1, count + 1)]


@pytest.mark.slow
@pytest.mark.parametrize("layer", FIGURES)
def test_the_small_network_sees_what_vgg16_sees(features, layer):
    explained, errors = [], []
    for real, small in features:
        f, g = real[layer].astype(np.float64), small[layer].astype(np.float64)
        explained.append(1 - ((f - g) ** 2).sum() / ((f - f.mean(0)) ** 2).sum())
        a, b = f.T @ f, g.T @ g
        errors.append(((a - b) ** 2).sum() / (a**2).sum())
    least, most = FIGURES[layer]
    assert np.mean(explained) > least
    assert np.mean(errors) < most


def test_the_small_network_is_small():
    assert networks.find("small").stat().st_size < MOST_BYTES
