"""A file or folder that gets its name when all is well: whole or not there, whatever happens to the one who writes it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wbltr.cli.writing import unfinished, write_file
from wbltr.errors import WbltrError

WRITES = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins with these ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from wbltr.cli.writing import unfinished
folder = sys.argv[1] == "folder"
with unfinished(Path("out"), folder=folder) as place:
    (place / "model" if folder else place).write_bytes(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""
KINDS = ("file", "folder")


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], subprocess.Popen[str]]:
    """Begins a process that has half written `out`, and goes on when its stdin ends."""
    monkeypatch.chdir(tmp_path)

    def begin(kind: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITES, kind]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        return child

    return begin


def names() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def write(kind: str) -> None:
    with unfinished(Path("out"), folder=kind == "folder") as place:
        (place / "model" if kind == "folder" else place).write_bytes(b"whole")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_leaves_nothing(writer: Callable[[str], subprocess.Popen[str]], number: signal.Signals, kind: str) -> None:
    child = writer(kind)
    child.send_signal(number)
    child.communicate()
    assert child.returncode == (143 if number != signal.SIGINT else -signal.SIGINT)
    assert names() == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_process_left_is_removed_by_the_next(writer: Callable[[str], subprocess.Popen[str]], kind: str) -> None:
    child = writer(kind)
    child.kill()
    child.communicate()
    assert len(names()) == 1
    Path(".out.elsewhere.0011223344556677.unfinished").mkdir()  # on another host, where it may live
    Path("mine.unfinished").touch()
    write(kind)
    assert names() == [".out.elsewhere.0011223344556677.unfinished", "mine.unfinished", "out"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_living_process_writes_is_left_to_it(writer: Callable[[str], subprocess.Popen[str]], kind: str) -> None:
    child = writer(kind)
    if kind == "file":
        write(kind)
        assert Path("out").read_bytes() == b"whole"
    else:
        write_file(Path("out.txt"), b"beside it")
        with pytest.raises(RuntimeError), unfinished(Path("out"), folder=True):
            raise RuntimeError
    child.communicate()
    assert child.returncode == 0
    assert (Path("out") if kind == "file" else Path("out/model")).read_bytes() == b"half", "the last to end gives the name"


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    write_file(out, b"before")
    with pytest.raises(WbltrError), unfinished(out) as place:
        place.joinpath("none").write_bytes(b"half")
    assert out.read_bytes() == b"before"
    with pytest.raises(WbltrError) as caught:
        write_file(tmp_path / "no" / "folder", b"")
    assert caught.value.code == "disk"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_a_name_as_long_as_names_may_be_is_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "ی" * 127):
        write_file(tmp_path / name, b"whole")
        assert (tmp_path / name).read_bytes() == b"whole"
