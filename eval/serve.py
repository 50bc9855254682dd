"""A search page over features files of eval.extract or eval.index, for this machine alone unless told.

Drop a photograph or choose a picture or query, draw a box on it, choose model and representation; the
ranked results come back with their scores, and a click on one searches with it. Only pictures of the index
are served. The newest few uploads are kept in a temporary folder, which goes when the server ends.
"""

import argparse
import hashlib
import io
import logging
import signal
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from flask import Flask, Response, abort, jsonify, render_template, request, send_file
from PIL import Image, UnidentifiedImageError
from waitress import create_server
from werkzeug.exceptions import HTTPException

from eval.files.ground_truth import Query, read_queries
from eval.forward.photographs import list_pictures
from eval.search.index import Index, Representation

PAGE = Path(__file__).parent / "search" / "page"
UPLOAD_MB = 12
MOST_PIXELS = 60_000_000
TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "BMP": "image/bmp"}
KEPT_UPLOADS = 16
RESULTS = 24
LOOPBACK = ("127.0.0.1", "localhost", "::1")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Upload:
    """A photograph that somebody has dropped on the page."""

    path: Path
    kind: str
    width: int
    height: int


class Uploads:
    """The newest few photographs, by the hash of their bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: OrderedDict[str, Upload] = OrderedDict()

    def add(self, content: bytes) -> tuple[str, Upload]:
        """Keep a photograph. Raises ValueError, in a sentence for the page, for what is no picture."""
        kind, width, height = check_picture(content)
        key = hashlib.sha256(content).hexdigest()[:32]
        path = self._folder / key
        path.write_bytes(content)
        self._kept[key] = Upload(path, kind, width, height)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_UPLOADS:
            self._kept.popitem(last=False)[1].path.unlink(missing_ok=True)
        return key, self._kept[key]

    def get(self, key: str) -> Upload | None:
        """The photograph of this key, if it is still kept."""
        return self._kept.get(key)


def check_picture(content: bytes) -> tuple[str, int, int]:
    """Type, width and height of a picture that can be decoded to its end. Raises ValueError otherwise."""
    if not content:
        raise ValueError("The file is empty.")
    try:
        with Image.open(io.BytesIO(content), formats=list(TYPES)) as picture:
            kind, (width, height) = picture.format or "", picture.size
            if width * height > MOST_PIXELS:
                raise Image.DecompressionBombError
            picture.load()
    except UnidentifiedImageError:
        raise ValueError("The file is not a JPEG, PNG, WebP or BMP picture.") from None
    except Image.DecompressionBombError:
        most = MOST_PIXELS // 1_000_000
        raise ValueError(f"The picture has too many pixels: at most {most} million go.") from None
    except (OSError, SyntaxError) as error:
        raise ValueError(f"The picture is broken: {error}.") from None
    if cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is None:
        raise ValueError("The picture is broken: OpenCV can't decode it.")
    return kind, width, height


class Site:
    """What the page's requests are answered from."""

    def __init__(self, indexes: Sequence[Index], images: Path, gt: Path | None, uploads: Uploads) -> None:
        """Raises ValueError where the folder lacks pictures of an index; OSError for no folder."""
        self.indexes = {index.model: index for index in indexes}
        if len(self.indexes) < len(indexes):
            raise ValueError("two features files are of one model: give one of them another name")
        there = list_pictures(images)
        indexed = {name for index in indexes for name in index.names}
        self.files = {name: Path(one.path) for name, one in there.items() if name in indexed}
        for index in indexes:
            if lacking := [name for name in index.names if name not in self.files]:
                raise ValueError(
                    f"{images} lacks {len(lacking)} pictures that {index.path} indexes, such as {lacking[0]}"
                )
        self.queries: dict[str, Query] = {}
        if gt is not None:
            self.queries = {query.name: query for query in read_queries(gt) if query.image in self.files}
        self.uploads = uploads

    def search(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer the page's question. Raises ValueError in a sentence for it, OSError where Caffe ends."""
        index = self.indexes.get(str(asked.get("model")))
        if index is None:
            raise ValueError("There is no such model.")
        representation = index.representation(str(asked.get("representation")))
        started = time.monotonic()
        vector = self._vector(index, representation, asked)
        hits = index.search(vector, representation, RESULTS)
        return {
            "results": [{"name": hit.name, "score": round(hit.score, 4)} for hit in hits],
            "seconds": round(time.monotonic() - started, 2),
            "pictures": len(index.names),
        }

    def _vector(self, index: Index, representation: Representation, asked: dict[str, Any]) -> Any:
        box = read_box(asked.get("box"))
        if key := asked.get("upload"):
            upload = self.uploads.get(str(key))
            if upload is None:
                raise ValueError("This photograph is not kept any more: drop it again.")
            return index.of_file(upload.path, box, representation)
        name = str(asked.get("name"))
        query = self.queries.get(name) if asked.get("query") else None
        if query is not None and box == query.box and name in index.queries:
            return index.of_query(name, representation)
        name = query.image if query is not None else name
        if name not in self.files:
            raise ValueError("There is no such picture in the index.")
        if box is None:
            return index.of_picture(name, representation)
        return index.of_file(self.files[name], box, representation)


def read_box(value: Any) -> Box | None:
    """A box x1, y1, x2, y2 of a request. Raises ValueError for one without area or of other things."""
    if value is None:
        return None
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 4 or not all(isinstance(one, int | float) for one in numbers):
        raise ValueError("A box is four numbers: left, top, right, bottom.")
    x1, y1, x2, y2 = map(float, numbers)
    if not (0 <= x1 < x2 < 1e6 and 0 <= y1 < y2 < 1e6):
        raise ValueError("The box has no area.")
    return x1, y1, x2, y2


def make_app(site: Site, hosts: list[str] | None) -> Flask:
    """The web application; `hosts` are the names it may be addressed by (None: any)."""
    app = Flask("eval.serve", template_folder=str(PAGE), static_folder=str(PAGE / "static"))
    app.config.update(MAX_CONTENT_LENGTH=UPLOAD_MB * 1024 * 1024, TRUSTED_HOSTS=hosts)
    app.url_map.merge_slashes = False  # an address with // is none of ours, and not to be mended
    thumbnails = lru_cache(maxsize=4096)(lambda name, side: thumbnail(site.files[name], side))

    @app.before_request
    def same_site_only() -> None:
        # a page of another site must not make this one work
        origin = request.headers.get("Origin")
        if origin is not None and origin != request.host_url.rstrip("/"):
            abort(403, "This request comes from another site.")

    @app.after_request
    def headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = "default-src 'self'; img-src 'self' blob: data:"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.errorhandler(HTTPException)
    def failed(error: HTTPException) -> tuple[Response, int]:
        words = error.description
        if error.code == 413:
            words = f"The file is too large: at most {UPLOAD_MB} MB go."
        return jsonify(error=words), error.code or 500

    @app.errorhandler(ValueError)
    def refused(error: ValueError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 400

    @app.errorhandler(OSError)
    def broken(error: OSError) -> tuple[Response, int]:
        print(f"serve: {error}", file=sys.stderr)
        return jsonify(error="The server could not do this; its terminal says why."), 500

    @app.get("/")
    def page() -> str:
        return render_template("search.html", site=site, upload_mb=UPLOAD_MB, types=",".join(TYPES.values()))

    @app.get("/pictures/<path:name>")
    def picture(name: str) -> Response:
        return (
            send_file(site.files[name], conditional=True)
            if name in site.files
            else abort(404, "Not in the index.")
        )

    @app.get("/thumbnails/<path:name>")
    def small(name: str) -> Response:
        if name not in site.files:
            abort(404, "Not in the index.")
        return Response(
            thumbnails(name, 240), mimetype="image/jpeg", headers={"Cache-Control": "max-age=3600"}
        )

    @app.post("/uploads")
    def upload() -> tuple[Response, int]:
        file = request.files.get("photograph")
        if file is None:
            raise ValueError("No file came.")
        key, kept = site.uploads.add(file.read())
        return jsonify(upload=key, width=kept.width, height=kept.height), 201

    @app.get("/uploads/<key>")
    def uploaded(key: str) -> Response:
        kept = site.uploads.get(key)
        return send_file(kept.path, mimetype=TYPES[kept.kind]) if kept else abort(404, "Not kept any more.")

    @app.post("/search")
    def search() -> Response:
        asked = request.get_json()
        if not isinstance(asked, dict):
            raise ValueError("A question is a JSON object.")
        return jsonify(site.search(asked))

    return app


def thumbnail(path: Path, side: int) -> bytes:
    """A picture as JPEG, its shorter side at most `side`. Raises OSError or ValueError where it is gone."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path.name} is no picture any more.")
    scale = min(1.0, side / min(image.shape[:2]))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m eval.serve",
        description=__doc__,
        epilog="example: python -m eval.serve --images work/demo/data/retrieval/jpg \\\n"
        "    --gt work/demo/data/retrieval/gt \\\n"
        "    --features work/demo/features/pretrained.h5 work/demo/features/finetuned.h5",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--features", type=Path, nargs="+", required=True, metavar="FILE", help="indexes, one for each model")
    add("--images", type=Path, required=True, metavar="DIR", help="the pictures that were indexed")
    add("--gt", type=Path, metavar="DIR", help="ground truth whose queries can be chosen")
    add("--deploy", type=Path, metavar="FILE", help="prototxt, where it is not found beside the features")
    add("--weights", type=Path, metavar="FILE", help="caffemodel, likewise (of one features file only)")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine alone)")
    add("--port", type=int, default=8000, help="0: any that is free (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.weights and len(options.features) > 1:
        parser.error("--weights belongs to one features file")
    return options


def serve(options: argparse.Namespace, stack: ExitStack) -> None:
    """Listen until stopped. Raises ValueError or OSError for what can't be served."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="search-")))
    indexes = []
    for path in options.features:
        index = Index(path, options.deploy, options.weights)
        stack.callback(index.close)
        indexes.append(index)
    site = Site(indexes, options.images, options.gt, Uploads(folder))
    hosts = [*LOOPBACK] if options.host in LOOPBACK else None
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a page asks for 24 thumbnails at once
    server = create_server(
        make_app(site, hosts), host=options.host, port=options.port, threads=8, max_request_body_size=1 << 26
    )
    address = f"http://{options.host}:{server.effective_port}/"
    print(f"Search {len(site.files)} pictures at {address} (Ctrl-C ends it)", flush=True)
    for index in indexes:
        if index.network is None:
            print(
                f"serve: {index.path} is searched by its own pictures only: its network is not found",
                file=sys.stderr,
            )
    server.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; its exit status."""
    options = parse_options(arguments)
    ended_by = signal.SIGINT

    def end(number: int, _: object) -> None:
        nonlocal ended_by
        ended_by = signal.Signals(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        with ExitStack() as stack:
            serve(options, stack)
    except KeyboardInterrupt:
        pass
    except ValueError as error:
        print(f"serve: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = error.filename or f"{options.host}:{options.port}"
        print(f"serve: {error.strerror or error}: {where}", file=sys.stderr)
        return 1
    return 128 + ended_by


if __name__ == "__main__":
    sys.exit(main())
