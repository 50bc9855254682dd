"""Files as collections from the web contain them: what `check_images` is there to find."""

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

PAGE = b"<!DOCTYPE html>\n<html><head><title>404</title></head><body><h1>Not Found</h1></body></html>\n"


def _picture(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg))


def _save(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def _with_alpha(jpeg: bytes) -> bytes:
    picture = _picture(jpeg).convert("RGBA")
    picture.putalpha(picture.convert("L").point(lambda level: 255 if level < 200 else 0))
    return _save(picture, "PNG")


BROKEN: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "truncated": (".jpg", lambda jpeg: jpeg[: len(jpeg) // 2]),
    "half grey": (".jpg", lambda jpeg: jpeg[: len(jpeg) // 2] + b"\xff\xd9"),
    "zero bytes": (".jpg", lambda jpeg: b""),
    "not an image": (".jpg", lambda jpeg: PAGE),
    "grey": (".jpg", lambda jpeg: _save(_picture(jpeg).convert("L"), "JPEG")),
    "CMYK": (".jpg", lambda jpeg: _save(_picture(jpeg).convert("CMYK"), "JPEG")),
    "palette": (".png", lambda jpeg: _save(_picture(jpeg).convert("P"), "PNG")),
    "alpha": (".png", _with_alpha),
    "lying extension": (".jpg", lambda jpeg: _save(_picture(jpeg), "PNG")),
}
"""What a whole JPEG file becomes, and the extension that it carries then. Half grey differs from truncated by
its end marker: decoders take the file for whole and fill the missing rows with grey."""


def break_picture(jpeg: bytes, kind: str, path: Path) -> Path:
    """Write a JPEG file's broken copy (`kind`: a key of BROKEN) with its extension; returns its path."""
    extension, spoil = BROKEN[kind]
    path = path.with_suffix(extension)
    path.write_bytes(spoil(jpeg))
    return path
