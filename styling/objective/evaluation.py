"""The losses of a picture and their gradient, whole or tile by tile, with the same result.

A tile is evaluated with a margin as wide as the network's receptive field needs (tiles.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from typing import Any

from styling.objective import losses
from styling.objective.matching import Matcher
from styling.objective.targets import added
from styling.objective.terms import Target, Term
from styling.objective.tiles import Features, Tiling, View
from styling.optimizers.base import Evaluate
from styling.system.quiet import tf
from vgg import Network

Losses = dict[str, tf.Tensor]
Statistics = list[dict[Any, tf.Tensor]]  # of each term
Data = list[tuple[Target, Features]]  # of each term: its target, and its map for one window
ZERO = tf.UnconnectedGradients.ZERO


@dataclass(frozen=True)
class Objective:
    """What is minimised: the sum of the terms.

    tiling: how a picture is cut. names: of the terms, in the order of printing. matchers: of the terms that
    follow the picture. painted: boolean [1, H, W, 1], false where the picture stays the photograph; None if
    it is painted everywhere.
    """

    network: Network
    pooling: str
    tiling: Tiling
    names: tuple[str, ...]
    terms: tuple[Term, ...]
    matchers: tuple[Matcher, ...] = ()
    painted: tf.Tensor | None = field(default=None, compare=False)

    def matched(self, x: tf.Tensor, at: int) -> "Objective":
        """This objective with the terms that its matchers make for x after `at` updates."""
        made = (matcher.term(x, at) for matcher in self.matchers)
        return replace(self, terms=(*self.terms, *made), matchers=())

    def until(self, at: int, end: int) -> int:
        """The update before which matches of update `at` stand, at most `end`."""
        return min([end, *(matcher.until(at) for matcher in self.matchers)])

    def __call__(self, x: tf.Tensor) -> Losses:
        """x [1, H, W, 3], minus the mean pixel -> the weighted losses, scalars by name, and their total;
        evaluated without tiles."""
        return self.of_whole(x, self.data(0))

    @property
    def layers(self) -> set[str]:
        """All layers whose feature maps the terms use."""
        return {layer for term in self.terms for layer in term.layers}

    def data(self, window: int) -> Data:
        """What the terms compare a window with."""
        return [(term.target, term.maps[window] if term.maps else {}) for term in self.terms]

    def of_whole(self, x: tf.Tensor, data: Data) -> Losses:
        """The losses of a picture that is evaluated without tiles."""
        view = View(x, self.network.features(x, self.layers, self.pooling))
        return self.losses(self.statistics(view, data), [target for target, _ in data])

    def statistics(self, view: View, data: Data) -> Statistics:
        """Each term's statistic of a view."""
        return [term.statistic(view, *of_term) for term, of_term in zip(self.terms, data, strict=True)]

    def losses(self, statistics: Statistics, targets: list[Target]) -> Losses:
        """The losses by name, and their total, from the whole picture's statistics."""
        by_name: dict[str, list[tf.Tensor]] = {name: [] for name in self.names}
        for term, statistic, target in zip(self.terms, statistics, targets, strict=True):
            by_name[term.name].append(term.loss(statistic, target))
        sums = {name: losses.total(parts) for name, parts in by_name.items()}
        return sums | {"total": losses.total(list(sums.values()))}


def evaluation(objective: Objective, reuse: bool = True) -> Evaluate:
    """A function that maps x [1, H, W, 3] to its losses by name and the gradient of their total.

    reuse: whether the compiled function is kept for objectives that differ only in their targets, such as the
    next frame of a film.
    """
    # The key of the cache, which should not hold the targets in memory.
    terms = tuple(replace(term, target=Target({}), maps=None) for term in objective.terms)
    function = (compiled if reuse else compiled.__wrapped__)(replace(objective, terms=terms, painted=None))

    def evaluate(x: tf.Tensor) -> tuple[Losses, tf.Tensor]:
        values, gradient = function(x, objective)
        if objective.painted is not None:  # elsewhere pixels never change
            gradient = tf.where(objective.painted, gradient, 0.0)
        return values, gradient

    return evaluate


@lru_cache(maxsize=4)
def compiled(objective: Objective) -> Callable[[tf.Tensor, Objective], tuple[Losses, tf.Tensor]]:
    """A function from x and this objective, or one that differs in its targets, to losses and gradient."""
    return _whole(objective) if objective.tiling.is_whole else _by_tiles(objective)


def _whole(terms: Objective) -> Callable:
    @tf.function(autograph=False)
    def evaluate(x: tf.Tensor, data: Data) -> tuple[Losses, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            values = terms.of_whole(x, data)
        # The total variation of a single pixel does not depend on the image, so its gradient is 0.
        return values, tape.gradient(values["total"], x, unconnected_gradients=ZERO)

    return lambda x, objective: evaluate(x, objective.data(0))


def _by_tiles(terms: Objective) -> Callable:
    """Go over the tiles twice: for the statistics, then for x with the gradients of the statistics."""
    tiling = terms.tiling
    places = [tf.constant(place) for place in tiling.places]

    def of_window(window: tf.Tensor, place: tf.Tensor, data: Data) -> Statistics:
        view = tiling.view(terms.network, window, terms.layers, terms.pooling, place)
        return terms.statistics(view, data)

    @tf.function(autograph=False)
    def statistics(x: tf.Tensor, place: tf.Tensor, data: Data) -> Statistics:
        return of_window(tiling.cut(x, place), place, data)

    @tf.function(autograph=False)
    def compare(whole: Statistics, targets: list[Target]) -> tuple[Losses, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(whole)
            values = terms.losses(whole, targets)
        return values, tape.gradient(values["total"], tf.nest.flatten(whole), unconnected_gradients=ZERO)

    @tf.function(autograph=False)
    def descend(x: tf.Tensor, place: tf.Tensor, data: Data, upstream: list[tf.Tensor]) -> tf.Tensor:
        window = tiling.cut(x, place)
        with tf.GradientTape() as tape:
            tape.watch(window)
            sources = tf.nest.flatten(of_window(window, place, data))
        return tape.gradient(sources, window, output_gradients=upstream, unconnected_gradients=ZERO)

    def evaluate(x: tf.Tensor, objective: Objective) -> tuple[Losses, tf.Tensor]:
        of_windows = (statistics(x, place, objective.data(i)) for i, place in enumerate(places))
        values, upstream = compare(reduce(added, of_windows), [term.target for term in objective.terms])
        gradient = tf.Variable(tf.zeros_like(x))
        for i, place in enumerate(places):
            tiling.add(gradient, descend(x, place, objective.data(i), upstream), place)
        return values, gradient.value()

    return evaluate
