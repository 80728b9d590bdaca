"""How many processors a process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nirgeo import cores as module
from nirgeo.cores import cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of 64 processors; its groups lie in the folder."""
    monkeypatch.setattr(module, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(module, "_OWN", tmp_path / "own")
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 64, raising=False)
    return tmp_path


def limit(machine: Path, group: str, name: str, text: str) -> None:
    folder = machine / "cgroup" / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_all_where_nothing_bounds_them(machine: Path) -> None:
    assert cores() == 64
    (machine / "own").write_text("0::/\n")
    limit(machine, "", "cpu.max", "max 100000\n")
    assert cores() == 64


@pytest.mark.parametrize(
    ("quota", "expected"), [("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1)]
)
def test_a_containers_share(machine: Path, quota: str, expected: int) -> None:
    (machine / "own").write_text("0::/\n")
    limit(machine, "", "cpu.max", quota)
    assert cores() == expected


def test_the_narrowest_of_nested_groups(machine: Path) -> None:
    (machine / "own").write_text("0::/pods/one\n")
    limit(machine, "pods/one", "cpu.max", "max 100000")
    limit(machine, "pods", "cpu.max", "400000 100000")
    limit(machine, "", "cpu.max", "800000 100000")
    assert cores() == 4


def test_groups_of_the_first_kind(machine: Path) -> None:
    (machine / "own").write_text("5:memory:/x\n4:cpu,cpuacct:/job\n")
    limit(machine, "cpu,cpuacct/job", "cpu.cfs_quota_us", "300000\n")
    limit(machine, "cpu,cpuacct/job", "cpu.cfs_period_us", "100000\n")
    assert cores() == 3
    limit(machine, "cpu,cpuacct/job", "cpu.cfs_quota_us", "-1\n")
    assert cores() == 64


@pytest.mark.parametrize("text", ["", "nonsense", "1 0", "0 100000", "x y", "\0"])
def test_what_can_not_be_understood_bounds_nothing(machine: Path, text: str) -> None:
    (machine / "own").write_text("0::/\nx\n\n")
    limit(machine, "", "cpu.max", text)
    assert cores() == 64


def test_processors_that_a_scheduler_hands_out(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 7}, raising=False)
    monkeypatch.delattr(os, "process_cpu_count")
    assert cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1
