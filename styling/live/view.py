"""The view of a run while it works: a picture, the losses and the time left, about every second."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np

from styling.pictures import images
from styling.run.pace import Pace
from styling.run.recorder import Recorder
from styling.settings import Settings

if TYPE_CHECKING:
    from styling.run.progress import Progress

SECONDS_BETWEEN_PICTURES, MOST_TIME = 1.0, 0.1
SIDE = 1024  # pixels, of the picture's longer side
POINTS = 200  # of a loss in the plot


@dataclass(frozen=True)
class Seen:
    """A run at one time. number: of the picture, counted up. facts: for JSON. jpeg: the picture."""

    number: int = 0
    facts: dict[str, object] = field(default_factory=dict)
    jpeg: bytes = b""

    def told(self) -> dict[str, object]:
        """The facts that the page gets."""
        return {"picture": self.number, **self.facts}


class View:
    """Called with each Progress; keeps the view of it in `seen`, for other threads to read.

    Pictures take at most a tenth of the run's time, so large pictures are made less often.
    """

    def __init__(self, settings: Settings) -> None:
        self.seen = Seen()
        self._settings = settings
        self._pace = Pace()
        self._next = 0.0

    def __call__(self, progress: "Progress", recorder: Recorder) -> None:
        """Update the view, if it is due."""
        began = time.monotonic()
        if began >= self._next:
            self.look(progress, recorder)
            took = time.monotonic() - began
            self._next = time.monotonic() + max(SECONDS_BETWEEN_PICTURES - took, took / MOST_TIME)

    def look(self, progress: "Progress", recorder: Recorder) -> None:
        """Look now."""
        losses = progress.losses()
        height, width = progress.scales[-1].size
        history = recorder.history
        facts = {
            "iteration": progress.iteration,
            "iterations": self._settings.iterations,
            "share": progress.share_done,
            "size": [width, height],
            "seconds": round(recorder.seconds, 1),
            "left": self._pace(progress),
            "names": list(losses),
            "history": history[:: len(history) // POINTS + 1] + history[-1:],
        }
        self.seen = Seen(self.seen.number + 1, facts, jpeg(progress.image(), SIDE))


def jpeg(image: np.ndarray, side: int) -> bytes:
    """An image, shrunk to at most `side` pixels on its longer side, as JPEG."""
    small = images.to_bytes(images.thumbnail(image, side))
    return iio.imwrite("<bytes>", small, plugin="pillow", extension=".jpg", quality=88)
