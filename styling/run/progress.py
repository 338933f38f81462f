"""The progress of a run, as stylize() yields it after each update."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from styling.pictures import images, masks
from styling.run.runs import Run
from styling.run.sizes import Scale
from styling.run.states import State
from styling.system.errors import DivergedError
from styling.system.quiet import tf


@dataclass(frozen=True)
class Progress:
    """A run after `iteration` updates; nothing is copied from the device until it is asked for.

    scales: all scales of the run; state.scale is the index of the current one.
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
        """The pixels of all remaining updates, as Scale.pixels counts them."""
        at = self.state.scale
        here = sum(scale.iterations for scale in self.scales[: at + 1]) - self.iteration
        later = sum(scale.pixels for scale in self.scales[at + 1 :])
        return here * math.prod(self.scales[at].size) + later

    @property
    def share_done(self) -> float:
        """The share of the run's work that is done, from 0 to 1, by pixels."""
        return 1 - self.pixels_left / (sum(scale.pixels for scale in self.scales) or 1)

    def losses(self) -> dict[str, float]:
        """The weighted losses at this point by name: content, style, tv, total, and others in use;
        none for a run without updates."""
        return {name: float(loss) for name, loss in self._losses.items()}

    def image(self) -> np.ndarray:
        """The image at this point, float32 [H, W, 3], RGB 0..255."""
        return self._to_image(self.state.x)

    def result(self) -> np.ndarray:
        """The result if the run ended here: the image with the lowest total loss among this one and those
        compared before, float32 [H, W, 3], RGB 0..255. Raises DivergedError if no loss is finite."""
        if not self._losses:
            return self.image()
        best, x = self.state.best
        total = float(self._losses["total"])
        if math.isfinite(total) and total <= best:
            return self.image()
        if math.isfinite(best):
            return self._to_image(x)
        raise DivergedError(self.iteration)


def image_maker(run: Run) -> Callable[[tf.Tensor], np.ndarray]:
    """A function that turns an x of any scale into an image of the result's size.

    The image has the colours that the settings ask for, and is the photograph where nothing is painted.
    """
    size, settings, is_gray = run.scales[-1].size, run.settings, run.colored.are_gray
    keeps_colors = settings.colors in ("content", "luminance")
    painted = run.layouts[-1].painted
    if keeps_colors or painted is not None:  # otherwise it is not used, and would only take memory
        photo = images.resize(run.images.photo, *size)
    if painted is not None:
        painted = masks.feathered(painted, settings.mask_feather)[..., None]

    def to_image(x: tf.Tensor) -> np.ndarray:
        image = run.network.unprocess(enlarged(x, size))
        if is_gray:  # the network itself adds colours, which no image of the run has
            image = images.to_gray(image)
        if keeps_colors:
            image = images.keep_colors(image, photo)
        return image if painted is None else photo + painted * (image - photo)

    return to_image


def enlarged(x: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """x [1, h, w, 3] at a size, (height, width)."""
    return x if x.shape[1:3] == size else tf.image.resize(x, size, "bicubic")
