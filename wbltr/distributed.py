"""Several processes on one run, as torchrun starts them: who this is, and the few things that they tell each other.

torch is imported where processes talk: who this is costs nothing to know.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

from wbltr.errors import WbltrError, sentence

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Dismissed(Exception):
    """There is nothing to do for this process: the leader found the result finished."""


@dataclass(frozen=True)
class Team:
    """The processes of one run. Rank 0 leads: it alone reads and writes checkpoints and publishes.

    Attributes:
        rank, size: of this process, and how many there are.
        beside, place: likewise, on this machine.
    """

    rank: int = 0
    size: int = 1
    place: int = 0
    beside: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @contextmanager
    def connected(self, device: torch.device | None = None, tick: Callable[[], None] = lambda: None) -> Iterator[None]:
        """The processes connected: gloo for tensors on the CPU, NCCL for those on a GPU.

        Args:
            device: what is trained on.
            tick: called ten times a second while this process waits for the leader, which may itself wait for somebody who
                is making the same; may raise to stop.

        Raises:
            WbltrError: code "training" when a process was lost, "usage" when the environment does not say where the others are.
        """
        if self.size == 1:
            yield
            return
        import torch.distributed as dist
        from torch.distributed.rendezvous import rendezvous

        gpu = device is not None and device.type == "cuda"
        try:
            store, rank, size = next(rendezvous("env://"))
            # After a restart nobody may find the addresses of those that are gone.
            store = dist.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)  # type: ignore[attr-defined]
            if self.leads:
                store.set("leader", "here")
            while not store.check(["leader"]):
                tick()
                time.sleep(0.1)
            dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", store=store, rank=rank, world_size=size)
            _met.set()
            yield
        except ValueError as error:
            if "environment variable" not in str(error):
                raise
            raise WbltrError(
                f"process {self.rank} of {self.size}: {error}", "start the processes by torchrun", "usage"
            ) from None
        except RuntimeError as error:
            told = str(error)
            if not isinstance(error, dist.DistError) and not any(word in told for word in ("gloo", "NCCL", "Connection")):
                raise
            raise WbltrError(
                f"process {self.rank} of {self.size} lost the others: {sentence(error)}",
                "the same command goes on from the last checkpoint; torchrun --max-restarts does so by itself",
                "training",
            ) from error
        finally:
            with suppress(RuntimeError, AssertionError, ValueError):  # what was never made cannot be destroyed
                dist.destroy_process_group()

    def begin(self, what: str) -> None:
        """All start the same work.

        Args:
            what: the work in words that are equal on all of them.

        Raises:
            Dismissed: the leader has nothing to do.
            WbltrError: code "usage" when this process is about to do other work than the leader.
        """
        if self.size == 1:
            return
        mine = _word(what)
        leaders = mine.clone()
        self.follow([leaders])
        if not leaders.any():
            raise Dismissed
        if not mine.equal(leaders):
            raise WbltrError(
                f"process {self.rank} of {self.size} would train something else than process 0 ({what})",
                "give all of them the same command, and machines of one kind or an explicit features.precision",
                "usage",
            )

    def dismiss(self) -> None:
        """The leader's word to those that wait in `begin`: there is nothing to do."""
        if self.size == 1:
            return
        with self.connected():
            self.follow([_word("").zero_()])

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors of all by the leader's."""
        if self.size == 1:
            return
        import torch.distributed as dist

        for tensor in tensors:
            dense = tensor.detach().contiguous()
            dist.broadcast(dense, 0)
            tensor.detach().copy_(dense)

    def agree(self, number: int) -> int:
        """The leader's number."""
        if self.size == 1:
            return number
        import torch

        told = torch.tensor(number)
        self.follow([told])
        return int(told)

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up over all processes, in place."""
        if self.size > 1:
            import torch.distributed as dist

            dist.all_reduce(tensor)
        return tensor

    def averaging(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model with gradients averaged over all processes in its backward pass."""
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        # Batch-norm's statistics are averaged by the step itself. Newer versions of torch have another name for it.
        names = ("forward_sync_buffers", "broadcast_buffers")
        options: Any = {next(n for n in names if n in inspect.signature(DistributedDataParallel).parameters): False}
        return DistributedDataParallel(model, [device] if device.type == "cuda" else None, **options)

    def quiet(self, model: nn.Module) -> AbstractContextManager[None]:
        """A backward pass of which the others are told nothing yet: they hear the sum at the next one."""
        from torch.nn.parallel import DistributedDataParallel

        return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


ALONE = Team()
_met = Event()


def team() -> Team:
    """The team that torchrun's environment describes; without one, this process alone.

    Raises:
        WbltrError: code "usage" when a variable is not a number.
    """
    if "RANK" not in os.environ or (size := _variable("WORLD_SIZE", "1")) == 1:
        return ALONE
    return Team(_variable("RANK", "0"), size, _variable("LOCAL_RANK", "0"), _variable("LOCAL_WORLD_SIZE", "1"))


def _variable(name: str, default: str) -> int:
    text = os.environ.get(name, default)
    if not text.isdecimal():
        raise WbltrError(f"{name}={text}: expected a number, as torchrun sets it", f"or unset it: env -u {name}", "usage")
    return int(text)


def _word(text: str) -> Tensor:
    """A text as `(8,)` int64; never all zeros."""
    import torch

    digest = hashlib.sha256(text.encode()).digest()
    return torch.tensor([int.from_bytes(digest[n : n + 4], "big") for n in range(0, 32, 4)])


def leave(code: int) -> None:
    """End this process if it has met others, its work done.

    Threads of gloo may still be ending, and to tear the interpreter down around them can abort.
    """
    if _met.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
