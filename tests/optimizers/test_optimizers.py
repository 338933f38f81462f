"""Each optimiser on functions whose minima are known, beside the paths of the model in reference.py."""

import itertools
import threading

import numpy as np
import pytest
import reference
import scipy.optimize
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from styling.optimizers import Adam, GradientDescent, Lbfgs, LbfgsB, NormalizedGradientDescent, PyramidAdam

few = settings(deadline=None, max_examples=8)
CURVATURE = np.array([[1, 10, 100.0], [2, 20, 0.5]])
START = np.array([[3, -2, 1.0], [0.5, -4, 2]])


class Function:
    """`evaluate` for a function of NumPy arrays, value and gradient; counts its calls."""

    def __init__(self, value, gradient):
        self.value, self.gradient, self.calls = value, gradient, 0

    def __call__(self, x):
        self.calls += 1
        at = x.numpy().astype(np.float64)
        total, gradient = (np.asarray(part(at), np.float32) for part in (self.value, self.gradient))
        return {"total": tf.constant(total)}, tf.constant(gradient)


def quadratic(center=0.0, curvature=CURVATURE):
    return Function(lambda x: (curvature * (x - center) ** 2).sum() / 2, lambda x: curvature * (x - center))


def valley(scale=1.0):
    """Rosenbrock's function of all values, in their order."""
    return Function(
        lambda x: scale * scipy.optimize.rosen(x.ravel()),
        lambda x: scale * scipy.optimize.rosen_der(x.ravel()).reshape(x.shape),
    )


def steps_of(optimizer, function, start, count=None, bounds=None):
    """The first steps, as many as asked for or there are."""
    return list(itertools.islice(optimizer.steps(function, tf.constant(start, tf.float32), bounds), count))


def assert_path(steps, expected):
    assert len(steps) == len(expected)
    for step, x in zip(steps, expected, strict=True):
        np.testing.assert_allclose(step.x, x, rtol=1e-4, atol=1e-5)


def tensors(*bounds):
    return tuple(tf.constant(bound, tf.float32) for bound in bounds)


# The model's paths.


def test_adam_takes_the_reference_models_steps():
    values = {"learning_rate": 0.7, "beta1": 0.8, "beta2": 0.99, "eps": 1e-3}
    expected = reference.adam(START, lambda x: CURVATURE * x, 25, **values)
    assert_path(steps_of(Adam(**values), quadratic(), START, 26), expected)


def test_adam_of_a_pyramid_is_adam_of_its_bands():
    values = {"learning_rate": 0.7, "beta1": 0.8, "beta2": 0.99, "eps": 1e-3}
    sides = [(-(-21 // 2**band), -(-14 // 2**band)) for band in range(6)]
    start = np.random.default_rng(1).standard_normal((1, 21, 14, 3))
    curvature = np.random.default_rng(2).uniform(0.5, 2, start.shape)
    ends = np.cumsum([0, *(3 * high * wide for high, wide in sides)])

    def picture(coefficients):  # a band is as large as the finest one, bilinearly, once it is enlarged
        bands = [
            tf.reshape(coefficients[a:b], [1, *side, 3])
            for a, b, side in zip(ends[:-1], ends[1:], sides, strict=True)
        ]
        total = bands.pop()
        while bands:
            finer = bands.pop()
            total = finer + tf.image.resize(total, finer.shape[1:3])
        return total

    def gradient_at(coefficients):
        coefficients = tf.constant(coefficients, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(coefficients)
            x = start + picture(coefficients)
            loss = tf.reduce_sum(tf.constant(curvature, tf.float32) * x**2) / 2
        return tape.gradient(loss, coefficients).numpy()

    path = reference.adam(np.zeros(ends[-1]), gradient_at, 6, **values)
    expected = [start + picture(tf.constant(each, tf.float32)).numpy() for each in path]
    found = Function(lambda x: (curvature * x**2).sum() / 2, lambda x: curvature * x)
    assert_path(steps_of(PyramidAdam(**values), found, start, 7), expected)


def test_adam_goes_on_inside_its_bounds():
    # Under a constant gradient every step is the learning rate, so that the path is known.
    down = Function(lambda x: x.sum(), np.ones_like)
    bounds = tensors([-2.5, -10, 0], [1, 1, 0.5])
    steps = steps_of(Adam(learning_rate=1, eps=1e-12), down, [[0.0, 0, 0]], 7, bounds)
    assert_path(steps, [[[max(-k, -2.5), -k, 0]] for k in range(7)])


@pytest.mark.parametrize(("normalized", "clip"), [(False, (-1.5, np.array([1, 2, 0.7]))), (True, None)])
def test_gradient_descent_takes_the_reference_models_steps(normalized, clip):
    kind = NormalizedGradientDescent if normalized else GradientDescent
    values = {"learning_rate": 0.3, "eps": 1e-3} if normalized else {"learning_rate": 0.015}
    start = START if clip is None else np.clip(START, *clip)
    expected = reference.gradient_descent(
        start, lambda x: CURVATURE * x, 15, normalized=normalized, clip=clip, **values
    )
    steps = steps_of(kind(**values), quadratic(), start, 16, None if clip is None else tensors(*clip))
    assert_path(steps, expected)


@few
@given(st.floats(-30, 30))
def test_a_normalized_step_does_not_depend_on_the_gradients_scale(exponent):
    # Squares of such gradients do not fit into 32 bits.
    scaled = Function(lambda x: 1.0, lambda x: 10**exponent * CURVATURE * x)
    first, second = steps_of(NormalizedGradientDescent(learning_rate=10, eps=1e-36), scaled, START, 2)
    g = CURVATURE * START
    np.testing.assert_allclose(second.x, START - 10 * g / g.std(), rtol=1e-4, atol=1e-4)
    assert first.losses["total"] == 1


@pytest.mark.parametrize(
    "optimizer",
    [Adam(learning_rate=0.1), GradientDescent(learning_rate=0.01), Lbfgs(), LbfgsB(), LbfgsB(evaluations=6)],
)
def test_the_first_step_is_the_start_and_every_step_has_its_own_losses(optimizer):
    function, start = quadratic(), START[None, :, None].astype(np.float32)  # of an image's shape
    function.value = lambda x: (CURVATURE[None, :, None] * x**2).sum() / 2
    function.gradient = lambda x: CURVATURE[None, :, None] * x
    steps = optimizer.steps(function, tf.constant(start))
    first = next(steps)
    assert function.calls == 1, "the start is evaluated once, and nothing before it is asked for"
    np.testing.assert_array_equal(first.x, start)
    for step in [first, *itertools.islice(steps, 5)]:
        assert step.losses["total"] == function(step.x)[0]["total"]
    steps.close()


# L-BFGS by scipy.


@pytest.mark.parametrize("evaluations", [None, 20])
def test_lbfgs_b_finds_minima_in_few_evaluations(evaluations):
    for function, start, minimum in (
        (quadratic(START[::-1]), START, START[::-1]),
        (valley(), [0.5, 2, 0.5, 1.5], [1] * 4),
    ):
        *_, last = steps_of(LbfgsB(evaluations), function, start, 60)
        np.testing.assert_allclose(last.x, minimum, atol=2e-3)
        assert function.calls < 200


def test_lbfgs_b_keeps_its_bounds_at_every_evaluation_and_where_they_hold_the_minimum():
    # min 100 (y - x^2)^2 + (1 - x)^2 with x <= 1/2 is at x = 1/2, y = 1/4.
    low, high = [-2.0, -3], [0.5, 3]
    seen = []
    function = valley()

    def evaluate(x):
        seen.append(x.numpy())
        return function(x)

    *_, last = steps_of(LbfgsB(), evaluate, [-1.2, 1], 80, tensors(low, high))
    np.testing.assert_allclose(last.x, [0.5, 0.25], atol=1e-4)
    assert all((low <= x).all() and (x <= high).all() for x in seen)


def test_lbfgs_b_makes_at_most_so_many_evaluations_an_iteration():
    function = valley()
    steps = LbfgsB(evaluations=6).steps(function, tf.constant([-1.2, 1]))
    calls = []
    for _ in itertools.islice(steps, 8):
        calls.append(function.calls)
    steps.close()
    assert len(calls) == 8 and calls[0] == 1
    spent = np.diff(calls)
    assert 1 < spent.max() <= 6


@pytest.mark.parametrize("evaluations", [None, 7])
def test_lbfgs_b_ends_by_itself_at_a_minimum(evaluations):
    function = quadratic(START)
    (only,) = steps_of(LbfgsB(evaluations), function, START)
    assert only.losses["total"] == 0 and function.calls <= 2
    steps = steps_of(LbfgsB(evaluations), quadratic(START), START + 1, 1000)
    assert len(steps) < 1000
    np.testing.assert_allclose(steps[-1].x, START, atol=1e-3)


@pytest.mark.parametrize(("evaluations", "bad"), [(None, np.nan), (7, np.inf)])
def test_a_loss_that_is_not_finite_is_the_last_that_lbfgs_b_yields(evaluations, bad):
    function = valley()
    function.value = lambda x: scipy.optimize.rosen(x) if function.calls < 5 else bad
    steps = steps_of(LbfgsB(evaluations), function, [-1.2, 1], 50)
    totals = [float(step.losses["total"]) for step in steps]
    assert 1 < len(totals) < 50 and np.isfinite(totals[:-1]).all()
    assert totals[-1] == pytest.approx(bad, nan_ok=True)


@pytest.fixture
def threads():
    """Holds the test to leaving no thread behind."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("evaluations", [None, 7])
def test_an_error_in_the_loss_reaches_who_asked_and_leaves_no_thread(threads, evaluations):
    function = valley()

    def fail(x):
        if function.calls == 4:
            raise KeyboardInterrupt("in the loss")
        return scipy.optimize.rosen(x)

    function.value = fail
    with pytest.raises(KeyboardInterrupt, match="in the loss"):
        steps_of(LbfgsB(evaluations), function, [-1.2, 1], 50)
    assert function.calls == 4


@pytest.mark.parametrize(("taken", "evaluations"), [(0, None), (3, 7), (1000, None)])
def test_lbfgs_b_that_ends_or_is_given_up_leaves_no_thread(threads, taken, evaluations):
    steps = LbfgsB(evaluations).steps(valley(), tf.constant([-1.2, 1]))
    assert len(list(itertools.islice(steps, taken))) in (taken, *range(4, 999))
    steps.close()


# L-BFGS on the device, for what has an image's shape.


def bowl(seed, shape, center=None):
    """A quadratic without mixed terms, and its minimum."""
    rng = np.random.default_rng(seed)
    curvature = np.exp(rng.uniform(np.log(0.5), 0, shape))
    center = rng.normal(0, 30, shape) if center is None else center
    return quadratic(center, curvature), center


def totals_of(steps):
    return [float(step.losses["total"]) for step in steps]


def test_lbfgs_finds_the_end_of_a_valley_in_few_evaluations():
    function = valley()
    *_, last = steps_of(Lbfgs(), function, np.reshape([-1.2, 1], (1, 2, 1, 1)), 45)
    np.testing.assert_allclose(last.x, np.ones((1, 2, 1, 1)), atol=2e-3)
    assert function.calls < 60


@pytest.mark.parametrize("side", [(1, 1), (8, 1), (13, 17)])
def test_lbfgs_ends_by_itself_at_the_minimum_of_any_size(side):
    function, center = bowl(1, (1, *side, 3))
    steps = steps_of(Lbfgs(), function, np.zeros_like(center), 300)
    assert len(steps) < 60 and function.calls < 120
    np.testing.assert_allclose(steps[-1].x, center, rtol=1e-4, atol=1e-3)


def test_lbfgs_makes_little_more_than_one_evaluation_an_iteration():
    # log cosh is smooth and convex, and the gradient is within -1 and 1.
    function = Function(lambda x: np.log(np.cosh(x / 50)).sum() * 50, lambda x: np.tanh(x / 50))
    start = np.random.default_rng(1).normal(0, 60, (1, 9, 12, 3))
    steps = steps_of(Lbfgs(), function, start, 13)
    assert len(steps) == 13 and function.calls <= 16
    assert steps[-1].losses["total"] < 1e-3 * steps[0].losses["total"]


@pytest.mark.parametrize(("height", "width", "bounded"), [(1, 4, True), (3, 2, False)])
def test_lbfgs_never_rises_nor_leaves_its_bounds(height, width, bounded):
    seen, function = [], valley()

    def evaluate(x):
        seen.append(x.numpy())
        return function(x)

    bounds = tensors([-1.0, -0.5, -2], [0.5, 1.5, 0.25]) if bounded else None
    start = np.random.default_rng(1).uniform(-2, 2, (1, height, width, 3))
    start = np.clip(start, *(bounds or (-2, 2)))
    steps = steps_of(Lbfgs(), evaluate, start, 12, bounds)
    assert all(after < before for before, after in itertools.pairwise(totals_of(steps)))
    assert bounds is None or all(
        (bounds[0] <= x).numpy().all() and (x <= bounds[1]).numpy().all() for x in seen
    )


def test_lbfgs_in_bfloat16_goes_on_where_rounding_makes_totals_rough():
    curvature = 10.0 ** np.random.default_rng(1).uniform(-5, 0, (1, 12, 16, 3))
    start = np.random.default_rng(2).normal(0, 60, curvature.shape)

    def smooth(x):
        return 1e5 + (curvature * x * x).sum() / 2

    function = Function(lambda x: smooth(x) * (1 + 2e-5 * np.sin(1e6 * x.sum())), lambda x: curvature * x)
    exact, rounded = (
        steps_of(Lbfgs(precision), function, start, 120) for precision in ("float32", "bfloat16")
    )
    assert len(exact) < 100 < len(rounded)
    ends = [smooth(steps[-1].x.numpy().astype(np.float64)) - 1e5 for steps in (exact, rounded)]
    assert ends[1] < ends[0] / 2
    assert all(after < 1.0001 * before for before, after in itertools.pairwise(totals_of(rounded)))


@pytest.mark.parametrize("seed", range(2))
def test_lbfgs_within_bounds_ends_at_the_closed_form(seed):
    # A quadratic without mixed terms has its bounded minimum at the clipped free one.
    rng = np.random.default_rng(seed)
    shape = (1, *rng.integers(1, 7, 2), 3)
    function, center = bowl(seed, shape, rng.normal(0, 3, shape))
    low = rng.uniform(-3, -1, 3)
    high = low + rng.uniform(0.5, 4, 3)
    start = np.clip(rng.normal(0, 3, center.shape), low, high)
    *_, last = steps_of(Lbfgs(), function, start, 200, tensors(low, high))
    np.testing.assert_allclose(last.x, np.clip(center, low, high), atol=5e-2)


def test_lbfgs_takes_the_same_path_whatever_unit_the_loss_is_in():
    # Sums and Gram matrices that are not divided make losses of 1e15. A power of two rounds nothing.
    start = np.resize([-1.2, 1], (1, 2, 2, 3))
    plain, scaled = (totals_of(steps_of(Lbfgs(), valley(scale), start, 9)) for scale in (1.0, 2.0**50))
    np.testing.assert_allclose(scaled, np.array(plain) * 2.0**50, rtol=1e-3)


def test_lbfgs_ends_where_its_start_has_no_finite_loss():
    function = Function(lambda x: np.inf, np.ones_like)
    assert len(steps_of(Lbfgs(), function, np.zeros((1, 2, 3, 3)), 9)) == function.calls == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_lbfgs_steps_back_from_where_the_loss_is_not_finite(bad):
    # x - 12 log x has its minimum at 12, and no value at 0 and below, where the first step of 30 leads.
    function = Function(
        lambda x: bad if (x <= 0).any() else (x - 12 * np.log(x)).sum(),
        lambda x: np.where(x > 0, 1 - 12 / np.where(x > 0, x, 1), bad),
    )
    steps = steps_of(Lbfgs(), function, np.linspace(16, 25, 12).reshape(1, 2, 2, 3), 100)
    assert np.isfinite(totals_of(steps)).all()
    np.testing.assert_allclose(steps[-1].x, np.full((1, 2, 2, 3), 12), rtol=1e-2)
