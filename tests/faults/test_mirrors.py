"""Mirrors that fail, lie or dawdle: the right bytes in the end, or exit 7 with what has arrived kept to be resumed."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import threading
import time
from pathlib import Path

import pytest
from conftest import Wbltr
from mirrors import (
    ARCHIVE,
    CERTIFICATE,
    CONTEXT,
    DATA,
    FORM,
    HALF,
    OTHER,
    Answer,
    Mirror,
    failure,
    get,
    mirror,
    page,
    send,
    status,
)

from faults.counted import Counted
from wbltr.data.download import download
from wbltr.errors import WbltrError
from wbltr.stages import dataset

__all__ = ["mirror"]

ROW = "mirrors"


def test_a_broken_connection_is_resumed_where_it_broke(tmp_path: Path, mirror: Mirror, counted: Counted) -> None:
    url = mirror.url("a", send(until=1000, etag='"v1"'), send(until=HALF, etag='"v1"'), send(etag='"v1"'))
    assert get(tmp_path, url).read_bytes() == DATA
    assert mirror.requests == [
        ("/a", None, None),
        ("/a", "bytes=1000-", '"v1"'),
        ("/a", f"bytes={HALF}-", '"v1"'),
    ]
    counted(ROW, 1)


def test_a_later_call_resumes_the_part_from_another_mirror(tmp_path: Path, mirror: Mirror, counted: Counted) -> None:
    lines = failure(tmp_path, mirror.url("a", send(until=HALF), status(503)))
    assert lines == [f"{mirror.url('a')}: HTTP 503"]
    assert (tmp_path / f"{FORM.archive}.part").read_bytes() == DATA[:HALF]
    assert get(tmp_path, mirror.url("b", send())).read_bytes() == DATA
    assert mirror.requests[-1] == ("/b", f"bytes={HALF}-", None)
    counted(ROW, 1)


def test_a_server_that_ignores_ranges_starts_again(tmp_path: Path, mirror: Mirror, counted: Counted) -> None:
    (tmp_path / f"{FORM.archive}.part").write_bytes(OTHER[:HALF])
    assert get(tmp_path, mirror.url("a", send(ranges=False))).read_bytes() == DATA
    assert len(mirror.requests) == 1
    counted(ROW, 1)


def test_a_file_that_changed_midway_starts_again_by_its_etag(tmp_path: Path, mirror: Mirror, counted: Counted) -> None:
    url = mirror.url("a", send(OTHER, until=HALF, etag='"old"'), send(etag='"new"'))
    assert get(tmp_path, url).read_bytes() == DATA
    assert len(mirror.requests) == 2
    counted(ROW, 1)


def test_a_file_that_changed_midway_unnoticed_is_fetched_once_more(tmp_path: Path, mirror: Mirror, counted: Counted) -> None:
    url = mirror.url("a", send(OTHER, until=HALF), send())
    assert get(tmp_path, url).read_bytes() == DATA
    assert [wanted for _, wanted, _ in mirror.requests] == [None, f"bytes={HALF}-", None]
    counted(ROW, 1)


def test_a_file_that_keeps_changing_is_given_up(tmp_path: Path, mirror: Mirror, counted: Counted) -> None:
    answers = [send(OTHER, until=HALF), send(), send(OTHER, until=HALF), send()]
    assert "serves another file" in failure(tmp_path, mirror.url("a", *answers))[0]
    assert len(mirror.requests) == 4
    counted(ROW, 1)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (send(OTHER), "serves another file"),
        (send(DATA[:-1]), "expected 400000 bytes, found '399999'"),
        (send(DATA + b"x"), "expected 400000 bytes, found '400001'"),
        (send(DATA[:-1] + b"yx", announced=False), "serves another file"),
        (send(b"short", announced=False, ranges=False), "broke off at 5 of 400000 bytes"),
        (page, "a web page"),
        (status(404), "HTTP 404"),
        (status(500), "HTTP 500"),
        (status(503), "HTTP 503"),
        (status(204), "HTTP 204"),
        (status(206), "other bytes than those asked for"),
        (status(416), "a shorter file"),
        (status(302, Location="http://127.0.0.1:9/plain"), "not https"),
        (status(302, Location="file:///etc/passwd"), "HTTP 302"),
        (status(302, Location="/a"), "HTTP 302"),
    ],
)
def test_a_bad_mirror_is_named_and_the_next_one_is_asked(
    tmp_path: Path, mirror: Mirror, bad: Answer, why: str, counted: Counted
) -> None:
    assert why in failure(tmp_path, mirror.url("a", bad))[0]
    assert get(tmp_path, mirror.url("a", bad), mirror.url("b", send())).read_bytes() == DATA
    counted(ROW, 1)


def test_a_web_page_and_a_wrong_size_leave_the_part_as_it_is(tmp_path: Path, mirror: Mirror, counted: Counted) -> None:
    part = tmp_path / f"{FORM.archive}.part"
    part.write_bytes(DATA[:HALF])
    lines = failure(
        tmp_path, mirror.url("a", page), mirror.url("b", send(b"short", ranges=False)), mirror.url("c", status(500))
    )
    assert [line.partition(": ")[0] for line in lines] == [mirror.url("a"), mirror.url("b"), mirror.url("c")]
    assert part.read_bytes() == DATA[:HALF]
    counted(ROW, 3)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_an_address_that_is_not_https_is_never_opened(tmp_path: Path, url: str, counted: Counted) -> None:
    assert failure(tmp_path, url) == [f"{url}: not an https address"]
    counted(ROW, 1)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, mirror: Mirror, counted: Counted) -> None:
    with pytest.raises(WbltrError, match=r"(?i)certificate"):
        download(ARCHIVE, tmp_path, mirrors=[mirror.url("a", send())])
    assert mirror.requests == []
    counted(ROW, 1)


def test_a_mirror_that_is_not_there_and_one_that_falls_silent_are_passed_over(
    tmp_path: Path, mirror: Mirror, counted: Counted
) -> None:
    released = threading.Event()

    def silent(request: http.server.BaseHTTPRequestHandler) -> None:
        released.wait(30)
        request.close_connection = True

    nobody = "https://127.0.0.1:1/x"
    path = get(tmp_path, nobody, mirror.url("a", silent), mirror.url("b", send()), timeout=0.3)
    released.set()
    assert path.read_bytes() == DATA
    counted(ROW, 2)


def test_a_part_from_elsewhere_that_does_not_fit_is_dropped(tmp_path: Path, mirror: Mirror, counted: Counted) -> None:
    (tmp_path / f"{FORM.archive}.part").write_bytes(OTHER)
    assert get(tmp_path, mirror.url("a", send())).read_bytes() == DATA
    (tmp_path / FORM.archive).unlink()
    (tmp_path / f"{FORM.archive}.part").write_bytes(DATA + b"more")
    assert get(tmp_path, mirror.url("a", send())).read_bytes() == DATA
    counted(ROW, 2)


def dripping(data: bytes, pieces: int, seconds: float) -> Answer:
    """An answer in so many pieces, each after a while."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        size = -(-len(data) // pieces)
        for start in range(0, len(data), size):
            time.sleep(seconds)
            request.wfile.write(data[start : start + size])

    return answer


def test_a_mirror_of_a_kilobyte_a_second_gives_the_right_bytes_in_the_end(
    tmp_path: Path, mirror: Mirror, counted: Counted
) -> None:
    small = dataclasses.replace(FORM, size=1500, sha256=hashlib.sha256(DATA[:1500]).hexdigest())
    archive = dataclasses.replace(ARCHIVE, python=small)
    url = mirror.url("a", dripping(DATA[:1500], 15, 0.1))
    path = download(archive, tmp_path, mirrors=[url], context=CONTEXT, timeout=1.0)
    assert path.read_bytes() == DATA[:1500]
    counted(ROW, 1)


def test_a_mirror_that_dawdles_longer_than_it_may_keeps_what_it_gave(tmp_path: Path, mirror: Mirror, counted: Counted) -> None:
    lines = failure(tmp_path, mirror.url("a", dripping(DATA, 4, 0.6)), timeout=0.3)
    assert "timed out" in lines[0]
    url = mirror.url("b", send(until=HALF), dripping(DATA, 4, 0.6))
    assert "timed out" in failure(tmp_path, url, timeout=0.3)[0]
    assert (tmp_path / f"{FORM.archive}.part").read_bytes() == DATA[:HALF]
    assert get(tmp_path, mirror.url("c", send())).read_bytes() == DATA
    counted(ROW, 2)


def endless(request: http.server.BaseHTTPRequestHandler) -> None:
    """More than the file has, without a word of how much."""
    request.send_response(200)
    request.end_headers()
    for _ in range(50):
        request.wfile.write(OTHER)


def squeezed(request: http.server.BaseHTTPRequestHandler) -> None:
    """The file in gzip, though nobody asked for it."""
    data = gzip.compress(DATA)
    request.send_response(200)
    request.send_header("Content-Encoding", "gzip")
    request.end_headers()
    request.wfile.write(data)


def rude(request: http.server.BaseHTTPRequestHandler) -> None:
    """No HTTP at all."""
    request.wfile.write(b"220 welcome\r\n" * 10)


def boastful(request: http.server.BaseHTTPRequestHandler) -> None:
    """A header without end."""
    request.send_response(200)
    for number in range(300):
        request.send_header(f"X-{number}", "x" * 1000)
    request.end_headers()


@pytest.mark.parametrize("bad", [endless, squeezed, rude, boastful], ids=lambda bad: bad.__name__)
def test_what_is_not_the_file_never_gets_its_name(tmp_path: Path, mirror: Mirror, bad: Answer, counted: Counted) -> None:
    failure(tmp_path, mirror.url("a", bad))
    assert all(path.stat().st_size <= len(DATA) for path in tmp_path.iterdir())
    assert get(tmp_path, mirror.url("a", bad), mirror.url("b", send())).read_bytes() == DATA
    counted(ROW, 1)


def test_the_command_exits_with_7_and_resumes_what_it_kept(
    tmp_path: Path, mirror: Mirror, wbltr: Wbltr, monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    url = mirror.url("a", send(until=HALF), status(503))
    monkeypatch.setattr(dataset, "CIFAR100", dataclasses.replace(ARCHIVE, mirrors=(url,)))
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    said = wbltr("make-dataset", "--recipe", "cifar100-ir100")
    assert said.code == 7, said.err
    assert f"{url}: HTTP 503" in said.err
    assert "Traceback" not in said.err
    downloads = Path(".wbltr/downloads")
    assert [path.name for path in downloads.iterdir()] == [f"{FORM.archive}.part"]
    mirror.url("a", send())
    said = wbltr("make-dataset", "--recipe", "cifar100-ir100")
    assert (downloads / FORM.archive).read_bytes() == DATA
    assert said.code == 4, "these bytes are what was pinned, but no archive"
    assert mirror.requests[-1] == ("/a", f"bytes={HALF}-", None)
    counted(ROW, 2)
