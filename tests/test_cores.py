from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wbltr.cores import Cores, affinity, free_cores, measure_cores, these_cores

PERIOD = 100  # ticks between the two looks


class Machine:
    """A made-up machine: its `/proc` and `/sys`, before and after the pause.

    Args:
        busy: for each CPU, the share of the time in which something runs there.
        own: cores that this process itself keeps busy.
    """

    def __init__(self, root: Path, busy: list[float], own: float = 0.0) -> None:
        self.root = root
        self.busy = busy
        self.own = own
        (root / "proc/self").mkdir(parents=True)
        self.write(1)

    def write(self, looks: int) -> None:
        lines = ["cpu  1 2 3 4 5 6 7 8 9 10"]
        for number, share in enumerate(self.busy):
            ran = round(looks * PERIOD * share)
            nice, system = ran // 2, ran - ran // 2
            idle = looks * PERIOD - ran
            lines.append(f"cpu{number} 1000 {nice} {system} {idle - idle // 2} {idle // 2} 0 0 0 77 0")
        (self.root / "proc/stat").write_text("\n".join([*lines, "intr 12 0 0", "ctxt 99", ""]))
        ticks = round(looks * PERIOD * self.own)
        fields = ["R", *["1"] * 10, str(ticks - ticks // 3), str(ticks // 3), "500", "500", "20"]
        (self.root / "proc/self/stat").write_text(f"123 (py (3) x) {' '.join(fields)}\n")

    def group(self, line: str, folder: str, **files: str) -> None:
        """A control group of this process, as `/proc/self/cgroup` and the mounted tree tell it."""
        with (self.root / "proc/self/cgroup").open("a") as file:
            file.write(f"{line}\n")
        target = self.root / "sys/fs/cgroup" / folder
        target.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (target / name.replace("__", ".")).write_text(f"{text}\n")

    def cores(self, cpus: int | None = None) -> Cores:
        return measure_cores(self.root, range(cpus or len(self.busy)), lambda: self.write(2))


@pytest.mark.parametrize(
    ("busy", "own", "free"),
    [
        ([0, 0, 0, 0], 0, 4),
        ([1, 0, 0, 0], 0, 3),
        ([1, 1, 1, 1], 0, 1),
        ([0.3, 0.1, 0, 0], 0, 4),
        ([0.5, 0.5, 0.5, 0.4], 0, 2),
        ([1, 1, 0, 0], 2, 4),
        ([1, 1, 1, 0], 1, 2),
        ([1, 1], 1, 1),
        ([0, 0], 1.5, 2),
    ],
)
def test_free_is_what_others_leave_and_at_least_one(tmp_path: Path, busy: list[float], own: float, free: int) -> None:
    assert Machine(tmp_path, busy, own).cores() == Cores(len(busy), free)


def test_only_the_cpus_of_the_affinity_count(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [0, 0, 1, 1])
    assert machine.cores(2) == Cores(2, 2)


@pytest.mark.parametrize(
    ("line", "folder", "files"),
    [
        ("0::/", "", {"cpu__max": "200000 100000"}),
        ("0::/system.slice/job", "system.slice", {"cpu__max": "200000 100000"}),
        ("0::/a/b/c", "a/b/c", {"cpu__max": "50000 25000"}),
        ("0::/docker/of-the-host", "", {"cpu__max": "200000 100000"}),
        ("4:cpu,cpuacct:/job", "cpu,cpuacct/job", {"cpu__cfs_quota_us": "200000", "cpu__cfs_period_us": "100000"}),
        ("4:cpu,cpuacct:/docker/abc", "cpu", {"cpu__cfs_quota_us": "200000", "cpu__cfs_period_us": "100000"}),
        ("1:cpu:/", "cpu", {"cpu__cfs_quota_us": "200000", "cpu__cfs_period_us": "100000"}),
    ],
)
def test_a_quota_anywhere_above_this_process_limits(tmp_path: Path, line: str, folder: str, files: dict[str, str]) -> None:
    machine = Machine(tmp_path, [0, 0, 0, 0, 1])
    machine.group(line, folder, **files)
    assert machine.cores() == Cores(2, 2)


@pytest.mark.parametrize(
    ("line", "folder", "files"),
    [
        ("0::/", "", {"cpu__max": "max 100000"}),
        ("0::/", "", {"cpu__max": "garbled"}),
        ("0::/a", "b", {"cpu__max": "100000 100000"}),
        ("4:cpu:/", "cpu", {"cpu__cfs_quota_us": "-1", "cpu__cfs_period_us": "100000"}),
        ("2:cpuset:/", "cpuset", {"cpu__cfs_quota_us": "100000", "cpu__cfs_period_us": "100000"}),
        ("nonsense", "", {}),
    ],
)
def test_no_quota_and_other_groups_limit_nothing(tmp_path: Path, line: str, folder: str, files: dict[str, str]) -> None:
    machine = Machine(tmp_path, [0, 0, 0])
    machine.group(line, folder, **files)
    assert machine.cores() == Cores(3, 3)


def test_the_narrowest_quota_counts_and_half_a_core_is_one(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [0] * 8)
    machine.group("0::/a/b", "a", cpu__max="300000 100000")
    machine.group("", "a/b", cpu__max="max 100000")
    assert machine.cores() == Cores(3, 3)
    machine.group("", "a/b", cpu__max="50000 100000")
    assert machine.cores() == Cores(1, 1)


def test_what_others_use_of_the_same_quota_is_not_free(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [0] * 8)
    machine.group("0::/", "", cpu__max="300000 100000", cpu__stat="usage_usec 5\nuser_usec 3")

    def others_compute() -> None:
        machine.write(2)
        machine.group("", "", cpu__stat="usage_usec 3600000000\nuser_usec 3")

    assert measure_cores(tmp_path, range(8), others_compute) == Cores(3, 1)


def test_without_proc_all_cores_count_as_free(tmp_path: Path) -> None:
    assert measure_cores(tmp_path, range(6), lambda: None) == Cores(6, 6)


def test_on_this_machine_between_one_and_all_cores_are_free() -> None:
    assert 1 <= these_cores().free <= these_cores().allowed <= len(affinity())
    assert free_cores() == these_cores().free


def test_a_look_at_the_cores_imports_no_torch() -> None:
    code = "import wbltr.cores, sys; wbltr.cores.these_cores(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
