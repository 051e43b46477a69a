"""Where large results are written to before they are published."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np

from wbltr.errors import WbltrError
from wbltr.pipeline import Runtime

MAP_ABOVE = 1 << 28  # bytes


def room(views: int, images: int, dimensions: int, runtime: Runtime) -> np.ndarray[Any, Any]:
    """`(V, N, D)` float32 to be written to; a large one lies in a file without a name, so that memory does not grow with N.

    Raises:
        WbltrError: "disk" where there is no room for it.
    """
    shape, size = (views, images, dimensions), 4 * views * images * dimensions
    if size <= MAP_ABOVE or runtime.scratch is None:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(dir=runtime.scratch) as file:
        try:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # now: a disk that is full later on would kill the process
        except OSError as error:
            raise WbltrError(f"no room for {size / 1e9:.1f} GB of embeddings: {error.strerror}", "free some", "disk") from None
        return np.memmap(file, np.float32, "r+", shape=shape)
