"""The one thread that paints: pictures and first looks in this process, films by the command line."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from styling.command import painting, report
from styling.command.jobs import Job
from styling.live.view import POINTS, Seen, View, jpeg
from styling.network import networks
from styling.pictures import images
from styling.run import states
from styling.run.memory import gradients_forgotten
from styling.run.pace import Pace
from styling.run.recorder import Recorder
from styling.settings import Running, Settings, recipes
from styling.system.errors import StyleError
from styling.system.process import explain
from styling.web import form as forms
from styling.web.studio import PREVIEW_SIDE, Result, Studio

if TYPE_CHECKING:
    import numpy as np

    from styling.films.clips import Clip
    from styling.films.store import Store
    from styling.run.progress import Progress
    from vgg import Network

USUAL_PACE = 2.5e-6  # seconds for an update of a pixel, until it has been measured
SECONDS_BETWEEN_LOOKS = 0.5  # at the frames of a film


@dataclass(eq=False)
class Task:
    """A picture or a film that is asked for, and its number.

    words: the flags of a film. status: starting, painting, done. line: the error, if `failed`.
    """

    job: Job
    form: dict[str, object]
    name: str
    words: list[str]
    stop: threading.Event = field(default_factory=threading.Event)
    status: str = "starting"
    line: str = ""
    failed: bool = False
    seen: Seen = field(default_factory=Seen)
    number: int = field(default_factory=itertools.count(1).__next__)

    def told(self) -> dict[str, object]:
        """The facts that the page gets."""
        facts = {"run": self.number, "status": self.status, "line": self.line, "failed": self.failed}
        return facts | self.seen.told()


class Painter:
    """Paints with one network in one thread. running: with the device and the network's file.

    task: the latest. look: the latest first look. pace: seconds for an update of a pixel.
    """

    def __init__(self, running: Running, path: Path, network: "Network", studio: Studio) -> None:
        self.path, self.network = path, network
        self.task: Task | None = None
        self.look, self.pace = Seen(), USUAL_PACE
        self._running = replace(running, network=networks.name(path), network_sha256=network.sha256)
        self._studio, self._thread = studio, ThreadPoolExecutor(1)
        self._stop_look = threading.Event()

    @property
    def is_busy(self) -> bool:
        """Whether a picture is being painted."""
        return self.task is not None and self.task.status != "done"

    def words(self) -> list[str]:
        """The flags that are the same for every run."""
        return [f"--network={self.path}", f"--threads={self._running.threads}"]

    def put(self, task: Task) -> None:
        """Begin a task. Raises StyleError if another is being painted."""
        if self.is_busy:
            raise StyleError("A picture is being painted; stop it first.")
        self._stop_look.set()
        self.task = task
        self._thread.submit(self._work, task)

    def close(self) -> None:
        """End after the current iteration."""
        self._stop_look.set()
        if self.task:
            self.task.stop.set()
        self._thread.shutdown(cancel_futures=True)

    def first_look(self, job: Job) -> int | None:
        """Paint a first look, and return its number; None if something newer was asked for."""
        self._stop_look.set()
        self._stop_look = stop = threading.Event()
        return None if self.is_busy else self._thread.submit(self._look, job, stop).result()

    def _look(self, job: Job, stop: threading.Event) -> int | None:
        try:
            with gradients_forgotten():
                outcome = self._follow(self._prepared(job), stop, [])
        except KeyboardInterrupt:
            return None
        if outcome.early or outcome.picture is None:
            return None
        self.look = Seen(self.look.number + 1, {}, jpeg(outcome.picture, PREVIEW_SIDE))
        return self.look.number

    def _prepared(self, job: Job) -> painting.Prepared:
        return painting.prepare(job, painting.read_images(job), self._running, self.network)

    def _follow(
        self, prepared: painting.Prepared, stop: threading.Event, observers: list[painting.Observer]
    ) -> painting.Outcome:
        """Make a run until it ends or is stopped, and measure the pace."""
        pace = Pace()

        def watch(progress: "Progress", recorder: Recorder) -> None:
            left = pace(progress)
            if left:
                self.pace = left / progress.pixels_left
            # Not at the start of a scale, since a run that ends there does not reach that scale.
            if stop.is_set() and progress.iteration > progress.state.began:
                raise KeyboardInterrupt

        losses_every = max(prepared.run.settings.iterations // POINTS, 1)
        return painting.follow(prepared, [*observers, watch], losses_every)

    def _work(self, task: Task) -> None:
        try:
            with gradients_forgotten():
                film = task.job.film
                self._film(task, film.clip, film.store) if film else self._picture(task)
        except (StyleError, OSError) as error:
            task.line, task.failed = forms.in_words(explain(error), self._studio), True
        except Exception as error:  # a bug in the program must not stop the other runs
            task.line, task.failed = f"The program failed: {error!r}", True
        finally:
            task.status = "done"

    def _picture(self, task: Task) -> None:
        """Paint a picture, and add it to the results."""
        prepared = self._prepared(task.job)
        view = View(prepared.run.settings)

        def show(progress: "Progress", recorder: Recorder) -> None:
            view(progress, recorder)
            task.status, task.seen = "painting", view.seen

        outcome = self._follow(prepared, task.stop, [show])
        if outcome.picture is not None:
            self._add_picture(task, prepared.run.settings, outcome, outcome.picture)
        if isinstance(outcome.early, StyleError):
            raise outcome.early

    def _add_picture(
        self, task: Task, settings: Settings, outcome: painting.Outcome, picture: "np.ndarray"
    ) -> None:
        """Write a picture, its recipe and, if it was stopped, its saved run."""
        studio, saved, made = (
            self._studio,
            outcome.recorder.saved(outcome.progress),
            outcome.progress.iteration,
        )
        table, note = saved.settings, f"painted in {report.seconds(saved.seconds)}"
        is_stopped = isinstance(outcome.early, KeyboardInterrupt) and made < settings.iterations
        if is_stopped:
            states.write(studio.state, saved)
            table = table | shortened(settings, made)
            note = f"stopped after {made} of {settings.iterations} iterations, {note}"
        elif isinstance(outcome.early, StyleError):
            note = f"{forms.in_words(str(outcome.early), studio)}, {note}"
        name = studio.free_name(task.name)
        images.write(studio.file(name, "png"), picture)
        recipes.write(studio.file(name, "toml"), table)
        self._add(task, name, picture.shape[1::-1], note, is_stopped)

    def _add(
        self, task: Task, name: str, size: tuple[int, int], note: str, is_stopped: bool, frames: int = 0
    ) -> None:
        """Add a result whose files are written."""
        contents = task.job.film.clip.files if task.job.film else ()
        named = [*(("content", path) for path in contents), *task.job.files.images]
        files = [(flag, self._studio.key(path)) for flag, path in named]
        command = forms.command(files, self._studio, name, "mp4" if frames else "png")
        keys = [key for _, key in files]
        result = Result(name, size, task.form, note, command, keys, frames, not is_stopped)
        self._studio.add(result)

    def _film(self, task: Task, clip: "Clip", store: "Store") -> None:
        """Paint a film by the command line, looking at the frames that it has made."""
        count, began, first = len(clip.numbers()) or 1, time.monotonic(), len(store.files())
        done = first
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", "neural_style", *task.words, "--quiet"]
        program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        while program.poll() is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            if task.stop.is_set():
                program.send_signal(signal.SIGINT)
                program.wait()
            if len(store.files()) > done:
                done, spent = len(store.files()), time.monotonic() - began
                picture, left = images.read(store.path(done)), spent / (done - first) * (count - done)
                facts = {"share": done / count, "size": picture.shape[1::-1], "left": left}
                task.seen = Seen(task.seen.number + 1, facts, jpeg(picture, PREVIEW_SIDE))
                task.status = "painting"
        problem, is_stopped = program.communicate()[1], program.returncode != 0
        if is_stopped and not (task.stop.is_set() and done):
            raise StyleError(problem.strip().rpartition("error: ")[2] or "The film was stopped.")
        note = f"{done} of {count} frames, painted in {report.seconds(time.monotonic() - began)}"
        recipes.write(
            self._studio.file(task.name, "toml"), recipes.to_table(task.job.settings, self._running)
        )
        self._add(task, task.name, images.read(store.path(1)).shape[1::-1], note, is_stopped, done)


def shortened(settings: Settings, iteration: int) -> dict[str, object]:
    """The settings that change if a run ends after so many iterations."""
    left, counts = iteration, []
    for count in settings.iterations_by_scale():
        counts.append(min(count, left))
        left -= counts[-1]
    return {"iterations": iteration} | ({"scale_shares": counts} if len(counts) > 1 else {})
