"""Time a step (losses and gradient) against a plain one of the same objective, side by side.

    python benchmarks/step.py NETWORK [--width 512] [--height 384] [--rounds 7]

The plain step is a tf.function over the network's weights with TensorFlow's own operations and gradients, as
one would write it first. Both take turns; printed are medians, their ratio, how far the losses are apart,
and the machine's rate of matrix multiplication before and after.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import tensorflow as tf

import stylize
import vgg
from styling.settings import Settings


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", type=Path)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    stylize.configure("cpu")
    network, settings = vgg.load(options.network), Settings()
    rng = np.random.default_rng(1)
    content, style = (
        rng.uniform(0, 255, (options.height, options.width, 3)).astype(np.float32) for _ in "12"
    )
    objective = stylize.build_objective(content, [style], network, settings)
    x = tf.constant(rng.uniform(-120, 130, (1, options.height, options.width, 3)), tf.float32)
    steps = {"plain": plain_step(objective), "ours": stylize._compiled(objective)}
    before = rate()
    seconds, totals = {name: [] for name in steps}, {}
    for name, step in steps.items():
        started = time.perf_counter()
        totals[name] = float(step(x)[0]["total"])
        print(f"{name:8} first call {time.perf_counter() - started:6.2f} s")
    for _ in range(options.rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step(x)[1].numpy()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name:8} {median:8.3f} s   (least {min(seconds[name]):.3f} s)")
    print(f"ratio    {medians['ours'] / medians['plain']:8.2f}")
    print(f"losses apart by {abs(totals['ours'] / totals['plain'] - 1):.1e}")
    print(f"matrix multiplication: {before:.0f} GFLOP/s before, {rate():.0f} after")


def plain_step(objective: stylize.Objective) -> Callable:
    """The default objective's losses and gradient by TensorFlow's own operations."""
    style = objective.matches["style"]
    ((_, targets),) = style.targets

    def losses(x: tf.Tensor) -> dict[str, tf.Tensor]:
        content, matched, y = 0.0, 0.0, x
        for layer in objective.network.built([*style.layers, *objective.content_layers]):
            if layer.kind == "conv":
                y = tf.nn.conv2d(y, layer.kernel, 1, "SAME") + layer.bias
            elif layer.kind == "relu":
                y = tf.nn.relu(y)
            else:
                y = tf.nn.avg_pool2d(y, 2, 2, "SAME")
            if layer.name in objective.content_layers:
                content += tf.reduce_mean(tf.square(y - objective.content[layer.name]))
            if layer.name in style.layers:
                flat = tf.reshape(y, [-1, y.shape[-1]])
                gram = tf.matmul(flat, flat, transpose_a=True) / y.shape.num_elements()
                matched += style.layers[layer.name] * tf.reduce_mean(tf.square(gram - targets[layer.name]))
        smooth = tf.reduce_mean(tf.square(x[:, 1:] - x[:, :-1]))
        smooth += tf.reduce_mean(tf.square(x[:, :, 1:] - x[:, :, :-1]))
        total = objective.content_weight * content + style.weight * matched + objective.tv_weight * smooth
        return {"total": total}

    @tf.function
    def step(x: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            found = losses(x)
        return found, tape.gradient(found["total"], x)

    return step


def rate(size: int = 2048, repeats: int = 5) -> float:
    """The median GFLOP/s of products of float32 matrices."""
    a = tf.random.stateless_normal([size, size], [1, 2])
    tf.matmul(a, a).numpy()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        tf.matmul(a, a).numpy()
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds) / 1e9


if __name__ == "__main__":
    main()
