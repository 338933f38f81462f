"""Neural style (Gatys, Ecker, Bethge 2015): a content image painted in the style of others.

    network = vgg.load("imagenet-vgg-verydeep-19.mat")
    for progress in stylize(content, [style], network, Settings(iterations=500, seed=1)):
        print(progress.iteration, progress.losses())
    images.write("picture.png", progress.result())

styling/objective.py has the loss, and Adam makes it small, or another optimiser of styling/optimizers.py.
Images are float32 [H, W, 3], RGB 0..255. Nothing here reads the command line or images, or prints; errors
name settings by their flags.
"""

import contextlib
import inspect
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from styling import images, optimizers, targets
from styling.errors import DivergedError, ImageError, SettingsError, StateError
from styling.memory import check_memory, choose_tile, device_errors, needed, share_one_heap
from styling.objective import build_objective, check_shifts, evaluation, in_precision, operations
from styling.settings import Settings, content_size, style_size
from vgg import Layer, Network

SECONDS_BETWEEN_LOOKS = 0.5
LEAST_SIDE = 192  # pixels, a coarse scale's longer side; smaller ones keep nothing of the content
EVALUATIONS = {"lbfgs": 1.05, "lbfgs-b": 1.1}  # an iteration, on average
# What moving memory takes, measured on the CPU, in operations a pixel that would take as long: of an
# evaluation, whatever the network, and of an iteration's own work.
MOVED, MOVED_BY = 20_000, {"lbfgs": 18_000, "lbfgs-b": 30_000}
NOTHING = (math.inf, None)  # the loss and the image of what there is not


def configure(device: str | None = None, threads: int | None = None, deterministic: bool = False) -> str:
    """Set TensorFlow up, before anything has been computed, and return the device that it will use.

    device: "cpu", "gpu" or "gpu:N"; None for the first GPU where there is one, else the CPU. A GPU's memory
        is taken as it is needed.
    threads: CPU threads; None for one a core.
    deterministic: only operations that give the same bytes each time, which on a GPU are slower.
    Raises SettingsError for a device that this machine lacks.
    """
    share_one_heap()
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    # A step is one long chain of operations; run one at a time, they are as fast and need less memory.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")  # else it warns of many runs in a process, each with its own function
    gpus = tf.config.list_physical_devices("GPU")
    kind, _, number = (device or ("gpu" if gpus else "cpu")).partition(":")
    index = int(number or 0)
    if kind == "gpu" and index >= len(gpus):
        raise SettingsError(
            "device", f"{device} is not here; TensorFlow finds {len(gpus)} GPUs on this machine"
        )
    used = [gpus[index]] if kind == "gpu" else []
    tf.config.set_visible_devices(used, "GPU")
    for gpu in used:
        tf.config.experimental.set_memory_growth(gpu, True)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    tf.config.list_logical_devices()  # sets the devices up now, since TensorFlow may write to stderr then
    return f"gpu:{index}" if used else "cpu"


@dataclass(frozen=True)
class State:
    """All that a run needs to go on from where it stands, as if it had not stopped.

    iteration: the updates made. scale: the index of the scale at hand. began: the updates before that.
    x: the image, [1, h, w, 3] minus the mean pixel, of the scale's size. memory: the optimiser's. best: the
    lowest total loss among those compared at this scale, and its x. sound: the same of the images that were
    looked at in passing, to fall back on.
    """

    iteration: int
    scale: int
    began: int
    x: tf.Tensor
    memory: optimizers.Memory = ()
    best: tuple[float, tf.Tensor | None] = NOTHING
    sound: tuple[float, tf.Tensor | None] = NOTHING

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays by name, to be kept."""
        arrays = {name: np.array(getattr(self, name)) for name in ("iteration", "scale", "began")}
        arrays["x"] = np.asarray(self.x)
        arrays |= {f"memory/{i:02}": np.asarray(part) for i, part in enumerate(self.memory)}
        for name in ("best", "sound"):
            total, x = getattr(self, name)
            arrays[f"{name}/total"] = np.array(total)
            if x is not None:
                arrays[f"{name}/x"] = np.asarray(x)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "State":
        """What arrays() was called on. Raises StateError if these are no such arrays."""
        try:
            tensors = {name: tf.constant(arrays[name]) for name in sorted(arrays)}
            counts = {name: int(arrays[name]) for name in ("iteration", "scale", "began")}
            looked_at = {
                name: (float(arrays[f"{name}/total"]), tensors.get(f"{name}/x")) for name in ("best", "sound")
            }
            memory = tuple(tensor for name, tensor in tensors.items() if name.startswith("memory/"))
            return cls(**counts, **looked_at, x=tensors["x"], memory=memory)
        except (KeyError, TypeError, ValueError, tf.errors.OpError) as error:
            raise StateError(f"holds no state of a run ({error!r})") from None


@dataclass(frozen=True)
class Scale:
    """One of the sizes at which a picture is made: its own (height, width), the styles', and its updates."""

    size: tuple[int, int]
    styles: tuple[tuple[int, int], ...]
    iterations: int

    @property
    def pixels(self) -> int:
        """Those of all its updates together, by which goes the time that they take."""
        return self.iterations * math.prod(self.size)


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

    def _look(self) -> tuple[float, tf.Tensor | None]:
        """The better of this image and that to fall back on; DivergedError for a loss that is not finite."""
        total = float(self._losses["total"])
        if not math.isfinite(total):
            raise self._diverged()
        return (total, self.state.x) if self.iteration and total < self.state.sound[0] else self.state.sound

    def _diverged(self) -> DivergedError:
        lowest, x = self.state.sound
        return DivergedError(self.iteration, self._to_image(x) if math.isfinite(lowest) else None)


def stylize(
    content: np.ndarray | None,
    styles: Sequence[np.ndarray],
    network: Network,
    settings: Settings | None = None,
    initial: np.ndarray | None = None,
    state: State | None = None,
    kept: targets.Kept | None = None,
) -> Iterator[Progress]:
    """Paint `content` in the style of `styles`; yields a Progress at the start and after each update.

    The last Progress, after settings.iterations updates or where the optimiser finds no lower loss, has the
    result. All images are [H, W, 3], RGB 0..255, of any size: they are resized as the settings say. Where
    none of them has a colour, pictures have none either: they are the images that the losses are of, in gray.
    `initial` is an image to start from; the content where the settings ask for less than pure noise and there
    is none. No content is needed where its weight is 0, nor styles where no weight looks at them. `state` is
    that of a Progress of a run with the same arguments, to go on from; it is yielded first, again. `kept` are
    targets that other runs have computed; what this one computes is added.

    Raises at the call SettingsError for settings that do not go with the images, ImageError for an array
    that is no image or would be resized to nothing, NetworkError for layers that the network lacks,
    StateError for a state of another run and MemoryLimitError for sizes that will not fit; and while running
    DivergedError when the loss becomes NaN or infinite, MemoryLimitError when memory runs out, and StyleError
    for what else TensorFlow reports.
    """
    settings = settled(content, styles, network, settings, initial)
    scales = _scales(content, styles, settings, initial is not None)
    if state is not None:
        _check_state(state, scales, settings.optimizer)
    if _on_cpu():
        layers = _layers(network, settings)
        full, by_tiles = scales[-1], not settings.histogram_weight
        check_memory(layers, full.size, full.styles, settings.optimizer, settings.tile, by_tiles)
    return _coarse_to_fine(content, styles, network, settings, initial, scales, state, kept)


def settled(
    content: np.ndarray | None,
    styles: Sequence[np.ndarray],
    network: Network,
    settings: Settings | None = None,
    initial: np.ndarray | None = None,
) -> Settings:
    """The settings, with the precision and the tile that are right for these images on this machine where
    they leave that open.

    They are the same every time on a machine, whatever else that does. Raises what stylize() raises at the
    call, but MemoryLimitError.
    """
    settings = settings or Settings()
    for image in (content, *styles, initial):
        if image is not None and (image.ndim != 3 or image.shape[2] != 3 or image.size == 0):
            raise ImageError(f"an image must have the shape [H, W, 3], not {list(image.shape)}")
    scales = _scales(content, styles, settings, initial is not None)
    if settings.precision == "fastest":
        settings = replace(settings, precision="bfloat16" if _has_bfloat16() else "float32")
    layers = _layers(network, settings)
    for scale in scales:
        check_shifts(network, settings, scale.size)
    if settings.tile is not None:
        return settings
    by_tiles = _on_cpu() and not settings.histogram_weight
    full = scales[-1]
    return replace(
        settings, tile=choose_tile(layers, full.size, full.styles, settings.optimizer) if by_tiles else 0
    )


def demand(
    content: np.ndarray | None, styles: Sequence[np.ndarray], network: Network, settings: Settings
) -> tuple[float, float]:
    """What a run of these will take, by an estimate: operations, or what takes as long as they do, and bytes
    of memory."""
    scales = _scales(content, styles, settings, has_initial=True)
    evaluations = settings.evaluations or EVALUATIONS.get(settings.optimizer, 1)
    own = MOVED_BY.get(settings.optimizer, 0)
    count = 0.0
    for scale in scales:
        pixels = math.prod(scale.size)
        each = operations(network, scale.size, settings) + MOVED * pixels
        count += scale.iterations * (evaluations * each + own * pixels)
    layers, full, tile = _layers(network, settings), scales[-1], settings.tile or 0
    needs = [needed(layers, full.size, tile, settings.optimizer)]
    return count, max(needs + [needed(layers, style, tile) for style in full.styles])


def target_keys(
    content: np.ndarray | None, styles: Sequence[np.ndarray], network: Network, settings: Settings
) -> set[str]:
    """The keys of the targets of a run that stylize() makes of these, with settings that are settled()."""
    found = set()
    for scale in _scales(content, styles, settings, has_initial=True):
        keys = targets.keys(*_resized(content, styles, scale), network, settings, scale.size)
        found.update(*(own.values() for own in keys.values()))
    return found


def keep_targets(
    content: np.ndarray | None,
    styles: Sequence[np.ndarray],
    network: Network,
    settings: Settings,
    kept: targets.Kept,
) -> None:
    """Compute the targets of such a run, as far as they are not among those kept, and add them there."""
    for scale in _scales(content, styles, settings, has_initial=True):
        with device_errors(*scale.size):
            build_objective(*_resized(content, styles, scale), network, settings, scale.size, kept)


def _layers(network: Network, settings: Settings) -> tuple[Layer, ...]:
    """The layers in use, in the precision in which they are computed."""
    return in_precision(network, settings).built(settings.layers())


def _on_cpu() -> bool:
    return not tf.config.list_logical_devices("GPU")  # whose memory TensorFlow does not tell


def _has_bfloat16() -> bool:
    """Whether a processor is used that has instructions for products of bfloat16.

    GPUs that have them multiply float32 in that manner by themselves, with 11 bits.
    """
    try:
        told = Path("/proc/cpuinfo").read_text().split()
    except OSError:  # only Linux tells in this way
        return False
    return _on_cpu() and ("avx512_bf16" in told or "amx_bf16" in told)


def _scales(
    content: np.ndarray | None, styles: Sequence[np.ndarray], settings: Settings, has_initial: bool
) -> tuple[Scale, ...]:
    """The scales in their order, once it is sure that what is needed is there.

    A longer side of less than LEAST_SIDE becomes that, or the result's where that is less; scales that come
    to one size are one, with the iterations of all.
    """
    settings.check_images(content is not None, len(styles), has_initial)
    model = content if content is not None else styles[0] if styles else None
    height, width = content_size(*((0, 0) if model is None else model.shape[:2]), settings)
    least = min(LEAST_SIDE / max(height, width), 1)
    scales = []
    own = settings.scales_of_styles(len(styles))
    for factor, iterations in zip(settings.scales, settings.iterations_by_scale(), strict=True):
        high, wide = (round(side * max(factor, least)) for side in (height, width))
        if high < 1 or wide < 1:
            problem = f"the picture would be {wide} x {high} pixels"
            raise ImageError(f"{problem}: use a larger --width, --max-size or --scales")
        sizes = [style_size(*style.shape[:2], scale, wide) for style, scale in zip(styles, own, strict=True)]
        for i, size in enumerate(sizes, 1):
            if 0 in size:
                problem = f"style {i} would be {size[1]} x {size[0]} pixels"
                raise ImageError(f"{problem}: make its --style-scales larger")
        if scales and scales[-1].size == (high, wide):
            iterations += scales.pop().iterations
        scales.append(Scale((high, wide), tuple(sizes), iterations))
    return tuple(scales)


def _start(
    content: np.ndarray | None,
    initial: np.ndarray | None,
    network: Network,
    settings: Settings,
    size: tuple[int, int],
) -> tf.Tensor:
    share = settings.noiseblend(initial is not None)
    x = tf.zeros([1, *size, 3])
    if share < 1:
        x = (1 - share) * network.preprocess(content if initial is None else images.resize(initial, *size))
    if share > 0 and settings.noise == "uniform":
        x += share * network.preprocess(images.uniform_noise(*size, settings.seed))
    elif share > 0:
        x += share * tf.constant(images.noise(*size, settings.seed))
    return x


def _check_state(state: State, scales: Sequence[Scale], optimizer: str) -> None:
    """Raise StateError unless the state is one of a run with these scales and this optimiser."""
    ends = list(itertools.accumulate(scale.iterations for scale in scales))
    if not (0 <= state.scale < len(scales) and 0 <= state.began <= state.iteration <= ends[state.scale]):
        raise StateError("is of a run with other iterations")
    image = (1, *scales[state.scale].size, 3)
    shapes = {"image": image, "scalar": ()}
    kinds = optimizers.MEMORIES.get(optimizer, ())
    looked_at = [x for _, x in (state.best, state.sound) if x is not None]
    if (
        [tuple(part.shape) for part in state.memory] != [shapes[kind] for kind in kinds]
        or any(part.dtype not in (tf.float32, tf.int32) for part in state.memory)
        or any(x.dtype != tf.float32 or x.shape.rank != 4 for x in (state.x, *looked_at))
        or tuple(state.x.shape) != image
    ):
        raise StateError("is of a run with other sizes, or another optimizer")


def _optimizer(settings: Settings, bounds: optimizers.Bounds) -> Callable[..., Iterator[optimizers.Step]]:
    """The optimiser that the settings name, to be called with the loss and the start."""
    # Its keyword-only parameters carry the names of settings, so that a new optimiser needs nothing here.
    function = getattr(optimizers, settings.optimizer.replace("-", "_"))
    named = inspect.signature(function).parameters.values()
    values = {p.name: getattr(settings, p.name) for p in named if p.kind is p.KEYWORD_ONLY}
    return partial(function, bounds=bounds, **values)


def _coarse_to_fine(
    content: np.ndarray | None,
    styles: Sequence[np.ndarray],
    network: Network,
    settings: Settings,
    initial: np.ndarray | None,
    scales: tuple[Scale, ...],
    state: State | None,
    kept: targets.Kept | None,
) -> Iterator[Progress]:
    """The run: at each scale from what the one before came to, enlarged (Gatys et al. 2017, section 6)."""
    size = scales[-1].size
    colors = images.resize(content, *size) if settings.preserve_colors else None
    given = [image for image in (content, *styles, initial) if image is not None]
    gray = bool(given) and all(images.is_gray(image) for image in given)
    mean = network.mean_pixel
    bounds = (tf.constant(-mean), tf.constant(255 - mean)) if settings.clip else None
    optimizer = _optimizer(settings, bounds)
    ends = itertools.accumulate(scale.iterations for scale in scales)

    def to_image(x: tf.Tensor) -> np.ndarray:
        image = network.unprocess(_enlarged(x, size))
        if gray:  # all colours there would be the network's own
            image = images.to_gray(image)
        return image if colors is None else images.keep_colors(image, colors)

    to_progress = partial(Progress, scales=scales, _to_image=to_image)
    for index, (scale, end) in enumerate(zip(scales, ends, strict=True)):
        last = scale is scales[-1]
        done = state.iteration if state else 0
        begins = state is None or state.scale < index
        if (begins and end == done and not last) or (state and state.scale > index):
            continue
        with device_errors(*scale.size):
            own, paintings = _resized(content, styles, scale)
            objective = build_objective(own, paintings, network, settings, scale.size, kept)
            if begins:
                if state:
                    x = _enlarged(state.x, scale.size)
                else:
                    x = _start(own, initial, network, settings, scale.size)
                sound = state.sound if state else NOTHING  # losses of other scales compare only roughly
                state = State(done, index, done, optimizers.clip(x, bounds), sound=sound)
            steps = optimizer(evaluation(objective), state.x, memory=state.memory)
            with contextlib.closing(steps):
                before = None
                for progress in _optimize(steps, settings, state, end, to_progress):
                    if last:
                        yield progress
                    elif before:
                        yield before  # a scale's last one is where the next begins, and reported there
                    before = progress
            state = replace(progress.state, sound=progress._look())


def _resized(
    content: np.ndarray | None, styles: Sequence[np.ndarray], scale: Scale
) -> tuple[np.ndarray | None, list[np.ndarray]]:
    """The content and the styles at a scale."""
    content = None if content is None else images.resize(content, *scale.size)
    return content, [images.resize(style, *size) for style, size in zip(styles, scale.styles, strict=True)]


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
            state = replace(state, sound=progress._look())
            next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        yield progress
        compared = checkpoint or (settings.best_of_all and iteration > state.began)
        if compared and float(step.losses["total"]) < state.best[0]:
            state = replace(state, best=(float(step.losses["total"]), step.x))


def _enlarged(x: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    return x if x.shape[1:3] == size else tf.image.resize(x, size, "bicubic")
