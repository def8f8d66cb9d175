"""A replica goes by its platform's list of adapters, and nothing on that list can harm what is served already."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from penstock.core.digests import digest_file
from penstock.core.errors import BadInput
from penstock.serving import following
from penstock.serving.adapter_file import STATE, WANTED, Held, WantedAdapter, read_held, read_wanted, write_wanted
from penstock.serving.following import Follower
from penstock.testing.echo import EchoEngine


def adapter(folder: Path, text: str = "{}") -> WantedAdapter:
    """An artifact's digest is any text here; the files are real."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(text)
    return WantedAdapter(f"sha256:{folder.name}", str(folder), {"adapter_config.json": digest_file(folder / "adapter_config.json")})


@pytest.fixture
def engine(tmp_path: Path) -> EchoEngine:
    return EchoEngine(tmp_path, {})


def test_it_becomes_as_the_list_says(engine: EchoEngine, tmp_path: Path) -> None:
    a, b = adapter(tmp_path / "a"), adapter(tmp_path / "b")
    follower = Follower(engine, tmp_path)
    for listed in ({}, {"x": a}, {"x": b, "y": a}, {"y": a}, {}):
        write_wanted(tmp_path, listed)
        asyncio.run(follower.converge())
        assert engine.adapters == sorted(listed)
        assert read_held(tmp_path) == Held({name: one.digest for name, one in listed.items()})
    assert read_wanted(tmp_path) == {}


def test_what_cannot_be_loaded_is_said_and_the_older_one_stays(engine: EchoEngine, tmp_path: Path) -> None:
    a, b, c = (adapter(tmp_path / name) for name in "abc")
    follower = Follower(engine, tmp_path)
    write_wanted(tmp_path, {"x": a})
    asyncio.run(follower.converge())
    (tmp_path / "b" / "adapter_config.json").write_text("[]")
    (tmp_path / "c" / "more.bin").write_bytes(b"code")
    lost = WantedAdapter("sha256:lost", error="no artifact sha256:lost")
    write_wanted(tmp_path, {"x": b, "y": c, "z": lost, "good": a})
    asyncio.run(follower.converge())
    held = read_held(tmp_path)
    assert held.loaded == {"x": a.digest, "good": a.digest}
    assert {name: digest for name, (digest, _) in held.errors.items()} == {"x": b.digest, "y": c.digest, "z": "sha256:lost"}
    assert "has digest" in held.errors["x"][1]
    assert "not a file type" in held.errors["y"][1]
    assert held.errors["z"][1] == "no artifact sha256:lost"


def test_it_follows_changes_and_what_others_unload(engine: EchoEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_S", 0.01)
    a = adapter(tmp_path / "a")

    async def until(names: list[str]) -> None:
        async with asyncio.timeout(5):
            while engine.adapters != names:
                await asyncio.sleep(0.01)

    async def story() -> None:
        task = asyncio.create_task(Follower(engine, tmp_path).follow())
        write_wanted(tmp_path, {"x": a})
        await until(["x"])
        await engine.unload_adapter("x")
        await until(["x"])
        (tmp_path / WANTED).write_text("{")
        await asyncio.sleep(0.05)
        assert engine.adapters == ["x"]
        write_wanted(tmp_path, {})
        await until([])
        task.cancel()

    asyncio.run(story())


def test_files_that_do_not_read(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"a": {"digest": "d", "unknown": 1}}', '{"a": 1}'):
        (tmp_path / WANTED).write_text(text)
        with pytest.raises(BadInput, match="does not read as a list of adapters"):
            read_wanted(tmp_path)
    (tmp_path / STATE).write_text('{"loaded": {}')
    assert read_held(tmp_path) == Held()
