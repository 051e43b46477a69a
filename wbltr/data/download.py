"""Downloads a known archive over https from its mirrors, resumed where it broke off, checked by its SHA-256.

The only module of wbltr that opens a network connection.
"""

from __future__ import annotations

import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from email.message import Message
from pathlib import Path
from typing import IO

from wbltr.data.archives import file_sha256
from wbltr.data.known import Archive, Form
from wbltr.errors import WbltrError

CHUNK = 1 << 16  # small, so that a stop request is heard soon on a slow line
CONNECTIONS = 20  # to one mirror; each must bring the file further
SLOW_AFTER = 10.0  # seconds of one connection before its rate is judged
SLOW_LEFT = 600.0  # seconds still to go that are worth a notice

Report = Callable[[int, int, float], None]


class _MirrorFailed(Exception):
    """Why a mirror is given up, in words."""


def download(
    archive: Archive,
    folder: Path,
    *,
    mirrors: Sequence[str] | None = None,
    context: ssl.SSLContext | None = None,
    report: Report | None = None,
    notice: Callable[[str], None] | None = None,
    tick: Callable[[], None] | None = None,
    timeout: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
) -> Path:
    """The `.tar.gz` of an archive's python form in `folder`, downloaded unless it already lies there.

    The mirrors are asked in order. What has arrived lies in `<name>.part` and is resumed, by a later call or from another
    mirror too, since all must serve the same pinned bytes; the file gets its name when its SHA-256 fits.

    Args:
        archive: what to download.
        folder: where to; made if it does not exist.
        mirrors: https addresses instead of the archive's own.
        context: TLS settings instead of the system's.
        report: called with bytes received, bytes in all, and bytes a second of this connection.
        notice: called once with one line where the download will take long, saying what to do instead.
        tick: called every 64 KiB; may raise to stop.
        timeout: seconds without an answer or a byte after which a connection is given up.
        clock: gives seconds; rates come from it.

    Raises:
        WbltrError: code `network`, no mirror gave the file; code `disk`, it cannot be written.
    """
    transfer = _Transfer(archive.python, folder, context, report, notice, tick or (lambda: None), timeout, clock)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if transfer.finished():
            return transfer.target
        if transfer.received() > archive.python.size:
            transfer.part.unlink()
        failures = []
        for url in archive.mirrors if mirrors is None else mirrors:
            try:
                transfer.fetch(url)
                return transfer.target
            except _MirrorFailed as failure:
                failures.append(f"{url}: {failure}")
    except OSError as error:  # the network's own are caught where they arise
        raise WbltrError(
            f"{folder}: cannot write {transfer.target.name}: {error}", "Make room there, or make it writable.", "disk"
        ) from error
    hint = (
        f"Try again later (what has arrived is kept), or get {transfer.target.name} elsewhere and name its folder: --root DIR."
    )
    raise WbltrError("\n".join((f"no mirror gave {transfer.target.name}", *failures)), hint, "network")


class _Transfer:
    """One archive on its way into one folder."""

    def __init__(
        self,
        form: Form,
        folder: Path,
        context: ssl.SSLContext | None,
        report: Report | None,
        notice: Callable[[str], None] | None,
        tick: Callable[[], None],
        timeout: float,
        clock: Callable[[], float],
    ) -> None:
        self.form = form
        self.target = folder / form.archive
        self.part = folder / f"{form.archive}.part"
        self.opener = _https_only(context)
        self.report = report
        self.notice = notice
        self.tick = tick
        self.timeout = timeout
        self.clock = clock

    def finished(self) -> bool:
        """Whether the file lies there whole, perhaps still under its working name."""
        for path in (self.part, self.target):
            try:
                if path.stat().st_size == self.form.size and file_sha256(path, self.tick) == self.form.sha256:
                    if path == self.part:
                        path.replace(self.target)
                    return True
            except FileNotFoundError:  # or no longer there, since somebody beside us finished first
                continue
        return False

    def received(self) -> int:
        """How many bytes have arrived."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def fetch(self, url: str) -> None:
        """Brings the file from one mirror, over as many connections as it takes."""
        if not url.startswith("https://"):
            raise _MirrorFailed("not an https address")
        in_one_piece = restarted = False
        validator = None
        for _ in range(CONNECTIONS):
            start, failure = self.received(), ""
            if start < self.form.size:
                in_one_piece, validator, failure = self.connect(url, start, validator)
            if self.finished():  # here, or by somebody who downloads beside us
                return
            if self.received() == self.form.size:
                self.part.unlink(missing_ok=True)
                if in_one_piece or restarted:
                    raise _MirrorFailed("it serves another file: the SHA-256 does not fit")
                restarted, validator = True, None  # pieces of different files: once more, from the start
            elif self.received() <= start:
                raise _MirrorFailed(failure)
        raise _MirrorFailed(f"{CONNECTIONS} connections broke off")

    def connect(self, url: str, start: int, validator: str | None) -> tuple[bool, str | None, str]:
        """One request and what it brings.

        Returns:
            Whether the answer began at byte 0, the validator that it came with (ETag or date), and how it ended.
        """
        request = urllib.request.Request(url, headers={"User-Agent": "wbltr", "Accept-Encoding": "identity"})
        if start:
            request.add_header("Range", f"bytes={start}-")
            if validator is not None:
                request.add_header("If-Range", validator)
        try:
            response = self.opener.open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # its file is shorter than what is here
                raise _MirrorFailed("it serves a shorter file") from error
            raise _MirrorFailed(f"HTTP {error.code}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _MirrorFailed(_reason(error)) from error
        with response:
            start = self.check(response, start)
            validator = _validator(response.headers)
            # Written in place, never cut short: whoever downloads beside us writes the same bytes to the same spots.
            with os.fdopen(os.open(self.part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
                file.seek(start)
                return start == 0, validator, self.copy(response, file, start)

    def check(self, response: http.client.HTTPResponse, start: int) -> int:
        """Where the answer's bytes belong; refuses an answer that cannot be the file before a byte of it is written."""
        total, kind = self.form.size, response.headers.get_content_type()
        if kind == "text/html":
            raise _MirrorFailed("it answers with a web page")
        if response.status == 206:
            place = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
            if place is None or (int(place[1]), int(place[3])) != (start, total):
                raise _MirrorFailed("it answers with other bytes than those asked for")
            return start
        if response.status != 200:
            raise _MirrorFailed(f"HTTP {response.status}")
        length = response.headers.get("Content-Length")
        if length is not None and length != str(total):
            raise _MirrorFailed(f"expected {total} bytes, found {length[:20]!r}")
        return 0

    def copy(self, response: http.client.HTTPResponse, file: IO[bytes], start: int) -> str:
        """Writes what arrives, never past the pinned size; says how it ended."""
        began, received = self.clock(), start
        while received < self.form.size:
            self.tick()
            try:
                chunk = response.read1(min(CHUNK, self.form.size - received))
            except (OSError, http.client.HTTPException) as error:
                return _reason(error)
            if not chunk:
                break
            file.write(chunk)
            received += len(chunk)
            seconds = self.clock() - began
            rate = (received - start) / seconds if seconds > 0 else 0.0
            if self.report is not None:
                self.report(received, self.form.size, rate)
            if self.notice is not None and seconds >= SLOW_AFTER and self.form.size - received > rate * SLOW_LEFT:
                self.notice(self.slow(response.geturl(), received, rate))
                self.notice = None
        return f"the connection broke off at {received} of {self.form.size} bytes"

    def slow(self, url: str, received: int, rate: float) -> str:
        """The line for a download that takes long."""
        minutes = (self.form.size - received) / max(rate, 1.0) / 60
        host = url.split("/")[2]
        return (
            f"{host} gives {rate / 1000:.0f} kB/s: {self.form.archive} takes about {minutes:.0f} more minutes. "
            "It may be stopped and resumed; or get the file elsewhere and name its folder with --root DIR."
        )


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.lower().startswith("https://"):
            fp.close()
            raise urllib.error.URLError("it redirects to an address that is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _https_only(context: ssl.SSLContext | None) -> urllib.request.OpenerDirector:
    """An opener without any handler for http, ftp, file or data addresses."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=context),
        _HttpsRedirects(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _validator(headers: Message) -> str | None:
    """What If-Range may name: a strong ETag, or else the date of the last change."""
    etag = headers.get("ETag")
    return etag if etag is not None and not etag.startswith("W/") else headers.get("Last-Modified")


def _reason(error: Exception) -> str:
    """A network failure in words."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(cause) or type(cause).__name__
