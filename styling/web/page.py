"""The page to paint in: its HTTP requests.

No request names a path: pictures are found by their keys in the studio.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from styling.live import http
from styling.live.view import jpeg
from styling.network import networks
from styling.pictures import images
from styling.settings import FIELDS
from styling.settings.checks import choices
from styling.web import form as forms
from styling.web.painter import EXAMPLE, Painter
from styling.web.studio import SENT, Form, cleaned

# Settings that have a control of their own on the page; the others are listed as the expert's.
CONTROLS = ("max_size", "style_weight", "style_scales", "style_blend_weights")


class Page:
    """The page to paint in. Plain functions answer in a thread of their own each."""

    def __init__(self, painter: Painter) -> None:
        self._painter, self._studio = painter, painter.studio

    def app(self) -> Starlette:
        """The routes."""
        painter = self._painter
        actions = (painter.estimate, painter.paint, painter.stop, painter.go_on)
        routes = [
            Route("/", self.index),
            Route("/events", lambda request: http.events(self.facts)),
            Route("/seen.jpg", lambda request: http.picture(painter.task)),
            Route("/images/{key}", self.image),
            Route("/results/{key}", self.result),
            Route("/images", self.upload, methods=["POST"]),
            Route("/remove/{key}", self.remove, methods=["POST"]),
            Route("/look", asked(painter.begin), methods=["POST"]),
            *(Route(f"/{act.__name__}", asked(act), methods=["POST"]) for act in actions),
        ]
        return http.application(routes, self._studio.without_folders)

    def index(self, request: Request) -> Response:
        """The page itself."""
        painter = self._painter
        data = {
            "images": [*self._studio.pictures.values()],
            "recipes": forms.offered(painter.network),
            "example": EXAMPLE,
            "look": painter.first_look,
        }
        texts = {
            "settings": [FIELDS[name] for name in forms.NAMES if name not in CONTROLS],
            "choices": lambda kind: ("on", "off") if kind is bool else choices(kind),
            "network": networks.describe(painter.path),
        }
        return http.page(request, "index.html", data=msgspec.to_builtins(data), **texts)

    def facts(self) -> dict[str, object]:
        """The results and the run; in this order, so that the run's own result is there when it ends."""
        results = {"all": self._studio.results, "resumable": self._studio.resumable}
        return {"results": results, "run": self._painter.task.facts if self._painter.task else {}}

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
        key, studio, query = request.path_params["key"], self._studio, request.query_params
        if key not in studio.pictures or studio.pictures[key].kind != "result":
            raise HTTPException(404, "there is no such result")
        number = query.get("frame", "")
        path = studio.film(key).path(int(number)) if number.isdecimal() else studio.path(key)
        if not path.is_file():
            raise HTTPException(404, "there is no such result")
        if query.get("as") == "zip":
            return Response(forms.packed(key, studio), media_type="application/zip")
        if query.get("as") == "jpg":
            pixels = images.read(path)
            return Response(jpeg(pixels, max(pixels.shape), quality=95), media_type="image/jpeg")
        return FileResponse(path)

    async def upload(self, request: Request) -> Response:
        """Receive an image or a film; its name and kind are in the query."""
        kind, name = request.query_params.get("kind"), request.query_params.get("name", "")
        if kind not in SENT:
            raise HTTPException(404, "there is no such kind of image")
        with tempfile.TemporaryDirectory(dir=self._studio.sent, ignore_cleanup_errors=True) as folder:
            sent = Path(folder, cleaned(name))
            with open(sent, "wb") as file:
                async for part in request.stream():
                    file.write(part)
            return http.json(await run_in_threadpool(self._studio.upload, sent, kind))

    def remove(self, request: Request) -> Response:
        """Remove a picture."""
        self._studio.remove(request.path_params["key"])
        return http.json({})


def asked(act: Callable[[Form], object]) -> Callable:
    """What answers a request that holds a form. Raises msgspec.MsgspecError for anything else."""

    async def answered(request: Request) -> Response:
        form = msgspec.json.decode(await request.body() or b"{}", type=Form)
        return http.json(await run_in_threadpool(act, form) or {})

    return answered
