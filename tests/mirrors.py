"""A server on this machine that answers as it is told, over https, and the archive that it has."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import random
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wbltr.data.download import download
from wbltr.data.known import CIFAR100
from wbltr.errors import WbltrError

CERTIFICATE = Path(__file__).parent / "data" / "localhost.pem"  # self-signed, for these tests only
DATA = random.Random(0).randbytes(400_000)
OTHER = random.Random(1).randbytes(400_000)
HALF = len(DATA) // 2
FORM = dataclasses.replace(CIFAR100.python, size=len(DATA), sha256=hashlib.sha256(DATA).hexdigest())
ARCHIVE = dataclasses.replace(CIFAR100, python=FORM)

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Mirror:
    """A server on this machine: each path has a list of answers, one a request, the last one for all that follow."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, str | None, str | None]] = []
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.requests.append((self.path, self.headers["Range"], self.headers["If-Range"]))
                answers = mirror.answers[self.path]
                (answers.pop(0) if len(answers) > 1 else answers[0])(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = False

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that leaves midway is what some tests do

        self.server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def url(self, name: str, *answers: Answer) -> str:
        self.answers[f"/{name}"] = list(answers)
        return f"https://127.0.0.1:{self.server.server_port}/{name}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    mirror = Mirror()
    yield mirror
    mirror.close()


CONTEXT = ssl.create_default_context(cafile=CERTIFICATE)


def get(folder: Path, *urls: str, **options: object) -> Path:
    return download(ARCHIVE, folder, mirrors=urls, context=CONTEXT, **options)  # type: ignore[arg-type]


def send(
    data: bytes = DATA, *, until: int | None = None, ranges: bool = True, etag: str | None = None, announced: bool = True
) -> Answer:
    """An answer with `data` from the byte that was asked for (with `ranges`), broken off at byte `until`."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        wanted = request.headers["Range"]
        fresh = request.headers["If-Range"] in (None, etag)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and ranges and fresh else 0
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if etag is not None:
            request.send_header("ETag", etag)
        if announced:
            request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        request.wfile.write(data[start:until])

    return answer


def status(code: int, **headers: str) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def page(request: http.server.BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "text/html; charset=utf-8")
    request.end_headers()
    request.wfile.write(b"<html>please log in</html>")


def failure(folder: Path, *urls: str, **options: object) -> list[str]:
    """The lines of the error, one for each mirror."""
    with pytest.raises(WbltrError) as caught:
        get(folder, *urls, **options)
    assert caught.value.code == "network"
    assert "--root DIR" in caught.value.hint
    head, *lines = caught.value.message.splitlines()
    assert FORM.archive in head
    assert not (folder / FORM.archive).exists()
    return lines
