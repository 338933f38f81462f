"""The objective's losses and gradient, for a whole picture or tile by tile, with the same result.

A tile is evaluated with a margin as wide as the network's receptive field needs (styling/tiles.py).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from typing import Any

from styling.objective.targets import Features, Parts, added
from styling.objective.terms import Objective
from styling.optimizers import Evaluate
from styling.system.quiet import tf

ZERO = tf.UnconnectedGradients.ZERO


def evaluation(objective: Objective) -> Evaluate:
    """A function that maps x [1, H, W, 3] to its losses by name and the gradient of their total."""
    return compiled(objective)(objective)


def compiled(objective: Objective) -> Callable[[Objective], Evaluate]:
    """A function: objective -> its evaluation(), with TensorFlow functions that are compiled only once.

    It takes this objective, and all that differ from it only in the frame of a film.
    """
    evaluate = (_whole if len(objective.tiling.places) == 1 else _by_tiles)(objective.without_frame)
    if objective.painted is not None:
        evaluate = _where(objective.painted, evaluate)
    return partial(partial, evaluate)


def _where(painted: tf.Tensor, evaluate: Callable) -> Callable:
    """The same, but with a gradient of 0 where nothing is painted, so that these pixels never change."""

    def evaluate_there(objective: Objective, x: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        terms, gradient = evaluate(objective, x)
        return terms, tf.where(painted, gradient, 0.0)

    return evaluate_there


def _whole(fixed: Objective) -> Callable:
    @tf.function(autograph=False)
    def evaluate(
        x: tf.Tensor, content: Features, frame: dict[str, Any]
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        objective = replace(fixed, content=[content], **frame)
        with tf.GradientTape() as tape:
            tape.watch(x)
            terms = objective(x)
        # The total variation of a single pixel does not depend on the image, so its gradient is 0.
        return terms, tape.gradient(terms["total"], x, unconnected_gradients=ZERO)

    return lambda objective, x: evaluate(x, objective.content[0], objective.frame)


def _by_tiles(fixed: Objective) -> Callable:
    """Go over the tiles twice: for the statistics, then for x with the gradients of the statistics."""
    tiling = fixed.tiling
    places = [tf.constant(place) for place in tiling.places]

    def maps(window: tf.Tensor, place: tf.Tensor) -> tuple[Features, Parts]:
        return tiling.features(fixed.network, window, fixed.layers, fixed.pooling, place)

    @tf.function(autograph=False)
    def statistics(x: tf.Tensor, place: tf.Tensor) -> dict[str, Any]:
        return fixed.statistics(*maps(tiling.cut(x, place), place))

    @tf.function(autograph=False)
    def compare(found: dict[str, Any]) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(found)
            terms = fixed.compared(found)
            total = sum(terms.values())
        return terms, tape.gradient(total, tf.nest.flatten(found), unconnected_gradients=ZERO)

    @tf.function(autograph=False)
    def descend(
        x: tf.Tensor, place: tf.Tensor, content: Features, upstream: list[tf.Tensor], frame: dict[str, Any]
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        objective = replace(fixed, **frame)
        window = tiling.cut(x, place)
        with tf.GradientTape() as tape:
            tape.watch(window)
            features, parts = maps(window, place)
            warped = None if objective.warped is None else tiling.cut(objective.warped, place)
            terms = objective.local(window, features, content, parts, tiling.part(place), warped)
            sources = [*terms.values(), *tf.nest.flatten(objective.statistics(features, parts))]
        seeds = [*(tf.ones_like(term) for term in terms.values()), *upstream]
        return terms, tape.gradient(sources, window, output_gradients=seeds, unconnected_gradients=ZERO)

    def evaluate(objective: Objective, x: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        compared, upstream = compare(reduce(added, (statistics(x, place) for place in places)))
        gradient, local = tf.Variable(tf.zeros_like(x)), None
        for i, place in enumerate(places):
            terms, share = descend(x, place, objective.content[i], upstream, objective.frame)
            tiling.add(gradient, share, place)
            local = terms if local is None else added(local, terms)
        return objective.ordered(local, compared), gradient.value()

    return evaluate
