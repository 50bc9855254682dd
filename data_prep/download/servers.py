"""Talking to web servers: a GET, what its answer says of the file, and what went wrong in words."""

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

CHUNK = 1 << 20
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


class NoAnswerError(OSError):
    """The server, or the way to it, failed: worth another try; `wait` is how many seconds it asked for."""

    wait = 0.0


class BusyError(NoAnswerError):
    """The server answered that it can't just now (429, 5xx)."""

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message)
        self.wait = wait


class WrongAnswerError(ValueError):
    """The server answered, but not with what was asked for: this address is no good."""


class NoSuchRangeError(WrongAnswerError):
    """The file ends before the place that was asked for (416)."""


def ask(url: str, timeout: float, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Send a GET; returns the answer if it is 200 or 206.

    Raises NoAnswerError and WrongAnswerError, and of those BusyError and NoSuchRangeError.
    """
    headers = {
        "User-Agent": "Mozilla/5.0 (compatible; data_prep.fetch)",
        "Accept-Encoding": "identity",
    } | headers
    try:
        request = urllib.request.Request(_in_ascii(url), headers=headers)
        answer: http.client.HTTPResponse = _opener().open(request, timeout=timeout)
        return answer
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error) from error
    except urllib.error.URLError as error:
        if str(error.reason).startswith("unknown url type"):
            raise WrongAnswerError("not an http or https address") from error
        raise NoAnswerError(_in_words(error.reason)) from error
    except (OSError, http.client.BadStatusLine) as error:
        raise NoAnswerError(_in_words(error)) from error
    except (ValueError, http.client.HTTPException) as error:
        raise WrongAnswerError(f"no usable address or answer ({error})") from error


def _in_ascii(url: str) -> str:
    """An address as it is asked for: its host in Punycode, other letters as %XX. Raises ValueError."""
    parts = urllib.parse.urlsplit(url)
    if not parts.netloc.isascii():
        user, at, place = parts.netloc.rpartition("@")
        host, colon, port = place.partition(":")
        url = parts._replace(netloc=f"{user}{at}{host.encode('idna').decode()}{colon}{port}").geturl()
    return urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]", encoding="utf-8", errors="surrogateescape")


def _refusal(error: urllib.error.HTTPError) -> NoAnswerError | WrongAnswerError:
    said = f"HTTP {error.code} {' '.join(str(error.reason).split())}"
    if error.code == 416:
        return NoSuchRangeError(said)
    if error.code >= 500 or error.code in (408, 425, 429):
        return BusyError(said, float(_number(error.headers.get("Retry-After")) or 0))
    return WrongAnswerError(said)


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https alone: the usual one would read a list's file: addresses too."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _in_words(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    strerror = reason.strerror if isinstance(reason, OSError) else None
    return strerror or str(reason) or type(reason).__name__


def _number(text: str | None) -> int | None:
    """A header's whole number; None for anything else, of which servers send much."""
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 20 else None


def pause(failures: int, error: NoAnswerError) -> float:
    """Seconds to wait after so many failures: 1, 2, 4 ... times FIRST_PAUSE, or what the server asks for."""
    return min(max(FIRST_PAUSE * 2.0 ** (failures - 1), error.wait), LONGEST_PAUSE)


def pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body as it comes in. Raises NoAnswerError on a broken connection; it may also just end."""
    while True:
        try:
            piece = answer.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(f"connection lost ({_in_words(error)})") from error
        if not piece:
            return
        yield piece


def is_page(answer: http.client.HTTPResponse) -> bool:
    """True where a web page came: a log-in, a 'not found' that claims success."""
    return answer.headers.get_content_type() in ("text/html", "application/xhtml+xml")


def extent(answer: http.client.HTTPResponse, asked: int) -> tuple[int, int | None]:
    """Where the answer's body begins in the file (-1: nowhere of use), and the file's size if it is told."""
    if answer.status == 206:
        unit, _, place = answer.headers.get("Content-Range", "").partition(" ")
        piece, _, total = place.partition("/")
        fits = unit == "bytes" and _number(piece.partition("-")[0]) == asked
        return (asked if fits else -1), _number(total)
    return (0 if answer.status == 200 else -1), _number(answer.headers.get("Content-Length"))
