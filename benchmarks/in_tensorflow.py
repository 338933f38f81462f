"""The sides in TensorFlow: this program's step, and two straightforward implementations.

build = plain(network, weights)      # reads the network
step = build(content, style, start)  # computes the targets; images are float32 [H, W, 3], RGB
total = step()                       # the total loss; the gradient for the image is computed too
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from worker import CONTENT, SETTINGS, STYLE, Layers, Step, read, total_loss

import stylize
import vgg
from styling.system.device import configure

Build = Callable[[np.ndarray, np.ndarray, np.ndarray], Step]


def ours(network: Path, weights: Path, precision: str = "float32") -> Build:
    """This program's step: an iteration of Adam, whose own share is small."""
    configure("cpu")
    loaded = vgg.load(network)

    def build(content: np.ndarray, style: np.ndarray, start: np.ndarray) -> Step:
        settings = replace(SETTINGS, precision=precision, iterations=10**6)
        steps = stylize.stylize(content, [style], loaded, settings, initial=start)
        return lambda: next(steps).losses()["total"]

    return build


fastest = partial(ours, precision="fastest")  # in bfloat16, if the processor has it


def eager(network: Path, weights: Path, compiled: Callable = lambda function: function) -> Build:
    """TensorFlow's own operations under a GradientTape, run one by one as in tutorials."""
    layers, mean_pixel = read(weights)
    layers = [(name, *map(tf.constant, parts)) for name, *parts in layers]

    def build(*images: np.ndarray) -> Step:
        content, style, x = (tf.constant((image - mean_pixel)[None]) for image in images)
        contents = {name: y for name, y in features(layers, content).items() if name in CONTENT}
        grams = {name: gram(y) for name, y in features(layers, style).items() if name in STYLE}

        @compiled
        def evaluate(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(x)
                differences = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
                total = total_loss(features(layers, x), contents, grams, differences, tf.reduce_mean, gram)
            return total, tape.gradient(total, x)

        def step() -> float:
            total, gradient = evaluate(x)
            gradient.numpy()
            return float(total)

        return step

    return build


plain = partial(eager, compiled=tf.function)  # the same over captured weights, compiled


def features(layers: Layers, y: tf.Tensor) -> dict[str, tf.Tensor]:
    """The outputs of the layers in use for y [1, H, W, 3]."""
    outputs = {}
    for name, *parts in layers:
        if parts:
            y = tf.nn.conv2d(y, parts[0], 1, "SAME") + parts[1]
        else:
            y = tf.nn.relu(y) if "relu" in name else tf.nn.avg_pool2d(y, 2, 2, "SAME")
        if name in CONTENT | STYLE:
            outputs[name] = y
    return outputs


def gram(y: tf.Tensor) -> tf.Tensor:
    """F^T F of a feature map [1, h, w, C], divided by its number of values."""
    flat = tf.reshape(y, [-1, y.shape[-1]])
    return tf.matmul(flat, flat, transpose_a=True) / y.shape.num_elements()
