"""The files that a run writes: its picture, the files about its progress, its checkpoints and its state."""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from styling.command import report
from styling.command.jobs import Files, checkpoint_path
from styling.pictures import images
from styling.run import states
from styling.run.recorder import Recorder
from styling.settings import Settings
from styling.system.errors import StyleError
from styling.system.process import explain
from styling.system.terminal import complain

if TYPE_CHECKING:
    from styling.run.progress import Progress


@dataclass
class StateFile:
    """Looks on at a run, and saves it in a file, if there is to be one. saved: the iteration in the file."""

    path: Path | None
    saved: int | None = None

    def __call__(self, progress: "Progress", recorder: Recorder) -> None:
        """Save the run so far, if that is due."""
        if self.path and recorder.is_save_due(progress.iteration):
            self.save(progress, recorder)

    def save(self, progress: "Progress", recorder: Recorder) -> bool:
        """Save the run so far, and return whether that worked; if not, the last saved state stays."""
        if self.saved == progress.iteration:
            return True
        if self.path is None or not math.isfinite(progress.losses()["total"]):
            return False
        began = time.monotonic()
        try:
            states.write(self.path, recorder.saved(progress))
        except OSError as error:
            complain(f"the run is not saved: {explain(error)}")
            return False
        finally:
            recorder.was_saved(time.monotonic() - began)
        self.saved = progress.iteration
        return True


@dataclass
class Checkpoints:
    """Looks on at a run, and writes the best image so far at every checkpoint, if these are asked for.

    failed: whether one could not be written; the run still continues.
    """

    files: Files
    settings: Settings
    failed: bool = False

    def __call__(self, progress: "Progress", recorder: Recorder) -> None:
        """Write a checkpoint, if that is due."""
        pattern = self.files.checkpoint_output
        if not (pattern and self.settings.is_checkpoint(progress.iteration)):
            return
        try:
            path = checkpoint_path(pattern, progress.iteration)
            images.write(path, progress.result(), self.files.overwrite)
        except OSError as error:
            complain(f"no checkpoint, but going on: {explain(error)}")
            self.failed = True


def save(picture: np.ndarray | None, recorder: Recorder, files: Files, losses: Sequence[str]) -> str:
    """Write the picture, if there is one, and the files about its progress; returns the names written.

    If the picture cannot be written to its place, it goes into the folder for temporary files, and a
    StyleError says so.
    """
    written: list[Path] = []
    history, pictures = recorder.history, recorder.grid_pictures()
    if picture is not None:
        try:
            if files.folder:
                files.output.parent.mkdir(parents=True, exist_ok=True)
            written.append(images.write(files.output, picture, files.overwrite))
        except OSError as error:
            refuge = Path(tempfile.gettempdir(), files.output.name)
            refuge = images.write(refuge, picture, overwrite=False)
            raise StyleError(f"{explain(error)}; the picture is in {refuge} instead") from None
    try:
        for flag in files.progress:
            path = files.beside(flag)
            if flag == "progress_write" and history:
                written.append(report.write_history(path, files.overwrite, history, losses))
            if flag == "progress_plot" and history:
                written.append(report.plot_history(path, files.overwrite, history, losses))
            if flag == "progress_grid" and pictures:
                written.append(images.write(path, images.grid(pictures), files.overwrite))
    except OSError as error:
        raise StyleError(f"{explain(error)}; wrote {', '.join(map(str, written))}") from None
    return ", ".join(map(str, written))
