"""`wbltr store …` on a store that the toy stages filled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Wbltr
from toy_stages import chain

from wbltr.pipeline import Runtime, materialize
from wbltr.store import Store


@pytest.fixture
def store(wbltr: Wbltr) -> Store:
    """Where the commands look: two chains that differ in their first stage, one of them with a name."""
    store = Store.open(Path(".wbltr"))
    for size, name in ((5, "mine/five"), (6, "mine/six")):
        store.set_ref(name, materialize(store, chain(size=size), Runtime()).artifact.object_id)
    return store


def test_gc_says_what_would_go_and_removes_it_only_with_yes(wbltr: Wbltr, store: Store) -> None:
    store.unset_ref("mine/six")
    assert wbltr("store", "gc").out == "nothing to remove\n"  # all of it is young
    planned = wbltr("store", "gc", "--older-than", "0")
    assert planned.code == 0, planned.err
    assert "nothing was removed: add --yes" in planned.out
    assert all(stage in planned.out for stage in ("numbers", "squares", "total"))
    assert len(list(store.objects())) == 6
    done = wbltr("store", "gc", "--older-than", "0", "--yes", "--json").document
    assert done["removed"] is True
    removed = [piece for piece in done["pieces"] if piece["kind"] == "object"]
    assert [piece["stage"] for piece in removed] == ["total", "squares", "numbers"]
    assert done["bytes"] == sum(piece["bytes"] for piece in done["pieces"]) > 0
    assert len(list(store.objects())) == 3
    assert store.has(store.resolve("mine/five"))


def test_gc_tells_of_evidence_and_downloads_and_leaves_them(wbltr: Wbltr, store: Store) -> None:
    for name in ("corrupt", "downloads"):
        (store.root / name).mkdir()
        (store.root / name / "file").write_bytes(b"0" * 1_200_000)
    said = wbltr("store", "gc", "--older-than", "0", "--yes")
    assert "corrupt/ has 1.2 MB" in said.err
    assert "downloads/ has 1.2 MB" in said.err
    assert (store.root / "corrupt" / "file").exists()
    assert (store.root / "downloads" / "file").exists()


def test_du_counts_every_object_once_by_stage(wbltr: Wbltr, store: Store) -> None:
    document = wbltr("store", "du", "--json").document
    assert [(row["stage"], row["recipe"], row["objects"]) for row in document["objects"]] == [
        ("numbers", None, 2),
        ("squares", None, 2),
        ("total", None, 2),
    ]
    objects = sum(store.size(object_id) for object_id in store.objects())
    assert sum(row["bytes"] for row in document["objects"]) == objects
    assert document["bytes"] == objects + sum(document["beside"].values())
    assert "squares" in wbltr("store", "du").out


def test_rm_removes_an_artifact_with_its_record_and_names_only_with_yes(wbltr: Wbltr, store: Store) -> None:
    total = store.resolve("mine/six")
    said = wbltr("store", "rm", "mine/six")
    assert said.out.startswith(f"would remove: total {total[:12]}, 0.0 MB, mine/six\n")
    assert store.has(total)
    document = wbltr("store", "rm", total[:8], "--yes", "--json").document
    assert (document["artifact"], document["refs"], document["removed"]) == (total, ["mine/six"], True)
    assert not store.has(total)
    assert store.refs().keys() == {"mine/five"}
    assert len(list((store.root / "records").rglob("*.json"))) == 5


def test_rm_refuses_what_something_else_stands_on_and_names_it(wbltr: Wbltr, store: Store) -> None:
    total = store.resolve("mine/six")
    squares = store.header(total)["inputs"]["squares"]
    Store(store.root, "0123456789abcdef").set_ref("theirs/it", squares)
    with store.claim("ab" * 32, inputs=[squares]):
        refused = wbltr("store", "rm", squares, "--yes")
    assert refused.code == 2
    assert f"total {total[:12]} stands on it" in refused.err
    assert "another workspace names it: 0123456789abcdef/theirs/it" in refused.err
    assert "what is being computed for abababababab stands on it" in refused.err
    assert store.has(squares)


def test_why_names_the_field_in_which_two_artifacts_differ(wbltr: Wbltr, store: Store) -> None:
    said = wbltr("store", "why", "mine/five", "mine/six")
    assert said.code == 0, said.err
    assert "squares.numbers.config.size" in said.out
    key = store.key_of_object(store.resolve("mine/six"))
    document = wbltr("store", "why", "mine/five", key, "--json").document
    assert [(row["field"], row["second"]) for row in document["differences"]] == [("squares.numbers.config.size", 6)]
    same = wbltr("store", "why", "mine/five", "mine/five")
    assert same.out == f"both are {store.resolve('mine/five')[:12]}\n"


def test_verify_lists_what_was_set_aside_and_rebuilds_records(wbltr: Wbltr, store: Store) -> None:
    record = store.record_path(store.key_of_object(store.resolve("mine/six")))
    record.write_text("garbled")
    said = wbltr("store", "verify")
    assert said.code == 0, said.err
    assert "6 objects, all sound" in said.out
    assert f"set aside earlier: corrupt/{record.stem}" in said.out
    assert "finished requests without a record: 1; write them again: wbltr store verify --rebuild" in said.err
    document = wbltr("store", "verify", "--rebuild", "--json").document
    assert (document["rebuilt"], document["unrecorded"], len(document["quarantined"])) == ([record.stem], [], 1)
    assert wbltr("store", "verify").err == ""
    assert wbltr("store", "show", "mine/six", "--json").document["record"]["rebuilt"] is True


def test_verify_names_a_damaged_object_and_ends_in_4(wbltr: Wbltr, store: Store) -> None:
    total = store.resolve("mine/six")
    store.path(total).chmod(0o644)
    store.path(total).write_bytes(b"garbled")
    said = wbltr("store", "verify", "--rebuild")
    assert (said.code, said.err.count("error:")) == (4, 1)
    assert total in said.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["rm", "mine/nothing"], 3, "no such ref. Did you mean"),
        (["rm", "ffffffff"], 3, "no object, key or ref begins like this"),
        (["why", "mine/five", "../x"], 3, "no such ref"),
        (["why", "mine/five"], 2, "Missing argument"),
        (["gc", "--older-than", "-1"], 2, "--older-than"),
        (["gc", "--older-than", "soon"], 2, "--older-than"),
        (["gc", "--store", "nowhere"], 3, "no store here"),
        (["du", "--store", "\x1b[31mnowhere"], 3, "no store here"),
    ],
)
def test_bad_input_is_answered_in_one_line(wbltr: Wbltr, store: Store, arguments: list[str], code: int, words: str) -> None:
    said = wbltr("store", *arguments)
    assert (said.code, said.err.count("error:"), said.out) == (code, 1, "")
    assert words in said.err
    assert "\x1b" not in said.err


@pytest.mark.parametrize("days", ["nan", "inf"])
def test_no_number_of_days_removes_what_it_should_not(wbltr: Wbltr, store: Store, days: str) -> None:
    store.unset_ref("mine/six")
    wbltr("store", "gc", "--older-than", days, "--yes")
    assert len(list(store.objects())) == 6


# Root writes whatever it likes; without this capability it is an owner like any other.
AS_ANYBODY = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root, and no setpriv to drop its rights with")
def test_a_store_that_cannot_be_written_is_left_as_it_is_with_one_line(wbltr: Wbltr, store: Store) -> None:
    store.unset_ref("mine/six")
    folders = [store.root, *(path for path in store.root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*(AS_ANYBODY if os.geteuid() == 0 else []), sys.executable, "-m", "wbltr.cli.app", "store", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for arguments in (["gc", "--older-than", "0", "--yes"], ["rm", "mine/five", "--yes"]):
        refused = run(*arguments)
        assert (refused.returncode, refused.stderr.count("error:")) == (6, 1), refused.stderr
    for arguments in (["gc", "--older-than", "0"], ["du"], ["verify", "--rebuild"]):
        assert run(*arguments).returncode == 0
    for folder in folders:
        folder.chmod(0o755)
    assert len(list(store.objects())) == len(dict(store.records())) == 6
    assert store.refs().keys() == {"mine/five"}


def test_none_of_it_imports_torch(wbltr: Wbltr, store: Store) -> None:
    code = "import sys; sys.modules['torch'] = None; from wbltr.cli.app import main; main()"
    for arguments in (
        ["gc", "--older-than", "0"],
        ["du"],
        ["verify", "--rebuild"],
        ["why", "mine/five", "mine/six"],
        ["rm", "mine/six"],
    ):
        done = subprocess.run([sys.executable, "-c", code, "store", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (arguments, done.stderr)
