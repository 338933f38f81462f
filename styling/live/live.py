"""The view of a run on the command line: --live serves it, for looking only, until the run ends."""

import contextlib
from collections.abc import Iterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from styling.live import address, http
from styling.live.view import View
from styling.settings import Settings


@contextlib.contextmanager
def watched(port: int, settings: Settings) -> Iterator[tuple[View, str]]:
    """The view of a run with these settings, served within the context, and its address."""
    host = address.LOOPBACK[0]
    view, listening = View(settings), address.bind("live", host, port)
    with http.serving(http.Guard(run_app(view), host), listening):
        yield view, f"http://{host}:{listening.getsockname()[1]}/"


def run_app(view: View) -> Starlette:
    """The view of a run on the command line: the same page, without the form."""

    def facts() -> dict[str, object]:
        return {"run": {"run": 0, "status": "painting", **view.seen.told()}}

    async def index(request: Request) -> Response:
        return http.TEMPLATES.TemplateResponse(request, "live.html")

    async def events(request: Request) -> Response:
        return StreamingResponse(http.changes(facts), media_type="text/event-stream")

    async def seen(request: Request) -> Response:
        return http.jpeg(view.seen)

    return http.application([Route("/", index), Route("/events", events), Route("/seen.jpg", seen)])
