"""Neural style (Gatys, Ecker, Bethge 2015): a content image painted in the style of others.

    network = vgg.load("imagenet-vgg-verydeep-19.mat")
    for progress in stylize(content, [style], network, Settings(iterations=500, seed=1)):
        print(progress.iteration, progress.losses())
    images.write("picture.png", progress.result())

The loss of an image is content_weight * content + style_weight * style + tv_weight * total variation, with
the normalisations of Athalye's neural-style (2015), and Adam makes it small. Images are float32 [H, W, 3],
RGB 0..255. Nothing here reads the command line or files, or prints; errors name settings by their flags.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from styling import images, losses
from styling.errors import DivergedError, ImageError, SettingsError
from styling.memory import check_memory, device_errors
from styling.optimizers import Optimizer, adam
from styling.settings import LOSSES, Settings, content_size, style_size
from vgg import Network

SECONDS_BETWEEN_LOOKS = 0.5


def configure(device: str | None = None, threads: int | None = None, deterministic: bool = False) -> None:
    """Set TensorFlow up, before anything has been computed.

    device: "cpu", "gpu" or "gpu:N"; None for the first GPU where there is one, else the CPU. A GPU's memory
        is taken as it is needed.
    threads: CPU threads; None for one a core.
    deterministic: only operations that give the same bytes each time, which on a GPU are slower.
    Raises SettingsError for a device that this machine lacks.
    """
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
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


@dataclass(frozen=True)
class Objective:
    """What is minimised: called with x [1, H, W, 3], it returns the weighted loss terms and their total.

    content: target feature maps by layer. styles: of each style with a share, the share and the target Gram
    matrices by layer. content_layers and style_layers: the layers' weights.
    """

    network: Network
    pooling: str
    content: dict[str, tf.Tensor]
    styles: tuple[tuple[float, dict[str, tf.Tensor]], ...]
    content_layers: dict[str, float]
    style_layers: dict[str, float]
    content_weight: float
    style_weight: float
    tv_weight: float

    def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """x [1, H, W, 3], minus the mean pixel -> scalars by name: content, style, tv, total, weighted."""
        features = self.network.features(x, self.content_layers | self.style_layers, self.pooling)
        content = [
            weight * losses.content(features[layer], self.content[layer])
            for layer, weight in self.content_layers.items()
        ]
        grams = {layer: losses.gram(features[layer]) for layer in self.style_layers}
        style = [
            share * weight * losses.style(grams[layer], targets[layer])
            for share, targets in self.styles
            for layer, weight in self.style_layers.items()
        ]
        terms = {
            "content": self.content_weight * sum(content, tf.zeros([])),
            "style": self.style_weight * sum(style, tf.zeros([])),
            "tv": self.tv_weight * losses.total_variation(x),
        }
        return terms | {"total": sum(terms.values())}


@dataclass(frozen=True)
class Progress:
    """Where a run stands after `iteration` updates; nothing is copied from the device unasked."""

    iteration: int
    _losses: dict[str, tf.Tensor] = field(repr=False)
    _x: tf.Tensor = field(repr=False)
    _best: tuple[float, tf.Tensor] = field(repr=False)
    _sound: tuple[float, tf.Tensor] = field(repr=False)
    _to_image: Callable[[tf.Tensor], np.ndarray] = field(repr=False)

    def losses(self) -> dict[str, float]:
        """The weighted losses at this point by name: content, style, tv, total."""
        return {name: float(self._losses[name]) for name in LOSSES}

    def image(self) -> np.ndarray:
        """The image at this point, float32 [H, W, 3], RGB 0..255."""
        return self._to_image(self._x)

    def result(self) -> np.ndarray:
        """The picture to keep if the run ended here: of this image and those at earlier checkpoints, the one
        with the lowest total loss, float32 [H, W, 3], RGB 0..255. Raises DivergedError if none is finite."""
        best, x = self._best
        total = float(self._losses["total"])
        if math.isfinite(total) and total <= best:
            return self.image()
        if math.isfinite(best):
            return self._to_image(x)
        raise self._diverged()

    def _diverged(self) -> DivergedError:
        lowest, x = self._sound
        return DivergedError(self.iteration, self._to_image(x) if math.isfinite(lowest) else None)


def stylize(
    content: np.ndarray,
    styles: Sequence[np.ndarray],
    network: Network,
    settings: Settings | None = None,
    initial: np.ndarray | None = None,
) -> Iterator[Progress]:
    """Paint `content` in the style of `styles`; yields a Progress at the start and after each update.

    The last Progress, after settings.iterations updates, has the result. All images are [H, W, 3], RGB
    0..255, of any size: they are resized as the settings say. `initial` is an image to start from; the
    content where the settings ask for less than pure noise and there is none.

    Raises at the call SettingsError for settings that do not go with the images, ImageError for an array
    that is no image or would be resized to nothing, NetworkError for layers that the network lacks and
    MemoryLimitError for sizes that will not fit; and while running DivergedError when the loss becomes NaN or
    infinite, MemoryLimitError when memory runs out, and StyleError for what else TensorFlow reports.
    """
    settings = settings or Settings()
    for image in (content, *styles, *([] if initial is None else [initial])):
        if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ImageError(f"an image must have the shape [H, W, 3], not {list(image.shape)}")
    scales = settings.scales(len(styles))
    height, width = content_size(*content.shape[:2], settings)
    sizes = [style_size(*style.shape[:2], scale, width) for style, scale in zip(styles, scales, strict=True)]
    if height < 1 or width < 1:
        raise ImageError(
            f"the picture would be {width} x {height} pixels: use a larger --width or --max-size"
        )
    for i, (high, wide) in enumerate(sizes, 1):
        if high < 1 or wide < 1:
            raise ImageError(f"style {i} would be {wide} x {high} pixels: make its --style-scales larger")
    if not tf.config.list_logical_devices("GPU"):
        layers = settings.content_layer_weights() | settings.style_layer_weights()
        check_memory(network.built(layers), (height, width), sizes)
    content = images.resize(content, height, width)
    styles = [images.resize(style, *size) for style, size in zip(styles, sizes, strict=True)]

    def to_image(x: tf.Tensor) -> np.ndarray:
        image = network.unprocess(x)
        return images.keep_colors(image, content) if settings.preserve_colors else image

    with device_errors(height, width):
        objective = build_objective(content, styles, network, settings)
        x = _start(content, initial, network, settings)
    return _optimize(objective, x, settings, to_image)


def build_objective(
    content: np.ndarray, styles: Sequence[np.ndarray], network: Network, settings: Settings
) -> Objective:
    """The objective with these images, at the sizes that they have, as its targets.

    Raises SettingsError or NetworkError as stylize() does.
    """
    content_layers, style_layers = settings.content_layer_weights(), settings.style_layer_weights()

    def gram_matrices(style: np.ndarray) -> dict[str, tf.Tensor]:
        features = network.features(network.preprocess(style), style_layers, settings.pooling)
        return {layer: losses.gram(features[layer]) for layer in style_layers}

    shares = settings.style_shares(len(styles)) if style_layers else (0,) * len(styles)
    return Objective(
        network=network,
        pooling=settings.pooling,
        content=network.features(network.preprocess(content), content_layers, settings.pooling),
        styles=tuple(
            (share, gram_matrices(style)) for share, style in zip(shares, styles, strict=True) if share
        ),
        content_layers=content_layers,
        style_layers=style_layers,
        content_weight=settings.content_weight,
        style_weight=settings.style_weight,
        tv_weight=settings.tv_weight,
    )


def _start(
    content: np.ndarray, initial: np.ndarray | None, network: Network, settings: Settings
) -> tf.Tensor:
    height, width = content.shape[:2]
    share = settings.noiseblend(initial is not None)
    image = network.preprocess(content if initial is None else images.resize(initial, height, width))
    if share == 0:
        return image
    return (1 - share) * image + share * tf.constant(images.noise(height, width, settings.seed))


def _optimize(
    objective: Objective, x: tf.Tensor, settings: Settings, to_image: Callable[[tf.Tensor], np.ndarray]
) -> Iterator[Progress]:
    optimizer = adam(settings.learning_rate, settings.beta1, settings.beta2, settings.eps)
    step, state = _compiled_step(objective, optimizer), optimizer.init(x)
    best = sound = (math.inf, x)  # of the checkpoints; of all that was looked at, in case the run diverges
    next_look = time.monotonic()
    with device_errors(*x.shape[1:3]):
        for iteration in range(settings.iterations + 1):
            last = iteration == settings.iterations
            # A step evaluates x before it moves it, so that every iteration's losses come free.
            next_x, state, terms = (x, state, objective(x)) if last else step(x, state)
            progress = Progress(iteration, terms, x, best, sound, to_image)
            checkpoint = last or settings.is_checkpoint(iteration)
            if checkpoint or time.monotonic() >= next_look:
                total = float(terms["total"])
                if not math.isfinite(total):
                    raise progress._diverged()
                if iteration and total < sound[0]:
                    sound = (total, x)
                next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
            yield progress
            if checkpoint and total < best[0]:
                best = (total, x)
            x = next_x


def _compiled_step(objective: Objective, optimizer: Optimizer) -> Callable:
    @tf.function(autograph=False)
    def step(x: tf.Tensor, state: tuple) -> tuple:
        with tf.GradientTape() as tape:
            tape.watch(x)
            terms = objective(x)
        next_x, state = optimizer.update(x, tape.gradient(terms["total"], x), state)
        return next_x, state, terms

    return step
