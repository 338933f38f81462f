"""The one thread that paints: pictures and first looks in this process, films by the command line."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from styling.command import painting, report
from styling.command.jobs import Film, Job
from styling.live.view import POINTS, View
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
from styling.web.studio import Form, Picture, Studio

if TYPE_CHECKING:
    import numpy as np

    from styling.run.progress import Progress
    from vgg import Network

EXAMPLE = Form("harbour.jpg", ["watercolour.jpg"])
ONE_PASS = Form(recipe="instant", values={"max_size": "384"})
SHORT = Form(recipe="best", values={"iterations": "16", "scales": "1", "max_size": "192"})
STARTING = 2  # seconds before the first update
USUAL_PACE = 2.5e-6  # seconds for an update of a pixel, until it has been measured
FIRST = 4  # updates, which compile functions and tell no pace
SECONDS_BETWEEN_LOOKS = 0.5  # at the frames of a film


@dataclass(eq=False)
class Task:
    """A picture or a film that is asked for, with the key of its result, or a first look, without a key.

    status: starting, painting, done. error: why it failed.
    """

    form: Form
    key: str
    job: Job
    stop: threading.Event = field(default_factory=threading.Event)
    view: View = field(default_factory=View)
    status: str = "starting"
    error: str = ""
    number: int = field(default_factory=itertools.count(1).__next__)

    def told(self) -> dict[str, object]:
        """The facts that the page gets."""
        facts = {"number": self.number, "key": self.key, "status": self.status, "error": self.error}
        return facts | self.view.facts


class Painter:
    """Paints with one network in one thread. running: with the device and the network's file.

    task: the latest. look: how a first look is made, in one pass or, by other networks than the small one,
    in a short run.
    """

    def __init__(self, running: Running, path: Path, network: "Network", studio: Studio) -> None:
        self.path, self.network = path, network
        self.task: Task | None = None
        self.look = ONE_PASS if networks.is_small(path) else SHORT
        self._running = replace(running, network=networks.name(path), network_sha256=network.sha256)
        self.studio, self._thread, self._pace = studio, ThreadPoolExecutor(1), USUAL_PACE

    def seconds(self, pixels: int) -> float:
        """The time that a job takes here, of so many pixels in all its updates."""
        return STARTING + pixels * self._pace

    def words(self, words: Sequence[str], output: str) -> list[str]:
        """These flags with those that are the same for every run. output: the name of the file to write."""
        own = [f"--network={self.path}", f"--threads={self._running.threads}"]
        return [*words, *own, f"--output={self.studio.folder / output}"]

    def job(self, words: Sequence[str], output: str = "look.png") -> Job:
        """The job of these flags with the painter's. Raises StyleError."""
        return forms.job(self.words(words, output))

    def put(self, form: Form, words: Sequence[str], key: str = "") -> int:
        """Begin a task of these flags, which ends a first look that is being made; returns its number.

        Raises StyleError, also if a result is on its way.
        """
        if key and not form.film:  # so that the seed is chosen
            words = [*words, f"--save-recipe={self.studio.recipe(key)}"]
        task = Task(form, key, self.job(words, key or "look.png"))
        if self.task and self.task.key and self.task.status != "done":
            raise StyleError("A picture is being painted; stop it first.")
        self.stop()
        self.task = task
        self._thread.submit(self._work, task)
        return task.number

    def stop(self) -> None:
        """End the task after the current iteration."""
        if self.task:
            self.task.stop.set()

    def close(self) -> None:
        """End the task, and the thread."""
        self.stop()
        self._thread.shutdown(cancel_futures=True)

    def warm_up(self) -> None:
        """Paint an example, so that functions are compiled and the pace of this machine is known."""
        for look in (self.look, SHORT):
            form = Form(EXAMPLE.content, EXAMPLE.styles, look.recipe, look.values)
            self.put(form, forms.words(form, self.studio))

    def _work(self, task: Task) -> None:
        try:
            if task.job.film:
                self._film(task, task.job.film)
            elif task.key:
                self._picture(task)
            elif not task.stop.is_set():  # else a newer look is asked for
                outcome = self._follow(task)
                if outcome.picture is not None and not outcome.early:
                    task.view.show(outcome.picture)
        except (StyleError, OSError) as error:
            task.error = self.studio.without_folders(explain(error))
        except Exception as error:  # a bug in the program must not stop the other runs
            task.error = f"The program failed: {error!r}"
        finally:
            task.status = "done"

    def _follow(self, task: Task) -> painting.Outcome:
        """Paint a picture until it ends or is stopped, measure the pace, and have the task show it."""
        job, pace = task.job, Pace()
        if task.key:
            job = replace(job, files=replace(job.files, save_state=self.studio.state))

        def watch(progress: "Progress", recorder: Recorder) -> None:
            task.status = "painting"
            task.view(progress, recorder)
            left = pace(progress)
            if left and progress.iteration > FIRST:
                self._pace = left / progress.pixels_left
            # Not at the start of a scale, since a run that ends there does not reach that scale.
            if task.stop.is_set() and progress.iteration > progress.state.began:
                raise KeyboardInterrupt

        with gradients_forgotten():
            prepared = painting.prepare(job, painting.read_images(job), self._running, self.network)
            return painting.follow(prepared, [watch], max(job.settings.iterations // POINTS, 1))

    def _picture(self, task: Task) -> None:
        """Paint a picture, and write it, its recipe and, if it was stopped, its saved run."""
        studio, settings = self.studio, task.job.settings
        outcome = self._follow(task)
        saved, made = outcome.recorder.saved(outcome.progress), outcome.progress.iteration
        table, note = saved.settings, f"painted in {report.seconds(saved.seconds)}"
        is_stopped = isinstance(outcome.early, KeyboardInterrupt) and made < settings.iterations
        if is_stopped:
            states.write(studio.state, saved)
            table = table | shortened(settings, made)
            note = f"stopped after {made} of {settings.iterations} iterations, {note}"
        if outcome.picture is not None:
            key = studio.free_key(task.key)
            images.write(studio.folder / key, outcome.picture)
            recipes.write(studio.recipe(key), table)
            self._add(task.form, key, outcome.picture, note, not is_stopped)
        if isinstance(outcome.early, StyleError):
            raise outcome.early

    def _film(self, task: Task, film: Film) -> None:
        """Paint a film by the command line, looking at the frames that it has made."""
        store, count, began = film.store, len(film.clip.numbers()) or 1, time.monotonic()
        first = done = len(store.files())
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        words = self.words(forms.words(task.form, self.studio), task.key)
        command = [sys.executable, "-m", "neural_style", *words, "--quiet"]
        program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        while program.poll() is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            if task.stop.is_set():
                program.send_signal(signal.SIGINT)
                program.wait()
            if len(store.files()) > done:
                done, spent = len(store.files()), time.monotonic() - began
                picture, left = images.read(store.path(done)), spent / (done - first) * (count - done)
                task.view.show(picture, share=done / count, size=picture.shape[1::-1], left=left)
                task.status = "painting"
        problem, is_whole = program.communicate()[1], program.returncode == 0
        if not (is_whole or (task.stop.is_set() and done)):
            raise StyleError(problem.strip().rpartition("error: ")[2] or "The film was stopped.")
        note = f"{done} of {count} frames, painted in {report.seconds(time.monotonic() - began)}"
        recipes.write(self.studio.recipe(task.key), recipes.to_table(task.job.settings, self._running))
        self._add(task.form, task.key, images.read(store.path(1)), note, is_whole, done)

    def _add(
        self, form: Form, key: str, pixels: "np.ndarray", note: str, is_whole: bool, frames: int = 1
    ) -> None:
        """Add a result whose files are written. pixels: of the picture, or of the first frame."""
        command, size = forms.command(form, self.studio, key), pixels.shape[1::-1]
        result = Picture("result", size, frames, form=form, note=note, command=command, whole=is_whole)
        self.studio.add(key, result, pixels)


def shortened(settings: Settings, iteration: int) -> dict[str, object]:
    """The settings that change if a run ends after so many iterations."""
    left, counts = iteration, []
    for count in settings.iterations_by_scale():
        counts.append(min(count, left))
        left -= counts[-1]
    return {"iterations": iteration} | ({"scale_shares": counts} if len(counts) > 1 else {})
