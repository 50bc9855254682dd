"""The search page over HTTP: which address does what, who may ask, what is said where it can't be done."""

import sys
from pathlib import Path

from flask import Flask, Response, abort, jsonify, render_template, request, send_file
from werkzeug.exceptions import HTTPException

from eval.search.site import PAGE_OF_PICTURES, Site
from eval.search.uploads import UPLOAD_MB

PAGE = Path(__file__).parent / "page"
QUESTION_BYTES = 16_384


def make_app(site: Site, hosts: list[str] | None) -> Flask:
    """The web application; `hosts` are the names it may be addressed by (None: any)."""
    app = Flask("eval.serve", template_folder=str(PAGE), static_folder=str(PAGE / "static"))
    app.config.update(MAX_CONTENT_LENGTH=UPLOAD_MB * 1024 * 1024, TRUSTED_HOSTS=hosts)
    app.url_map.merge_slashes = False  # an address with // is none of ours, and not to be mended
    _guard(app)
    _say_what_is_wrong(app)
    _serve_pictures(app, site)
    _answer(app, site)
    return app


def _guard(app: Flask) -> None:
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
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


def _say_what_is_wrong(app: Flask) -> None:
    @app.errorhandler(HTTPException)
    def failed(error: HTTPException) -> tuple[Response, int]:
        words = error.description
        if error.code == 413 and request.path == "/uploads":
            words = f"The file is too large: at most {UPLOAD_MB} MB go."
        elif error.code == 413:
            words = f"A question is of {QUESTION_BYTES} bytes at most."
        return jsonify(error=words), error.code or 500

    @app.errorhandler(ValueError)
    def refused(error: ValueError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 400

    @app.errorhandler(RecursionError)
    def too_deep(_: RecursionError) -> tuple[Response, int]:
        return jsonify(error="A question is not nested that deep."), 400

    @app.errorhandler(Exception)
    def broken(error: Exception) -> tuple[Response, int]:
        print(f"serve: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return jsonify(error="The server could not do this; its terminal says why."), 500


def _serve_pictures(app: Flask, site: Site) -> None:
    def file_of(name: str) -> Path:
        path = site.file_of(name)
        if path is None or not path.is_file():
            abort(404, "Not in the index, or not there any more.")
        return path

    def jpeg(content: bytes) -> Response:
        return Response(content, mimetype="image/jpeg", headers={"Cache-Control": "max-age=3600"})

    @app.get("/pictures/<path:name>")
    def picture(name: str) -> Response:
        """The file as it is."""
        return send_file(file_of(name), conditional=True)

    @app.get("/views/<path:name>")
    def view(name: str) -> Response:
        return jpeg(site.views.of(file_of(name)).jpeg)

    @app.get("/thumbnails/<path:name>")
    def thumbnail(name: str) -> Response:
        return jpeg(site.views.thumbnail(file_of(name)))

    @app.get("/queries/<path:name>")
    def query(name: str) -> Response:
        content = site.query_thumbnail(name)
        if content is None:
            abort(404, "There is no such query.")
        return jpeg(content)

    @app.get("/uploads/<key>")
    def uploaded(key: str) -> Response:
        path = site.uploads.get(key)
        if path is None:
            abort(404, "Not kept any more.")
        return jpeg(site.views.of(path).jpeg)


def _answer(app: Flask, site: Site) -> None:
    @app.get("/")
    def page() -> str:
        return render_template("search.html", site=site, upload_mb=UPLOAD_MB, step=PAGE_OF_PICTURES)

    @app.get("/pictures", endpoint="pictures")
    @app.get("/queries", endpoint="queries")
    def listed() -> Response:
        return jsonify(site.listed(request.path[1:], _number("start") or 0, _number("seed")))

    @app.post("/uploads")
    def upload() -> tuple[Response, int]:
        file = request.files.get("photograph")
        if file is None:
            raise ValueError("No file came.")
        key, view = site.uploads.add(file.read())
        return jsonify(upload=key, width=view.width, height=view.height), 201

    @app.post("/search")
    def search() -> Response:
        request.max_content_length = QUESTION_BYTES
        asked = request.get_json()
        if not isinstance(asked, dict):
            raise ValueError("A question is a JSON object.")
        return jsonify(site.search(asked))


def _number(name: str) -> int | None:
    """A whole number of the address. Raises ValueError for another one."""
    text = request.args.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise ValueError(f"{name} is a whole number.")
    return int(text)
