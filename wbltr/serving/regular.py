"""A regular file's bytes, and no more of them than the reader asked for. No torch here."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def regular_bytes(path: str | Path, most: int) -> bytes:
    """The bytes of a file: all of them where they are no more than `most`, else nothing.

    Raises:
        OSError: it cannot be opened or read.
        ValueError: it is no regular file, larger than `most`, or its name holds a NUL.
    """
    # Without blocking: a named pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        own = os.fstat(descriptor)
        if not stat.S_ISREG(own.st_mode):
            raise ValueError("is no regular file")
        if own.st_size > most:
            raise ValueError(f"{own.st_size:,} bytes, of which at most {most:,} are read")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise ValueError(f"more than {most:,} bytes")
        return data
    finally:
        os.close(descriptor)
