"""A stranger's ONNX graph, asked in a process of its own: what never ends, takes all memory or crashes ends there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from wbltr.serving.about import About
from wbltr.serving.model import Cost
from wbltr.serving.onnx_child import WORDS, frame

INPUT, OUTPUTS = "images", ("logits", "probabilities")
OPENING, ASKING = 30.0, 10.0  # seconds of computing that a graph gets whatever its size
SLOWEST = 2e8  # multiplications a second that a machine does at least
WAITING = 10  # seconds on the clock for each of computing, on a machine that has other things to do
MEMORY = 1 << 30  # bytes that it may take whatever its size
LONGEST = 1 << 20  # bytes of what is told of a graph


class Unfit(Exception):
    """Why a graph does not answer, in words."""


class OnnxProgram:
    """A graph that is open in a process of its own, until this object is gone.

    Args:
        model: the file's bytes.
        about: what it is said to take and give.
        cost: of its network: what it may take in time and memory.

    Raises:
        Unfit: it is no such graph.
    """

    def __init__(self, model: bytes, about: About, cost: Cost) -> None:
        path = os.pathsep.join(os.path.abspath(place) for place in sys.path)  # noqa: PTH100 - as many as there are
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "wbltr.serving.onnx_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # onnxruntime writes there what a graph's names hold
            env=os.environ | {"PYTHONPATH": path, "MALLOC_ARENA_MAX": "2"},
        )
        weakref.finalize(self, _end, self._process)
        self._classes, self._cost = len(about.class_names), cost
        threads = torch.get_num_threads()
        memory = MEMORY + 4 * len(model) + 8 * cost.at_once * cost.widest + (threads << 25)
        told = self._asked({"threads": threads, "memory": memory}, model, OPENING + len(model) / 1e6, LONGEST)
        try:
            _refuse_other_ends(json.loads(told), about)
        except (ValueError, TypeError, KeyError):
            raise Unfit("what it takes and gives makes no sense") from None

    def __call__(self, images: Tensor) -> Tensor:
        """Probabilities `(B, classes)` float32 of `(B, C, H, W)` uint8.

        Raises:
            Unfit: it does not answer.
        """
        expected = [len(images), self._classes]
        told = {"input": INPUT, "output": OUTPUTS[1], "shape": [*images.shape], "expected": expected}
        seconds = ASKING + len(images) * self._cost.multiplications / SLOWEST
        size = 4 * len(images) * self._classes
        found = self._asked(told, images.numpy().tobytes(), seconds, size)
        if len(found) != size:
            raise Unfit("its answer has another size than it should")
        return torch.frombuffer(bytearray(found), dtype=torch.float32).view(expected)

    def _asked(self, told: dict[str, Any], data: bytes | memoryview, seconds: float, most: int) -> bytes:
        """One question and its answer, of up to `most` bytes."""
        child, late = self._process, threading.Event()
        assert child.stdin is not None
        assert child.stdout is not None

        def end() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(WAITING * seconds, end)
        timer.daemon = True
        timer.start()
        try:
            for part in (*frame(json.dumps(told | {"seconds": seconds}).encode()), *frame(data)):
                child.stdin.write(part)
            child.stdin.flush()
            head = child.stdout.read(9)
            size = int.from_bytes(head[1:], "little")
            if len(head) == 9 and size <= max(most, 4 * WORDS):
                answer = child.stdout.read(size)
                if len(answer) == size:
                    if head[0]:
                        raise Unfit(answer.decode("utf-8", "replace"))
                    return answer
        except OSError:  # its end of the pipe is closed
            pass
        finally:
            timer.cancel()
        child.kill()
        raise Unfit(_why(child.wait(), late.is_set(), seconds))


def _why(code: int, late: bool, seconds: float) -> str:
    """Why a process that ran a graph is gone."""
    if late or code == -getattr(signal, "SIGXCPU", 0):
        return f"it computes for more than {seconds:.0f} s"
    ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"the process that ran it ended: {ended}"


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _refuse_other_ends(told: dict[str, list[tuple[str, str, list[int | str | None]]]], about: About) -> None:
    """Refuse a graph that takes or gives anything but what wbltr exports.

    Raises:
        Unfit: in words.
    """
    own, classes = about.input, len(about.class_names)
    takes = [(INPUT, "tensor(uint8)", [own.channels, own.side, own.side])]
    gives = [(name, "tensor(float)", [classes]) for name in OUTPUTS]
    for what, expected in (("takes", takes), ("gives", gives)):
        found = [(name, kind, shape[1:]) for name, kind, shape in told[what]]
        if found != expected or any(isinstance(size, int) for *_, shape in told[what] for size in shape[:1]):
            raise Unfit(f"it {what} {told[what]}, expected {[(name, kind, ['B', *rest]) for name, kind, rest in expected]}")
