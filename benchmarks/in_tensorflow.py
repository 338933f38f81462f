"""The sides in TensorFlow: this project's step, and two straightforward implementations.

side = Plain(network, weights)            # reads the network
step = side.build(content, style, start)  # computes the targets; images are float32 [H, W, 3], RGB
total = step()                            # the total loss; the gradient to the image is computed too
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from objective import CONTENT, SETTINGS, STYLE, Step, read, total_loss

import stylize
import vgg
from styling.objective.evaluation import evaluation
from styling.pictures.images import Images
from styling.run.runs import resolve
from styling.system.device import configure


class Ours:
    """This project's step."""

    precision = "float32"

    def __init__(self, network: Path, weights: Path) -> None:
        configure("cpu")
        self.network = vgg.load(network)

    def build(self, content: np.ndarray, style: np.ndarray, start: np.ndarray) -> Step:
        """Compute the targets; returns the step that compares with them."""
        settings = replace(SETTINGS, precision=self.precision)
        settings = resolve(Images(content, (style,)), self.network, settings).settings
        evaluate = evaluation(stylize.build_objective(content, [style], self.network, settings))
        x = self.network.preprocess(start)

        def step() -> float:
            terms, gradient = evaluate(x)
            gradient.numpy()
            return float(terms["total"])

        return step


class Fastest(Ours):
    """This project's step in bfloat16, if the processor supports it."""

    precision = "fastest"


class Eager:
    """TensorFlow's own operations under a GradientTape, run one by one as in tutorials."""

    def __init__(self, network: Path, weights: Path) -> None:
        layers, self.mean_pixel = read(weights)
        self.layers = [(name, *map(tf.constant, parts)) for name, *parts in layers]

    def build(self, content: np.ndarray, style: np.ndarray, start: np.ndarray) -> Step:
        """Compute the targets; returns the step that compares with them."""
        content, style, x = (
            tf.constant((image - self.mean_pixel)[None]) for image in (content, style, start)
        )
        contents = {name: y for name, y in self.features(content).items() if name in CONTENT}
        grams = {name: gram(y) for name, y in self.features(style).items() if name in STYLE}

        def evaluate(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(x)
                differences = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
                total = total_loss(self.features(x), contents, grams, differences, tf.reduce_mean, gram)
            return total, tape.gradient(total, x)

        evaluate = self.prepare(evaluate)

        def step() -> float:
            total, gradient = evaluate(x)
            gradient.numpy()
            return float(total)

        return step

    def prepare(self, evaluate: Callable) -> Callable:
        """The function in the form in which it is run."""
        return evaluate

    def features(self, y: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs of the layers in use for x [1, H, W, 3]."""
        features = {}
        for name, *parts in self.layers:
            if parts:
                y = tf.nn.conv2d(y, parts[0], 1, "SAME") + parts[1]
            else:
                y = tf.nn.relu(y) if "relu" in name else tf.nn.avg_pool2d(y, 2, 2, "SAME")
            if name in CONTENT | STYLE:
                features[name] = y
        return features


class Plain(Eager):
    """The same as Eager, in a tf.function over captured weights."""

    def prepare(self, evaluate: Callable) -> Callable:
        """The function in the form in which it is run."""
        return tf.function(evaluate)


def gram(y: tf.Tensor) -> tf.Tensor:
    """F^T F of a feature map [1, h, w, C], divided by its number of values."""
    flat = tf.reshape(y, [-1, y.shape[-1]])
    return tf.matmul(flat, flat, transpose_a=True) / y.shape.num_elements()
