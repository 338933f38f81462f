"""Adam, of pixels or of a pyramid, and gradient descent: each update is one evaluation."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from styling.optimizers.base import Bounds, Evaluate, Optimizer, Step, clip
from styling.system.quiet import tf

BANDS = 6  # of a pyramid, with the coarsest, which is no difference


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2014) with eps outside the bias correction, the form that TensorFlow uses.

    learning_rate is in the units of x, gray levels.
    """

    memory: ClassVar[tuple[int, ...]] = (0, 1, 1)
    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def update(self, evaluate: Evaluate, step: Step, bounds: Bounds) -> Step:
        """A step of the learning rate against the gradient's mean over its deviation from 0."""
        x, *memory = self.compiled()(step.x, step.gradient, *step.memory)
        x = clip(x, bounds)
        return Step(x, *evaluate(x), tuple(memory))

    @lru_cache(maxsize=4)  # noqa: B019, since what it keeps alive is a few numbers
    def compiled(self) -> Any:
        """(x, gradient, *memory) -> the next x and memory, compiled once for all sizes."""
        image, scalar = tf.TensorSpec(None), tf.TensorSpec([])

        @tf.function(autograph=False, input_signature=[image, image, scalar, image, image])
        def update(
            x: tf.Tensor, gradient: tf.Tensor, count: tf.Tensor, first: tf.Tensor, second: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            count += 1
            first = self.beta1 * first + (1 - self.beta1) * gradient
            second = self.beta2 * second + (1 - self.beta2) * tf.square(gradient)
            rate = self.learning_rate * tf.sqrt(1 - self.beta2**count) / (1 - self.beta1**count)
            return x - rate * first / (tf.sqrt(second) + self.eps), count, first, second

        return update


@dataclass(frozen=True)
class PyramidAdam(Adam):
    """Adam on the coefficients of the picture's Laplacian pyramid (Kolkin et al. 2022, section 3.4).

    The picture is the sum of the bands, each of half the last one's sides, enlarged. So coarse and fine
    detail move at the same rate.
    """

    memory: ClassVar[tuple[int, ...]] = (0, *(2**band for band in range(BANDS) for _ in range(2)))
    bytes_per_pixel = 8 * 3 * 4

    @lru_cache(maxsize=4)  # noqa: B019, since what it keeps alive is a few numbers
    def compiled(self) -> Any:
        """Adam's step in each band, and the picture's that follows from them."""
        in_band = Adam.compiled(self).python_function

        @tf.function(autograph=False, reduce_retracing=True)
        def update(
            x: tf.Tensor, gradient: tf.Tensor, count: tf.Tensor, *moments: tf.Tensor
        ) -> list[tf.Tensor]:
            steps: list[tf.Tensor] = []
            memory = [count + 1]
            for first, second in zip(moments[::2], moments[1::2], strict=True):
                if steps:  # the gradient for a band that is enlarged to the one before
                    gradient = tf.raw_ops.ResizeBilinearGrad(
                        grads=gradient, original_image=first, half_pixel_centers=True
                    )
                step, _, first, second = in_band(tf.zeros_like(first), gradient, count, first, second)
                steps.append(step)
                memory += [first, second]
            moved = steps.pop()
            while steps:
                finer = steps.pop()
                moved = finer + tf.image.resize(moved, tf.shape(finer)[1:3])
            return [x + moved, *memory]

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
