"""Files that somebody else named: only regular ones are read, so that neither a pipe nor a device can hold a reader up."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


class NotRegular(OSError):
    """A pipe, a device or a folder where a file was expected, or a file that is larger than it can be."""

    def __str__(self) -> str:
        return str(self.strerror)


def open_regular(path: str | Path) -> BufferedReader:
    """A regular file, opened to be read.

    Raises:
        NotRegular: it is none; found at once, where a pipe would wait for a writer.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular(errno.EINVAL, "is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: str | Path, most: int) -> bytes:
    """The bytes of a regular file.

    Args:
        most: bytes that it can have.

    Raises:
        NotRegular: it is none, or larger.
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size  # not read to the end where that is known
        data = b"" if size > most else file.read(most + 1)
    if max(size, len(data)) > most:
        raise NotRegular(errno.EFBIG, f"has {max(size, len(data)):,} bytes, of which at most {most:,} are read", str(path))
    return data
