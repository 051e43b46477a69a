from __future__ import annotations

import dataclasses
import hashlib
import http.server
import itertools
import random
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wbltr.data.archives import file_sha256
from wbltr.data.download import download
from wbltr.data.known import CIFAR100, Archive
from wbltr.errors import WbltrError

CERTIFICATE = Path(__file__).parent / "localhost.pem"  # self-signed, for these tests only
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


def test_the_file_gets_its_name_when_its_digest_fits(tmp_path: Path, mirror: Mirror) -> None:
    path = get(tmp_path / "new" / "folder", mirror.url("a", send()))
    assert path == tmp_path / "new" / "folder" / FORM.archive
    assert path.read_bytes() == DATA
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_lies_there_whole_is_not_asked_for(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / FORM.archive).write_bytes(DATA)
    assert get(tmp_path, mirror.url("a", send())).read_bytes() == DATA
    assert mirror.requests == []


def test_a_whole_part_only_gets_its_name(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / f"{FORM.archive}.part").write_bytes(DATA)
    assert get(tmp_path, mirror.url("a", send())).read_bytes() == DATA
    assert mirror.requests == []


def test_a_damaged_file_is_downloaded_again(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / FORM.archive).write_bytes(OTHER)
    assert get(tmp_path, mirror.url("a", send())).read_bytes() == DATA


def test_a_broken_connection_is_resumed_where_it_broke(tmp_path: Path, mirror: Mirror) -> None:
    url = mirror.url("a", send(until=1000, etag='"v1"'), send(until=HALF, etag='"v1"'), send(etag='"v1"'))
    assert get(tmp_path, url).read_bytes() == DATA
    assert mirror.requests == [
        ("/a", None, None),
        ("/a", "bytes=1000-", '"v1"'),
        ("/a", f"bytes={HALF}-", '"v1"'),
    ]


def test_a_weak_etag_is_no_validator(tmp_path: Path, mirror: Mirror) -> None:
    get(tmp_path, mirror.url("a", send(until=1000, etag='W/"v1"'), send()))
    assert mirror.requests[1] == ("/a", "bytes=1000-", None)


def test_a_later_call_resumes_the_part_from_another_mirror(tmp_path: Path, mirror: Mirror) -> None:
    lines = failure(tmp_path, mirror.url("a", send(until=HALF), status(503)))
    assert lines == [f"{mirror.url('a')}: HTTP 503"]
    assert (tmp_path / f"{FORM.archive}.part").read_bytes() == DATA[:HALF]
    assert get(tmp_path, mirror.url("b", send())).read_bytes() == DATA
    assert mirror.requests[-1] == ("/b", f"bytes={HALF}-", None)


def test_a_server_that_ignores_ranges_starts_again(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / f"{FORM.archive}.part").write_bytes(OTHER[:HALF])
    assert get(tmp_path, mirror.url("a", send(ranges=False))).read_bytes() == DATA
    assert len(mirror.requests) == 1


def test_a_file_that_changed_midway_starts_again_by_its_etag(tmp_path: Path, mirror: Mirror) -> None:
    url = mirror.url("a", send(OTHER, until=HALF, etag='"old"'), send(etag='"new"'))
    assert get(tmp_path, url).read_bytes() == DATA
    assert len(mirror.requests) == 2


def test_a_file_that_changed_midway_unnoticed_is_fetched_once_more(tmp_path: Path, mirror: Mirror) -> None:
    url = mirror.url("a", send(OTHER, until=HALF), send())
    assert get(tmp_path, url).read_bytes() == DATA
    assert [wanted for _, wanted, _ in mirror.requests] == [None, f"bytes={HALF}-", None]


def test_a_file_that_keeps_changing_is_given_up(tmp_path: Path, mirror: Mirror) -> None:
    answers = [send(OTHER, until=HALF), send(), send(OTHER, until=HALF), send()]
    assert "serves another file" in failure(tmp_path, mirror.url("a", *answers))[0]
    assert len(mirror.requests) == 4


def test_a_part_from_elsewhere_that_does_not_fit_is_dropped(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / f"{FORM.archive}.part").write_bytes(OTHER)
    assert get(tmp_path, mirror.url("a", send())).read_bytes() == DATA
    (tmp_path / FORM.archive).unlink()
    (tmp_path / f"{FORM.archive}.part").write_bytes(DATA + b"more")
    assert get(tmp_path, mirror.url("a", send())).read_bytes() == DATA


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
def test_a_bad_mirror_is_named_and_the_next_one_is_asked(tmp_path: Path, mirror: Mirror, bad: Answer, why: str) -> None:
    assert why in failure(tmp_path, mirror.url("a", bad))[0]
    assert get(tmp_path, mirror.url("a", bad), mirror.url("b", send())).read_bytes() == DATA


def test_a_web_page_and_a_wrong_size_leave_the_part_as_it_is(tmp_path: Path, mirror: Mirror) -> None:
    part = tmp_path / f"{FORM.archive}.part"
    part.write_bytes(DATA[:HALF])
    lines = failure(
        tmp_path, mirror.url("a", page), mirror.url("b", send(b"short", ranges=False)), mirror.url("c", status(500))
    )
    assert [line.partition(": ")[0] for line in lines] == [mirror.url("a"), mirror.url("b"), mirror.url("c")]
    assert part.read_bytes() == DATA[:HALF]


def test_a_redirect_to_https_is_followed_with_its_range(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / f"{FORM.archive}.part").write_bytes(DATA[:HALF])
    target = mirror.url("b", send())
    assert get(tmp_path, mirror.url("a", status(302, Location=target))).read_bytes() == DATA
    assert mirror.requests[-1] == ("/b", f"bytes={HALF}-", None)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_an_address_that_is_not_https_is_never_opened(tmp_path: Path, url: str) -> None:
    assert failure(tmp_path, url) == [f"{url}: not an https address"]


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, mirror: Mirror) -> None:
    with pytest.raises(WbltrError, match=r"(?i)certificate"):
        download(ARCHIVE, tmp_path, mirrors=[mirror.url("a", send())])
    assert mirror.requests == []


def test_a_mirror_that_is_not_there_and_one_that_falls_silent_are_passed_over(tmp_path: Path, mirror: Mirror) -> None:
    released = threading.Event()

    def silent(request: http.server.BaseHTTPRequestHandler) -> None:
        released.wait(30)
        request.close_connection = True

    nobody = "https://127.0.0.1:1/x"
    path = get(tmp_path, nobody, mirror.url("a", silent), mirror.url("b", send()), timeout=0.3)
    released.set()
    assert path.read_bytes() == DATA


def test_a_stop_request_is_heard_midway_and_what_arrived_is_kept(tmp_path: Path, mirror: Mirror) -> None:
    class Stop(Exception):
        pass

    ticks = itertools.count()

    def tick() -> None:
        if next(ticks) == 3:
            raise Stop

    with pytest.raises(Stop):
        get(tmp_path, mirror.url("a", send()), tick=tick)
    arrived = (tmp_path / f"{FORM.archive}.part").read_bytes()
    assert 0 < len(arrived) < len(DATA)
    assert DATA.startswith(arrived)
    assert get(tmp_path, mirror.url("a", send())).read_bytes() == DATA
    assert mirror.requests[-1] == ("/a", f"bytes={len(arrived)}-", None)


def test_report_hears_every_byte_and_the_rate(tmp_path: Path, mirror: Mirror) -> None:
    heard: list[tuple[int, int, float]] = []
    ticking = itertools.count().__next__
    get(tmp_path, mirror.url("a", send()), report=lambda *now: heard.append(now), clock=ticking)
    assert [received for received, _, _ in heard] == sorted(received for received, _, _ in heard)
    assert heard[-1][:2] == (len(DATA), len(DATA))
    assert heard[-1][2] == len(DATA) / len(heard)


def test_a_slow_mirror_is_announced_once_with_what_to_do_instead(tmp_path: Path, mirror: Mirror) -> None:
    notices: list[str] = []
    get(tmp_path, mirror.url("a", send(until=HALF), send()), notice=notices.append, clock=itertools.count(0, 2000).__next__)
    assert len(notices) == 1
    for words in ("127.0.0.1", "kB/s", "minutes", "--root DIR"):
        assert words in notices[0]


def test_a_fast_mirror_is_not_announced(tmp_path: Path, mirror: Mirror) -> None:
    notices: list[str] = []
    get(tmp_path, mirror.url("a", send()), notice=notices.append)
    assert notices == []


def test_a_folder_that_cannot_be_written_is_no_network_failure(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WbltrError) as caught:
        get(tmp_path / "file", mirror.url("a", send()))
    assert caught.value.code == "disk"
    (tmp_path / f"{FORM.archive}.part").mkdir()
    with pytest.raises(WbltrError) as caught:
        get(tmp_path, mirror.url("a", send()))
    assert caught.value.code == "disk"


def test_two_downloads_side_by_side_both_end_with_the_file(tmp_path: Path, mirror: Mirror) -> None:
    url = mirror.url("a", send())
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(get(tmp_path, url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [tmp_path / FORM.archive] * 4
    assert file_sha256(paths[0]) == FORM.sha256


def test_the_known_mirrors_are_asked_when_none_are_named(tmp_path: Path, mirror: Mirror) -> None:
    archive: Archive = dataclasses.replace(ARCHIVE, mirrors=(mirror.url("a", send()),))
    assert download(archive, tmp_path, context=CONTEXT).read_bytes() == DATA
