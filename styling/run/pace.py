"""The time that a run still takes."""

import statistics
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from styling.run.progress import Progress

SAMPLES = 9  # measurements of an update's time


class Pace:
    """Estimates the time left in a run from the times of the latest updates."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=SAMPLES)  # a pixel
        self._last = -1, 0, 0.0

    def __call__(self, progress: "Progress") -> float | None:
        """The seconds left, or None if they are not known yet.

        Call it now and then, with a Progress whose losses have been read, since a device may lag behind.
        """
        now, left = time.monotonic(), progress.pixels_left
        scale, left_then, then = self._last
        if progress.state.scale == scale and left < left_then:  # else it includes a scale's targets
            self._seconds.append((now - then) / (left_then - left))
        self._last = progress.state.scale, left, now
        # The median, since some updates include the compilation of functions.
        return left * statistics.median(self._seconds) if self._seconds else None
