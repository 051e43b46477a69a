"""What a run finds on this machine: device, threads, memory, and how a step is made to repeat itself there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from wbltr.cores import free_cores
from wbltr.errors import WbltrError, sentence, shown

Precision = Literal["auto", "bf16", "fp32"]
WARM_UP = 3  # steps before a capture: libraries choose their kernels and take their memory
_CAPTURING = threading.Lock()  # of several runs in one process, one captures at a time


def prepare(device: str, threads: int | None, beside: int = 1, place: int = 0) -> torch.device:
    """Set the number of threads and choose the device.

    Args:
        device: `auto` (an NVIDIA device if there is one, else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        threads: CPU threads; None: the cores that are free, shared by the processes of this job.
        beside: processes of this job on this machine.
        place: which of them this is; `auto` and `cuda` take the device of that number.

    Raises:
        WbltrError: code "usage" for a device that is not there.
    """
    torch.set_num_threads(threads or max(1, free_cores() // beside))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and beside > 1:
        device = f"cuda:{place}"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        told, there = _why_not(device, error), devices()
        hint = f"try {' or '.join(f'--device {name}' for name in reversed(there[:3]))}"
        raise WbltrError(f"--device {shown(device)}: {told}; this machine has {', '.join(there)}", hint, "usage") from None
    if chosen.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32; who wants less says bf16
    return chosen


def devices() -> list[str]:
    """What this machine has to compute on, the CPU first."""
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count())), *mps]


def _why_not(device: str, error: Exception) -> str:
    """Why a device cannot be used, in words of ours where it is not there."""
    if device in devices() or (device == "cuda" and torch.cuda.device_count()):
        return sentence(error)
    kind = device.partition(":")[0]
    if kind == "mps":
        return "no Apple GPU" if torch.backends.mps.is_built() else "this torch is built without it"
    if kind != "cuda":
        return "no such device"
    if torch.version.cuda is None and torch.version.hip is None:
        return "this torch is built without CUDA"
    return "no device of that number" if torch.cuda.device_count() else "no NVIDIA GPU, or no driver for it"


def import_the_rest() -> None:
    """What torch imports at first use, now: two threads that come to it at once may see it half-made."""
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)


@contextmanager
def enough_memory(advice: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors into one line with advice (code "training")."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise WbltrError(f"out of memory: {sentence(error)}", advice, "training") from error
        raise


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """bf16 arithmetic with fp32 weights and statistics, or plain fp32."""
    # Each weight is used once a step: nothing to cache, and a captured step may not keep casts of an earlier one.
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """A queue of its own on a CUDA device, so that several runs of one process overlap; elsewhere nothing."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.device(device), torch.cuda.stream(stream):
        yield
        stream.synchronize()


@torch.no_grad()
def warm_up(work: Callable[[], None], changed: Sequence[Tensor]) -> None:
    """Do the work a few times as if it had never been done: what it changes is put back after each."""
    before = [tensor.clone() for tensor in changed]
    for _ in range(WARM_UP):
        with torch.enable_grad():
            work()
        for tensor, value in zip(changed, before, strict=True):
            tensor.copy_(value)


def captured(work: Callable[[], None], changed: Sequence[Tensor], device: torch.device) -> Callable[[], None]:
    """Work as one CUDA graph: its kernels are launched by one call, with the addresses they have now.

    Args:
        work: reads and writes tensors that stay where they are, without asking the device anything. Runs on the current stream.
        changed: what it changes; as before when this returns, although the work is warmed up.
        device: anything but CUDA gets the work back as it is.

    Returns:
        Does what `work` does.
    """
    if device.type != "cuda":
        return work
    with _CAPTURING:
        warm_up(work, changed)
        torch.cuda.current_stream(device).synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on with their own runs meanwhile.
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream(device), capture_error_mode="thread_local"):
            work()
    replay: Callable[[], None] = graph.replay
    return replay
