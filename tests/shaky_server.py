"""A web server on the loopback address that cuts, lies and misdirects, for the tests of downloads."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


@dataclass
class Site:
    """What the server has, how it behaves, and what it was asked (path, Range, If-Range)."""

    files: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    ranges: bool = True
    etag: str | None = '"one"'
    told_size: bool = True
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    root: str = ""

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site, path = self.site, self.path
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        site.asked.append((path, wanted, condition))
        if path in site.redirects:
            self.send_response(302)
            self.send_header("Location", site.redirects[path])
            self.end_headers()
            return
        status = site.statuses[path].pop(0) if site.statuses.get(path) else 200
        if path not in site.files or status != 200:
            self.send_error(status if status != 200 else 404)
            return
        self.send_file(site.files[path], wanted if condition in (None, site.etag) else None)

    def send_file(self, body: bytes, wanted: str | None) -> None:
        site, start = self.site, 0
        if wanted and site.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if site.etag:
            self.send_header("ETag", site.etag)
        if site.told_size:
            self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Content-Type", site.types.get(self.path, "application/octet-stream"))
        self.end_headers()
        end = site.cuts[self.path].pop(0) if site.cuts.get(self.path) else len(body)
        with suppress(ConnectionError):  # a client that has seen enough hangs up
            self.wfile.write(body[start:end])

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 64


@contextmanager
def serving() -> Iterator[Site]:
    """A site that is empty and honest to begin with, on a port of its own."""
    site = Site()
    server = Server(("127.0.0.1", 0), type("SiteHandler", (Handler,), {"site": site}))
    site.root = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


def jpg(seed: int, side: int = 80, kind: str = "JPEG") -> bytes:
    """A picture of noise, in the format Pillow calls `kind`; another seed, another picture."""
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)).save(
        stream, kind
    )
    return stream.getvalue()
