"""A search page over an index of eval.index, or over features files of eval.extract.

Click a picture, drop a photograph, draw a box on it; the ranked results come back, and a click on one
searches with it. For this machine alone unless told otherwise; only pictures of the index are served. The
newest uploads are kept in a temporary folder, which goes when the server ends.
"""

import argparse
import errno
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask
from waitress import create_server

from eval.search.index import Index
from eval.search.site import Site
from eval.search.uploads import Uploads
from eval.search.views import Views
from eval.search.web import make_app
from tools.program import WHOLE_NUMBER, run_program, shown

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PORT = 8000
PORTS_TRIED = 50
THREADS = 32
"""Requests answered at a time; what computes or decodes has bounds of its own."""
CONNECTIONS = 2000
"""Open at a time: idle and slow ones take no thread, and must not shut others out."""
IDLE_SECONDS = 60


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    features: Sequence[Path]
    images: Path | None
    gt: Path | None
    deploy: Path | None
    weights: Path | None
    host: str
    port: int | None
    """None: PORT, or the next one that is free."""
    browser: bool
    check: bool


def serve(settings: Settings) -> int:
    """Listen until a signal comes; returns the exit status that says which.

    Raises ValueError or OSError for what can't be served.
    """
    if settings.check:
        _listen(Flask("eval.serve"), settings).close()
        return 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="search-")))
        indexes = []
        for path in settings.features:
            index = Index(path, settings.deploy, settings.weights)
            stack.callback(index.close)
            indexes.append(index)
        views = Views()
        stack.callback(views.close)
        site = Site(indexes, settings.images, settings.gt, Uploads(folder, views), views)
        server = _listen(make_app(site, [*LOOPBACK] if settings.host in LOOPBACK else None), settings)
        for index in indexes:
            if index.why_no_network:
                print(
                    f"serve: uploads and boxes can't be searched in {index.path}: {index.why_no_network}",
                    file=sys.stderr,
                )
        address = f"http://{settings.host}:{server.effective_port}/"
        print(f"Search {len(site.names)} pictures at {address} (Ctrl-C ends it)", flush=True)
        if settings.browser:
            open_browser(address)
        return _run_until_stopped(server)


def _run_until_stopped(server: Any) -> int:
    numbers = []

    def stop(number: int, _: object) -> None:
        numbers.append(number)
        raise KeyboardInterrupt  # which waitress takes for the end, and keeps to itself

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    server.run()
    return 128 + numbers[0]


def _listen(app: Flask, settings: Settings) -> Any:
    """A server at the port asked for, or at the first that is free. Raises OSError, which names the port."""
    for name in ("waitress.queue", "waitress"):  # a page asks for 48 thumbnails at once
        logging.getLogger(name).setLevel(logging.ERROR)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    ports = range(PORT, PORT + PORTS_TRIED) if settings.port is None else [settings.port]
    for port in ports:
        try:
            return create_server(
                app,
                host=settings.host,
                port=port,
                threads=THREADS,
                connection_limit=CONNECTIONS,
                channel_timeout=IDLE_SECONDS,
                asyncore_use_poll=True,
                max_request_body_size=1 << 26,
            )
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == ports[-1]:
                raise OSError(error.errno, error.strerror, f"{settings.host}:{port}") from None
            print(f"serve: port {port} is in use, the next one is tried", file=sys.stderr)
    raise AssertionError


def open_browser(address: str) -> None:
    """Show the page in this desktop's browser, where there is a desktop."""
    opener = shutil.which("xdg-open")
    if opener and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        silent = subprocess.DEVNULL
        subprocess.Popen(
            [opener, address], stdin=silent, stdout=silent, stderr=silent, start_new_session=True
        )


def parse_options(argv: Sequence[str] | None) -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m eval.serve",
        description=__doc__,
        epilog="examples:\n"
        "  python -m eval.serve --features ~/photographs.h5\n"
        "  python -m eval.serve --images work/demo/data/retrieval/jpg --gt work/demo/data/retrieval/gt \\\n"
        "      --features work/demo/features/pretrained.h5 work/demo/features/finetuned.h5",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--features", type=Path, nargs="+", required=True, metavar="FILE", help="indexes, one for each model")
    add("--images", type=Path, metavar="DIR", help="the pictures, where the index doesn't say or they moved")
    add("--gt", type=Path, metavar="DIR", help="ground truth whose queries can be chosen")
    add("--deploy", type=Path, metavar="FILE", help="prototxt, where it isn't any more where the file says")
    add("--weights", type=Path, metavar="FILE", help="caffemodel, likewise (of one features file only)")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine alone)")
    add(
        "--port",
        type=_port,
        metavar="N",
        help=f"0: any that is free (default: {PORT}, or the next one that is free)",
    )
    add("--browser", action="store_true", help="open the page in a browser, where there is a display")
    add("--check", action="store_true", help="only see whether the page can be served at --host and --port")
    options = parser.parse_args(argv)
    if options.weights and len(options.features) > 1:
        parser.error("--weights belongs to one features file")
    return Settings(**vars(options))


def _port(text: str) -> int:
    if not WHOLE_NUMBER.fullmatch(text) or int(text) >= 1 << 16:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 65535, not {shown(text)}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; its exit status."""
    settings = parse_options(argv)
    return run_program("serve", lambda: serve(settings))


if __name__ == "__main__":
    sys.exit(main())
