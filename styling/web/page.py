"""The page to paint in: its HTTP requests.

No request names a path: images and results are found by their keys in the visitor's own session.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from styling.live import http
from styling.network import networks
from styling.system.errors import StyleError
from styling.web import form as forms
from styling.web import requests
from styling.web.painter import Painter, Task
from styling.web.sessions import MOST_BYTES, SENT, Session, Sessions

UPLOAD_SECONDS, UPLOADS = 120, 4  # the time for an upload; uploads at a time, since each takes memory
SECONDS_BETWEEN_TIDIES = 1


class Page:
    """The page to paint in. port: part of the cookie's name, since a host's ports share their cookies."""

    def __init__(self, sessions: Sessions, painter: Painter, port: int) -> None:
        self._sessions, self._painter = sessions, painter
        self._cookie = f"neural-style-{port}"
        self._uploads = asyncio.Semaphore(UPLOADS)

    def app(self) -> Starlette:
        """The routes."""
        routes = [
            Route("/", self.index),
            Route("/events", self.events),
            Route("/seen.jpg", self.seen),
            Route("/images/{key}", self.preview),
            Route("/results/{file}", self.result),
            Route("/images", self.upload, methods=["POST"]),
            Route("/paint", self.paint, methods=["POST"]),
            Route("/stop", self.stop, methods=["POST"]),
            Route("/go-on", self.go_on, methods=["POST"]),
        ]
        return http.application(routes, self._tidying)

    @contextlib.asynccontextmanager
    async def _tidying(self, app: Starlette) -> AsyncIterator[None]:
        async def tidy() -> None:
            while True:
                await asyncio.sleep(SECONDS_BETWEEN_TIDIES)
                self._sessions.tidy()

        task = asyncio.create_task(tidy())
        yield
        task.cancel()

    async def index(self, request: Request) -> Response:
        """The page itself; begins a session for a visitor who has none."""
        key = request.cookies.get(self._cookie)
        if self._sessions.find(key) is None:
            key = self._sessions.begin()
        session = self._sessions.find(key)
        data = {
            "images": [_told(key, session) for key in list(session.pictures)],
            "recipes": forms.offered(self._painter.network),
            "mostBytes": MOST_BYTES,
        }
        context = {"data": data, "fields": forms.fields(), "network": networks.describe(self._painter.path)}
        response = http.TEMPLATES.TemplateResponse(request, "index.html", context)
        response.set_cookie(self._cookie, key, httponly=True, samesite="strict")
        return response

    async def events(self, request: Request) -> Response:
        """The session's run and its results, sent whenever they change."""
        session = self._session(request)

        def facts() -> dict[str, object]:
            task, results = session.task, [asdict(result) for result in list(session.results.values())]
            run = task.told() | {"before": self._painter.before(task)} if task else {"status": "none"}
            return {"run": run, "results": {"all": results, "resumable": session.resumable}}

        async def stream() -> AsyncIterator[str]:
            session.open += 1
            try:
                async for event in http.changes(facts):
                    yield event
            finally:
                session.open -= 1
                session.left = time.monotonic()

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def seen(self, request: Request) -> Response:
        """The picture of the run so far."""
        task = self._session(request).task
        return http.jpeg(task.view if task else None)

    async def preview(self, request: Request) -> Response:
        """A small version of an image."""
        picture = self._session(request).pictures.get(request.path_params["key"])
        if picture is None:
            raise HTTPException(404, "there is no such image")
        return FileResponse(picture.preview)

    async def result(self, request: Request) -> Response:
        """A file of a result: NAME.png or NAME.toml."""
        session, (name, _, kind) = self._session(request), request.path_params["file"].rpartition(".")
        if name not in session.results or kind not in ("png", "toml"):
            raise HTTPException(404, "there is no such result")
        return FileResponse(session.file(name, kind))

    async def upload(self, request: Request) -> Response:
        """Receive an image; its name and kind are in the query."""
        session, query = self._session(request), request.query_params
        kind = query.get("kind") if query.get("kind") in SENT else SENT[0]
        async with self._uploads:
            try:
                data = await asyncio.wait_for(requests.body(request, MOST_BYTES), UPLOAD_SECONDS)
            except TimeoutError:
                raise StyleError("the image took too long to arrive; make it smaller first") from None
            key = await run_in_threadpool(session.upload, data, query.get("name", ""), kind)
        return JSONResponse(_told(key, session))

    async def paint(self, request: Request) -> Response:
        """Paint a picture from a form."""
        session = self._session(request)
        form = await requests.form_of(request)
        words = [*forms.words(form, session.pictures), f"--save-state={session.state}"]
        await self._put(session, form, words)
        return JSONResponse({})

    async def stop(self, request: Request) -> Response:
        """Stop the session's run, and keep the picture so far."""
        session = self._session(request)
        if session.is_busy:
            self._painter.stop(session.task)
        return JSONResponse({})

    async def go_on(self, request: Request) -> Response:
        """Continue the run that was stopped last."""
        session = self._session(request)
        before = session.results.get(session.resumable or "")
        if before is None:
            raise StyleError("there is nothing to go on with; paint again")
        await self._put(session, before.form, [f"--resume={session.state}"])
        return JSONResponse({})

    async def _put(self, session: Session, form: dict[str, object], words: list[str]) -> None:
        """Queue a run with these flags, and remember the form that they come from."""
        words += [*self._painter.words(), f"--output={session.folder / 'picture.png'}"]
        try:
            job = await run_in_threadpool(forms.job, words)
        except (StyleError, OSError) as error:
            raise StyleError(session.in_words(str(error))) from None
        self._painter.put(Task(session, job, form))

    def _session(self, request: Request) -> Session:
        session = self._sessions.find(request.cookies.get(self._cookie))
        if session is None:
            raise HTTPException(403, "the session has ended; load the page anew")
        return session


def _told(key: str, session: Session) -> dict[str, object]:
    """The facts about an image that the page gets."""
    picture = session.pictures[key]
    return {"key": key, "name": Path(picture.name).name, "kind": picture.kind}
