"""A command as a process: signals that stop it, its error messages, and silence for libraries' messages."""

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from styling.system.errors import SettingsError, StyleError, flag_of
from styling.system.terminal import Complaints

# Signals that stop a run: a request to end, and a closed terminal, for which not every system has a signal.
STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Terminated(KeyboardInterrupt):
    """A signal that stops a run as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def status_after(error: BaseException) -> int:
    """The exit status after an error, or, by the convention of shells, after Ctrl-C or another signal."""
    if not isinstance(error, KeyboardInterrupt):
        return 1
    return 128 + (error.number if isinstance(error, Terminated) else signal.SIGINT)


@contextlib.contextmanager
def handled(signals: Sequence[int], handler: Any) -> Iterator[None]:
    """Handle these signals with `handler` within the context."""
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def terminable() -> contextlib.AbstractContextManager:
    """Make SIGTERM and SIGHUP raise Terminated, except that SIGHUP stays ignored under nohup."""

    def stop(number: int, frame: object) -> NoReturn:
        raise Terminated(number)

    return handled([number for number in STOPS if signal.getsignal(number) != signal.SIG_IGN], stop)


def uninterrupted() -> contextlib.AbstractContextManager:
    """Ignore Ctrl-C and similar signals while files are written, since they would only lose the files."""
    is_main = threading.current_thread() is threading.main_thread()  # other threads get no signals
    return handled([signal.SIGINT, *STOPS] if is_main else [], signal.SIG_IGN)


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Hide what libraries write to stderr: libtiff about a damaged file, TensorFlow while it loads."""
    stderr = None
    if sys.stderr is not None:  # None if the parent process closed it
        sys.stderr.flush()
        with contextlib.suppress(OSError):  # no stderr, as in a program with windows
            stderr = os.dup(2)
    if stderr is None:
        yield
        return
    with open(os.devnull, "wb") as sink:
        os.dup2(sink.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def run_command(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], int],
    arguments: Sequence[str] | None,
    after_interruption: str = "",
) -> int:
    """Parse a command line and do its work; an error becomes one line on stderr and an exit status.

    work: raises SettingsError for an error in a flag, StyleError or OSError for any other error. With --quiet
    it has no stdout.
    after_interruption: the message after Ctrl-C.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may not be printable
    logging.getLogger("styling").handlers = [Complaints()]
    try:
        options = parser.parse_args(arguments)
        with terminable(), contextlib.redirect_stdout(None) if options.quiet else contextlib.nullcontext():
            return work(options)
    except SettingsError as error:
        flag = flag_of(error.name)
        name = flag if flag in parser._option_string_actions else error.name.upper()
        parser.error(f"argument {name}: {error.problem}")
    except (StyleError, OSError) as error:
        problem, status = f"error: {explain(error)}", 1
    except KeyboardInterrupt as stop:
        problem, status = "; ".join(filter(None, ("interrupted", after_interruption))), status_after(stop)
    print(f"{parser.prog}: {problem}", file=sys.stderr)
    return status


def explain(error: Exception) -> str:
    """An error in one line, with the name of the file that it is about."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())
