"""The losses of a picture and their gradient, whole or tile by tile, with the same result.

A tile is evaluated with a margin as wide as the network's receptive field needs (tiles.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from typing import Any

from styling.objective import losses
from styling.objective.targets import Features, View, added
from styling.objective.terms import Target, Term
from styling.objective.tiles import Tiling
from styling.optimizers.base import Evaluate
from styling.system.quiet import tf
from vgg import Network

ZERO = tf.UnconnectedGradients.ZERO


@dataclass(frozen=True)
class Objective:
    """What is minimised: the sum of the terms.

    tiling: how a picture is cut. names: of the terms, in the order of printing. painted: boolean
    [1, H, W, 1], false where the picture stays the photograph; None if it is painted everywhere.
    """

    network: Network
    pooling: str
    tiling: Tiling
    names: tuple[str, ...]
    terms: tuple[Term, ...]
    painted: tf.Tensor | None = field(default=None, compare=False)

    def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """x [1, H, W, 3], minus the mean pixel -> the weighted losses, scalars by name, and their total;
        evaluated without tiles."""
        view = View(x, self.network.features(x, self.layers, self.pooling))
        return self.losses(self.statistics(view, [term.map(0) for term in self.terms]))

    @property
    def layers(self) -> set[str]:
        """All layers whose feature maps the terms use."""
        return {layer for term in self.terms for layer in term.layers}

    def statistics(self, view: View, maps: list[Features]) -> list[dict[Any, tf.Tensor]]:
        """Each term's statistic; maps: each term's tensors for this view."""
        pairs = zip(self.terms, maps, strict=True)
        return [term.statistic(view, term.target, features) for term, features in pairs]

    def losses(self, statistics: list[dict[Any, tf.Tensor]]) -> dict[str, tf.Tensor]:
        """The losses by name, and their total, from the whole picture's statistics."""
        parts: dict[str, list[tf.Tensor]] = {name: [] for name in self.names}
        for term, statistic in zip(self.terms, statistics, strict=True):
            parts[term.name].append(term.loss(statistic, term.target))
        by_name = {name: losses.total(values) for name, values in parts.items()}
        return by_name | {"total": losses.total(list(by_name.values()))}

    def compared_with(self, targets: list[Target]) -> "Objective":
        """The same terms with other targets."""
        pairs = zip(self.terms, targets, strict=True)
        return replace(self, terms=tuple(replace(term, target=target) for term, target in pairs))


def evaluation(objective: Objective, reuse: bool = True) -> Evaluate:
    """A function that maps x [1, H, W, 3] to its losses by name and the gradient of their total.

    reuse: whether the compiled function is kept for objectives that differ only in their targets, such as the
    next frame of a film.
    """
    # The key of the cache, which should not hold the targets in memory.
    bare = tuple(replace(term, target=Target({}), maps=None) for term in objective.terms)
    compile_it = compiled if reuse else compiled.__wrapped__
    function = compile_it(replace(objective, terms=bare, painted=None))

    def evaluate(x: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        values, gradient = function(x, objective.terms)
        if objective.painted is not None:  # elsewhere pixels never change
            gradient = tf.where(objective.painted, gradient, 0.0)
        return values, gradient

    return evaluate


@lru_cache(maxsize=4)
def compiled(objective: Objective) -> Callable:
    """A function: (x, terms that differ from the objective's only in their targets) -> losses, gradient."""
    return _whole(objective) if objective.tiling.is_whole else _by_tiles(objective)


def _whole(objective: Objective) -> Callable:
    @tf.function(autograph=False)
    def evaluate(
        x: tf.Tensor, targets: list[Target], maps: list[Features]
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        compared = objective.compared_with(targets)
        with tf.GradientTape() as tape:
            tape.watch(x)
            view = View(x, objective.network.features(x, objective.layers, objective.pooling))
            values = compared.losses(compared.statistics(view, maps))
        # The total variation of a single pixel does not depend on the image, so its gradient is 0.
        return values, tape.gradient(values["total"], x, unconnected_gradients=ZERO)

    return lambda x, terms: evaluate(x, [term.target for term in terms], [term.map(0) for term in terms])


def _by_tiles(objective: Objective) -> Callable:
    """Go over the tiles twice: for the statistics, then for x with the gradients of the statistics."""
    tiling, layers = objective.tiling, objective.layers
    places = [tf.constant(place) for place in tiling.places]

    def statistics_at(
        window: tf.Tensor, place: tf.Tensor, targets: list[Target], maps: list[Features]
    ) -> list[dict[Any, tf.Tensor]]:
        view = View.of_window(window, objective.network, tiling, layers, objective.pooling, place)
        return objective.compared_with(targets).statistics(view, maps)

    @tf.function(autograph=False)
    def statistics(
        x: tf.Tensor, place: tf.Tensor, targets: list[Target], maps: list[Features]
    ) -> list[dict[Any, tf.Tensor]]:
        return statistics_at(tiling.cut(x, place), place, targets, maps)

    @tf.function(autograph=False)
    def compare(
        whole: list[dict[Any, tf.Tensor]], targets: list[Target]
    ) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(whole)
            values = objective.compared_with(targets).losses(whole)
        return values, tape.gradient(values["total"], tf.nest.flatten(whole), unconnected_gradients=ZERO)

    @tf.function(autograph=False)
    def descend(
        x: tf.Tensor,
        place: tf.Tensor,
        targets: list[Target],
        maps: list[Features],
        upstream: list[tf.Tensor],
    ) -> tf.Tensor:
        window = tiling.cut(x, place)
        with tf.GradientTape() as tape:
            tape.watch(window)
            sources = tf.nest.flatten(statistics_at(window, place, targets, maps))
        return tape.gradient(sources, window, output_gradients=upstream, unconnected_gradients=ZERO)

    def evaluate(x: tf.Tensor, terms: Sequence[Term]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        targets = [term.target for term in terms]

        def maps(i: int) -> list[Features]:
            return [term.map(i) for term in terms]

        whole = reduce(added, (statistics(x, place, targets, maps(i)) for i, place in enumerate(places)))
        values, upstream = compare(whole, targets)
        gradient = tf.Variable(tf.zeros_like(x))
        for i, place in enumerate(places):
            tiling.add(gradient, descend(x, place, targets, maps(i), upstream), place)
        return values, gradient.value()

    return evaluate
