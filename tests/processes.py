"""Commands in separate processes that need not load TensorFlow, which takes five seconds: they are forks of a
process that has loaded it and has computed nothing."""

import atexit
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from multiprocessing.connection import Connection

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["styling.sweeps.__main__", "neural_style", "stylize", "matplotlib.figure"])


class Command:
    """The main() of a command in a process, in a new session, with its output as text.

    environment: changes to this process's variables; None removes one. stderr: a file descriptor in place of
    a pipe. most_bytes: the largest file that it can write, to imitate a full disk.
    """

    def __init__(self, main, folder, arguments, environment=None, stderr=None, most_bytes=None):
        read, write = zip(*(FORKS.Pipe(duplex=False) for _ in range(2)), strict=True)
        outputs = write if stderr is None else (write[0], Connection(os.dup(stderr), readable=False))
        variables = os.environ | (environment or {})
        variables = {name: value for name, value in variables.items() if value is not None}
        words = [*map(str, arguments)]
        self.process = FORKS.Process(
            target=_run, args=(main, str(folder), words, variables, outputs, most_bytes)
        )
        self.process.start()
        atexit.register(self.kill)  # after a test that failed
        for connection in {*write, *outputs}:
            connection.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(end.fileno()), encoding="utf-8") for end in read)
        self.pid = self.process.pid

    @property
    def returncode(self):
        """The exit status; minus the number of the signal that ended it; None while it runs."""
        return self.process.exitcode

    def wait(self, seconds=None):
        """Wait until it ends, at most this many seconds."""
        self.process.join(seconds)

    def send_signal(self, number):
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self):
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def finish(self, status=0):
        """Wait until it ends, check its exit status, and return what it wrote to stdout and to stderr."""
        stdout, stderr = self.stdout.read(), self.stderr.read()
        self.wait()
        assert self.returncode == status, stderr
        assert "Traceback" not in stderr
        return stdout, stderr


def _run(main, folder, arguments, environment, outputs, most_bytes):
    os.setsid()
    for number, output in enumerate(outputs, 1):
        os.dup2(output.fileno(), number)
        output.close()
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))
    tempfile.tempdir = None  # forget the cached folder of the parent process
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    sys.exit(main(arguments))


def make_all(lines):
    """Run neural-style with each of these command lines, and print its exit status."""
    from neural_style import main

    for line in lines:
        print(">", main(line.split()), flush=True)
