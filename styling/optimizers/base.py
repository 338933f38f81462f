"""What an optimiser is: from the losses and the gradient at x to the next x.

    for step in Adam(learning_rate=10).steps(evaluate, x):
        ...

`evaluate` maps x to its named losses, including "total", and the gradient of the total. Every iteration
yields a Step; the first is the start itself. An optimiser goes on as long as it is asked, and ends by itself
only if it finds no lower loss. `bounds`, if there are any, are the least and the largest allowed values of
x, two tensors that broadcast with x. An optimiser that begins with the x and the memory of an earlier Step
repeats exactly the steps that followed it.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from styling.system.quiet import tf

Evaluate = Callable[[tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor]]
Bounds = tuple[tf.Tensor, tf.Tensor] | None
Memory = tuple[tf.Tensor, ...]


class Step(NamedTuple):
    """An iterate, its losses, the gradient of their total, and the optimiser state."""

    x: tf.Tensor
    losses: dict[str, tf.Tensor]
    gradient: tf.Tensor
    memory: Memory = ()


@dataclass(frozen=True)
class Optimizer:
    """An optimiser; its fields are settings, by their names.

    memory: the parts of its state besides x, all 0 at the start: 1 for one as large as x, 2 for one of half
    its sides, and so on, and 0 for a scalar.
    bytes_per_pixel: of its own memory at the peak, for 3 values a pixel.
    """

    memory: ClassVar[tuple[int, ...]] = ()
    bytes_per_pixel: ClassVar[int] = 0

    def steps(
        self, evaluate: Evaluate, x: tf.Tensor, bounds: Bounds = None, memory: Memory = ()
    ) -> Generator[Step, None, None]:
        """The start, and every iterate. memory: of an earlier Step, to go on from it."""
        step: Step | None = Step(x, *evaluate(x), memory or self.init(x))
        while step is not None:
            yield step
            step = self.update(evaluate, step, bounds)

    def init(self, x: tf.Tensor) -> Memory:
        """The state at the start."""
        return tuple(tf.zeros(shape) for shape in self.shapes(x.shape))

    @classmethod
    def shapes(cls, image: Sequence[int]) -> list[tuple[int, ...]]:
        """The shapes of its memory for an x of this shape."""
        one, *sides, channels = image
        return [(one, *(-(-side // n) for side in sides), channels) if n else () for n in cls.memory]

    def update(self, evaluate: Evaluate, step: Step, bounds: Bounds) -> Step | None:
        """The next iterate; None if no lower loss is found."""
        raise NotImplementedError


def clip(x: tf.Tensor, bounds: Bounds) -> tf.Tensor:
    """x within the bounds, if there are any."""
    return x if bounds is None else tf.clip_by_value(x, *bounds)
