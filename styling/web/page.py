"""The page to paint in: its HTTP requests.

No request names a path: images and results are found by their keys in the studio.
"""

import contextlib
import json
import tempfile
from concurrent.futures import CancelledError
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imageio.v3 as iio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from styling.command.jobs import Job
from styling.live import http
from styling.network import networks
from styling.system.errors import ImageError, StyleError
from styling.web import form as forms
from styling.web.painter import Painter, Task
from styling.web.studio import SENT, Studio

MOST_BYTES, MOST_FORM_BYTES = 2**30, 2**16  # of a file, of a form
STARTING = 2  # seconds before the first update
EXAMPLE = {"content": "harbour", "style": "watercolour", "size": (640, 426)}


class Page:
    """The page to paint in."""

    def __init__(self, studio: Studio, painter: Painter) -> None:
        self._studio, self._painter = studio, painter

    def app(self) -> Starlette:
        """The routes."""
        routes = [
            Route("/", self.index),
            Route("/events", self.events),
            Route("/seen.jpg", self.seen),
            Route("/images/{key}", self.image),
            Route("/results/{file}", self.result),
            Route("/images", self.upload, methods=["POST"]),
            Route("/remove/{key}", self.remove, methods=["POST"]),
            Route("/estimate", self.estimate, methods=["POST"]),
            Route("/preview", self.preview, methods=["POST"]),
            Route("/paint", self.paint, methods=["POST"]),
            Route("/stop", self.stop, methods=["POST"]),
            Route("/go-on", self.go_on, methods=["POST"]),
        ]
        return http.application(routes)

    def measure(self) -> None:
        """Paint a small example, so that the pace of this machine is known and its functions are compiled."""
        form = {"content": EXAMPLE["content"], "styles": [EXAMPLE["style"]], **forms.SHORT}
        words = [*forms.words(form, self._studio), *self._painter.words()]
        # It is only an estimate, and the program may end meanwhile.
        with contextlib.suppress(StyleError, RuntimeError, CancelledError):
            output = f"--output={self._studio.folder / 'look.png'}"
            self._painter.first_look(forms.job([*words, output], self._studio))

    async def index(self, request: Request) -> Response:
        """The page itself."""
        data = {
            "images": [
                self._told(key) for key in list(self._studio.pictures) if key not in self._studio.results
            ],
            "recipes": forms.offered(self._painter.network),
            "example": EXAMPLE,
            "preview": forms.ONE_PASS if networks.is_small(self._painter.path) else forms.SHORT,
        }
        context = {"data": data, "fields": forms.fields(), "network": networks.describe(self._painter.path)}
        return http.TEMPLATES.TemplateResponse(request, "index.html", context)

    async def events(self, request: Request) -> Response:
        """The run and the results, sent whenever they change."""

        def facts() -> dict[str, object]:
            task, studio = self._painter.task, self._studio
            results = [asdict(result) for result in list(studio.results.values())]
            run = (
                task.told() if task else {"status": "none"}
            )  # taken after the results, so that its own is there
            return {"results": {"all": results, "resumable": studio.resumable}, "run": run}

        return StreamingResponse(http.changes(facts), media_type="text/event-stream")

    async def seen(self, request: Request) -> Response:
        """The picture of the run so far, or the latest first look."""
        task = self._painter.task
        if "look" in request.query_params:
            return http.jpeg(self._painter.look)
        return http.jpeg(task.seen if task else None)

    async def image(self, request: Request) -> Response:
        """A small version of an image; of a film, the frame that is named."""
        key, frame = request.path_params["key"], request.query_params.get("frame", "")
        if key not in self._studio.pictures:
            raise HTTPException(404, "there is no such image")
        if frame.isascii() and frame.isdigit() and 1 <= int(frame) <= self._studio.pictures[key].frames > 1:
            key = await run_in_threadpool(self._studio.frame, key, int(frame))
        return FileResponse(self._studio.pictures[key].preview)

    async def result(self, request: Request) -> Response:
        """A file of a result: NAME.png, .jpg, .mp4, .zip; of a film, NAME.png?frame=N."""
        (name, _, ending), studio = request.path_params["file"].rpartition("."), self._studio
        frame, result = request.query_params.get("frame", ""), studio.results.get(name)
        path = studio.file(name, "png" if ending == "jpg" else ending) if result else None
        if result and ending == "zip":
            return Response(await run_in_threadpool(studio.packed, name), media_type="application/zip")
        if result and frame.isascii() and frame.isdigit():
            path = studio.film(name).path(int(frame))
        if path is None or ending not in ("png", "jpg", "mp4") or not path.is_file():
            raise HTTPException(404, "there is no such result")
        if ending == "jpg":
            jpeg = iio.imwrite("<bytes>", iio.imread(path), plugin="pillow", extension=".jpg", quality=95)
            return Response(jpeg, media_type="image/jpeg")
        return FileResponse(path)

    async def upload(self, request: Request) -> Response:
        """Receive an image or a film; its name and kind are in the query."""
        kind = request.query_params.get("kind", SENT[0])
        if kind not in SENT:
            raise StyleError(forms.NO_FORM)
        with tempfile.TemporaryDirectory(dir=self._studio.folder, ignore_cleanup_errors=True) as folder:
            sent, size = Path(folder, "sent"), 0
            with open(sent, "wb") as file:
                async for part in request.stream():
                    size += file.write(part)
                    if size > MOST_BYTES:
                        raise ImageError(
                            f"the file has more than {MOST_BYTES >> 20} MiB; make it smaller first"
                        )
            key = await run_in_threadpool(
                self._studio.upload, sent, request.query_params.get("name", ""), kind
            )
        return JSONResponse(self._told(key))

    async def remove(self, request: Request) -> Response:
        """Remove an image or a result."""
        self._studio.remove(request.path_params["key"])
        return JSONResponse({})

    async def estimate(self, request: Request) -> Response:
        """The seconds that a form's picture will take here, those of its film, and its size; nothing for a
        form that can't be painted yet."""
        form = await self._form(request)
        content = self._studio.pictures.get(str(form.get("content")))
        if content is None:
            return JSONResponse({})
        try:
            job = await self._job(await run_in_threadpool(forms.words, form, self._studio), "estimate.png")
            (one, size), (film, _) = (forms.updates(job, content.size, n) for n in (1, content.frames))
        except StyleError:
            return JSONResponse({})
        pace = self._painter.pace
        return JSONResponse({"seconds": STARTING + one * pace, "film": STARTING + film * pace, "size": size})

    async def preview(self, request: Request) -> Response:
        """Paint a first look; `picture` is its number, none if something newer was asked for."""
        words = await run_in_threadpool(forms.words, await self._form(request), self._studio)
        job = await self._job(words, "preview.png")
        return JSONResponse({"picture": await run_in_threadpool(self._painter.first_look, job)})

    async def paint(self, request: Request) -> Response:
        """Paint a picture, or a film, from a form."""
        form, studio = await self._form(request), self._studio
        words = await run_in_threadpool(forms.words, form, studio)
        stems = [
            Path(studio.pictures[key].name).stem for key in [form.get("content"), *form["styles"]] if key
        ]
        await self._put(form, words, studio.free_name("-".join(stems[:3])))
        return JSONResponse({})

    async def stop(self, request: Request) -> Response:
        """Stop the run, and keep the picture so far."""
        if self._painter.task:
            self._painter.task.stop.set()
        return JSONResponse({})

    async def go_on(self, request: Request) -> Response:
        """Continue the run that was stopped last."""
        name = self._studio.resumable
        if name is None:
            raise StyleError("There is nothing to go on with; paint again.")
        result = self._studio.results[name]
        words = (
            forms.words(result.form, self._studio) if result.frames else [f"--resume={self._studio.state}"]
        )
        await self._put(result.form, words, name)
        return JSONResponse({})

    async def _put(self, form: dict[str, object], words: list[str], name: str) -> None:
        """Have a run with these flags painted."""
        is_film = form.get("film") is True
        ending = "mp4" if is_film else "png"
        job = await self._job(words, f"{name}.{ending}")
        if job.settings.iterations and not (is_film or job.saved):  # one pass has no state to save
            job = await self._job([*words, f"--save-state={self._studio.state}"], f"{name}.{ending}")
        words = [*words, *self._painter.words(), f"--output={self._studio.file(name, ending)}"]
        self._painter.put(Task(job, form, name, words))

    async def _job(self, words: list[str], output: str) -> Job:
        """The job of these flags with the painter's."""
        words = [*words, *self._painter.words(), f"--output={self._studio.folder / output}"]
        return await run_in_threadpool(forms.job, words, self._studio)

    async def _form(self, request: Request) -> dict[str, Any]:
        """The form in a request. Raises StyleError if there is none."""
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > MOST_FORM_BYTES:
                raise StyleError(forms.NO_FORM)
        try:
            form = json.loads(data)
        except (ValueError, RecursionError):
            form = None
        if not isinstance(form, dict):
            raise StyleError(forms.NO_FORM)
        return form

    def _told(self, key: str) -> dict[str, object]:
        """The facts about an image that the page gets."""
        picture = self._studio.pictures[key]
        return {
            "key": key,
            "name": picture.name,
            "kind": picture.kind,
            "own": picture.own,
            "frames": picture.frames,
        }
