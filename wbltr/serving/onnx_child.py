"""The process in which a stranger's ONNX graph runs, within bounds of time and memory. No torch here.

It reads frames from stdin and answers on stdout: 8 bytes for the length, then the bytes; an answer has one byte more before
them, 0 for an answer and 1 for words that say why there is none. First comes the model, then batches of images, each after a
frame of JSON. It ends when its parent does.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

WORDS = 1000  # characters of another library's sentence


def frame(data: bytes | memoryview) -> tuple[bytes, bytes | memoryview]:
    """What stands before the bytes, and the bytes."""
    return len(data).to_bytes(8, "little"), data


def main() -> None:
    """Answer until stdin ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when it is over
    _leave_every_folder()
    frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, frames), daemon=True).start()
    session: Any = None
    while True:
        told, data = json.loads(frames.get()), frames.get()
        status, answer = b"\0", b""
        try:
            _allow(told["seconds"])
            if session is None:
                session, answer = _opened(told, data)
            else:
                answer = _run(session, told, data)
        except Exception as error:  # onnxruntime's own hierarchy stands below Exception
            words = str(error).strip() or type(error).__name__
            status, answer = b"\1", words.splitlines()[0][:WORDS].encode("utf-8", "backslashreplace")
        for part in (status, *frame(answer)):
            out.write(part)
        out.flush()


def _read(source: BinaryIO, frames: queue.SimpleQueue[bytes]) -> None:
    """Frames as they come; with the parent gone, whatever runs here is over."""
    while len(head := source.read(8)) == 8:
        size = int.from_bytes(head, "little")
        data = source.read(size)
        if len(data) < size:
            break
        frames.put(data)
    os._exit(0)


def _leave_every_folder() -> None:
    """Work in a folder that is gone: no name leads to a file from there."""
    with suppress(OSError):
        folder = Path(tempfile.mkdtemp())
        os.chdir(folder)
        folder.rmdir()


def _allow(seconds: float) -> None:
    """Let it compute for so long from now on, in seconds of all cores together; then the system ends this process."""
    with suppress(ImportError, OSError, ValueError):  # not on Windows
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + 1, hard))


def _bound_memory(more: int) -> None:
    """Let it take so many bytes more than it has; where the system cannot say what it has, nothing is bounded."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (taken + more, taken + more))


def _opened(told: dict[str, Any], model: bytes) -> tuple[Any, bytes]:
    """A session, and what its graph takes and gives, as JSON."""
    import onnxruntime

    from wbltr.serving.onnx_graph import refuse_unfit

    _bound_memory(told["memory"])
    refuse_unfit(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = told["threads"]
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    ends = {"takes": session.get_inputs(), "gives": session.get_outputs()}
    return session, json.dumps(
        {what: [(one.name, one.type, one.shape) for one in ones] for what, ones in ends.items()}
    ).encode()


def _run(session: Any, told: dict[str, Any], pixels: bytes) -> bytes:
    """Probabilities of `(B, C, H, W)` uint8."""
    import numpy as np

    images = np.frombuffer(pixels, np.uint8).reshape(told["shape"])
    (found,) = session.run([told["output"]], {told["input"]: images})
    if found.dtype != np.float32 or list(found.shape) != told["expected"]:
        raise ValueError(f"it gives {found.dtype} {found.shape} for {len(images)} images, expected {told['expected']}")
    return bytes(np.ascontiguousarray(found).tobytes())


if __name__ == "__main__":
    main()
