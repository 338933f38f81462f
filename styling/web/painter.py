"""The single thread that paints: it computes the runs of all sessions, one after the other."""

import itertools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from styling.command import painting, report
from styling.command.jobs import Job
from styling.live.view import POINTS, View, jpeg
from styling.network import networks
from styling.pictures import images
from styling.run import states
from styling.run.memory import gradients_forgotten
from styling.run.recorder import Recorder
from styling.settings import Running, Settings, recipes
from styling.system.errors import DivergedError, StyleError
from styling.system.process import explain
from styling.web import form as forms
from styling.web.sessions import Result, Session

if TYPE_CHECKING:
    from styling.run.progress import Progress
    from vgg import Network

MOST_WAITING = 8
THUMBNAIL_SIDE = 256


@dataclass(eq=False)
class Task:
    """A run that a session asks for. status: waiting, starting, painting, done. line: which network paints,
    or the error, if `failed`. number: identifies the task."""

    session: Session
    job: Job
    form: dict[str, object]
    stop: threading.Event = field(default_factory=threading.Event)
    status: str = "waiting"
    line: str = ""
    failed: bool = False
    view: View | None = None
    future: Future | None = None
    number: int = field(default_factory=itertools.count(1).__next__)

    def told(self) -> dict[str, object]:
        """The facts that the page gets."""
        facts = {"run": self.number, "status": self.status, "line": self.line, "failed": self.failed}
        return facts | (self.view.seen.told() if self.view else {"picture": 0})


class Painter:
    """Paints with one network in one thread. running: with the device and the network's file."""

    def __init__(self, running: Running, path: Path, network: "Network") -> None:
        self.path, self.network = path, network
        self._running = replace(running, network=networks.name(path), network_sha256=network.sha256)
        self._thread = ThreadPoolExecutor(1)
        self._tasks: list[Task] = []  # those that wait and the one that is painted

    def words(self) -> list[str]:
        """The flags that are the same for every run."""
        return [f"--network={self.path}", f"--threads={self._running.threads}"]

    def put(self, task: Task) -> None:
        """Queue a task. Raises StyleError if its session has one already, or if too many wait."""
        if task.session.is_busy:
            raise StyleError("a picture is being painted; stop it first")
        if sum(other.status == "waiting" for other in list(self._tasks)) >= MOST_WAITING:
            raise StyleError(f"{MOST_WAITING} pictures are waiting already; try again later")
        task.session.task = task
        self._tasks.append(task)
        task.future = self._thread.submit(self._work, task)

    def stop(self, task: Task) -> None:
        """Stop a task, and keep the picture so far; a waiting task is only removed."""
        task.stop.set()
        if task.future.cancel():
            self._end(task)

    def before(self, task: Task) -> int:
        """The number of tasks that are painted before a waiting one."""
        return len(list(itertools.takewhile(lambda other: other is not task, list(self._tasks))))

    def close(self) -> None:
        """End after the current iteration."""
        for task in list(self._tasks):
            task.stop.set()
        self._thread.shutdown(cancel_futures=True)

    def _end(self, task: Task) -> None:
        task.status = "done"
        self._tasks.remove(task)

    def _work(self, task: Task) -> None:
        try:
            with gradients_forgotten():
                self._paint(task)
        except (StyleError, OSError) as error:
            task.line, task.failed = task.session.in_words(explain(error)), True
        except Exception as error:  # a bug in the program must not stop the other runs
            task.line, task.failed = f"the program failed: {error!r}", True
        finally:
            self._end(task)

    def _paint(self, task: Task) -> None:
        """Paint a picture, and add it to its session's results."""
        task.status, job = "starting", task.job
        prepared = painting.prepare(job, painting.read_images(job), self._running, self.network)
        task.line = task.session.in_words(prepared.line)
        settings = prepared.run.settings
        task.view = View(settings)

        def watch(progress: "Progress", recorder: Recorder) -> None:
            task.status = "painting"
            task.view(progress, recorder)
            # Not at the start of a scale, since a run that ends there does not reach that scale.
            if task.stop.is_set() and progress.iteration > progress.state.began:
                raise KeyboardInterrupt

        outcome = painting.follow(prepared, [watch], max(settings.iterations // POINTS, 1))
        if not isinstance(outcome.early, DivergedError):
            task.view.look(outcome.progress, outcome.recorder)
        if outcome.picture is not None:
            _keep(task, settings, outcome)
        if isinstance(outcome.early, StyleError):
            raise outcome.early


def shortened(settings: Settings, iteration: int) -> dict[str, object]:
    """The settings that change if a run ends after so many iterations."""
    left, counts = iteration, []
    for count in settings.iterations_by_scale():
        counts.append(min(count, left))
        left -= counts[-1]
    return {"iterations": iteration} | ({"scale_shares": counts} if len(counts) > 1 else {})


def _keep(task: Task, settings: Settings, outcome: painting.Outcome) -> None:
    """Write a picture, its recipe and, if it was stopped, its saved run; add it to the results."""
    session, progress, picture = task.session, outcome.progress, outcome.picture
    saved = outcome.recorder.saved(progress)
    table, note = saved.settings, f"painted in {report.seconds(saved.seconds)}"
    session.count += 1
    name = f"picture-{session.count}"
    is_stopped = isinstance(outcome.early, KeyboardInterrupt) and progress.iteration < settings.iterations
    if is_stopped:
        states.write(session.state, saved)
        table = table | shortened(settings, progress.iteration)
        note = f"stopped after {progress.iteration} of {settings.iterations} iterations, {note}"
    elif isinstance(outcome.early, StyleError):
        note = f"{outcome.early}, {note}"
    images.write(session.file(name, "png"), picture)
    recipes.write(session.file(name, "toml"), table)
    session.file(name, "jpg").write_bytes(jpeg(picture, THUMBNAIL_SIDE))
    files = [(flag, session.names.get(str(path), str(path))) for flag, path in task.job.files.images]
    size = picture.shape[1], picture.shape[0]
    session.add(Result(name, size, forms.command(files, name), task.form, note))
    session.resumable = name if is_stopped else None
