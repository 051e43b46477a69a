"""`wbltr store push` and `store pull`, as typed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Wbltr

from wbltr.cli.console import Console
from wbltr.cli.remotes import watched
from wbltr.errors import Stopped
from wbltr.store import Store, key_of


@pytest.fixture
def head(wbltr: Wbltr) -> str:
    """A store in the working directory with a head on a first stage, and its id."""
    store = Store.open()
    below = ""
    for stage in ("features", "classifier"):
        inputs = {"features": below} if below else {}
        header: dict[str, Any] = {"stage": stage, "revision": 1, "config": {}, "inputs": inputs}
        below = store.publish({"head.weight": np.ones(5)}, header)
        store.write_record(key_of(header), {"object": below, **header})
    store.set_ref("latest/head", below)
    return below


def test_a_store_goes_to_another_and_comes_back(wbltr: Wbltr, head: str, tmp_path: Path) -> None:
    planned = wbltr("store", "push", tmp_path / "far", "--dry-run")
    assert (planned.code, planned.out.count("would be sent")) == (0, 1)
    assert not (tmp_path / "far").exists()
    sent = wbltr("store", "push", tmp_path / "far")
    assert (sent.code, sent.err) == (0, "")
    assert sent.out == "2 objects (0.0 MB), 2 records and 1 ref sent; 0 objects already there\n"
    assert wbltr("store", "push", tmp_path / "far").out.endswith("sent; 2 objects already there\n")
    assert wbltr("store", "ls", "--store", tmp_path / "far").out.count("classifier") == 1
    mine = tmp_path / "mine"
    document = wbltr("store", "pull", tmp_path / "far", "latest/head", "--store", mine, "--json").document
    assert (document["command"], len(document["objects"]), document["refs"]) == ("store pull", 2, {"latest/head": head})
    assert wbltr("store", "verify", "--store", mine).out.startswith("2 objects, all sound")
    assert wbltr("store", "show", "latest/head", "--store", mine).code == 0


def test_a_ref_that_stays_is_told_with_the_command_that_moves_it(wbltr: Wbltr, head: str, tmp_path: Path) -> None:
    wbltr("store", "push", tmp_path / "far")
    store = Store.open()
    store.set_ref("latest/head", store.header(head)["inputs"]["features"])
    said = wbltr("store", "pull", tmp_path / "far")
    assert f"ref latest/head stays: it means something else here; to move it: wbltr store pull {tmp_path}" in said.err
    assert wbltr("store", "pull", tmp_path / "far", "latest/head").code == 0
    assert store.ref("latest/head") == head


def test_ctrl_c_stops_between_two_objects() -> None:
    moved = []

    def work(told: Callable[[int, int], None]) -> None:
        for done in range(3):
            told(done, 3)
            moved.append(done)
            if done == 1:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped) as caught:
        watched(Console(), "push", work)
    assert caught.value.code == "interrupted"
    assert moved == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("push", "nonsense://x"), 2, "Protocol not known"),
        (("push", "{far}", "mine"), 3, "'mine': no such ref"),
        (("pull", "{far}"), 3, "no store here"),
        (("pull", "{newer}"), 5, "format 2"),
        (("pull", "{far}", "../x"), 3, "no store here"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    wbltr: Wbltr, head: str, tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "FORMAT").write_text("wbltr-store 2\n")
    places = {"far": tmp_path / "far", "newer": tmp_path / "newer"}
    said = wbltr("store", *(argument.format(**places) for argument in arguments))
    assert said.code == code
    assert says in said.err
    assert said.err.count("error:") == 1


def test_without_a_network_the_exit_code_is_7(wbltr: Wbltr, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    settings = {"ENDPOINT_URL": "http://127.0.0.1:9", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "MAX_ATTEMPTS": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    said = wbltr("store", "push", "s3://bucket/path", "latest/head")
    assert said.code == 7
    assert said.err.count("error:") == 1
    assert "Traceback" not in said.err
    assert "s3://bucket/path: cannot open it" in said.err
