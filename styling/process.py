"""A command as a process: what stops it, what it says of errors, and what libraries may not say."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from styling import limits
from styling.errors import SettingsError, StyleError, flag_of

# What stops a run: a request to end, and a terminal that is closed, which not every system tells.
STOPS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Terminated(KeyboardInterrupt):
    """A signal that stops a run as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def stopped(stop: KeyboardInterrupt) -> int:
    """The exit status after Ctrl-C, or after another signal, as shells have it."""
    return 128 + (stop.number if isinstance(stop, Terminated) else signal.SIGINT)


@contextlib.contextmanager
def handled(signals: Sequence[int], handler: Any) -> Iterator[None]:
    """Have a handler for signals for a while."""
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def terminable() -> contextlib.AbstractContextManager:
    """Have SIGTERM and SIGHUP raise Terminated; nohup, which has SIGHUP ignored, stays in force."""

    def stop(number: int, frame: object) -> NoReturn:
        raise Terminated(number)

    return handled([number for number in STOPS if signal.getsignal(number) != signal.SIG_IGN], stop)


def uninterrupted() -> contextlib.AbstractContextManager:
    """Take no notice of Ctrl-C and its like, which could only lose what is being written."""
    return handled([signal.SIGINT, *STOPS], signal.SIG_IGN)


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Keep off the terminal what libraries write there: libtiff on a damaged file, TensorFlow on loading."""
    kept = None
    if sys.stderr is not None:  # closed by whoever started the program
        sys.stderr.flush()
        with contextlib.suppress(OSError):  # no terminal, as of a program with windows
            kept = os.dup(2)
    if kept is None:
        yield
        return
    with open(os.devnull, "wb") as sink:
        os.dup2(sink.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def loading_tensorflow() -> Iterator[None]:
    """Load TensorFlow without a word of its own. Raises MemoryLimitError where there is no room for it."""
    limits.check_tensorflow()
    os.environ.setdefault("KERAS_HOME", os.devnull)  # else a folder for Keras is made, even without a home
    with silent_stderr():
        yield


def run_command(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], int],
    arguments: Sequence[str] | None,
    after_interruption: str = "",
) -> int:
    """Parse a command line and do its work; what goes wrong becomes one line on stderr and an exit status.

    work: raises SettingsError for what is wrong with a flag, StyleError or OSError for what else is wrong.
    after_interruption: what is said after Ctrl-C.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name need not be printable to be written to
    try:
        options = parser.parse_args(arguments)
        with terminable():
            return work(options)
    except SettingsError as error:
        flag = flag_of(error.name)
        name = flag if flag in parser._option_string_actions else error.name.upper()
        parser.error(f"argument {name}: {error.problem}")
    except (StyleError, OSError) as error:
        problem, status = f"error: {explain(error)}", 1
    except KeyboardInterrupt as stop:
        problem, status = "; ".join(filter(None, ("interrupted", after_interruption))), stopped(stop)
    print(f"{parser.prog}: {problem}", file=sys.stderr)
    return status


def explain(error: Exception) -> str:
    """An error in one line, with the name of the file that it is about."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())
