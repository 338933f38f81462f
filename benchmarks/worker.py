"""A process that measures one thing only: run.py starts it, and it writes lines of JSON.

    python benchmarks/worker.py COMMAND '{"an argument": "its value", ...}'

For each line that it reads, it writes its next answer, so that several processes can take turns.
"""

import contextlib
import importlib
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if TYPE_CHECKING:
    import tensorflow as tf

    from styling.settings import Settings
    from vgg import Network

SIDES = {
    "ours": ("in_tensorflow", "Ours"),
    "ours, fastest": ("in_tensorflow", "Fastest"),
    "tf.function": ("in_tensorflow", "Plain"),
    "eager": ("in_tensorflow", "Eager"),
    "PyTorch": ("in_torch", "Torch"),
}
MATRIX, PRODUCTS = 2048, 5
SQUARE, STYLE_SIDE = 8, 384
ADAM_STEPS, OPTIMIZER_STEPS, MOST_ITERATIONS = 15, 20, 400
# Settings that a recipe does not decide here: the objective, the size, and the noise at the start.
OBJECTIVE = (
    *("width", "height", "max_size", "seed", "pooling", "normalize", "colors"),
    *("content_layers", "style_layers", "shift_layers", "histogram_layers", "shifts"),
    *("content_weight_blend", "style_layer_weight_exp", "style_scales", "style_blend_weights"),
    *("content_weight", "style_weight", "shift_weight", "histogram_weight", "tv_weight"),
    *("content_reduction", "style_reduction", "tv_reduction", "gram_divisor"),
)
Answers = Iterator[dict[str, Any]]


def main() -> None:
    """Answer each line with a line, until there are no more answers."""
    answers = COMMANDS[sys.argv[1]](**json.loads(sys.argv[2]))
    for _, answer in zip(sys.stdin, answers, strict=False):
        print(json.dumps(answer), flush=True)


def rate() -> Answers:
    """The rate of multiplication of float32 matrices, measured anew for each answer."""
    import tensorflow as tf

    a = tf.random.stateless_normal([MATRIX, MATRIX], [1, 2])
    tf.matmul(a, a).numpy()
    while True:
        seconds = [timed(lambda: tf.matmul(a, a).numpy())[0] for _ in range(PRODUCTS)]
        yield {"gflops": 2 * MATRIX**3 / statistics.median(seconds) / 1e9}


def weights(network: str, output: str) -> Answers:
    """Write a network's convolutions for the sides that cannot read its format."""
    import vgg

    loaded = vgg.load(network)
    kernels = {
        f"{layer.name}/{part}": getattr(layer, part).numpy()
        for layer in loaded.layers
        if layer.kind == "conv"
        for part in ("kernel", "bias")
    }
    names = [layer.name for layer in loaded.layers]
    np.savez(output, layers=names, mean_pixel=loaded.mean_pixel, **kernels)
    yield {}


def side(name: str, network: str, weights: str, width: int, height: int) -> Answers:
    """First the seconds to build the objective; then, for each step, seconds, loss, bytes since loading."""
    module, kind = SIDES[name]
    try:
        loaded = getattr(importlib.import_module(module), kind)(Path(network), Path(weights))
    except ImportError as error:
        yield {"missing": str(error)}
        return
    images = pictures(width, height)
    before = reset_memory()
    seconds, step = timed(lambda: loaded.build(*images))
    yield {"seconds": seconds}
    while True:
        seconds, loss = timed(step)
        yield {"seconds": seconds, "loss": loss, "bytes": memory("VmHWM") - before}


def profile(network: str, width: int, height: int, rounds: int) -> Answers:
    """The parts of our step, in seconds, and the operations that every direct computation needs.

    It times graphs that are parts of the step: the network forward; the network forward and back, from its
    features to the image; the losses of given features and of an image, with Gram matrices and the gradients
    to both; and the whole step. "backward" is the second less the first. An optimiser's own share is the time
    of its iterations without evaluations, on a very cheap function.
    """
    import stylize
    import vgg
    from styling.settings import Settings
    from styling.system.device import configure

    configure("cpu")
    loaded = vgg.load(network)
    content, style, start = pictures(width, height)
    objective = stylize.build_objective(content, [style], loaded, Settings())
    parts = partial_steps(objective, loaded.preprocess(start))
    for part in parts.values():
        part()
    seconds = {name: [] for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            seconds[name].append(timed(part)[0])
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    medians["backward"] = medians.pop("there and back") - medians["forward"]
    own = {name: optimizer_seconds(name, (1, height, width, 3)) for name in ("adam", "lbfgs")}
    yield medians | own | {"flops": operations(loaded, (height, width), Settings())}


def operations(network: "Network", size: tuple[int, int], settings: "Settings") -> int:
    """Multiplications and additions of an evaluation with its gradient at this size, (height, width), by
    definition: convolutions and Gram matrices, forward and backward."""
    layers = network.built(settings.layers())
    shapes = network.shapes(*size, [layer.name for layer in layers])
    count = 0
    for layer in layers:
        height, width, channels = shapes[layer.name]
        if layer.kind == "conv":
            count += height * width * math.prod(layer.kernel.shape)
        if layer.name in settings.layer_weights("style"):
            count += height * width * channels**2
    return 2 * 2 * count


def partial_steps(objective: Any, x: "tf.Tensor") -> dict[str, Callable[[], object]]:
    """Functions that run parts of a step, by name."""
    import tensorflow as tf

    from styling.objective.evaluation import evaluation

    names = objective.layers

    def forward(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return objective.network.features(x, names, objective.pooling)

    def there_and_back(x: tf.Tensor, upstream: dict[str, tf.Tensor]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(x)
            features = forward(x)
        return tape.gradient(features, x, output_gradients=upstream)

    def losses(x: tf.Tensor, features: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch((x, features))
            total = replace(objective, network=Given(features))(x)["total"]
        return tape.gradient(total, [x, features])

    compiled = {
        function: tf.function(function, autograph=False) for function in (forward, there_and_back, losses)
    }
    features = compiled[forward](x)
    whole = evaluation(objective)
    return {
        "forward": lambda: compiled[forward](x),
        "there and back": lambda: compiled[there_and_back](x, features),
        "losses": lambda: compiled[losses](x, features),
        "step": lambda: whole(x),
    }


class Given:
    """A network with given features, so that the losses alone can be timed."""

    def __init__(self, known: dict[str, "tf.Tensor"]) -> None:
        self.known = known

    def features(self, *ignored: object) -> dict[str, "tf.Tensor"]:
        """The given features."""
        return self.known


def optimizer_seconds(name: str, shape: tuple[int, ...]) -> float:
    """An optimiser's own seconds an iteration, when L-BFGS has all its corrections."""
    import tensorflow as tf

    from styling import optimizers
    from styling.settings import Settings

    # Very different curvatures, so that no optimiser converges before it has been timed.
    curvature = 10.0 ** tf.random.stateless_uniform(shape, [1, 2], -2, 2)
    evaluations = []

    @tf.function(autograph=False)
    def bowl(x: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        return {"total": tf.reduce_sum(curvature * x * x) / 2}, curvature * x

    def evaluate(x: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        seconds, result = timed(lambda: bowl(x))
        evaluations.append(seconds)
        return result

    start = tf.random.stateless_uniform(shape, [3, 4], -100, 100)
    optimizer = optimizers.RECORDS[name]
    parameters = {setting: getattr(Settings(), setting) for setting in optimizer.settings}
    steps = optimizer.function(evaluate, start, **parameters)
    for _ in range(OPTIMIZER_STEPS + 1):
        next(steps)
    evaluations.clear()
    seconds, _ = timed(lambda: [next(steps) for _ in range(OPTIMIZER_STEPS)])
    return (seconds - sum(evaluations)) / OPTIMIZER_STEPS


def evaluations(network: str, width: int, height: int, tile: int, count: int) -> Answers:
    """Median seconds of `count` iterations of Adam, without the first evaluation, and peak memory in bytes.

    The style is small, so that the picture decides. With a count of 0, only the first evaluation is made.
    """
    import stylize
    import vgg
    from styling.settings import Settings
    from styling.system.device import configure
    from styling.system.errors import MemoryLimitError

    configure("cpu")
    loaded = vgg.load(network)
    content, style, _ = pictures(width, height)
    style = style[:STYLE_SIDE, :STYLE_SIDE]
    reset_memory()
    settings = Settings(iterations=max(count, 1), tile=tile, style_scales=(style.shape[1] / width,))
    seconds = []
    try:
        steps = stylize.stylize(content, [style], loaded, settings)
        for _ in range(count + 1):
            took, progress = timed(lambda: next(steps))
            seconds.append(took + timed(progress.losses)[0])
    except MemoryLimitError as error:
        yield {"missing": str(error).partition(":")[0]}
        return
    yield {"seconds": statistics.median(seconds[1:] or seconds), "bytes": memory("VmHWM")}


def goal(network: str, content: str, style: str, width: int, seed: int) -> Answers:
    """The total loss that the recipe athalye2015 reaches."""
    run = Run(network, content, style)
    for progress in run(run.settings("athalye2015", width, seed)):  # noqa: B007, since only the last counts
        pass
    yield {"loss": progress.losses()["total"]}


def yardstick(
    network: str, content: str, style: str, width: int, seed: int, loss: float, recipe: str
) -> Answers:
    """What a recipe needs to make athalye2015's objective as small as `loss`, and one Adam iteration's time.

    Adam is timed before and after. The seconds are those of the iterations only; preparation of targets and
    compilation are given separately. At the full size, the recipe may exceed its own number of
    iterations.
    """
    run = Run(network, content, style)
    plain = run.settings("athalye2015", width, seed)
    other = run.settings(recipe, width, seed)
    method = {f.name: getattr(other, f.name) for f in fields(other) if f.name not in OBJECTIVE}
    shares = (*other.iterations_by_scale()[:-1], MOST_ITERATIONS)
    method |= {"scale_shares": shares, "iterations": sum(shares)}
    before = adam_seconds(run, plain)
    found = run_to(loss, run, replace(plain, **method))
    yield found | {"adam": statistics.median([*before, *adam_seconds(run, plain)])}


class Run:
    """A network and two images; call it with settings to run them."""

    def __init__(self, network: str, content: str, style: str) -> None:
        import vgg
        from styling.pictures import images
        from styling.system.device import configure

        configure("cpu")
        self.network = vgg.load(network)
        self.images = images.read(content), images.read(style)

    def settings(self, recipe: str, width: int, seed: int) -> "Settings":
        """A recipe's settings for this network."""
        from styling.settings import Settings

        return Settings.from_recipe(recipe, self.network, width=width, seed=seed)

    def __call__(self, settings: "Settings") -> Iterator[Any]:
        """Run, and yield a Progress for each iteration."""
        import stylize

        content, style = self.images
        return stylize.stylize(content, [style], self.network, settings)


class Clock:
    """Replaces stylize.compiled(), and records when evaluations begin and end.

    scales: for each scale, the seconds of each evaluation, and the seconds between evaluations.
    """

    def __init__(self, compiled: Callable) -> None:
        self.compile = compiled
        self.scales: list[tuple[list[float], list[float]]] = []
        self.prepared = 0.0
        self.began = self.ended = time.perf_counter()

    def __call__(self, objective: Any) -> Callable:
        """What compiled() returns, but its evaluations are recorded."""
        evaluation_of = self.compile(objective)
        return lambda objective: self._recorded(evaluation_of(objective))

    def _recorded(self, evaluate: Callable) -> Callable:
        """An evaluation that records its calls; the time before it counts as preparation."""
        self.prepared += time.perf_counter() - self.ended
        evaluations, gaps = [], []
        self.scales.append((evaluations, gaps))

        def noted(x: "tf.Tensor") -> Any:
            if evaluations:
                gaps.append(time.perf_counter() - self.ended)
            seconds, result = timed(lambda: evaluate(x))
            evaluations.append(seconds)
            self.ended = time.perf_counter()
            return result

        return noted

    def apart(self, function: Callable[[], Any]) -> Any:
        """Call a function, leave out its time, and return its result."""
        seconds, result = timed(function)
        self.began += seconds
        self.ended += seconds
        return result

    def compiled(self) -> float:
        """Seconds by which first evaluations, and the first updates after them, exceed the median."""
        series = [values for scale in self.scales for values in scale if len(values) > 1]
        return sum(max(values[0] - statistics.median(values[1:]), 0) for values in series)


@contextlib.contextmanager
def clock() -> Iterator[Clock]:
    """Record the evaluations of all runs within the context."""
    import stylize

    kept = stylize.compiled
    stylize.compiled = noted = Clock(kept)
    try:
        yield noted
    finally:
        stylize.compiled = kept


def adam_seconds(run: Run, settings: "Settings") -> list[float]:
    """Seconds of some of Adam's iterations, without those that compile anything."""
    with clock() as noted:
        for _ in run(replace(settings, iterations=ADAM_STEPS)):
            pass
    ((evaluations, gaps),) = noted.scales
    return [sum(pair) for pair in zip(evaluations[1:-1], gaps[1:], strict=True)]


def run_to(loss: float, run: Run, settings: "Settings") -> dict[str, Any]:
    """Run until the total, computed in float32, is as small as `loss`, or to the end."""
    import tensorflow as tf

    import stylize
    from styling.pictures.images import Images
    from styling.run import runs

    content, style = run.images
    exactly = runs.resolve(Images(content, (style,)), run.network, replace(settings, precision="float32"))
    scale = exactly.scales[-1]
    own = stylize.resized(exactly.images, scale)
    objective = stylize.build_objective(own.content, own.styles, run.network, exactly.settings)
    exact = tf.function(lambda x: objective(x)["total"], autograph=False)
    least = float("inf")
    with clock() as noted:
        for progress in run(settings):
            x = progress.state.x
            # At smaller scales the objective is different.
            if x.shape[1:3] == scale.size:
                least = min(least, noted.apart(lambda x=x: float(exact(x))))
                if least <= loss:
                    break
        whole = time.perf_counter() - noted.began
    return {
        "reached": least <= loss,
        "least": least,
        "iterations": progress.iteration,
        "evaluations": sum(len(evaluations) for evaluations, _ in noted.scales),
        "seconds": whole - noted.prepared - noted.compiled(),
        "prepared": noted.prepared,
        "compiled": noted.compiled(),
    }


def pictures(width: int, height: int) -> list[np.ndarray]:
    """A content and a style of coloured squares, and a start of weak noise, so that no term dominates."""
    rng = np.random.default_rng(1)
    squares = [rng.uniform(0, 255, (height // SQUARE + 1, width // SQUARE + 1, 3)) for _ in "12"]
    content, style = (np.kron(part, np.ones((SQUARE, SQUARE, 1)))[:height, :width] for part in squares)
    start = 128 + rng.uniform(-1, 1, (height, width, 3))
    return [image.astype(np.float32) for image in (content, style, start)]


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that a call took, and what it returned."""
    began = time.perf_counter()
    result = function()
    return time.perf_counter() - began, result


def memory(field: str) -> int:
    """A field of Linux's status of this process, in bytes: VmRSS is its memory now, VmHWM its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def reset_memory() -> int:
    """Reset the peak, which loading may have set, and return this process's memory now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


COMMANDS = {
    command.__name__: command for command in (rate, weights, side, profile, evaluations, goal, yardstick)
}

if __name__ == "__main__":
    main()
