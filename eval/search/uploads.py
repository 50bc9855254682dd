"""Photographs that somebody drops on the page: the newest of them, each once, by its content."""

import hashlib
import io
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

import pillow_heif
from PIL import Image, UnidentifiedImageError

from eval.search.views import View, Views

UPLOAD_MB = 32
MOST_PIXELS = 150_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "HEIF")
KEPT_UPLOADS = 200

Image.init()  # all of Pillow's readers, as FORMATS names some
pillow_heif.register_heif_opener()
Image.MAX_IMAGE_PIXELS = None  # MOST_PIXELS is the bound here


class Uploads:
    """The newest photographs, by the hash of their bytes. Any thread may use it."""

    def __init__(self, folder: Path, views: Views) -> None:
        self._folder, self._views = folder, views
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Path] = OrderedDict()

    def add(self, content: bytes) -> tuple[str, View]:
        """Keep a photograph. Raises ValueError, in a sentence for the page, for what is no picture."""
        self._views.decode(check_picture, content)
        key = hashlib.sha256(content).hexdigest()[:32]
        path = self._folder / key
        with self._lock:
            if key not in self._kept:
                _write(path, content)
            self._kept[key] = path
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT_UPLOADS:
                self._kept.popitem(last=False)[1].unlink(missing_ok=True)
        return key, self._views.of(path)  # a picture that Pillow reads and we don't is refused here

    def get(self, key: str) -> Path | None:
        """The photograph of this key, if it is still kept."""
        with self._lock:
            return self._kept.get(key)


def _write(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


def check_picture(content: bytes) -> None:
    """Raise ValueError, in a sentence for the page, unless a picture can be decoded to its end."""
    if not content:
        raise ValueError("The file is empty.")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                most = MOST_PIXELS // 1_000_000
                raise ValueError(f"The picture has too many pixels: at most {most} million go.")
            picture.load()
    except UnidentifiedImageError:
        raise ValueError("The file is not a JPEG, PNG, WebP, HEIC, AVIF, TIFF or BMP picture.") from None
    except ValueError:
        raise
    except Exception as error:  # a decoder may stumble over anything, and say so by any exception
        raise ValueError(f"The picture is broken: {error}.") from None
