"""Optimisers: each takes the loss to minimise and a start, and yields iterates.

    for step in adam(evaluate, x, learning_rate=10):
        ...

A new one is a function with its record, and its name among the choices of settings.Settings.optimizer.

Every iteration yields a Step; the first Step is the start itself. An optimiser continues as long as it is
asked, and ends by itself only if it finds no lower loss. `evaluate` maps x to its named losses, including
"total", and the gradient of the total. `bounds`, if given, are the least and the largest allowed values of x,
two tensors that broadcast with x. An optimiser that is called with the x and the `memory` of an earlier Step
repeats exactly the steps that followed it.
"""

import inspect
import itertools
import math
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import scipy.optimize
from threadpoolctl import threadpool_limits

from styling.system.errors import StateError
from styling.system.quiet import tf

Evaluate = Callable[[tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor]]
Bounds = tuple[tf.Tensor, tf.Tensor] | None
CORRECTIONS, SCIPY_CORRECTIONS = 10, 20
CALL = 100
NO_END = 2**31 - 1
FIRST_STEP, ARMIJO, CURVATURE, MOST_TRIALS = 30.0, 1e-4, 1e-10, 20
SMOOTHNESS = 0.4
ROUNDING = {"float32": 0.0, "bfloat16": 5e-5}  # how much a total may rise, relative to itself


Memory = tuple[tf.Tensor, ...]


@dataclass(frozen=True)
class Optimizer:
    """The properties of an optimiser.

    memory: the parts of its state besides x: images as large as x, and scalars. bytes_per_pixel: its memory
    at the peak, for 3 values a pixel. settings: names of the function's parameters that are settings.
    """

    function: Callable[..., Iterator["Step"]]
    memory: tuple[str, ...]
    bytes_per_pixel: int
    settings: tuple[str, ...]


RECORDS: dict[str, Optimizer] = {}


def record(memory: tuple[str, ...] = (), bytes_per_pixel: int = 0) -> Callable:
    """Add an optimiser to the records, under its name as a setting."""

    def enter(function: Callable[..., Iterator["Step"]]) -> Callable[..., Iterator["Step"]]:
        parameters = inspect.signature(function).parameters.values()
        settings = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        name = function.__name__.replace("_", "-")
        RECORDS[name] = Optimizer(function, memory, bytes_per_pixel, settings)
        return function

    return enter


class Step(NamedTuple):
    """An iterate, its losses, and the optimiser state."""

    x: tf.Tensor
    losses: dict[str, tf.Tensor]
    memory: Memory = ()


def clip(x: tf.Tensor, bounds: Bounds) -> tf.Tensor:
    """x within the bounds, if there are any."""
    return x if bounds is None else tf.clip_by_value(x, *bounds)


@record(memory=("scalar", "image", "image"))
def adam(
    evaluate: Evaluate,
    x: tf.Tensor,
    bounds: Bounds = None,
    memory: Memory = (),
    *,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> Iterator[Step]:
    """Adam (Kingma & Ba 2014) with eps outside the bias correction, the form that TensorFlow uses.

    learning_rate is in the units of x, grey levels.
    """

    @tf.function(autograph=False)
    def update(x: tf.Tensor, gradient: tf.Tensor, count: tf.Tensor, first: tf.Tensor, second: tf.Tensor):
        count += 1
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * tf.square(gradient)
        rate = learning_rate * tf.sqrt(1 - beta2**count) / (1 - beta1**count)
        return clip(x - rate * first / (tf.sqrt(second) + eps), bounds), count, first, second

    memory = memory or (tf.zeros([]), tf.zeros_like(x), tf.zeros_like(x))
    while True:
        losses, gradient = evaluate(x)
        yield Step(x, losses, tuple(memory))
        x, *memory = update(x, gradient, *memory)


@record()
def gradient_descent(
    evaluate: Evaluate, x: tf.Tensor, bounds: Bounds = None, memory: Memory = (), *, learning_rate: float
) -> Iterator[Step]:
    """Plain gradient descent: x - learning_rate * gradient."""
    while True:
        losses, gradient = evaluate(x)
        yield Step(x, losses)
        x = clip(x - learning_rate * gradient, bounds)


@record()
def normalized_gradient_descent(
    evaluate: Evaluate,
    x: tf.Tensor,
    bounds: Bounds = None,
    memory: Memory = (),
    *,
    learning_rate: float,
    eps: float = 1e-8,
) -> Iterator[Step]:
    """Gradient descent by the gradient over its standard deviation: x - rate * g / (std(g) + eps)."""
    while True:
        losses, gradient = evaluate(x)
        yield Step(x, losses)
        # Values are scaled to at most 1 before squaring, since gradients of unnormalised losses are large.
        largest = tf.reduce_max(tf.abs(gradient))
        deviation = largest * tf.math.reduce_std(tf.math.divide_no_nan(gradient, largest))
        x = clip(x - learning_rate * gradient / (deviation + eps), bounds)


@record(memory=("image", "image", "scalar") * CORRECTIONS, bytes_per_pixel=(2 * CORRECTIONS + 8) * 3 * 4)
def lbfgs(
    evaluate: Evaluate,
    x: tf.Tensor,
    bounds: Bounds = None,
    memory: Memory = (),
    *,
    precision: str = "float32",
) -> Iterator[Step]:
    """L-BFGS (Liu & Nocedal 1989) on the device, in float32, for x [1, H, W, C], with 10 corrections.

    Its initial inverse Hessian damps fine detail by the spatial frequency to the power -0.4, which saves
    evaluations. A line search ends at Armijo's condition, nearly always at its first point, so an iteration
    costs little more than one evaluation. The first step changes no value by more than 30.

    precision: of the evaluations. In bfloat16 a total may rise by as much as rounding changes it. Otherwise
    L-BFGS would find no lower total, and end too early.
    """
    direction_at, correction_of = _compiled(*x.shape[1:3])
    # Unused corrections are zeros, which change nothing, so one graph works for any number of corrections.
    empty = (Correction(tf.zeros_like(x), tf.zeros_like(x), tf.zeros([])),) * CORRECTIONS
    corrections = tuple(Correction(*memory[i : i + 3]) for i in range(0, len(memory), 3)) or empty
    losses, gradient = evaluate(x)
    yield Step(x, losses, tuple(itertools.chain(*corrections)))
    while math.isfinite(losses["total"]):
        direction = direction_at(x, gradient, corrections, bounds)
        first = not corrections[-1].scale > 0
        if first:
            direction *= tf.math.divide_no_nan(FIRST_STEP, tf.reduce_max(tf.abs(direction)))
        total = float(losses["total"])
        found = _line_search(evaluate, x, total, gradient, direction, bounds, ROUNDING[precision] * total)
        if found is not None:
            point, losses, new_gradient = found
            newest = correction_of(x, point, gradient, new_gradient)
            if newest.scale > 0:
                corrections = (*corrections[1:], newest)
            x, gradient = point, new_gradient
            yield Step(x, losses, tuple(itertools.chain(*corrections)))
        elif not first:
            corrections = empty  # the direction failed; without corrections, the gradient may still lead down
        else:
            return


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


def _correction(x: tf.Tensor, point: tf.Tensor, gradient: tf.Tensor, new_gradient: tf.Tensor) -> Correction:
    """The correction from the step between x and a point."""
    s, y = point - x, new_gradient - gradient
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
    evaluate: Evaluate,
    x: tf.Tensor,
    total: float,
    gradient: tf.Tensor,
    direction: tf.Tensor,
    bounds: Bounds,
    slack: float,
) -> tuple[tf.Tensor, dict[str, tf.Tensor], tf.Tensor] | None:
    """A point along the direction whose total is low enough, within the slack, with its losses and gradient;
    None if there is none."""
    for _ in range(MOST_TRIALS):
        point = clip(x + direction, bounds)
        slope = float(_dot(gradient, point - x))
        if not slope < 0:
            return None
        losses, new_gradient = evaluate(point)
        rise = float(losses["total"]) - total
        if rise < slack and rise <= ARMIJO * slope + slack:
            return point, losses, new_gradient
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


@record(memory=("image", "scalar"), bytes_per_pixel=(2 * SCIPY_CORRECTIONS + 14) * 3 * 8)
def lbfgs_b(
    evaluate: Evaluate,
    x: tf.Tensor,
    bounds: Bounds = None,
    memory: Memory = (),
    *,
    evaluations: int | None = None,
) -> Iterator[Step]:
    """L-BFGS-B (Byrd, Lu, Nocedal & Zhu 1995) by scipy, on the host in float64.

    evaluations: each iteration is a new call of at most so many evaluations, as in tutorials. None makes
    L-BFGS-B's own iterations, at most 100 in a call: scipy does not give out its optimiser state, so a
    resumed run repeats the iterations of its call. Each call starts with a fresh state. A call that makes no
    iteration ends the run.
    """
    start, done = (memory[0], int(memory[1])) if memory else (x, 0)
    steps = _scipy_call(evaluate, start, bounds, evaluations)
    step = next(itertools.islice(steps, done, None), None) if 0 <= done < CALL else None
    if step is None:
        raise StateError("the saved run is one of more iterations than can be repeated")
    yield step._replace(memory=_place(start, done))
    moved = done > 0
    while True:
        for step in steps:
            moved = True
            if evaluations is None:
                done += 1
                if done == CALL:
                    break
                yield step._replace(memory=_place(start, done))
        steps.close()
        if not moved:
            return
        if evaluations is not None or done == CALL:
            yield step._replace(memory=_place(step.x, 0))
        start, done, moved = step.x, 0, False
        steps = _scipy_call(evaluate, start, bounds, evaluations)
        next(steps)


def _place(start: tf.Tensor, done: int) -> Memory:
    """The state of L-BFGS-B: the start of the current call of scipy's, and the iterations since then."""
    return start, tf.constant(done)


class _Stopped(Exception):  # noqa: N818, since it is no error
    """Raised inside a call of scipy's to end it."""


def _scipy_call(evaluate: Evaluate, x: tf.Tensor, bounds: Bounds, evaluations: int | None) -> Iterator[Step]:
    """The start and every iterate of one call of scipy's L-BFGS-B, up to a loss that is not finite.

    scipy calls a function for each evaluation, but this generator must yield each iterate. So scipy runs in
    a thread, which asks here for evaluations, reports iterates, and waits for each answer. If the evaluations
    run out within a line search, its last point is an iterate if its loss is lower.
    """
    questions: queue.SimpleQueue = queue.SimpleQueue()
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def ask(question: object) -> tuple[float, np.ndarray]:
        questions.put(question)
        answer = answers.get()
        if answer is _Stopped:
            raise _Stopped
        return answer

    def work() -> None:
        try:
            _minimize(ask, x, bounds)
            questions.put(None)
        except _Stopped:
            pass
        except BaseException as error:  # raised again in the thread that waits for a question
            questions.put(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    count, step, accepted, answer = 0, None, None, None
    try:
        while True:
            question = questions.get()
            if isinstance(question, BaseException):
                raise question
            if isinstance(question, np.ndarray) and count != evaluations:
                point = tf.constant(question.reshape(x.shape), tf.float32)
                losses, gradient = evaluate(point)
                count, step = count + 1, Step(point, losses)
                total = float(losses["total"])
                answer = total, gradient.numpy().ravel().astype(np.float64)
                if count == 1 or not np.isfinite(total):
                    accepted = step
                    yield step
                if not np.isfinite(total):
                    return
            elif isinstance(question, str):
                accepted = step  # scipy always accepts the point that it evaluated last
                yield step
            else:  # scipy has ended, or has used all evaluations
                if question is not None and float(step.losses["total"]) < float(accepted.losses["total"]):
                    yield step
                return
            answers.put(answer)
    finally:
        answers.put(_Stopped)
        thread.join()


def _minimize(ask: Callable[[object], tuple[float, np.ndarray]], x: tf.Tensor, bounds: Bounds) -> None:
    """Run scipy's L-BFGS-B from x without its own stopping tests. It asks for the loss and the gradient at
    each point, and reports each iterate by asking for "accepted"."""
    limits = bounds and scipy.optimize.Bounds(*(np.broadcast_to(b, x.shape).ravel() for b in bounds))
    endless = {"maxiter": NO_END, "maxfun": NO_END, "ftol": 0, "gtol": 0}
    # More BLAS threads would wait busily on the cores that compute the evaluations.
    with threadpool_limits(1, user_api="blas"):
        scipy.optimize.minimize(
            ask,
            x.numpy().ravel().astype(np.float64),
            jac=True,
            method="L-BFGS-B",
            bounds=limits,
            callback=lambda _: ask("accepted"),
            options={"maxcor": SCIPY_CORRECTIONS, **endless},
        )
