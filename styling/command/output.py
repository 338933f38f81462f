"""The files that a run writes: its picture, the files about its progress, and its saved state."""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from styling.command import checkpoints, report
from styling.command.jobs import Job, beside, progress_flags
from styling.pictures import images
from styling.run import states
from styling.run.recorder import Recorder
from styling.system.errors import DivergedError, StyleError
from styling.system.process import explain
from styling.system.terminal import complain

if TYPE_CHECKING:
    from styling.run.progress import Progress


@dataclass
class StateFile:
    """The file that a run is saved in. path: its name, which changes if another run has taken it.

    overwrite: whether an existing file may be replaced. saved: the iteration that is in the file.
    """

    path: Path
    overwrite: bool
    saved: int | None = None

    def save(self, progress: "Progress", recorder: Recorder) -> bool:
        """Save the run so far, and return whether that worked; if not, the last saved state stays."""
        if self.saved == progress.iteration:
            return True
        if not math.isfinite(progress.losses()["total"]):
            return False
        began = time.monotonic()
        try:
            path = states.write(self.path, recorder.saved(progress), self.overwrite)
        except OSError as error:
            complain(f"the run is not saved: {explain(error)}")
            return False
        finally:
            recorder.was_saved(time.monotonic() - began)
        if path != self.path:
            complain(f"{self.path} was written by another program meanwhile; the run is saved in {path}")
        self.path, self.overwrite, self.saved = path, True, progress.iteration
        return True


def save_checkpoint(progress: "Progress", job: Job) -> bool:
    """Write the best image so far, and return whether that worked; if not, the run still continues."""
    path = checkpoints.checkpoint_path(job.options.checkpoint_output, progress.iteration)
    try:
        images.write(path, progress.result(), job.options.overwrite)
    except OSError as error:
        complain(f"no checkpoint, but going on: {explain(error)}")
        return False
    return True


def save(outcome: "Progress | DivergedError", recorder: Recorder, job: Job, losses: Sequence[str]) -> str:
    """Write the picture, if there is one, and the files about its progress; returns the names written.

    If the picture cannot be written to its place, it goes into the folder for temporary files, and a
    StyleError says so.
    """
    overwrite, (output,) = job.options.overwrite, job.outputs
    try:
        picture = outcome.image if isinstance(outcome, DivergedError) else outcome.result()
    except DivergedError as error:  # interrupted after the loss became NaN, but before it was noticed
        picture = error.image
    written = []
    if picture is not None:
        try:
            written.append(images.write(output, picture, overwrite))
        except OSError as error:
            refuge = Path(tempfile.gettempdir(), output.name)
            refuge = images.write(refuge, picture, overwrite=False)
            raise StyleError(f"{explain(error)}; the picture is in {refuge} instead") from None
    writers = {
        "progress_write": (recorder.history, partial(report.write_history, names=losses)),
        "progress_plot": (recorder.history, partial(report.plot_history, names=losses)),
        "progress_grid": (recorder.grid_pictures(), report.write_grid),
    }
    for flag in progress_flags(job):
        content, write = writers[flag]
        if content:
            try:
                written.append(write(beside(output, flag), overwrite, content))
            except OSError as error:
                raise StyleError(f"{explain(error)}; wrote {', '.join(map(str, written))}") from None
    return ", ".join(map(str, written))
