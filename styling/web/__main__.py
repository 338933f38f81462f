"""The command line of the page: neural-style-web opens it in the browser, and paints what visitors ask for.

Exit status: 2 for an error on the command line, 1 for one inside a file, 130 after Ctrl-C, 143 after SIGTERM.
"""

import argparse
import contextlib
import os
import secrets
import sys
import threading
import time
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from styling.command import flags
from styling.live import address
from styling.network import networks
from styling.settings import FIELDS, Running
from styling.system import filenames, terminal
from styling.system.errors import SettingsError, StyleError
from styling.system.process import run_command

PORT, PASSWORD = 8188, "NEURAL_STYLE_PASSWORD"
HELP = {
    "port": f"port of this machine (default: {PORT})",
    "host": "address at which other machines reach the page, 0.0.0.0 for all addresses; the page then asks "
    f"for a password, from {PASSWORD} or a new one (default: 127.0.0.1, which only this machine reaches)",
    "public": "let everybody who reaches the page paint, without a password",
    "public_name": "name of the reverse proxy before the page, as art.example.com; asks for a password too",
    "folder": "folder of what is sent and painted (default: neural-style in your home folder)",
}


def build_parser() -> flags.Parser:
    """The flags of neural-style-web."""
    description = "Open a page in the browser to paint in. Everything stays on this machine."
    parser, groups = flags.new_parser("neural-style-web", "%(prog)s [flags]", description, ("running",))
    add = groups["running"].add_argument
    add("--port", type=flags.reader(flags.Port), metavar="N", default=PORT, help=HELP["port"])
    add("--host", metavar="ADDRESS", default=address.LOOPBACK[0], help=HELP["host"])
    add("--public", help=HELP["public"], **flags.SWITCH)
    add("--public-name", type=str.lower, metavar="NAME", default="", help=HELP["public_name"])
    add("--folder", type=Path, metavar="FOLDER", default=Path.home() / "neural-style", help=HELP["folder"])
    add("--no-browser", help="only print the address of the page", **flags.SWITCH)
    for name in ("network", "device", "threads"):
        flags.add_setting(groups["running"], FIELDS[name])
    flags.add_common(groups)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, or exits with 2 for a wrong command line."""
    return run_command(build_parser(), serve, arguments)


def serve(options: argparse.Namespace) -> NoReturn:
    """Serve the page until the program is stopped."""
    if not address.is_installed():
        raise StyleError("the page needs starlette and uvicorn: pip install starlette uvicorn")
    running, folder = Running(**flags.settings_of(options)), options.folder.absolute()
    network = networks.find(running.network)
    filenames.check_input("network", network)
    filenames.check_folder("folder", options.folder)
    is_here = options.host in address.LOOPBACK and not options.public_name
    if options.public and is_here:
        raise SettingsError("public", "goes together with --host or --public-name; give both")
    chosen = os.environ.get(PASSWORD)
    password = "" if is_here or options.public else chosen or secrets.token_urlsafe(9)
    listening = address.bind("port", options.host, options.port)
    terminal.print_line(f"loading {network}")
    from styling.live import http
    from styling.web.page import Page
    from styling.web.painter import Painter

    painter = Painter(folder, network, running)
    painter.warm_up()
    url = address.url(options.host, listening)
    terminal.print_line(f"the page is at {url} until Ctrl-C; its pictures are in {folder}")
    if password and not chosen:
        say = terminal.complain if options.quiet else terminal.print_line
        say(f"its password is {password}, with any name")
    if is_here and not options.no_browser:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    app = http.Guard(Page(painter).app(), options.host, password, options.public_name)
    with contextlib.closing(painter), http.serving(app, listening):
        while True:  # until a signal; Windows interrupts nothing but a sleep
            time.sleep(60)


if __name__ == "__main__":
    sys.exit(main())
