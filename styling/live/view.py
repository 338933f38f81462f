"""The view of a run while it works: a picture, the losses and the time left, about every second."""

import itertools
import time
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np

from styling.pictures import images
from styling.run.pace import Pace
from styling.run.recorder import Recorder

if TYPE_CHECKING:
    from styling.run.progress import Progress

SECONDS_BETWEEN_PICTURES, MOST_TIME = 1.0, 0.1
SIDE = 1024  # pixels, of the picture's longer side
POINTS = 200  # of a loss in the plot
NUMBERS = itertools.count(1)  # of pictures, no two the same


class View:
    """What a page shows of a run: facts for JSON, and the picture so far as JPEG, which other threads read.

    Called with each Progress, it looks when that is due. Pictures take at most a tenth of the run's time, so
    large pictures are made less often.
    """

    def __init__(self, **facts: object) -> None:
        self.facts: dict[str, Any] = facts
        self.jpeg = b""
        self._pace, self._next = Pace(), 0.0

    def __call__(self, progress: "Progress", recorder: Recorder) -> None:
        """Look, if it is due."""
        began = time.monotonic()
        if began >= self._next:
            names, history = list(progress.losses()), recorder.history
            history = history[:: len(history) // POINTS + 1] + history[-1:]
            self.tell(share=progress.share_done, left=self._pace(progress), names=names, history=history)
            self.show(progress.image(), size=progress.scales[-1].size[::-1])
            took = time.monotonic() - began
            self._next = time.monotonic() + max(SECONDS_BETWEEN_PICTURES - took, took / MOST_TIME)

    def show(self, picture: np.ndarray, **facts: object) -> None:
        """Show a picture, float32 [H, W, 3], RGB 0..255, and facts about it."""
        self.jpeg = jpeg(picture, SIDE)
        self.tell(picture=next(NUMBERS), **facts)

    def tell(self, **facts: object) -> None:
        """Change facts."""
        self.facts = self.facts | facts


def jpeg(image: np.ndarray, side: int, quality: int = 88) -> bytes:
    """An image, shrunk to at most `side` pixels on its longer side, as JPEG."""
    small = images.to_bytes(images.thumbnail(image, side))
    return iio.imwrite("<bytes>", small, plugin="pillow", extension=".jpg", quality=quality)
