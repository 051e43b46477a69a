from __future__ import annotations

import pytest
import torch

from wbltr.errors import WbltrError
from wbltr.machine import captured, enough_memory, own_stream, prepare


def test_an_unknown_device_is_a_usage_error() -> None:
    for name in ("cuda:99", "toaster"):
        with pytest.raises(WbltrError) as caught:
            prepare(name, 1)
        assert caught.value.exit_code == 2


def test_running_out_of_memory_is_one_line_with_advice() -> None:
    with pytest.raises(WbltrError, match="out of memory") as caught, enough_memory("use less"):
        torch.empty(2**60, dtype=torch.uint8)
    assert (caught.value.exit_code, caught.value.hint) == (8, "use less")
    with pytest.raises(RuntimeError, match="other"), enough_memory("use less"):
        raise RuntimeError("other")


def test_threads_are_what_was_asked_for_and_free_cores_are_shared_otherwise() -> None:
    prepare("cpu", 3)
    assert torch.get_num_threads() == 3
    prepare("cpu", None, beside=1000)
    assert torch.get_num_threads() == 1


def test_off_a_gpu_a_captured_step_is_the_step_itself_and_nothing_is_run() -> None:
    count = torch.zeros(())

    def work() -> None:
        count.add_(1)

    with own_stream(torch.device("cpu")):
        assert captured(work, [count], torch.device("cpu")) is work
    assert count == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_captured_step_repeats_the_work_and_warm_up_leaves_no_trace() -> None:
    device = torch.device("cuda")
    count, seen = torch.zeros((), device=device), []

    def work() -> None:
        count.add_(1)
        seen.append(1)

    with own_stream(device):
        replay = captured(work, [count], device)
        assert count.item() == 0
        calls = len(seen)
        for _ in range(5):
            replay()
        assert count.item() == 5
    assert len(seen) == calls, "a replay launches the graph, not the code"
