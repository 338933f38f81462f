"""The address at which a page is served."""

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
    if not 0 <= port < 2**16:
        raise SettingsError(flag, f"{port} is not a number from 0 to {2**16 - 1}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
        return listening
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(flag, f"{port} is taken by another program; give another port") from None
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError("host", f"{host} is no address of this machine") from None
        raise SettingsError(flag, f"{port} cannot be used ({error.strerror}); give another port") from None
