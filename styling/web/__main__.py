"""The command line of the page: neural-style-web opens it in the browser, and paints what visitors ask for.

Exit status: 2 for an error on the command line, 1 for one inside a file, 130 after Ctrl-C, 143 after SIGTERM.
"""

import argparse
import os
import secrets
import sys
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from styling.command import flags
from styling.command.jobs import cores
from styling.live import address
from styling.network import networks
from styling.settings import FIELDS, Running
from styling.settings.checks import Whole
from styling.system import filenames, terminal
from styling.system.errors import SettingsError, StyleError
from styling.system.process import run_command

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from styling.web.painter import Painter

PORT, PASSWORD = 8188, "NEURAL_STYLE_PASSWORD"


def build_parser() -> flags.Parser:
    """The flags of neural-style-web."""
    description = "Open a page in the browser to paint in. Everything stays on this machine."
    parser, groups = flags.new_parser("neural-style-web", "%(prog)s [flags]", description, ("running",))
    add = groups["running"].add_argument
    port_help = f"port of this machine (default: {PORT})"
    add("--port", type=flags.reader(Whole), metavar="N", default=PORT, help=port_help)
    host_help = (
        "address at which other machines reach the page, 0.0.0.0 for all addresses; the page then asks for a "
        f"password, from {PASSWORD} or a new one (default: 127.0.0.1, which only this machine reaches)"
    )
    add("--host", metavar="ADDRESS", default="127.0.0.1", help=host_help)
    add("--public", help="let everybody who reaches the page paint, without a password", **flags.SWITCH)
    name_help = "name of the reverse proxy before the page, such as art.example.com; asks for a password too"
    add("--public-name", type=str.lower, metavar="NAME", default=None, help=name_help)
    folder_help = "folder of what is sent and painted (default: neural-style in your home folder)"
    add("--folder", type=Path, metavar="FOLDER", default=Path.home() / "neural-style", help=folder_help)
    add("--no-browser", help="only print the address of the page", **flags.SWITCH)
    for name in ("network", "device", "threads"):
        flags.add_setting(groups["running"], FIELDS[name])
    flags.add_common(groups)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, or exits with 2 for a wrong command line."""
    return run_command(build_parser(), serve, arguments)


def serve(options: argparse.Namespace) -> int:
    """Serve the page until the program is stopped."""
    if not address.is_installed():
        raise StyleError("the page needs starlette and uvicorn: pip install starlette uvicorn")
    running = Running(**flags.settings_of(options))
    path = networks.find(running.network)
    filenames.check_input("network", path)
    filenames.check_folder("folder", options.folder)
    is_here = options.host in address.LOOPBACK and not options.public_name
    if options.public and is_here:
        raise SettingsError("public", "goes together with --host or --public-name; give both")
    chosen = os.environ.get(PASSWORD)
    password = None if is_here or options.public else chosen or secrets.token_urlsafe(9)
    listening = address.bind("port", options.host, options.port)
    say = partial(terminal.print_line, quiet=options.quiet)
    say(f"loading {path}")
    app, painter = load(path, running, options.folder.absolute())
    painter.warm_up()
    host = address.reachable(options.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/"
    say(f"the page is at {url} until Ctrl-C; its pictures are in {options.folder.absolute()}")
    if password and not chosen:
        terminal.print_line(f"its password is {password}, with any name")
    if is_here and not options.no_browser:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    from styling.live import http

    try:
        http.server(http.Guard(app, options.host, password, options.public_name)).run([listening])
    finally:
        painter.close()
    return 0


def load(path: Path, running: Running, folder: Path) -> "tuple[ASGIApp, Painter]":
    """Set TensorFlow up and load the network; returns the page and its painter. folder: of the pictures."""
    import vgg
    from styling.system.device import configure
    from styling.web.page import Page
    from styling.web.painter import Painter
    from styling.web.studio import Studio

    threads = running.threads or cores()
    # Deterministic, since every run here has a seed.
    device = configure(running.device, threads, deterministic=True)
    studio, network = Studio(folder), vgg.load(path)
    painter = Painter(replace(running, device=device, threads=threads), path, network, studio)
    return Page(studio, painter).app(), painter


if __name__ == "__main__":
    sys.exit(main())
