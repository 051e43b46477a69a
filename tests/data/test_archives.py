from __future__ import annotations

import gzip
import os
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
from cifar_files import Made, gunzip, make, regular, write_tar

from wbltr.data.archives import SLACK, locate, read_members
from wbltr.data.sources import load_cifar
from wbltr.errors import WbltrError

MADE = make()
PYTHON = MADE.archive.python
FILES = {name: data for name, data in MADE.files.items() if name.startswith("made-python/")}
GOOD = [regular(name, data) for name, data in FILES.items()]


def refused(path: Path, made: Made = MADE) -> str:
    with pytest.raises(WbltrError) as caught:
        load_cifar(made.archive, path)
    assert caught.value.code == "integrity"
    assert str(path) in caught.value.message
    assert str(path) in caught.value.hint
    assert "--root DIR" in caught.value.hint
    return caught.value.message


def test_the_first_of_two_members_with_one_name_counts(tmp_path: Path) -> None:
    twin = regular("made-python/one", bytes(len(FILES["made-python/one"])))
    assert "one: expected MD5" in refused(write_tar(tmp_path / PYTHON.archive, [twin, *GOOD]))
    load_cifar(MADE.archive, write_tar(tmp_path / PYTHON.archive, [*GOOD, twin]))


def test_a_member_of_another_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write_tar(tmp_path / PYTHON.archive, [regular("made-python/one", FILES["made-python/one"] + b"x"), *GOOD[1:]])
    assert "made-python/one: expected" in refused(path)


def test_a_tar_that_lacks_a_member_says_which(tmp_path: Path) -> None:
    path = write_tar(tmp_path / PYTHON.archive, GOOD[:2])
    assert "it lacks made-python/last" in refused(path)


def test_a_damaged_tar_names_the_digest_it_should_have(tmp_path: Path) -> None:
    path = MADE.write_tar(PYTHON, tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert f"SHA-256 of the file: expected {PYTHON.sha256}, found " in refused(path)


@pytest.mark.parametrize("data", [b"", b"<html>", gzip.compress(b""), gzip.compress(b"x" * 700)])
def test_what_is_no_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / PYTHON.archive
    path.write_bytes(data)
    refused(path)


def test_a_tar_full_of_other_things_is_left_at_the_limit(tmp_path: Path) -> None:
    path = write_tar(tmp_path / PYTHON.archive, [regular("large", bytes(4 * SLACK)), *GOOD])
    assert f"more than {SLACK} bytes besides" in refused(path)
    header = tarfile.TarInfo("tiny").tobuf()
    path.write_bytes(gzip.compress(header * 100_000, compresslevel=1))
    assert f"more than {SLACK} bytes besides" in refused(path)


def test_damage_anywhere_gives_the_same_images_or_an_error_and_nothing_else(tmp_path: Path) -> None:
    path = MADE.write_tar(PYTHON, tmp_path)
    packed, plain = path.read_bytes(), gunzip(path)
    headers = [start for start in range(0, len(plain), 512) if plain[start : start + 11] == b"made-python"]
    generator = random.Random(0)
    refusals = 0
    for turn in range(300):
        if turn % 2:
            damaged = bytearray(packed)
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
            path.write_bytes(damaged)
        else:
            damaged = bytearray(plain)
            header = generator.choice(headers)
            damaged[header + generator.randrange(512)] = generator.randrange(256)
            _mend_checksum(damaged, header)
            path.write_bytes(gzip.compress(damaged, compresslevel=0))
        try:
            assert np.array_equal(load_cifar(MADE.archive, path).train_images, MADE.source.train_images)
        except WbltrError as error:
            refusals += error.code == "integrity"
    assert refusals > 100


def _mend_checksum(data: bytearray, header: int) -> None:
    data[header + 148 : header + 156] = b" " * 8
    data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + 512])


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / PYTHON.archive)
    with pytest.raises(WbltrError) as caught:
        list(read_members(MADE.archive, tmp_path))
    assert caught.value.code == "missing"


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = MADE.write_tar(PYTHON, tmp_path)
    path.chmod(0)
    with pytest.raises(WbltrError, match="cannot be read") as caught:
        load_cifar(MADE.archive, path)
    assert caught.value.code == "missing"


def test_a_loop_of_links_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert locate(MADE.archive, [tmp_path / "loop"]) is None


def test_a_symbolic_link_to_the_folder_is_followed(tmp_path: Path) -> None:
    folder = MADE.write_folder(PYTHON, tmp_path / "elsewhere")
    (tmp_path / "data").symlink_to(folder)
    assert len(load_cifar(MADE.archive, tmp_path / "data").train_labels) == 40
