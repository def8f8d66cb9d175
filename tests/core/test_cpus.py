"""CPUs that a process may use: by affinity, by the quota of any control group above it, and as physical cores."""

import os
from pathlib import Path

import pytest

from penstock.core import cpus


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Eight CPUs on four cores of one package; this process in /a/b without a limit of its own."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for cpu in range(8):
        told = tmp_path / "cpu" / f"cpu{cpu}" / "topology"
        told.mkdir(parents=True)
        (told / "physical_package_id").write_text("0\n")
        (told / "core_id").write_text(f"{cpu // 2}\n")
    groups = tmp_path / "groups"
    own = next((line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), None)
    if own is None:
        pytest.skip("this system has no control groups of version 2")
    place = groups / own.removeprefix("0::").lstrip("/")
    place.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(cpus, "TOPOLOGY", tmp_path / "cpu")
    monkeypatch.setattr(cpus, "CGROUPS", groups)
    return groups, place


@pytest.mark.usefixtures("machine")
def test_two_threads_of_a_core_are_one_core():
    assert (cpus.usable(), cpus.cores()) == (8, 4)


@pytest.mark.usefixtures("machine")
def test_few_allowed_ones_are_counted_by_core(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4})
    assert (cpus.usable(), cpus.cores()) == (3, 2)


@pytest.mark.parametrize(("told", "count"), [("250000 100000", 3), ("50000 100000", 1), ("max 100000", 8), ("garbage", 8), ("1 0 2", 8)])
def test_a_quota_above_holds(machine, told, count):
    groups, own = machine
    (own / "cpu.max").write_text("max 100000")
    (groups / "cpu.max").write_text(told)
    assert cpus.usable() == count


@pytest.mark.usefixtures("machine")
def test_a_system_that_tells_nothing_counts_cpus(monkeypatch, tmp_path):
    monkeypatch.setattr(cpus, "TOPOLOGY", tmp_path / "nowhere")
    assert cpus.cores() == 8


def test_the_real_machine_has_at_least_one():
    assert 1 <= cpus.cores() <= cpus.usable() <= (os.cpu_count() or 1)
