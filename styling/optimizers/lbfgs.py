"""L-BFGS on the device, for images."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from styling.optimizers.base import Bounds, Evaluate, Optimizer, Step, clip
from styling.system.quiet import tf

CORRECTIONS = 10
FIRST_STEP, ARMIJO, CURVATURE, MOST_TRIALS = 30.0, 1e-4, 1e-10, 20
SMOOTHNESS = 0.4
ROUNDING = {"float32": 0.0, "bfloat16": 5e-5}  # how much a total may rise, relative to itself


@dataclass(frozen=True)
class Lbfgs(Optimizer):
    """L-BFGS (Liu & Nocedal 1989) on the device, in float32, for x [1, H, W, C], with 10 corrections.

    Its initial inverse Hessian damps fine detail by the spatial frequency to the power -0.4, which saves
    evaluations. A line search ends at Armijo's condition, nearly always at its first point, so an iteration
    costs little more than one evaluation. The first step changes no value by more than 30.

    precision: of the evaluations. In bfloat16 a total may rise by as much as rounding changes it. Otherwise
    L-BFGS would find no lower total, and end too early.
    """

    # Unused corrections are zeros, which change nothing, so one graph works for any number of corrections.
    memory = (1, 1, 0) * CORRECTIONS
    bytes_per_pixel = (2 * CORRECTIONS + 8) * 3 * 4
    precision: str = "float32"

    def update(self, evaluate: Evaluate, step: Step, bounds: Bounds) -> Step | None:
        """A line search along the direction of L-BFGS, and where that fails, along the gradient."""
        if not math.isfinite(step.losses["total"]):
            return None
        direction_at, correction_of = _compiled(*step.x.shape[1:3])
        corrections = tuple(Correction(*parts) for parts in zip(*[iter(step.memory)] * 3, strict=True))
        first = not corrections[-1].scale > 0
        direction = direction_at(step.x, step.gradient, corrections, bounds)
        if first:
            direction *= tf.math.divide_no_nan(FIRST_STEP, tf.reduce_max(tf.abs(direction)))
        lower = _line_search(evaluate, step, direction, bounds, ROUNDING[self.precision])
        if lower is None:
            return None if first else self.update(evaluate, step._replace(memory=self.init(step.x)), bounds)
        newest = correction_of(step.x, step.gradient, lower.x, lower.gradient)
        if newest.scale > 0:
            corrections = (*corrections[1:], newest)
        return lower._replace(memory=tuple(itertools.chain(*corrections)))


@lru_cache(maxsize=4)
def _compiled(height: int, width: int) -> tuple[Callable, Callable]:
    """_newton_step() and _correction() for images of a size; cached for the frames of a film."""
    step = partial(_newton_step, smoothed=_smoother(height, width))
    return tf.function(step, autograph=False), tf.function(_correction, autograph=False)


class Correction(NamedTuple):
    """The differences of x (s) and of the gradient (y), and 1 / (s . y), or 0 if s and y are not usable."""

    s: tf.Tensor
    y: tf.Tensor
    scale: tf.Tensor


def _correction(x: tf.Tensor, gradient: tf.Tensor, next_x: tf.Tensor, next_gradient: tf.Tensor) -> Correction:
    """The correction from a step."""
    s, y = next_x - x, next_gradient - gradient
    curvature = _dot(s, y)
    enough = curvature > CURVATURE * tf.sqrt(_dot(s, s)) * tf.sqrt(_dot(y, y))
    return Correction(s, y, tf.where(enough, 1 / curvature, 0.0))


def _newton_step(
    x: tf.Tensor,
    gradient: tf.Tensor,
    corrections: Sequence[Correction],
    bounds: Bounds,
    smoothed: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Minus the estimated inverse Hessian times the gradient, by the two-loop recursion of L-BFGS."""
    free = _free(x, gradient, bounds)
    step, shares = -gradient * free, []
    for s, y, scale in reversed(corrections):
        shares.append(scale * _dot(s, step))
        step -= shares[-1] * y
    _, y, scale = corrections[-1]
    step = smoothed(step) * tf.where(scale > 0, tf.math.divide_no_nan(1.0, scale * _dot(y, y)), 1.0)
    for s, y, scale in corrections:
        step += (shares.pop() - scale * _dot(y, step)) * s
    return step * free


def _line_search(
    evaluate: Evaluate, step: Step, direction: tf.Tensor, bounds: Bounds, rounding: float
) -> Step | None:
    """A step along the direction whose total is low enough; None if there is none.

    rounding: how much a total may rise, relative to itself.
    """
    total = float(step.losses["total"])
    slack = rounding * total
    for _ in range(MOST_TRIALS):
        x = clip(step.x + direction, bounds)
        slope = float(_dot(step.gradient, x - step.x))
        if not slope < 0:
            return None
        trial = Step(x, *evaluate(x))
        rise = float(trial.losses["total"]) - total
        if rise < slack and rise <= ARMIJO * slope + slack:
            return trial
        # The minimum of the parabola through the known values, within limits.
        lowest = -slope / (2 * (rise - slope)) if math.isfinite(rise) else 0.0
        direction *= min(max(lowest, 0.1), 0.5)
    return None


def _smoother(height: int, width: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function that damps the fine detail of [1, height, width, C] by |frequency| ** -SMOOTHNESS / mean."""
    down, sideways = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    damping = np.maximum(np.hypot(down, sideways), 1 / max(height, width, 2)) ** -SMOOTHNESS
    damping = tf.constant(damping / damping.mean(), tf.complex64)

    def smoothed(x: tf.Tensor) -> tf.Tensor:
        channels_first = tf.transpose(x[0], [2, 0, 1])
        spectrum = tf.signal.rfft2d(channels_first) * damping
        return tf.transpose(tf.signal.irfft2d(spectrum, fft_length=[height, width]), [1, 2, 0])[None]

    return smoothed


def _free(x: tf.Tensor, gradient: tf.Tensor, bounds: Bounds) -> tf.Tensor:
    """1 where x may move, 0 where it stays at a bound because descent would leave the bounds."""
    if bounds is None:
        return tf.ones([])
    low, high = bounds
    return tf.cast(~((x <= low) & (gradient > 0) | (x >= high) & (gradient < 0)), x.dtype)


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    a, b = tf.reshape(a, [1, -1]), tf.reshape(b, [1, -1])
    return tf.matmul(a, b, transpose_b=True)[0, 0]  # the fastest of several that were tried
