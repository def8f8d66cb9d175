"""`doctor` says what is there, what is missing, and the fix."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from penstock.cli import examination
from penstock.core.home import Home


def by_name(call, *arguments: str) -> dict[str, dict[str, str]]:
    return {f["name"]: f for f in call("doctor", "--no-devices", "--json", *arguments).json["findings"]}


def test_what_is_there(call) -> None:
    found = by_name(call)
    assert found["python"]["state"] == "ok"
    assert {"data", "train", "serve", "postgres", "s3", "cores", "cpu", "memory", "disk", "home", "database", "gateway port"} <= set(found)
    lines = call("doctor", "--no-devices").out.splitlines()
    assert lines[0] == "Penstock"
    assert any(line.strip().startswith("ok") and "cores" in line for line in lines)


def test_looking_leaves_nothing_behind(call, folder: Path) -> None:
    call("doctor", "--no-devices")
    assert list(folder.iterdir()) == []


def test_a_missing_extra_has_its_command(call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "EXTRAS", {"train": ("no-such-package-at-all",)})
    found = by_name(call)["train"]
    assert (found["state"], found["fix"]) == ("missing", "pip install 'penstock[train]'")


def test_the_extras_are_those_of_the_project() -> None:
    import tomllib

    file = Path(__file__).parents[2] / "pyproject.toml"
    declared = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
    for extra, packages in examination.EXTRAS.items():
        named = {r.partition(">")[0].partition("[")[0].partition(",")[0] for r in declared[extra]} - {"penstock"}
        assert set(packages) == named, extra


def test_a_database_of_another_program_is_a_problem(call, folder: Path) -> None:
    (folder / ".penstock").mkdir()
    (folder / ".penstock" / "penstock.db").write_bytes(b"this is no database" * 100)
    told = call("doctor", "--no-devices", "--json")
    found = {f["name"]: f for f in told.json["findings"]}["database"]
    assert (told.code, found["state"]) == (1, "problem")
    assert found["fix"]


@pytest.mark.usefixtures("store")
def test_a_good_database_shows_its_version(call) -> None:
    from penstock.store.schema import VERSION

    assert f"tables at version {VERSION}" in by_name(call)["database"]["detail"]


def test_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(examination.os, "access", lambda *_: False)
    found = {f.name: f for f in examination.examine(Home.find(tmp_path, {}), ask_torch=False)}["home"]
    assert found.state == "problem"
    assert "PENSTOCK_HOME" in (found.fix or "")


def test_little_memory_and_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(examination, "LOW_MEMORY_BYTES", 1 << 60)
    monkeypatch.setattr(examination, "LOW_DISK_BYTES", 1 << 60)
    found = {f.name: f for f in examination.examine(Home.find(tmp_path, {}), ask_torch=False)}
    assert found["memory"].state == found["disk"].state == "problem"


def test_a_port_in_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr("penstock.control.gateway.DEFAULT_PORT", taken.getsockname()[1])
        found = {f.name: f for f in examination.examine(Home.find(tmp_path, {}), ask_torch=False)}["gateway port"]
    assert "in use" in found.detail
    assert found.fix


def test_a_torch_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "_version", lambda _: "2.13.0")
    monkeypatch.setattr(examination, "_ASK_TORCH", "raise ImportError('libsomething.so is not there')")
    found = list(examination._accelerators())
    assert found[0].state == "problem"
    assert "libsomething.so is not there" in found[0].detail
