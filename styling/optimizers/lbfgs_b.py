"""L-BFGS-B by scipy, for the recipes of sources that use it."""

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import scipy  # which loads scipy.optimize once it is used
from threadpoolctl import threadpool_limits

from styling.optimizers.base import Bounds, Evaluate, Memory, Optimizer, Step
from styling.system.errors import StateError
from styling.system.quiet import tf

CORRECTIONS = 20
CALL = 100
NO_END = 2**31 - 1


@dataclass(frozen=True)
class LbfgsB(Optimizer):
    """L-BFGS-B (Byrd, Lu, Nocedal & Zhu 1995) by scipy, on the host in float64.

    evaluations: each iteration is a new call of at most so many evaluations, as in tutorials. None makes
    L-BFGS-B's own iterations, at most 100 in a call: scipy does not give out its optimiser state, so a
    resumed run repeats the iterations of its call. Each call starts with a fresh state. A call that makes no
    iteration ends the run.
    """

    memory = (1, 0)
    bytes_per_pixel = (2 * CORRECTIONS + 14) * 3 * 8
    evaluations: int | None = None

    def steps(
        self, evaluate: Evaluate, x: tf.Tensor, bounds: Bounds = None, memory: Memory = ()
    ) -> Generator[Step, None, None]:
        """The start, and every iterate of as many calls as it takes."""
        start, done = (memory[0], int(memory[1])) if memory else (x, 0)
        steps = _scipy_call(evaluate, start, bounds, self.evaluations)
        step = next(itertools.islice(steps, done, None), None) if 0 <= done < CALL else None
        if step is None:
            raise StateError("the saved run is one of more iterations than can be repeated")
        yield step._replace(memory=_place(start, done))
        moved = done > 0
        while True:
            for step in steps:
                moved = True
                if self.evaluations is None:
                    done += 1
                    if done == CALL:
                        break
                    yield step._replace(memory=_place(start, done))
            steps.close()
            if not moved:
                return
            if self.evaluations is not None or done == CALL:
                yield step._replace(memory=_place(step.x, 0))
            start, done, moved = step.x, 0, False
            steps = _scipy_call(evaluate, start, bounds, self.evaluations)
            next(steps)


def _place(start: tf.Tensor, done: int) -> Memory:
    """The state of L-BFGS-B: the start of the current call of scipy's, and the iterations since then."""
    return start, tf.constant(done)


class _Stopped(Exception):  # noqa: N818, since it is no error
    """Raised inside a call of scipy's to end it."""


def _scipy_call(
    evaluate: Evaluate, x: tf.Tensor, bounds: Bounds, evaluations: int | None
) -> Generator[Step, None, None]:
    """The start and every iterate of one call of scipy's L-BFGS-B, up to a loss that is not finite.

    scipy calls a function for each evaluation, but this generator must yield each iterate. So scipy runs in
    a thread, which asks here for evaluations, reports iterates, and waits for each answer. If the evaluations
    run out within a line search, its last point is an iterate if its loss is lower.
    """
    questions: queue.SimpleQueue = queue.SimpleQueue()
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def ask(question: np.ndarray | str) -> tuple[float, np.ndarray]:
        questions.put(question)
        answer = answers.get()
        if answer is _Stopped:
            raise _Stopped
        return answer

    def work() -> None:
        try:
            with contextlib.suppress(_Stopped):
                _minimize(ask, x, bounds)
        finally:
            questions.put(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    count, answer = 0, (0.0, np.zeros(0))
    step = accepted = Step(x, {}, x)
    try:
        while (question := questions.get()) is not None:
            if isinstance(question, str):
                accepted = step  # scipy always accepts the point that it evaluated last
                yield step
            elif count == evaluations:
                if float(step.losses["total"]) < float(accepted.losses["total"]):
                    yield step
                return
            else:
                point = tf.constant(question.reshape(x.shape), tf.float32)
                count, step = count + 1, Step(point, *evaluate(point))
                answer = float(step.losses["total"]), step.gradient.numpy().ravel().astype(np.float64)
                if count == 1 or not np.isfinite(answer[0]):
                    accepted = step
                    yield step
                if not np.isfinite(answer[0]):
                    return
            answers.put(answer)
    finally:
        answers.put(_Stopped)
        thread.join()


def _minimize(
    ask: Callable[[np.ndarray | str], tuple[float, np.ndarray]], x: tf.Tensor, bounds: Bounds
) -> None:
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
            options={"maxcor": CORRECTIONS, **endless},
        )
