"""A PostgreSQL server of the tests' own, on loopback, from the system's packages."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))


@dataclass(frozen=True)
class Server:
    """One server.

    Attributes:
        folder: its data and its socket.
        port: on 127.0.0.1.
    """

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://wbltr:secret@127.0.0.1:{self.port}/postgres"

    def program(self, name: str, *arguments: str) -> None:
        command = [str(PROGRAMS[-1].parent / name), *arguments]
        if os.geteuid() == 0:  # which PostgreSQL refuses
            command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
        # Not through a pipe: the server would keep it open.
        with (self.folder / "said.txt").open("a") as said:
            done = subprocess.run(command, stdout=said, stderr=said, cwd=self.folder, check=False)
        assert done.returncode == 0, (self.folder / "said.txt").read_text()

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -F"
        self.program("pg_ctl", "start", "-w", "-D", str(self.folder / "data"), "-o", options)

    def stop(self) -> None:
        self.program("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.folder / "data"))


@contextmanager
def running() -> Iterator[Server]:
    """A server with an empty database, stopped and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="wbltr-postgresql-") as name, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Server(Path(name), free.getsockname()[1])
        free.close()
        if os.geteuid() == 0:
            shutil.chown(name, "nobody", "nogroup")
        server.program("initdb", "-D", str(server.folder / "data"), "-U", "wbltr", "-A", "trust", "--no-sync")
        server.start()
        try:
            yield server
        finally:
            if (server.folder / "data" / "postmaster.pid").exists():
                server.stop()
