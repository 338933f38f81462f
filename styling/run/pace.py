"""The time that a run still takes."""

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from styling.run.progress import Progress

SAMPLES = 30  # measurements of an update's time, so that some match the picture with the paintings anew


class Pace:
    """Estimates the time left in a run from the times of the latest updates."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES)  # seconds and pixels
        self._last = -1, 0, 0.0
        self._measured = 0  # updates of the current scale

    def __call__(self, progress: "Progress") -> float | None:
        """The seconds left, or None if they are not known yet.

        Call it now and then, with a Progress whose losses have been read, since a device may lag behind.
        """
        now, left = time.monotonic(), progress.pixels_left
        scale, left_then, then = self._last
        self._last = progress.state.scale, left, now
        if progress.state.scale != scale:  # what was done since includes the scale's targets
            self._measured = 0
        elif left < left_then:
            if self._measured == len(self._samples) == 1:
                self._samples.clear()  # the very first, which compiled functions
            if self._measured or not self._samples:  # a scale's first compiles functions as well
                self._samples.append((now - then, left_then - left))
            self._measured += 1
        if not self._samples:
            return None
        spent, pixels = map(sum, zip(*self._samples, strict=True))
        return left * spent / pixels
