"""Push and pull: to a folder, and to a bucket of moto's server, a process of its own on loopback."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wbltr.errors import Stopped, WbltrError
from wbltr.store import Store, key_of
from wbltr.store.remote import Remote
from wbltr.store.transfer import plan_pull, plan_push, pull, push

MISSING = [name for name in ("moto", "s3fs", "flask") if importlib.util.find_spec(name) is None]
Start = Callable[..., "subprocess.Popen[str]"]
Finish = Callable[..., str]


def nothing(done: int, total: int) -> None:
    pass


def made(store: Store, stage: str, inputs: dict[str, str], size: int = 4, **more: Any) -> str:
    """An object with its record."""
    header: dict[str, Any] = {"stage": stage, "revision": 1, "config": {}, "inputs": inputs}
    object_id = store.publish({"a": np.arange(size) + len(stage)}, header)
    store.write_record(key_of(header), {"object": object_id, **header, **more})
    return object_id


def filled(store: Store) -> dict[str, str]:
    """A chain of three, the first of them kept in a part; something that no ref reaches; two refs."""
    part = made(store, "dataset-part", {})
    dataset = made(store, "dataset", {"source": "ab" * 32}, parts=[part])
    features = made(store, "features", {"dataset": dataset}, 20_000)
    head = made(store, "classifier", {"features": features})
    other = made(store, "other", {"dataset": dataset, "odd": "../../x"})
    store.set_ref("latest/head", head)
    store.set_ref("mine/first", features)
    return {"part": part, "dataset": dataset, "features": features, "head": head, "other": other}


def holds(store: Store) -> tuple[set[str], set[str]]:
    """Objects, each of them sound, and what the records mean."""
    ids = set(store.objects())
    assert all(store.verify(object_id) for object_id in ids)
    return ids, {record["object"] for _, record in store.records()}


@dataclass
class Server:
    """moto's S3 server."""

    process: subprocess.Popen[bytes]
    address: str


@contextmanager
def serving() -> Iterator[Server]:
    """A server that answers; it has nothing yet."""
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        yield Server(process, f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def lasting() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Server], str]:
    """Makes `s3://` mean a server, and gives a place in a bucket of it."""

    def use(server: Server) -> str:
        import fsspec

        monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir(tmp_path.name.replace("_", "-"))
        return f"s3://{tmp_path.name.replace('_', '-')}/some/where"

    for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    settings = {"ACCESS_KEY_ID": "somebody", "SECRET_ACCESS_KEY": "a secret", "DEFAULT_REGION": "us-east-1"}
    for name, value in {**settings, "EC2_METADATA_DISABLED": "true", "MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    return use


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "other")


@pytest.fixture(params=["folder", "file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        place: str = request.getfixturevalue("bucket")(request.getfixturevalue("lasting"))
        return place
    folder = tmp_path / "far" / "away"
    return f"file://{folder}" if request.param == "file" else str(folder)


def test_what_refs_reach_goes_there_and_comes_back_with_its_ancestors_and_parts(store: Store, other: Store, url: str) -> None:
    ids = filled(store)
    remote = Remote(url)
    plan = plan_push(store, remote)
    assert set(plan.objects) == set(ids.values()) - {ids["other"]}
    moved: list[tuple[int, int]] = []
    push(store, remote, plan, lambda done, total: moved.append((done, total)))
    assert moved[-1] == (sum(plan.objects.values()),) * 2
    pull(other, Remote(url), plan_pull(other, Remote(url)), nothing)
    objects, recorded = holds(other)
    assert objects == recorded == set(ids.values()) - {ids["other"]}
    assert other.refs() == store.refs()
    for key, record in other.records():
        assert record == store.record(key)


def test_what_is_there_already_is_not_sent_again(store: Store, other: Store, url: str) -> None:
    ids = filled(store)
    push(store, Remote(url), plan_push(store, Remote(url), ["latest/head"]), nothing)
    again = plan_push(store, Remote(url), ["latest/head"])
    assert (again.objects, len(again.there), again.records, again.refs) == ({}, 4, {}, {})
    more = plan_push(store, Remote(url), [ids["other"][:8]])
    assert (set(more.objects), len(more.there), len(more.records), more.refs) == ({ids["other"]}, 2, 1, {})
    pull(other, Remote(url), plan_pull(other, Remote(url), [ids["dataset"][:6]]), nothing)
    assert holds(other)[0] == {ids["dataset"], ids["part"]}
    rest = plan_pull(other, Remote(url))
    assert (set(rest.objects), set(rest.there)) == ({ids["features"], ids["head"]}, {ids["dataset"], ids["part"]})


def test_an_interrupted_push_leaves_nothing_half_published_and_goes_on_from_there(store: Store, other: Store, url: str) -> None:
    filled(store)
    plan = plan_push(store, Remote(url))

    def stop(done: int, total: int) -> None:
        if done > 0:
            raise Stopped("stopped", "", "interrupted")

    with pytest.raises(Stopped):
        push(store, Remote(url), plan, stop)
    left = Remote(url)
    assert 0 < len(left.objects) < len(plan.objects)
    assert (left.records, left.refs()) == ({}, {})
    assert all(plan.objects[object_id] == size for object_id, size in left.objects.items())
    rest = plan_push(store, left)
    assert set(rest.there) == set(left.objects)
    push(store, left, rest, nothing)
    pull(other, Remote(url), plan_pull(other, Remote(url)), nothing)
    assert other.refs() == store.refs()
    assert holds(other)[0] == set(plan.objects)


def killing(server: Server) -> Callable[[int, int], None]:
    """Ends the server once something has been moved."""

    def told(done: int, total: int) -> None:
        if done > 0:
            server.process.kill()
            server.process.wait()

    return told


def test_a_server_that_dies_midway_costs_one_line_and_the_rest_comes_later(
    store: Store, other: Store, bucket: Callable[[Server], str], lasting: Server
) -> None:
    filled(store)
    with serving() as server:
        url = bucket(server)
        push(store, Remote(url), plan_push(store, Remote(url)), nothing)
        plan = plan_pull(other, Remote(url))
        with pytest.raises(WbltrError) as caught:
            pull(other, Remote(url), plan, killing(server))
    assert caught.value.code == "network"
    assert caught.value.message.startswith(f"{url}: cannot read objects/")
    assert len(caught.value.message.splitlines()) == 1
    arrived, recorded = holds(other)
    assert 0 < len(arrived) < len(plan.objects)
    assert (recorded, other.refs(), list(other.scratch().iterdir())) == (set(), {}, [])

    url = bucket(lasting)
    push(store, Remote(url), plan_push(store, Remote(url)), nothing)
    rest = plan_pull(other, Remote(url))
    assert set(rest.there) == arrived
    pull(other, Remote(url), rest, nothing)
    assert holds(other)[0] == set(plan.objects)
    assert other.refs() == store.refs()


def test_a_server_that_dies_while_it_is_sent_to_costs_one_line(store: Store, bucket: Callable[[Server], str]) -> None:
    filled(store)
    with serving() as server:
        remote = Remote(bucket(server))
        with pytest.raises(WbltrError, match="cannot write objects/") as caught:
            push(store, remote, plan_push(store, remote), killing(server))
        assert caught.value.code == "network"
        with pytest.raises(WbltrError, match="cannot open it") as caught:
            Remote(remote.url)
        assert caught.value.code == "network"


def test_without_credentials_one_line_says_so(
    bucket: Callable[[Server], str], lasting: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bucket(lasting)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(WbltrError) as caught:
        Remote(url)
    assert caught.value.code == "network"
    assert len(caught.value.message.splitlines()) == 1
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint


KILLED = """
import os, signal, sys
from pathlib import Path
from wbltr.store import Store
from wbltr.store.remote import Remote
from wbltr.store.transfer import plan_push, push

def die(done, total):
    if done > int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

store, remote = Store.open(Path(sys.argv[1])), Remote(sys.argv[2])
push(store, remote, plan_push(store, remote, sys.argv[4:]), die)
"""


def test_a_killed_push_leaves_a_folder_that_is_a_store_and_goes_on(store: Store, start: Start, tmp_path: Path) -> None:
    ids = filled(store)
    far = tmp_path / "far"
    process = start(KILLED, store.root, far, 1000, "latest/head", "mine/first")
    process.communicate(timeout=60)
    assert process.returncode == -9
    left, recorded = holds(Store.open(far))
    assert left < set(ids.values())
    assert recorded == set()
    push(store, Remote(str(far)), plan_push(store, Remote(str(far))), nothing)
    assert holds(Store.open(far))[0] == set(ids.values()) - {ids["other"]}


def test_a_pushed_folder_is_a_store(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = filled(store)
    (tmp_path / "project").mkdir()
    push(
        store,
        Remote(str(tmp_path / "project" / ".wbltr")),
        plan_push(store, Remote(str(tmp_path / "project" / ".wbltr"))),
        nothing,
    )
    monkeypatch.chdir(tmp_path / "project")
    there = Store.open(create=False)
    assert there.resolve("latest/head") == ids["head"]
    assert float(there.load(ids["head"])["a"][0]) == len("classifier")
    assert there.path(ids["head"]).stat().st_mode & 0o777 == 0o444


def test_an_object_with_other_bytes_is_refused_and_named_and_nothing_is_published(
    store: Store, other: Store, tmp_path: Path
) -> None:
    ids = filled(store)
    far = tmp_path / "far"
    push(store, Remote(str(far)), plan_push(store, Remote(str(far))), nothing)
    path = far / "objects" / ids["head"][:2] / f"{ids['head']}.safetensors"
    sound = path.read_bytes()
    path.chmod(0o644)
    for wrong in (sound[:-1] + bytes([sound[-1] ^ 1]), store.path(ids["dataset"]).read_bytes(), sound[:-5], sound + b"\0"):
        path.write_bytes(wrong)
        with pytest.raises(WbltrError, match=ids["head"]) as caught:
            pull(other, Remote(str(far)), plan_pull(other, Remote(str(far))), nothing)
        assert caught.value.code == "integrity"
        assert not other.has(ids["head"])
        assert (dict(other.records()), other.refs(), list(other.scratch().iterdir())) == ({}, {}, [])
    for page in (b"<html>gone</html>" * 9, b"", b"\xff" * 300):
        path.write_bytes(page)
        with pytest.raises(WbltrError, match=ids["head"]) as caught:
            plan_pull(other, Remote(str(far)))
        assert caught.value.code == "integrity"
    path.write_bytes(sound)
    pull(other, Remote(str(far)), plan_pull(other, Remote(str(far))), nothing)
    assert other.refs() == store.refs()


def test_bytes_that_fit_their_name_but_are_no_object_are_refused(store: Store, other: Store, tmp_path: Path) -> None:
    """A header alone is not enough: what it promises must be in the file."""
    import hashlib

    sound = store.path(made(store, "toy", {})).read_bytes()
    far = tmp_path / "far"
    Remote(str(far)).begin()
    for data in (sound[:-8], sound + b"\0" * 8):
        object_id = hashlib.sha256(data).hexdigest()
        path = far / "objects" / object_id[:2] / f"{object_id}.safetensors"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        with pytest.raises(WbltrError, match="expected an object of a store") as caught:
            pull(other, Remote(str(far)), plan_pull(other, Remote(str(far)), [object_id]), nothing)
        assert caught.value.code == "integrity"
        assert list(other.objects()) == []


def test_an_object_damaged_here_is_not_sent(store: Store, tmp_path: Path) -> None:
    ids = filled(store)
    path = store.path(ids["head"])
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    remote = Remote(str(tmp_path / "far"))
    with pytest.raises(WbltrError, match=ids["head"]) as caught:
        push(store, remote, plan_push(store, remote), nothing)
    assert caught.value.code == "integrity"
    assert not Remote(remote.url).has(ids["head"])


def test_a_broken_upload_of_another_tool_is_mended(store: Store, url: str) -> None:
    from fsspec.core import url_to_fs

    ids = filled(store)
    push(store, Remote(url), plan_push(store, Remote(url)), nothing)
    files, root = url_to_fs(url, skip_instance_cache=True)
    path = f"{root}/objects/{ids['head'][:2]}/{ids['head']}.safetensors"
    if not url.startswith("s3"):
        Path(path).chmod(0o644)
    files.pipe_file(path, b"half")
    plan = plan_push(store, Remote(url))
    assert set(plan.objects) == {ids["head"]}
    push(store, Remote(url), plan, nothing)
    assert plan_push(store, Remote(url)).objects == {}


def test_a_record_that_lies_about_its_object_is_refused(store: Store, other: Store, tmp_path: Path) -> None:
    ids = filled(store)
    far = tmp_path / "far"
    push(store, Remote(str(far)), plan_push(store, Remote(str(far))), nothing)
    key = "ab" * 32
    path = far / "records" / "ab" / f"{key}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"key": key, "object": ids["head"]}))
    mine = far / "records" / store.key_of_object(ids["head"])[:2] / f"{store.key_of_object(ids['head'])}.json"
    mine.write_bytes(b"[" * 100_000)
    pull(other, Remote(str(far)), plan_pull(other, Remote(str(far))), nothing)
    assert other.record(key) is None
    assert other.record(store.key_of_object(ids["head"])) is None
    assert other.ref("latest/head") == ids["head"]


HOSTILE = ["../../escaped", "..", "/tmp/escaped", ".hidden", "beef", "a\nb", "-flag"]


def test_names_of_refs_there_are_checked_as_ours_are(store: Store, other: Store, tmp_path: Path) -> None:
    filled(store)
    far = tmp_path / "far"
    push(store, Remote(str(far)), plan_push(store, Remote(str(far))), nothing)

    class Bucket(Remote):
        """A folder cannot hold such names, a bucket can."""

        def refs(self) -> dict[str, str]:
            return dict.fromkeys([*HOSTILE, "fine"], store.refs()["latest/head"])

    remote = Bucket(str(far))
    plan = plan_pull(other, remote)
    assert (set(plan.refs), set(plan.kept)) == ({"fine"}, set(HOSTILE))
    for name in ("../../escaped", "a\nb"):
        with pytest.raises(WbltrError) as caught:
            plan_pull(other, remote, [name])
        assert caught.value.code == "usage"


def test_a_name_that_means_something_else_here_stays_unless_it_is_asked_for(store: Store, other: Store, tmp_path: Path) -> None:
    ids = filled(store)
    push(store, Remote(str(tmp_path / "far")), plan_push(store, Remote(str(tmp_path / "far"))), nothing)
    mine = made(other, "mine", {})
    other.set_ref("latest/head", mine)
    remote = Remote(str(tmp_path / "far"))
    plan = plan_pull(other, remote)
    assert (plan.kept, set(plan.refs)) == (["latest/head"], {"mine/first"})
    pull(other, remote, plan, nothing)
    assert other.ref("latest/head") == mine
    pull(other, remote, plan_pull(other, remote, ["latest/head"]), nothing)
    assert other.ref("latest/head") == ids["head"]


@pytest.mark.parametrize("taken", ["mine", "mine/first/again"])
def test_a_name_above_or_below_one_that_is_there_is_refused(store: Store, other: Store, tmp_path: Path, taken: str) -> None:
    filled(store)
    other.set_ref(taken, made(other, "other", {}))
    remote = Remote(str(tmp_path / "far"))
    push(other, remote, plan_push(other, remote), nothing)
    with pytest.raises(WbltrError, match="same path") as caught:
        plan_push(store, Remote(remote.url))
    assert caught.value.code == "usage"


def test_the_first_record_of_a_key_stays(store: Store, other: Store, tmp_path: Path) -> None:
    header: dict[str, Any] = {"stage": "toy", "revision": 1, "config": {}, "inputs": {}}
    ids = []
    for place, value in ((store, 1), (other, 2)):
        ids.append(place.publish({"a": np.array(value)}, header))
        place.write_record(key_of(header), {"object": ids[-1]})
        place.set_ref(f"toy-{value}", ids[-1])
    remote = Remote(str(tmp_path / "far"))
    push(store, remote, plan_push(store, remote), nothing)
    pull(other, remote := Remote(remote.url), plan_pull(other, remote), nothing)
    record = other.record(key_of(header))
    assert record is not None
    assert record["object"] == ids[1]
    assert other.refs() == {"toy-1": ids[0], "toy-2": ids[1]}


@pytest.mark.parametrize(
    ("text", "code"),
    [("wbltr-store 2\n", "newer"), ("what is this", "integrity"), ("", "usage")],
    ids=["newer", "garbled", "none"],
)
def test_a_place_of_another_format_is_refused(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "letters.txt").touch()
    (tmp_path / "far" / "FORMAT").write_text(text)
    with pytest.raises(WbltrError) as caught:
        Remote(str(tmp_path / "far"))
    assert caught.value.code == code
    os.mkfifo(tmp_path / "pipe")
    for file in (str(tmp_path / "far" / "FORMAT"), str(tmp_path / "pipe"), os.devnull):
        with pytest.raises(WbltrError, match="found a file") as caught:
            Remote(file)
        assert caught.value.code == "usage"


def test_a_newer_bucket_is_refused(bucket: Callable[[Server], str], lasting: Server) -> None:
    import fsspec

    url = bucket(lasting)
    fsspec.filesystem("s3", skip_instance_cache=True).pipe_file(f"{url}/FORMAT", b"wbltr-store 2\n")
    with pytest.raises(WbltrError, match="format 2") as caught:
        Remote(url)
    assert caught.value.code == "newer"


def test_where_nothing_is_there_is_nothing_to_pull_and_looking_makes_nothing(store: Store, tmp_path: Path) -> None:
    filled(store)
    remote = Remote(str(tmp_path / "far"))
    with pytest.raises(WbltrError, match="no store here") as caught:
        plan_pull(store, remote)
    assert caught.value.code == "missing"
    plan_push(store, remote)
    assert not (tmp_path / "far").exists()


@pytest.mark.parametrize("url", ["nonsense://x", "s3://", "", "file://"], ids=repr)
def test_an_url_that_means_no_place_is_a_usage_error(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WbltrError) as caught:
        Remote(url)
    assert caught.value.code == "usage"


WITHOUT = """
import sys
sys.modules["s3fs"] = None
from wbltr.errors import WbltrError
from wbltr.store.remote import Remote
try:
    Remote("s3://bucket/path")
except WbltrError as error:
    print(error.code, error.hint)
"""


def test_without_the_extra_one_line_says_what_to_install(finish: Finish) -> None:
    assert finish(WITHOUT) == "missing pip install 'wbltr[remote]'\n"


def test_a_name_unknown_there_is_refused_and_what_is_near_is_offered(store: Store, other: Store, tmp_path: Path) -> None:
    filled(store)
    push(store, Remote(str(tmp_path / "far")), plan_push(store, Remote(str(tmp_path / "far"))), nothing)
    with pytest.raises(WbltrError, match=r"Did you mean 'latest/head'\?") as caught:
        plan_pull(other, Remote(str(tmp_path / "far")), ["latest/haed"])
    assert caught.value.code == "missing"
    with pytest.raises(WbltrError, match="no objects begin like"):
        plan_pull(other, Remote(str(tmp_path / "far")), ["0" * 30])
