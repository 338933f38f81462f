"""Adam and gradient descent: each update is one evaluation."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from styling.optimizers.base import Bounds, Evaluate, Optimizer, Step, clip
from styling.system.quiet import tf


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2014) with eps outside the bias correction, the form that TensorFlow uses.

    learning_rate is in the units of x, gray levels.
    """

    memory = ("scalar", "image", "image")
    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def update(self, evaluate: Evaluate, step: Step, bounds: Bounds) -> Step:
        """A step of the learning rate against the gradient's mean over its deviation from 0."""
        x, *memory = _update(self)(step.x, step.gradient, *step.memory)
        x = clip(x, bounds)
        return Step(x, *evaluate(x), tuple(memory))


@lru_cache(maxsize=4)
def _update(adam: Adam) -> Callable:
    """(x, gradient, memory) -> the next x and memory; compiled once for all sizes."""
    image, scalar = tf.TensorSpec(None), tf.TensorSpec([])

    @tf.function(autograph=False, input_signature=[image, image, scalar, image, image])
    def update(
        x: tf.Tensor, gradient: tf.Tensor, count: tf.Tensor, first: tf.Tensor, second: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        count += 1
        first = adam.beta1 * first + (1 - adam.beta1) * gradient
        second = adam.beta2 * second + (1 - adam.beta2) * tf.square(gradient)
        rate = adam.learning_rate * tf.sqrt(1 - adam.beta2**count) / (1 - adam.beta1**count)
        return x - rate * first / (tf.sqrt(second) + adam.eps), count, first, second

    return update


@dataclass(frozen=True)
class GradientDescent(Optimizer):
    """Plain gradient descent: x - learning_rate * gradient."""

    learning_rate: float

    def update(self, evaluate: Evaluate, step: Step, bounds: Bounds) -> Step:
        """A step against the gradient."""
        x = clip(step.x - self.learning_rate * step.gradient, bounds)
        return Step(x, *evaluate(x))


@dataclass(frozen=True)
class NormalizedGradientDescent(Optimizer):
    """Gradient descent by the gradient over its standard deviation: x - rate * g / (std(g) + eps)."""

    learning_rate: float
    eps: float = 1e-8

    def update(self, evaluate: Evaluate, step: Step, bounds: Bounds) -> Step:
        """A step against the gradient over its deviation."""
        # Values are scaled to at most 1 before squaring, since gradients of unnormalised losses are large.
        largest = tf.reduce_max(tf.abs(step.gradient))
        deviation = largest * tf.math.reduce_std(tf.math.divide_no_nan(step.gradient, largest))
        x = clip(step.x - self.learning_rate * step.gradient / (deviation + self.eps), bounds)
        return Step(x, *evaluate(x))
