from __future__ import annotations

import dataclasses
import gzip
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from cifar_files import Made, make, repin

from wbltr.data.known import CIFAR10, CIFAR100, CONTENT, Form
from wbltr.data.sources import Source, content_digest, load_cifar, load_digits, locate
from wbltr.data.unpickle import unpickle
from wbltr.errors import WbltrError


def same(a: Source, b: Source) -> bool:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    arrays = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)
    dtypes = all(getattr(a, name).dtype == getattr(b, name).dtype for name in names)
    return arrays and dtypes and a.class_names == b.class_names


@pytest.fixture(scope="module", params=[1, 2], ids=["like-cifar10", "like-cifar100"])
def made(request: pytest.FixtureRequest) -> Made:
    return make(label_bytes=request.param)


def test_digits_are_1197_grey_images_to_train_and_the_last_60_of_each_class_to_test() -> None:
    source = load_digits()
    assert source.train_images.shape == (1197, 1, 8, 8)
    assert source.test_images.shape == (600, 1, 8, 8)
    assert source.train_images.dtype == source.test_images.dtype == np.uint8
    assert source.train_labels.dtype == source.test_labels.dtype == np.int64
    assert np.bincount(source.test_labels).tolist() == [60] * 10
    assert source.class_names == tuple("0123456789")


def test_digits_keep_file_order_and_map_0_8_16_to_0_128_255() -> None:
    from sklearn.datasets import load_digits as load

    bunch, source = load(), load_digits()
    of_three = bunch.data[bunch.target == 3]
    grey = np.concatenate([source.train_images[source.train_labels == 3], source.test_images[source.test_labels == 3]])
    assert np.array_equal(grey.reshape(-1, 64), np.floor(of_three * 255 / 16 + 0.5))
    assert {8: 128, 16: 255, 0: 0}.items() <= dict(zip(of_three.ravel(), grey.ravel(), strict=True)).items()


def test_the_digest_of_digits_is_the_one_in_keys() -> None:
    assert content_digest(load_digits()) == CONTENT["digits"]


def test_the_content_digest_hashes_the_stated_layout() -> None:
    import hashlib

    images, labels = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1), np.array([1, 0])
    stated = (
        b'{"class_names":["a","\\u00e9"]}\n'
        b"train_images uint8 2x3x1x1\n\0\1\2\3\4\5"
        b"train_labels int64 2\n" + bytes([1, *[0] * 15]) + b"test_images uint8 1x3x1x1\n\0\1\2"
        b"test_labels int64 1\n" + bytes([1, *[0] * 7])
    )
    source = Source(images, labels, images[:1], labels[:1], ("a", "é"))
    assert content_digest(source) == hashlib.sha256(stated).hexdigest()


@pytest.mark.parametrize("swap", ["train_images", "train_labels", "test_images", "test_labels"])
def test_the_content_digest_sees_every_array(swap: str) -> None:
    source = make().source
    changed = getattr(source, swap).copy()
    changed.flat[-1] ^= 1
    assert content_digest(dataclasses.replace(source, **{swap: changed})) != content_digest(source)


def test_the_content_digest_does_not_depend_on_memory_layout() -> None:
    source = make().source
    fortran = dataclasses.replace(source, train_images=np.asfortranarray(source.train_images))
    assert content_digest(fortran) == content_digest(source)


@pytest.mark.parametrize("where", ["folder itself", "folder in a root", "tar.gz itself", "tar.gz in a root"])
@pytest.mark.parametrize("shape", ["python", "binary"])
def test_all_four_forms_give_the_same_source(made: Made, tmp_path: Path, shape: str, where: str) -> None:
    form: Form = getattr(made.archive, shape)
    place = made.write_folder(form, tmp_path) if "folder" in where else made.write_tar(form, tmp_path)
    root = place if "itself" in where else tmp_path
    assert locate(made.archive, [tmp_path / "nothing", root]) == place
    loaded = load_cifar(made.archive, root)
    assert same(loaded, made.source)
    assert loaded.train_images.flags.writeable


def test_a_python_3_pickle_with_the_new_name_of_numpy_core_is_read(tmp_path: Path) -> None:
    import pickle

    made = make()
    pixels = np.frombuffer(made.files["made-binary/last.bin"], np.uint8).reshape(10, 3073)
    batch = {b"data": np.asfortranarray(pixels[:, 1:]), "labels": pixels[:, 0].tolist()}
    data = pickle.dumps(batch, protocol=3)
    assert b"numpy._core.multiarray" in data or np.lib.NumpyVersion(np.__version__) < "2.0.0"
    again = repin(made, "last", data)
    again.write_folder(again.archive.python, tmp_path)
    assert same(load_cifar(again.archive, tmp_path), made.source)


def test_a_folder_that_lacks_a_member_does_not_hide_the_tar_beside_it(tmp_path: Path) -> None:
    made = make()
    (made.write_folder(made.archive.python, tmp_path) / "two").unlink()
    assert locate(made.archive, [tmp_path]) is None
    assert locate(made.archive, [tmp_path / "made-python"]) is None
    tar = made.write_tar(made.archive.python, tmp_path)
    assert locate(made.archive, [tmp_path]) == tar


def test_nothing_there_names_what_was_looked_for_and_where(tmp_path: Path) -> None:
    with pytest.raises(WbltrError) as caught:
        load_cifar(CIFAR100, tmp_path)
    assert caught.value.code == "missing"
    for word in ("cifar-100-python/", "cifar-100-python.tar.gz", "cifar-100-binary/", str(tmp_path)):
        assert word in caught.value.message
    assert "--root DIR" in caught.value.hint


@pytest.mark.parametrize(("member", "length"), [("made-python/two", -1), ("made-binary/two.bin", 100)])
def test_a_bit_flip_in_a_folder_is_refused_naming_both_digests(tmp_path: Path, member: str, length: int) -> None:
    made = make()
    form = made.archive.python if "python" in member else made.archive.binary
    made.write_folder(form, tmp_path)
    data = bytearray(made.files[member])
    data[length] ^= 1
    (tmp_path / member).write_bytes(data)
    with pytest.raises(WbltrError, match=r"expected MD5 [0-9a-f]{32}, found [0-9a-f]{32}") as caught:
        load_cifar(made.archive, tmp_path)
    assert caught.value.code == "integrity"
    assert member.split("/")[1] in caught.value.message
    assert "--root DIR" in caught.value.hint


@pytest.mark.parametrize("change", [b"", b"more"])
def test_a_member_of_another_length_is_refused_unread(tmp_path: Path, change: bytes) -> None:
    made = make()
    path = made.write_folder(made.archive.python, tmp_path) / "last"
    path.write_bytes(path.read_bytes()[:-4] + change * 2)
    with pytest.raises(WbltrError, match=r"last: expected \d+ bytes, found \d+") as caught:
        load_cifar(made.archive, tmp_path)
    assert caught.value.code == "integrity"


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        ({"labels": [0] * 19 + [10]}, "labels from 0 to 9, found 0 to 10"),
        ({"labels": [0] * 19 + [-1]}, "labels from 0 to 9, found -1 to 0"),
        ({"labels": [0] * 21}, "20 labels, found 21"),
        ({"labels": [b"0"] * 20}, "a list of whole numbers"),
        ({"labels": 3}, "a list of whole numbers"),
        ({"data": np.zeros((19, 3072), np.uint8)}, "an array .20, 3072., found .19, 3072."),
        ({"data": [0]}, "an array .20, 3072., found none"),
    ],
)
def test_a_batch_that_is_no_batch_is_refused_even_when_pinned(tmp_path: Path, spoil: dict[str, object], expected: str) -> None:
    made = make(spoil=spoil)
    made.write_folder(made.archive.python, tmp_path)
    with pytest.raises(WbltrError, match=expected) as caught:
        load_cifar(made.archive, tmp_path)
    assert caught.value.code == "integrity"


def test_a_binary_label_out_of_range_is_refused(tmp_path: Path) -> None:
    made = make()
    made.write_folder(made.archive.binary, tmp_path)
    few = dataclasses.replace(made.archive, class_names=("only", "two"))
    with pytest.raises(WbltrError, match="labels from 0 to 1, found 1 to 9"):
        load_cifar(few, tmp_path)


def test_other_content_than_the_pinned_is_refused(tmp_path: Path) -> None:
    made = make(spoil={"labels": [0] * 20})
    made.write_folder(made.archive.python, tmp_path)
    with pytest.raises(WbltrError, match=r"expected images and labels with digest [0-9a-f]{64}, found [0-9a-f]{64}"):
        load_cifar(made.archive, tmp_path)


def test_without_a_pinned_content_the_member_digests_are_the_identity(tmp_path: Path) -> None:
    made = make(content=False)
    made.write_folder(made.archive.binary, tmp_path)
    assert same(load_cifar(made.archive, tmp_path), made.source)
    other = repin(made, "two", b"other bytes")
    assert len(made.archive.content) == 64
    assert other.archive.content != made.archive.content


def test_tick_stops_a_load(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def tick() -> None:
        raise Stop

    made = make()
    for place in (made.write_folder(made.archive.binary, tmp_path), made.write_tar(made.archive.python, tmp_path)):
        with pytest.raises(Stop):
            load_cifar(made.archive, place, tick)


def test_the_known_facts_agree_with_each_other() -> None:
    for archive in (CIFAR10, CIFAR100):
        for form in archive.forms:
            assert sum(member.images for member in form.members if member.part == "train") == 50_000
            assert sum(member.images for member in form.members if member.part == "test") == 10_000
        for member in archive.binary.members:
            assert member.size == member.images * (archive.label_bytes + 3072)
        assert all(url.startswith("https://") for url in archive.mirrors)
        assert CONTENT[archive.name] == archive.content
    assert len(set(CIFAR10.class_names)) == 10
    assert len(set(CIFAR100.class_names)) == 100


def test_looking_at_the_known_facts_imports_neither_numpy_nor_torch() -> None:
    code = "import sys, wbltr.data.known; assert not {'numpy', 'torch', 'sklearn', 'ssl'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_real_cifar100_gives_its_pinned_content_from_all_four_forms(tmp_path: Path) -> None:
    if "WBLTR_TEST_CIFAR100" not in os.environ:
        pytest.skip("WBLTR_TEST_CIFAR100 names no folder that holds cifar-100-python")
    original = Path(os.environ["WBLTR_TEST_CIFAR100"]) / "cifar-100-python"
    binary = tmp_path / "cifar-100-binary"
    binary.mkdir()
    for member in CIFAR100.python.members:
        batch = unpickle((original / member.name).read_bytes(), member.name)
        labels = np.array([batch["coarse_labels"], batch["fine_labels"]], dtype=np.uint8).T
        assert isinstance(batch["data"], np.ndarray)
        (binary / f"{member.name}.bin").write_bytes(np.hstack([labels, batch["data"]]).tobytes())
    load_cifar(CIFAR100, original)  # compares with the pinned content, as do those below
    load_cifar(CIFAR100, binary)
    for folder, form in ((original, CIFAR100.python), (binary, CIFAR100.binary)):
        path = tmp_path / form.archive
        with gzip.open(path, "wb", compresslevel=0) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
            tar.add(folder, form.folder)
        load_cifar(CIFAR100, path)
        path.unlink()
