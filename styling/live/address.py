"""The address at which a page is served."""

import contextlib
import errno
import importlib.util
import socket

from styling.system.errors import SettingsError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_installed() -> bool:
    """Whether the packages that serve a page are installed."""
    return all(map(importlib.util.find_spec, ("starlette", "uvicorn")))


def bind(flag: str, host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free port. Raises SettingsError, which names the flag."""
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(flag, f"{port} is taken by another program; give another port") from None
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError("host", f"{host} is no address of this machine") from None
        raise SettingsError(flag, f"{port} cannot be used ({error.strerror}); give another port") from None


def url(host: str, listening: socket.socket) -> str:
    """The URL that opens, also in the browser of another machine, a page that is served at `host`."""
    if host in ("0.0.0.0", "::"):
        host = LOOPBACK[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, contextlib.suppress(OSError):
            asking.connect(("192.0.2.1", 9))  # sends nothing, but asks by which address it would leave
            host = asking.getsockname()[0]
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/"
