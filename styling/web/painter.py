"""The one thread that paints: pictures and first looks in this process, films by the command line."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

import vgg
from styling.command import painting, report
from styling.command.jobs import Film, Job, cores
from styling.live.view import POINTS, View
from styling.network import networks
from styling.pictures import images
from styling.run import states
from styling.run.pace import Pace
from styling.run.progress import Progress
from styling.run.recorder import Recorder
from styling.settings import Running, Settings, recipes
from styling.system.device import configure
from styling.system.errors import StyleError
from styling.system.process import explain
from styling.web import form as forms
from styling.web.studio import Form, Picture, Studio

EXAMPLE = Form("harbour.jpg", ["watercolour.jpg"])
ONE_PASS = Form(recipe="instant", values={"max_size": "384"})
SHORT = Form(recipe="best", values={"iterations": "16", "scales": "1", "max_size": "192"})
STARTING, STARTING_FILM = 2, 10  # seconds before the first update, or before a process has begun a film
USUAL_PACE = 4e-6  # seconds for an update of a pixel that costs 1, until it has been measured
SECONDS_BETWEEN_LOOKS = 0.5  # at the frames of a film


class Task(View):
    """A picture or a film that is asked for, with the key of its result, or a first look, without a key.

    Its facts tell its form's number, its status (starting, painting, done) and, if it failed, the error.
    """

    def __init__(self, form: Form, key: str, job: Job) -> None:
        super().__init__(number=form.number, key=key, status="starting")
        self.form, self.key, self.job = form, key, job
        self.stop = threading.Event()

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self.facts["status"] == "done"


class Painter:
    """Paints with one network in one thread. Sets TensorFlow up, and loads the network.

    task: the latest. first_look: how one is made, in one pass or, by other networks than the small one,
    in a short run.
    """

    def __init__(self, folder: Path, path: Path, running: Running) -> None:
        threads = running.threads or cores()
        # Deterministic, since every run here has a seed.
        device = configure(running.device, threads, deterministic=True)
        self._flags = [f"--network={path}", f"--device={device}", f"--threads={threads}"]
        self.studio, self.path, self.network = Studio(folder), path, vgg.load(path)
        self.task: Task | None = None
        self.first_look = ONE_PASS if networks.is_small(path) else SHORT
        self._thread, self._pace = ThreadPoolExecutor(1), USUAL_PACE

    def estimate(self, form: Form) -> dict[str, object]:
        """The seconds that a form's picture will take here, those of its film, and its size; nothing for a
        form that can't be painted yet."""
        try:
            job, content = forms.job(self._words(form)), self.studio.pictures[form.content or ""]
            pixels, size = forms.updates(job, content.size)
        except (StyleError, KeyError):
            return {}
        seconds, film = STARTING + pixels * self._pace, 0.0
        if content.frames > 1:
            from styling.films.frames import share_of_work  # which needs OpenCV, as every film does

            frames = 1 + (content.frames - 1) * share_of_work(job.settings)
            film = STARTING_FILM + frames * pixels * self._pace
        return {"seconds": seconds, "film": film, "size": size}

    def begin(self, form: Form, key: str = "", goes_on: bool = False) -> None:
        """Begin a first look, or the result of this key; it ends a first look that is being made.

        Raises StyleError, also if a result is on its way.
        """
        job = forms.job(self._words(form, key, goes_on))
        task = Task(form, key, painting.with_network(job, self.network))
        if self.task and self.task.key and not self.task.is_done:
            raise StyleError("A picture is being painted; stop it first.")
        self.stop()
        self.task = task
        self._thread.submit(self._work, task)

    def paint(self, form: Form) -> None:
        """Begin a picture, or a film."""
        stems = [Path(key).stem for key in (form.content, *form.styles) if key]
        name = f"{'-'.join(stems[:3])}.{'mp4' if form.film else 'png'}"
        self.begin(form, self.studio.free_key(name))

    def go_on(self, _: object = None) -> None:
        """Continue the run that was stopped last."""
        key = self.studio.resumable
        if key is None:
            raise StyleError("There is nothing to go on with; paint again.")
        self.begin(self.studio.pictures[key].form, key, goes_on=True)

    def stop(self, _: object = None) -> None:
        """End the task after the current iteration, and keep its picture."""
        if self.task:
            self.task.stop.set()

    def close(self) -> None:
        """End the task, and the thread."""
        self.stop()
        self._thread.shutdown(cancel_futures=True)

    def warm_up(self) -> None:
        """Paint an example, so that functions are compiled and the pace of this machine is known."""
        for look in (self.first_look, SHORT):
            self.begin(msgspec.structs.replace(EXAMPLE, recipe=look.recipe, values=look.values))

    def _words(self, form: Form, key: str = "", goes_on: bool = False) -> list[str]:
        """The flags of the command line for a form. key: of the result, if it is for one."""
        resumed = goes_on and not form.film
        asked = [f"--resume={self.studio.state}"] if resumed else forms.words(form, self.studio)
        chosen = [] if form.film else ["--save-recipe=look.toml"]  # so that the seed is chosen
        return [*asked, *self._flags, f"--output={self.studio.folder / (key or 'look.png')}", *chosen]

    def _work(self, task: Task) -> None:
        try:
            if task.job.film:
                self._film(task, task.job.film)
            elif task.key:
                self._picture(task)
            elif not task.stop.is_set():  # else a newer look is asked for
                outcome = self._follow(task)
                if outcome.picture is not None and not outcome.early:
                    task.show(outcome.picture)
        except (StyleError, OSError) as error:
            task.tell(error=self.studio.without_folders(explain(error)))
        except Exception as error:  # a bug in the program must not stop the other runs
            task.tell(error=f"The program failed: {error!r}")
        finally:
            task.tell(status="done")

    def _follow(self, task: Task) -> painting.Outcome:
        """Paint a picture until it ends or is stopped, measure the pace, and have the task show it."""
        job, pace = task.job, Pace()
        if task.key:
            job = replace(job, files=replace(job.files, save_state=self.studio.state))

        def watch(progress: Progress, recorder: Recorder) -> None:
            task.tell(status="painting")
            task(progress, recorder)
            if left := pace(progress):
                self._pace = left / progress.pixels_left / forms.COSTS[job.settings.style_measure]
            # Not at the start of a scale, since a run that ends there does not reach that scale.
            if task.stop.is_set() and progress.iteration > progress.state.began:
                raise KeyboardInterrupt

        prepared = painting.prepare(job, painting.read_images(job), self.network)
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
            self._add(task, key, outcome.picture, note, not is_stopped)
        if isinstance(outcome.early, StyleError):
            raise outcome.early

    def _film(self, task: Task, film: Film) -> None:
        """Paint a film by the command line, looking at the frames that it has made."""
        store, count, began = film.store, len(film.clip.numbers()) or 1, time.monotonic()
        first = done = len(store.files())
        command = [sys.executable, "-m", "neural_style", *self._words(task.form, task.key), "--quiet"]
        program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        while program.poll() is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            if task.stop.is_set():
                program.send_signal(signal.SIGINT)
                program.wait()
            if len(store.files()) > done:
                done, spent = len(store.files()), time.monotonic() - began
                picture, left = images.read(store.path(done)), spent / (done - first) * (count - done)
                task.show(picture, share=done / count, size=picture.shape[1::-1], left=left)
                task.tell(status="painting")
        problem, is_whole = program.communicate()[1], program.returncode == 0
        if not (is_whole or (task.stop.is_set() and done)):
            raise StyleError(problem.strip().rpartition("error: ")[2] or "The film was stopped.")
        note = f"{done} of {count} frames, painted in {report.seconds(time.monotonic() - began)}"
        recipes.write(self.studio.recipe(task.key), recipes.to_table(task.job.settings, task.job.running))
        self._add(task, task.key, images.read(store.path(1)), note, is_whole, done)

    def _add(self, task: Task, key: str, pixels: np.ndarray, note: str, whole: bool, frames: int = 1) -> None:
        """Add a result whose files are written. pixels: of the picture, or of the first frame."""
        command, size = forms.command(task.form, self.studio, key), pixels.shape[1::-1]
        result = Picture(key, "result", size, frames, True, task.form, note, command, whole)
        self.studio.add(result, pixels)


def shortened(settings: Settings, iteration: int) -> dict[str, object]:
    """The settings that change if a run ends after so many iterations."""
    ends = np.minimum(np.cumsum(settings.iterations_by_scale()), iteration)
    shares = np.diff(ends, prepend=0).tolist()
    return {"iterations": iteration} | ({"scale_shares": shares} if len(shares) > 1 else {})
