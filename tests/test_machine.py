from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wbltr.errors import WbltrError, sentence
from wbltr.machine import captured, devices, enough_memory, own_stream, prepare


@pytest.mark.parametrize(
    "name",
    ["gpu", "mps", "cuda:99", "cuda:-1", "CUDA", "toaster", "meta", "0", "", "cuda:99999999999999", "\x1b[31mred", "x" * 500],
)
def test_a_device_that_is_not_there_is_refused_with_what_there_is(name: str) -> None:
    if name in devices():
        pytest.skip("it is there")
    with pytest.raises(WbltrError) as caught:
        prepare(name, 1)
    assert caught.value.exit_code == 2
    assert all(there in caught.value.message for there in devices())
    assert "--device cpu" in caught.value.hint
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


def test_every_device_that_is_told_of_can_be_chosen() -> None:
    assert devices()[0] == "cpu"
    assert [str(prepare(name, 1)) for name in devices()] == devices()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("one line", "one line"),
        ("first\nsecond", "first"),
        ("\n\n  late  \nsecond", "late"),
        ("", "RuntimeError"),
        ("do \x1b[1mnot\x1b[0m run it\x1b[38;5;1m", "do not run it"),
        ("a\rb", "a"),
        ("tab\there", "tab\\there"),
    ],
)
def test_what_a_library_says_is_one_line_without_codes(said: str, told: str) -> None:
    assert sentence(RuntimeError(said)) == told


@given(st.text(max_size=400), st.integers(20, 100))
def test_what_a_library_says_is_cut_after_a_sentence_or_a_word_only(said: str, most: int) -> None:
    told = sentence(RuntimeError(said), most)
    assert told.isprintable()
    assert len(told) <= most + 2
    whole = sentence(RuntimeError(said), 10_000)
    assert whole.startswith(told.removesuffix(" …"))
    if told != whole and told.endswith(" …") and " " in whole[:most]:
        assert whole[len(told) - 2] == " "


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
