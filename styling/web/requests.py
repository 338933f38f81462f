"""Requests to the page: their bodies and forms."""

import json

from starlette.requests import Request

from styling.system.errors import ImageError, StyleError

MOST_FORM_BYTES = 2**14
NO_FORM = "this is no form of the page; load it again"


async def body(request: Request, most: int) -> bytes:
    """A request's body. Raises ImageError if it is larger than `most` bytes."""
    problem = f"the file has more than {most // 2**20} MiB, which is the most here; make it smaller first"
    if int(request.headers.get("content-length", 0)) > most:
        raise ImageError(problem)
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > most:
            raise ImageError(problem)
    return bytes(data)


async def form_of(request: Request) -> dict[str, object]:
    """A request's form. Raises StyleError if the request has no form."""
    try:
        form = json.loads(await body(request, MOST_FORM_BYTES))
    except (ValueError, RecursionError):
        form = None
    if not isinstance(form, dict):
        raise StyleError(NO_FORM)
    return form
