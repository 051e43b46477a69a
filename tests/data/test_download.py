from __future__ import annotations

import dataclasses
import itertools
import threading
from pathlib import Path

import pytest
from mirrors import ARCHIVE, CONTEXT, DATA, FORM, HALF, OTHER, Mirror, get, mirror, send, status

from wbltr.data.archives import file_sha256
from wbltr.data.download import download
from wbltr.data.known import Archive
from wbltr.errors import WbltrError

__all__ = ["mirror"]


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


def test_a_weak_etag_is_no_validator(tmp_path: Path, mirror: Mirror) -> None:
    get(tmp_path, mirror.url("a", send(until=1000, etag='W/"v1"'), send()))
    assert mirror.requests[1] == ("/a", "bytes=1000-", None)


def test_a_redirect_to_https_is_followed_with_its_range(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / f"{FORM.archive}.part").write_bytes(DATA[:HALF])
    target = mirror.url("b", send())
    assert get(tmp_path, mirror.url("a", status(302, Location=target))).read_bytes() == DATA
    assert mirror.requests[-1] == ("/b", f"bytes={HALF}-", None)


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
