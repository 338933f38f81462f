"""Optimisers, each a pair of pure functions, so that a new one is a new function and nothing else changes."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

State = tuple[tf.Tensor, ...]


class Optimizer(NamedTuple):
    """init(x) -> state; update(x, gradient, state) -> the next (x, state)."""

    init: Callable[[tf.Tensor], State]
    update: Callable[[tf.Tensor, tf.Tensor, State], tuple[tf.Tensor, State]]


def adam(learning_rate: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """Adam (Kingma & Ba 2014) with eps outside the bias correction, the form that TensorFlow uses.

    learning_rate is in the units of x, grey levels. State: updates made, first and second moments.
    """

    def init(x: tf.Tensor) -> State:
        return tf.zeros([]), tf.zeros_like(x), tf.zeros_like(x)

    def update(x: tf.Tensor, gradient: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        count, first, second = state
        count += 1
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * tf.square(gradient)
        rate = learning_rate * tf.sqrt(1 - beta2**count) / (1 - beta1**count)
        return x - rate * first / (tf.sqrt(second) + eps), (count, first, second)

    return Optimizer(init, update)
