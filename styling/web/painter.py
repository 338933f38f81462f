"""The one thread that paints: runs of all sessions, one after the other."""

import contextlib
import itertools
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import neural_style
import stylize
from styling import images, networks, recipes, report, states
from styling.errors import DivergedError, StyleError
from styling.jobs import Job
from styling.memory import gradients_forgotten
from styling.process import explain
from styling.recorder import Recorder
from styling.settings import Running, Settings
from styling.web import form as forms
from styling.web.sessions import THUMBNAIL_SIDE, Result, Session
from styling.web.view import POINTS, View, jpeg

if TYPE_CHECKING:
    import numpy as np

    from styling.progress import Progress
    from styling.runs import Run
    from vgg import Network

MOST_WAITING = 8


@dataclass(eq=False)
class Task:
    """A run that a session asks for. status: waiting, starting, painting, done. line: what paints, or what
    went wrong, if `failed`. number: tells it from others."""

    session: Session
    job: Job
    form: dict[str, object]
    stop: threading.Event = field(default_factory=threading.Event)
    status: str = "waiting"
    line: str = ""
    failed: bool = False
    view: View | None = None
    number: int = field(default_factory=itertools.count(1).__next__)


class Painter(threading.Thread):
    """Paints what is put into its queue, with one network. running: with the device and the network."""

    def __init__(self, running: Running, path: Path, network: "Network") -> None:
        super().__init__(daemon=True)
        self.running, self.path, self.network = running, path, network
        self._queue: deque[Task | None] = deque()
        self._changed = threading.Condition()
        self._now: Task | None = None

    def words(self) -> list[str]:
        """The flags that are the same for every run."""
        return [f"--network={self.path}", f"--threads={self.running.threads}"]

    def put(self, task: Task) -> None:
        """Have a task painted. Raises StyleError if its session has one already, or too many wait."""
        with self._changed:
            if task.session.is_busy:
                raise StyleError("a picture is being painted; stop it first")
            if len(self._queue) >= MOST_WAITING:
                raise StyleError(f"{MOST_WAITING} pictures are waiting already; try again later")
            task.session.task = task
            self._queue.append(task)
            self._changed.notify()

    def stop(self, task: Task) -> None:
        """Have a task end, with the picture so far; one that waits just goes."""
        with self._changed:
            task.stop.set()
            if task in self._queue:
                self._queue.remove(task)
                task.status = "done"

    def place(self, task: Task) -> int:
        """How many are painted before a task that waits."""
        with self._changed:
            return self._queue.index(task) + (self._now is not None) if task in self._queue else 0

    def close(self) -> None:
        """End, once the iteration at hand is made."""
        with self._changed:
            if self._now:
                self._now.stop.set()
            self._queue.clear()
            self._queue.append(None)
            self._changed.notify()
        self.join()

    def run(self) -> None:
        """Paint until it is closed."""
        while True:
            with self._changed:
                self._now = None
                self._changed.wait_for(lambda: self._queue)
                task = self._now = self._queue.popleft()
            if task is None:
                return
            try:
                with gradients_forgotten():
                    self._paint(task)
            except (StyleError, OSError) as error:
                task.line, task.failed = task.session.in_words(explain(error)), True
            except Exception as error:  # a fault of the program's, which must not end all painting
                task.line, task.failed = f"the program failed: {error!r}", True
            finally:
                task.status = "done"
                del task

    def _paint(self, task: Task) -> None:
        """Paint a picture, and add it to its session's results."""
        task.status, job = "starting", task.job
        running = replace(
            job.running,
            device=self.running.device,
            network=networks.name(self.path),
            network_sha256=self.network.sha256,
        )
        run, record, line = neural_style.prepare(job, neural_style.read_images(job), running, self.network)
        task.line = task.session.in_words(line)
        state = states.State.from_arrays(record.arrays) if record.arrays else None
        every = max(run.settings.iterations // POINTS, 1)
        recorder, view = Recorder(record, run.settings.iterations, every), View(run.settings)
        task.view, progress, failure = view, None, None
        try:
            with contextlib.closing(stylize.follow(run, state)) as progresses:
                for progress in progresses:
                    task.status = "painting"
                    recorder(progress)
                    view(progress, recorder)
                    # Not where a scale has just begun, which a run that ends there would not come to.
                    if task.stop.is_set() and progress.iteration > progress.state.began:
                        break
        except StyleError as error:
            if progress is None or progress.iteration == 0:
                raise
            failure = error
        recorder.finish(progress)
        if isinstance(failure, DivergedError):
            picture = failure.image
        else:
            view.look(progress, recorder)
            picture = finished(progress)
        if picture is not None:
            _keep(task, run, record.settings, recorder, progress, picture, failure)
        if failure:
            raise failure


def finished(progress: "Progress") -> "np.ndarray":
    """The picture if a run ends here: at a coarse scale, that which the next would begin with."""
    is_last = progress.state.scale == len(progress.scales) - 1
    return progress.result() if is_last else progress.image()


def shortened(settings: Settings, iteration: int) -> dict[str, object]:
    """What of the settings differs where a run ends after so many iterations."""
    left, counts = iteration, []
    for count in settings.iterations_by_scale():
        counts.append(min(count, left))
        left -= counts[-1]
    return {"iterations": iteration} | ({"scale_shares": counts} if len(counts) > 1 else {})


def _keep(
    task: Task,
    run: "Run",
    table: dict[str, object],
    recorder: Recorder,
    progress: "Progress",
    picture: "np.ndarray",
    failure: StyleError | None,
) -> None:
    """Write a picture, its recipe and, if it was stopped, the run to go on with; add it to the results."""
    session, options = task.session, task.job.options
    name, stopped = session.next_name(), False
    if failure is None and progress.iteration < run.settings.iterations:
        stopped = task.stop.is_set()
    note = f"stopped after {progress.iteration} of {run.settings.iterations} iterations, " if stopped else ""
    note += f"{failure}, " if failure else ""
    note += f"painted in {report.seconds(recorder.seconds)}"
    session.resumable = None
    if stopped:
        states.write(session.state, recorder.saved(progress))
        table = table | shortened(run.settings, progress.iteration)
    png, recipe, thumbnail = (session.folder / f"{name}{ending}" for ending in (".png", ".toml", ".jpg"))
    images.write(png, picture)
    recipes.write(recipe, table)
    thumbnail.write_bytes(jpeg(picture, THUMBNAIL_SIDE))
    names = session.names
    given = [("content", options.content), ("styles", options.styles), ("initial", [options.initial])]
    files = [(flag, names.get(str(path), path.name)) for flag, paths in given for path in paths if path]
    size = picture.shape[1], picture.shape[0]
    command = forms.command(files, name)
    session.add(Result(name, png, recipe, thumbnail, size, command, task.form, note))
    if stopped:
        session.resumable = name
