"""The page to paint in: its HTTP requests.

No request names a path: pictures are found by their keys in the studio.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from styling.live import http
from styling.live.view import jpeg
from styling.network import networks
from styling.pictures import images
from styling.settings import FIELDS
from styling.settings.checks import choices
from styling.system.errors import StyleError
from styling.web import form as forms
from styling.web.painter import EXAMPLE, Painter
from styling.web.studio import SENT, Form, Picture, Studio

# Settings that have a control of their own on the page; the others are listed as the expert's.
CONTROLS = ("max_size", "style_weight", "style_scales", "style_blend_weights")


class Page:
    """The page to paint in. Plain functions answer in a thread of their own each."""

    def __init__(self, studio: Studio, painter: Painter) -> None:
        self._studio, self._painter = studio, painter

    def app(self) -> Starlette:
        """The routes."""
        routes = [
            Route("/", self.index),
            Route("/events", lambda request: http.events(self.facts)),
            Route("/seen.jpg", self.seen),
            Route("/images/{key}", self.image),
            Route("/results/{key}", self.result),
            Route("/images", self.upload, methods=["POST"]),
            Route("/remove/{key}", self.remove, methods=["POST"]),
            Route("/estimate", of_form(self.estimate), methods=["POST"]),
            Route("/preview", of_form(self.preview), methods=["POST"]),
            Route("/paint", of_form(self.paint), methods=["POST"]),
            Route("/stop", self.stop, methods=["POST"]),
            Route("/go-on", self.go_on, methods=["POST"]),
        ]
        return http.application(routes, self._studio.without_folders)

    def index(self, request: Request) -> Response:
        """The page itself."""
        studio, painter = self._studio, self._painter
        data = {
            "images": [told(key, picture) for key, picture in studio.pictures.copy().items()],
            "recipes": forms.offered(painter.network),
            "example": msgspec.to_builtins(EXAMPLE),
            "preview": msgspec.to_builtins(painter.look),
        }
        others = [FIELDS[name] for name in forms.NAMES if name not in CONTROLS]
        network = networks.describe(painter.path)
        return http.page(request, "index.html", data=data, settings=others, values=values, network=network)

    def facts(self) -> dict[str, object]:
        """The results and the run; in this order, so that the run's own result is there when it ends."""
        results = [told(key, picture) for key, picture in self._studio.results.items()]
        run = self._painter.task.told() if self._painter.task else {"status": "none"}
        return {"results": {"all": results, "resumable": self._studio.resumable}, "run": run}

    def seen(self, request: Request) -> Response:
        """The picture of the latest task so far."""
        return http.picture(self._painter.task.view if self._painter.task else None)

    def image(self, request: Request) -> Response:
        """A small version of a picture; of a film, the frame that is named."""
        key, studio = request.path_params["key"], self._studio
        if key not in studio.pictures:
            raise HTTPException(404, "there is no such image")
        number = request.query_params.get("frame", "")
        return FileResponse(studio.small(studio.frame(key, int(number)) if number.isdecimal() else key))

    def result(self, request: Request) -> Response:
        """A result: the file itself, a JPEG or a ZIP with what makes it again; of a film, the frame that is
        named."""
        key, studio, asked = request.path_params["key"], self._studio, request.query_params
        number, path = asked.get("frame", ""), Path()
        if key in studio.results:
            path = studio.film(key).path(int(number)) if number.isdecimal() else studio.path(key)
        if key in studio.results and asked.get("as") == "zip":
            return Response(forms.packed(key, studio), media_type="application/zip")
        if not path.is_file():
            raise HTTPException(404, "there is no such result")
        if asked.get("as") == "jpg":
            pixels = images.read(path)
            return Response(jpeg(pixels, max(pixels.shape), quality=95), media_type="image/jpeg")
        return FileResponse(path)

    async def upload(self, request: Request) -> Response:
        """Receive an image or a film; its name and kind are in the query."""
        kind, name = request.query_params.get("kind", SENT[0]), request.query_params.get("name", "")
        if kind not in SENT:
            raise HTTPException(404, "there is no such kind of image")
        with tempfile.TemporaryDirectory(dir=self._studio.folder, ignore_cleanup_errors=True) as folder:
            sent = Path(folder, "sent")
            with open(sent, "wb") as file:
                async for part in request.stream():
                    file.write(part)
            key = await run_in_threadpool(self._studio.upload, sent, name, kind)
        return JSONResponse(told(key, self._studio.pictures[key]))

    def remove(self, request: Request) -> Response:
        """Remove a picture."""
        self._studio.remove(request.path_params["key"])
        return JSONResponse({})

    def estimate(self, form: Form) -> dict[str, object]:
        """The seconds that a form's picture will take here, those of its film, and its size; nothing for a
        form that can't be painted yet."""
        try:
            job = self._painter.job(forms.words(form, self._studio))
            content = self._studio.pictures[form.content or ""]
            (one, size), (film, _) = (forms.updates(job, content.size, n) for n in (1, content.frames))
        except (StyleError, KeyError):
            return {}
        return {"seconds": self._painter.seconds(one), "film": self._painter.seconds(film), "size": size}

    def preview(self, form: Form) -> dict[str, object]:
        """Paint a first look; returns its number."""
        return {"number": self._painter.put(form, forms.words(form, self._studio))}

    def paint(self, form: Form) -> dict[str, object]:
        """Paint a picture, or a film, from a form."""
        words, ending = forms.words(form, self._studio), "mp4" if form.film else "png"
        stems = [Path(key).stem for key in (form.content, *form.styles) if key]
        self._painter.put(form, words, self._studio.free_key(f"{'-'.join(stems[:3])}.{ending}"))
        return {}

    def stop(self, request: Request) -> Response:
        """Stop the run, and keep the picture so far."""
        self._painter.stop()
        return JSONResponse({})

    def go_on(self, request: Request) -> Response:
        """Continue the run that was stopped last."""
        key = self._studio.resumable
        if key is None:
            raise StyleError("There is nothing to go on with; paint again.")
        form = self._studio.pictures[key].form
        words = forms.words(form, self._studio) if form.film else [f"--resume={self._studio.state}"]
        self._painter.put(form, words, key)
        return JSONResponse({})


def told(key: str, picture: Picture) -> dict[str, Any]:
    """The facts about a picture that the page gets."""
    return {"key": key, **msgspec.to_builtins(picture)}


def values(kind: Any) -> tuple[str, ...]:
    """The values that a type of settings allows, as typed, if there are only a few."""
    return ("yes", "no") if kind is bool else choices(kind)


def of_form(answer: Callable[[Form], dict[str, object]]) -> Callable:
    """What answers a request that holds a form. Raises msgspec.MsgspecError for anything else."""

    async def answered(request: Request) -> Response:
        form = msgspec.json.decode(await request.body(), type=Form)
        return JSONResponse(await run_in_threadpool(answer, form))

    return answered
