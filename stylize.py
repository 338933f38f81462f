"""Neural style (Gatys, Ecker, Bethge 2015): a content image painted in the style of others.

    network = vgg.load("imagenet-vgg-verydeep-19.mat")
    picture = paint(content, [style], network, Settings(iterations=500, seed=1))

or, to follow it:

    for progress in stylize(content, [style], network, Settings(iterations=500, seed=1)):
        print(progress.iteration, progress.losses())

styling/objective.py has the loss, and Adam makes it small, or another optimiser of styling/optimizers.py.
Images are float32 [H, W, 3], RGB 0..255. Nothing here reads the command line or images, or prints; errors
name settings by their flags.
"""

import contextlib
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import tensorflow as tf

from styling import images, optimizers, runs
from styling.errors import DivergedError
from styling.images import Images
from styling.memory import device_errors
from styling.objective import build_objective, evaluation
from styling.runs import Run, Scale
from styling.settings import Settings
from styling.states import NOTHING, State
from vgg import Network

SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Progress:
    """Where a run stands after `iteration` updates; nothing is copied from the device unasked.

    scales: the run's, of which state.scale is the index of the one at hand.
    """

    state: State = field(repr=False)
    scales: tuple[Scale, ...]
    _losses: dict[str, tf.Tensor] = field(repr=False)
    _to_image: Callable[[tf.Tensor], np.ndarray] = field(repr=False)

    @property
    def iteration(self) -> int:
        """The updates made."""
        return self.state.iteration

    @property
    def pixels_left(self) -> int:
        """The pixels of all updates that are still to be made, as Scale.pixels counts them."""
        at = self.state.scale
        here = sum(scale.iterations for scale in self.scales[: at + 1]) - self.iteration
        later = sum(scale.pixels for scale in self.scales[at + 1 :])
        return here * math.prod(self.scales[at].size) + later

    def losses(self) -> dict[str, float]:
        """The weighted losses at this point by name: content, style, tv, total, and others in use."""
        return {name: float(loss) for name, loss in self._losses.items()}

    def image(self) -> np.ndarray:
        """The image at this point, float32 [H, W, 3], RGB 0..255."""
        return self._to_image(self.state.x)

    def result(self) -> np.ndarray:
        """The picture to keep if the run ended here: of this image and those compared before, the one with
        the lowest total loss, float32 [H, W, 3], RGB 0..255. Raises DivergedError if none is finite."""
        best, x = self.state.best
        total = float(self._losses["total"])
        if math.isfinite(total) and total <= best:
            return self.image()
        if math.isfinite(best):
            return self._to_image(x)
        raise self._diverged()

    def _fallback(self) -> tuple[float, tf.Tensor | None]:
        """The better of this image and the fallback so far; DivergedError for a loss that is not finite."""
        total = float(self._losses["total"])
        if not math.isfinite(total):
            raise self._diverged()
        better = self.iteration and total < self.state.fallback[0]
        return (total, self.state.x) if better else self.state.fallback

    def _diverged(self) -> DivergedError:
        lowest, x = self.state.fallback
        return DivergedError(self.iteration, self._to_image(x) if math.isfinite(lowest) else None)


def paint(
    content: np.ndarray | None,
    styles: Sequence[np.ndarray],
    network: Network,
    settings: Settings | None = None,
    initial: np.ndarray | None = None,
) -> np.ndarray:
    """The picture that stylize() comes to, float32 [H, W, 3], RGB 0..255; raises what that raises."""
    last = deque(stylize(content, styles, network, settings, initial), maxlen=1).pop()
    return last.result()


def stylize(
    content: np.ndarray | None,
    styles: Sequence[np.ndarray],
    network: Network,
    settings: Settings | None = None,
    initial: np.ndarray | None = None,
    state: State | None = None,
) -> Iterator[Progress]:
    """Paint `content` in the style of `styles`; yields a Progress at the start and after each update.

    The last Progress, after settings.iterations updates or where the optimiser finds no lower loss, has the
    result. All images are [H, W, 3], RGB 0..255, of any size: they are resized as the settings say.
    `initial` is an image to start from; the content where the settings ask for less than pure noise and there
    is none. No content is needed where its weight is 0, nor styles where no weight looks at them. `state` is
    that of a Progress of a run with the same arguments, to go on from; it is yielded first, again.

    Raises at the call SettingsError for settings that do not go with the images, ImageError for an array
    that is no image or would be resized to nothing, NetworkError for layers that the network lacks,
    StateError for a state of another run and MemoryLimitError for sizes that will not fit; and while running
    DivergedError when the loss becomes NaN or infinite, MemoryLimitError when memory runs out, and StyleError
    for what else TensorFlow reports.
    """
    return follow(
        runs.resolve(Images(content, tuple(styles), initial), network, settings or Settings()), state
    )


def follow(run: Run, state: State | None = None) -> Iterator[Progress]:
    """What stylize() yields, of a resolved run; raises StateError and MemoryLimitError at the call."""
    if state is not None:
        runs.check_state(state, run)
        state = _on_device(state)
    runs.check_memory(run)
    return _coarse_to_fine(run, state)


def _coarse_to_fine(run: Run, state: State | None) -> Iterator[Progress]:
    """At each scale from what the one before came to, enlarged (Gatys et al. 2017, section 6)."""
    settings, mean = run.settings, run.network.mean_pixel
    bounds = (tf.constant(-mean), tf.constant(255 - mean)) if settings.clip else None
    to_progress = partial(Progress, scales=run.scales, _to_image=_image_maker(run))
    ends = itertools.accumulate(scale.iterations for scale in run.scales)
    for index, (scale, end) in enumerate(zip(run.scales, ends, strict=True)):
        last = scale is run.scales[-1]
        done = state.iteration if state else 0
        begins = state is None or state.scale < index
        if (begins and end == done and not last) or (state and state.scale > index):
            continue
        with device_errors(*scale.size):
            own = _resized(run.images, scale)
            objective = build_objective(own.content, own.styles, run.network, settings, scale.size)
            if begins:
                x = (
                    _enlarged(state.x, scale.size)
                    if state
                    else _start(own, run.network, settings, scale.size)
                )
                fallback = state.fallback if state else NOTHING  # losses of other scales compare only roughly
                state = State(done, index, done, optimizers.clip(x, bounds), fallback=fallback)
            steps = _steps(objective, settings, state, bounds)
            with contextlib.closing(steps):
                before = None
                for progress in _optimize(steps, settings, state, end, to_progress):
                    if last:
                        yield progress
                    elif before:
                        yield before  # a scale's last one is where the next begins, and reported there
                    before = progress
            state = replace(progress.state, fallback=progress._fallback())


def _optimize(
    steps: Iterator[optimizers.Step],
    settings: Settings,
    state: State,
    last: int,
    to_progress: Callable[..., Progress],
) -> Iterator[Progress]:
    """The iterations of one scale, from where it stands to the last, or to where the steps end."""
    next_look = time.monotonic()
    for iteration, step in enumerate(
        itertools.islice(steps, last - state.iteration + 1), start=state.iteration
    ):
        state = replace(state, iteration=iteration, x=step.x, memory=step.memory)
        progress = to_progress(state=state, _losses=step.losses)
        checkpoint = iteration == settings.iterations or settings.is_checkpoint(iteration)
        if checkpoint or time.monotonic() >= next_look:
            state = replace(state, fallback=progress._fallback())
            next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        yield progress
        compared = checkpoint or (settings.best_of_all and iteration > state.began)
        if compared and float(step.losses["total"]) < state.best[0]:
            state = replace(state, best=(float(step.losses["total"]), step.x))


def _steps(
    objective: Callable, settings: Settings, state: State, bounds: optimizers.Bounds
) -> Iterator[optimizers.Step]:
    """The iterates of the optimiser that the settings name."""
    optimizer = optimizers.RECORDS[settings.optimizer]
    parameters = {name: getattr(settings, name) for name in optimizer.settings}
    return optimizer.function(
        evaluation(objective), state.x, bounds=bounds, memory=state.memory, **parameters
    )


def _start(own: Images, network: Network, settings: Settings, size: tuple[int, int]) -> tf.Tensor:
    """The first x, [1, height, width, 3] minus the mean pixel: an image, noise, or a blend of the two."""
    share = settings.noiseblend(own.initial is not None)
    x = tf.zeros([1, *size, 3])
    if share < 1:
        x = (1 - share) * network.preprocess(own.content if own.initial is None else own.initial)
    if share > 0 and settings.noise == "uniform":
        x += share * network.preprocess(images.uniform_noise(*size, settings.seed))
    elif share > 0:
        x += share * tf.constant(images.noise(*size, settings.seed))
    return x


def _image_maker(run: Run) -> Callable[[tf.Tensor], np.ndarray]:
    """What turns an x of any scale into an image of the result's size, with the colours that are wanted."""
    size = run.scales[-1].size
    keeps_colors = run.settings.preserve_colors
    colors = images.resize(run.images.content, *size) if keeps_colors else None

    def to_image(x: tf.Tensor) -> np.ndarray:
        image = run.network.unprocess(_enlarged(x, size))
        return image if colors is None else images.keep_colors(image, colors)

    return to_image


def _resized(given: Images, scale: Scale) -> Images:
    """The images at a scale."""
    content, initial = (
        None if image is None else images.resize(image, *scale.size)
        for image in (given.content, given.initial)
    )
    styles = zip(given.styles, scale.styles, strict=True)
    return Images(content, tuple(images.resize(style, *size) for style, size in styles), initial)


def _enlarged(x: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    return x if x.shape[1:3] == size else tf.image.resize(x, size, "bicubic")


def _on_device(state: State) -> State:
    """The state with tensors in place of arrays."""
    best, fallback = (
        (total, None if x is None else tf.constant(x)) for total, x in (state.best, state.fallback)
    )
    memory = tuple(map(tf.constant, state.memory))
    return replace(state, x=tf.constant(state.x), memory=memory, best=best, fallback=fallback)
