"""A search page in a process of its own, and what the tests of it ask."""

import http.client
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Page, expect

ROOT = Path(__file__).parent.parent
PATIENCE = 120_000


class Server:
    """eval.serve, or a command that ends in it."""

    def __init__(self, command: Sequence[object], **options: object) -> None:
        words = [str(word) for word in command]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, **options)
        self.said: list[str] = []
        while not (self.said and "http://127.0.0.1:" in self.said[-1]):
            line = self.process.stdout.readline()
            assert line, f"{self.said} {self.process.stderr.read()}"
            self.said.append(line)
        self.url = self.said[-1].split(" at ")[1].split("/ ")[0]
        self.port = int(self.url.rsplit(":", 1)[1])

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request, its path sent as it is; status, headers and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    def question(self, body: bytes) -> tuple[int, dict]:
        """Status and answer of a search, asked by these bytes."""
        status, _, answer = self.ask("POST", "/search", body, Content_Type="application/json")
        return status, json.loads(answer)

    def search(self, **asked: object) -> tuple[int, dict]:
        """Status and answer of a search by fc6 of the pre-trained network, unless told otherwise."""
        words = {"model": "pretrained", "representation": "fc6"} | asked
        return self.question(json.dumps(words).encode())

    def upload(self, content: bytes) -> tuple[int, dict]:
        """Status and answer of an upload."""
        head = b'--x\r\nContent-Disposition: form-data; name="photograph"; filename="a"\r\n\r\n'
        form = "multipart/form-data; boundary=x"
        status, _, body = self.ask("POST", "/uploads", head + content + b"\r\n--x--\r\n", Content_Type=form)
        return status, json.loads(body)

    def stop(self) -> str:
        """End it, if it hasn't; what it said on stderr."""
        self.process.terminate()
        return self.process.communicate()[1]


def serve(*words: object) -> Server:
    """eval.serve at a port that is free."""
    return Server([sys.executable, "-m", "eval.serve", *words, "--port", "0"], cwd=ROOT)


def names_shown(page: Page) -> list[str]:
    """The names of the results, best first."""
    expect(page.locator("#status")).to_contain_text("most similar")
    return page.locator("#results li span:last-child").all_inner_texts()
