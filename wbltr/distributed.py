"""Several processes on one run, as torchrun starts them: who this is, and the few things that they tell each other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn

from wbltr.errors import WbltrError

DAYS = timedelta(days=30)  # the leader may wait for somebody else's run; a lost process is noticed at once all the same


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
    def connected(self, device: torch.device) -> Iterator[None]:
        """The processes connected: gloo for tensors on the CPU, NCCL for those on a GPU.

        Raises:
            WbltrError: code "training" when a process was lost.
        """
        import torch.distributed as dist

        if self.size == 1 or dist.is_initialized():
            yield
            return
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=DAYS)
        try:
            yield
        except RuntimeError as error:
            raise WbltrError(
                f"process {self.rank} of {self.size} lost the others: {str(error).splitlines()[0]:.200}",
                "the same command goes on from the last checkpoint; torchrun --max-restarts does so by itself",
                "training",
            ) from error
        finally:
            with suppress(RuntimeError):
                dist.destroy_process_group()

    def begin(self, what: str) -> None:
        """All start the same work.

        Raises:
            Dismissed: the leader has nothing to do.
            WbltrError: code "usage" when this process is about to do other work than the leader.
        """
        if self.size == 1:
            return
        mine = _word(what)
        leaders = mine.clone()
        self._broadcast(leaders)
        if not leaders.any():
            raise Dismissed
        if not torch.equal(mine, leaders):
            raise WbltrError(
                f"process {self.rank} of {self.size} would train something else than process 0 ({what})",
                "give all of them the same command, and machines of one kind or an explicit features.precision",
                "usage",
            )

    def dismiss(self) -> None:
        """The leader's word that there is nothing to do."""
        if self.size > 1:
            with self.connected(torch.device("cpu")):
                self._broadcast(torch.zeros(8, dtype=torch.int64))

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors of all by the leader's."""
        for tensor in tensors if self.size > 1 else ():
            self._broadcast(tensor)

    def _broadcast(self, tensor: Tensor) -> None:
        import torch.distributed as dist

        with torch.no_grad():
            dense = tensor.detach().contiguous()
            dist.broadcast(dense, 0)
            tensor.copy_(dense)

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add up over all processes, in place."""
        import torch.distributed as dist

        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def averaging(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model with gradients averaged over all processes in its backward pass."""
        if self.size == 1:
            return model
        # Batch-norm's statistics are averaged by the step itself.
        return nn.parallel.DistributedDataParallel(
            model, [device] if device.type == "cuda" else None, broadcast_buffers=False, gradient_as_bucket_view=True
        )

    def quiet(self, model: nn.Module) -> AbstractContextManager[None]:
        """A backward pass of which the others are told nothing yet: they hear the sum at the next one."""
        return model.no_sync() if isinstance(model, nn.parallel.DistributedDataParallel) else nullcontext()


ALONE = Team()


def team() -> Team:
    """The team that torchrun's environment describes; of one without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        return ALONE
    return Team(
        rank=int(os.environ["RANK"]),
        size=size,
        place=int(os.environ.get("LOCAL_RANK", "0")),
        beside=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
    )


def _word(text: str) -> Tensor:
    """A text as `(8,)` int64; never all zeros."""
    digest = hashlib.sha256(text.encode()).digest()
    return torch.tensor([int.from_bytes(digest[n : n + 4], "big") for n in range(0, 32, 4)])
