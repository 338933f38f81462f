"""HTTP for the page and for the view of a run: which requests are allowed, and how answers are sent."""

import asyncio
import base64
import contextlib
import ipaddress
import json
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import uvicorn
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from styling.live.address import LOOPBACK, machine_names
from styling.live.view import Seen
from styling.system.errors import StyleError
from styling.system.files import data_folder
from styling.system.process import explain

SECONDS_BETWEEN_EVENTS, SECONDS_BETWEEN_SIGNS = 0.25, 5
MOST_CONNECTIONS, SECONDS_AFTER_WRONG_PASSWORD = 300, 1
COOKIE = "neural-style"
FOLDER = data_folder() / "web"
TEMPLATES = Jinja2Templates(
    env=Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """Allows only requests from the program's own pages and, if there is a password, with the password.

    host: the address that the server listens to. public_name: of the reverse proxy before the page, if any. A
    request under another host name is refused, since foreign sites can make their names point here. A request
    that would change something must come from the page: from its origin or, since a proxy changes that,
    with the cookie that the page got, which browsers do not send for a foreign page.
    """

    def __init__(
        self, app: ASGIApp, host: str, password: str | None = None, public_name: str | None = None
    ) -> None:
        self._app, self._password, self._public_name = app, password, public_name
        self._is_open = host not in LOOPBACK
        self._token = secrets.token_urlsafe()
        self._names = {*LOOPBACK, *((host.lower(), *machine_names()) if self._is_open else ()), public_name}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have the application answer it."""
        refusal = self._refusal(Request(scope)) if scope["type"] == "http" else None
        if refusal and refusal.status_code == 401:
            await asyncio.sleep(SECONDS_AFTER_WRONG_PASSWORD)
        is_page = scope["type"] == "http" and scope["path"] == "/"
        await (refusal or self._app)(scope, receive, self._with_cookie(send) if is_page else send)

    def _with_cookie(self, send: Send) -> Send:
        cookie = f"{COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict".encode()

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                message["headers"] = [*message["headers"], (b"set-cookie", cookie)]
            await send(message)

        return send_with_cookie

    def _refusal(self, request: Request) -> Response | None:
        host, site = request.headers.get("host", ""), request.headers.get("sec-fetch-site", "none")
        if not self._is_here(host):
            return error("this is not a name of this machine; see --host and --public-name", 403)
        if self._password and not knows(self._password, request.headers.get("authorization", "")):
            refusal = error("the password is needed", 401)
            refusal.headers["WWW-Authenticate"] = 'Basic realm="neural-style", charset="UTF-8"'
            return refusal
        origin, changes = request.headers.get("origin", ""), request.method not in ("GET", "HEAD")
        is_own = origin == f"http://{host}" or (self._public_name and name_of(origin) == self._public_name)
        cookie = request.cookies.get(COOKIE, "")
        is_own = is_own or secrets.compare_digest(cookie.encode(), self._token.encode())
        if (changes and not is_own) or (site not in ("none", "same-origin") and request.url.path != "/"):
            return error("only the program's own page may ask for this", 403)
        return None

    def _is_here(self, host: str) -> bool:
        name = name_of(f"//{host}")
        if name in self._names:
            return True
        try:  # others can make a name point here, but not an address
            return self._is_open and bool(ipaddress.ip_address(name))
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


def name_of(url: str) -> str:
    """The name or the address in a URL; nothing if it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def server(app: ASGIApp) -> uvicorn.Server:
    """A server, to be run with sockets."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            headers=list(HEADERS.items()),
            ws="none",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
    )


@contextlib.contextmanager
def serving(app: ASGIApp, listening: socket.socket) -> Iterator[None]:
    """Serve from a thread within the context."""
    own = server(app)
    thread = threading.Thread(target=own.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        own.should_exit = True
        thread.join()


def application(routes: list[Route]) -> Starlette:
    """An application whose errors are one line of text, as JSON."""

    async def refused(request: Request, problem: Exception) -> Response:
        if isinstance(problem, HTTPException):
            return error(problem.detail, problem.status_code)
        return error(explain(problem), 400, getattr(problem, "field", None))

    handlers = dict.fromkeys((StyleError, OSError, HTTPException, ClientDisconnect), refused)
    files = Mount("/page", StaticFiles(directory=FOLDER))
    return Starlette(routes=[*routes, files], exception_handlers=handlers)


def error(line: str, status: int, field: str | None = None) -> JSONResponse:
    """An error's line, for the page, and the field that it is about."""
    return JSONResponse({"error": line, "field": field}, status)


def jpeg(seen: Seen | None) -> Response:
    """The picture of a run so far."""
    if seen is None or not seen.jpeg:
        raise HTTPException(404, "there is no picture yet")
    return Response(seen.jpeg, media_type="image/jpeg")


async def changes(facts: Callable[[], dict[str, object]]) -> AsyncIterator[str]:
    """Events, each sent when it differs from the last one of its name, and a keep-alive now and then."""
    sent: dict[str, str] = {}
    clock = asyncio.get_running_loop().time
    next_sign = clock() + SECONDS_BETWEEN_SIGNS
    while True:
        for name, value in facts().items():
            text = json.dumps(value)
            if sent.get(name) != text:
                sent[name] = text
                yield f"event: {name}\ndata: {text}\n\n"
        if clock() >= next_sign:
            next_sign = clock() + SECONDS_BETWEEN_SIGNS
            yield ": here\n\n"
        await asyncio.sleep(SECONDS_BETWEEN_EVENTS)
