"""HTTP for the page and for the view of a run: which requests are allowed, and how answers are sent."""

import asyncio
import base64
import contextlib
import ipaddress
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Receive, Scope, Send

from styling.live import address
from styling.live.address import LOOPBACK
from styling.live.view import View
from styling.system.errors import SettingsError, StyleError
from styling.system.files import data_folder
from styling.system.process import explain

SECONDS_BETWEEN_EVENTS = 0.25
COOKIE = f"neural-style-{secrets.token_urlsafe()}"  # a new one each time that the program starts
FOLDER = data_folder() / "web"
TEMPLATES = Jinja2Templates(FOLDER)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
ASKS_PASSWORD = {"WWW-Authenticate": 'Basic realm="neural-style", charset="UTF-8"'}


class Guard:
    """Allows only requests from the program's own pages and, if there is a password, with the password.

    host: the address that the server listens to. public_name: of the reverse proxy before the page, if any. A
    request under another host name is refused, since foreign sites can make their names point here. A request
    that would change something must come from the page: from its origin or, since a proxy changes that,
    with the cookie that the page got, which browsers do not send for a foreign page.
    """

    def __init__(self, app: ASGIApp, host: str, password: str = "", public_name: str = "") -> None:
        self._app, self._password, self._names = app, password, {*LOOPBACK, public_name}
        self._is_open = host not in LOOPBACK
        if self._is_open:  # as other machines know this one
            name = socket.gethostname().lower()
            short = name.partition(".")[0]
            self._names |= {host.lower(), name, short, f"{short}.local"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have the application answer it."""
        refusal = self._refusal(Request(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        headers = request.headers
        if not self._is_here(headers.get("host", "")):
            return json({"error": "this is not a name of this machine; see --host and --public-name"}, 403)
        if self._password and not knows(self._password, headers.get("authorization", "")):
            return json({"error": "the password is needed"}, 401, ASKS_PASSWORD)
        is_own = COOKIE in request.cookies or headers.get("origin") == f"http://{headers.get('host')}"
        is_foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if (request.method not in ("GET", "HEAD") and not is_own) or (is_foreign and request.url.path != "/"):
            return json({"error": "only the program's own page may ask for this"}, 403)
        return None

    def _is_here(self, host: str) -> bool:
        try:  # others can make a name point here, but not an address
            name = str(urlsplit(f"//{host}").hostname)
            return name in self._names or (self._is_open and bool(ipaddress.ip_address(name)))
        except ValueError:
            return False


def knows(password: str, authorization: str) -> bool:
    """Whether a request's header has the password."""
    kind, _, value = authorization.partition(" ")
    try:
        told = base64.b64decode(value).partition(b":")[2]
    except ValueError:
        return False
    return kind.lower() == "basic" and secrets.compare_digest(told, password.encode())


@contextlib.contextmanager
def serving(app: ASGIApp, listening: socket.socket) -> Iterator[None]:
    """Serve from a thread within the context, which ends without waiting for the streams of events."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="error",
        ws="none",
        headers=list(HEADERS.items()),
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def watched(port: int) -> Iterator[tuple[View, str]]:
    """The view of a run on the command line, for looking only, served within the context; and its address."""
    view, host = View(status="painting"), LOOPBACK[0]
    routes = [
        Route("/", lambda request: page(request, "live.html")),
        Route("/events", lambda request: events(lambda: {"run": view.facts})),
        Route("/seen.jpg", lambda request: picture(view)),
    ]
    listening = address.bind("live", host, port)
    with serving(Guard(application(routes), host), listening):
        yield view, address.url(host, listening)


def application(routes: list[Route], for_people: Callable[[str], str] = str) -> Starlette:
    """An application with the files of the page. Its errors are one line for people, as JSON."""

    async def refused(request: Request, problem: Exception) -> Response:
        if isinstance(problem, SettingsError):
            return json({"error": for_people(problem.problem), "field": problem.name}, 400)
        return json({"error": for_people(explain(problem))}, 400)

    kinds = (StyleError, OSError, ClientDisconnect, msgspec.MsgspecError)
    files = Mount("/page", StaticFiles(directory=FOLDER))
    return Starlette(routes=[*routes, files], exception_handlers=dict.fromkeys(kinds, refused))


def json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer to a script of the page."""
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def page(request: Request, name: str, **context: object) -> Response:
    """The page of a template, with the cookie that lets it ask for changes."""
    answer = TEMPLATES.TemplateResponse(request, name, context)
    answer.set_cookie(COOKIE, "own", httponly=True, samesite="strict")
    return answer


def picture(view: View | None) -> Response:
    """The picture of a run so far."""
    if view is None or not view.jpeg:
        raise HTTPException(404, "there is no picture yet")
    return Response(view.jpeg, media_type="image/jpeg")


def events(facts: Callable[[], dict[str, object]]) -> Response:
    """A stream of facts by name, each sent when it has changed; comments between keep the connection."""

    async def changes() -> AsyncIterator[str]:
        sent: dict[str, str] = {}
        while True:
            now = {name: msgspec.json.encode(value).decode() for name, value in facts().items()}
            news = [f"event: {name}\ndata: {now[name]}\n\n" for name in now if now[name] != sent.get(name)]
            yield "".join(news) or ":\n\n"
            sent = now
            await asyncio.sleep(SECONDS_BETWEEN_EVENTS)

    return StreamingResponse(changes(), media_type="text/event-stream")
