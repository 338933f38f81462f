"""The view of a run on the command line: --live serves it, for looking only, until the run ends."""

import contextlib
from collections.abc import Iterator

from starlette.applications import Starlette
from starlette.routing import Route

from styling.live import address, http
from styling.live.view import View


@contextlib.contextmanager
def watched(port: int) -> Iterator[tuple[View, str]]:
    """The view of a run, served within the context, and its address."""
    view, host = View(), address.LOOPBACK[0]
    listening = address.bind("live", host, port)
    with http.serving(http.Guard(run_app(view), host), listening):
        yield view, f"http://{host}:{listening.getsockname()[1]}/"


def run_app(view: View) -> Starlette:
    """The view of a run on the command line: the same page, without the form."""
    answers = {
        "/": lambda request: http.page(request, "live.html"),
        "/events": lambda request: http.events(lambda: {"run": {"status": "painting", **view.facts}}),
        "/seen.jpg": lambda request: http.picture(view),
    }
    return http.application([Route(path, answer) for path, answer in answers.items()])
