"""The plug-in table: late loading, nearest names, and the command that installs what is missing."""

from __future__ import annotations

import pathlib

import pytest

from penstock.core.errors import BadInput, ExtraMissing
from penstock.core.plugins import Row, Table

TABLE = Table(
    "thing", {"path": Row("pathlib:Path"), "lost": Row("no_such_package_at_all.x:Y", "train"), "bare": Row("no_such_package_at_all:Y")}
)


def test_loaded_once() -> None:
    assert TABLE.load("path") is pathlib.Path
    assert TABLE.load("path") is pathlib.Path


def test_nearest_name() -> None:
    with pytest.raises(BadInput, match="no thing is called 'paht'; did you mean 'path'"):
        TABLE.load("paht")


@pytest.mark.parametrize(("name", "command"), [("lost", "pip install 'penstock[train]'"), ("bare", "pip install no_such_package_at_all")])
def test_missing_extra(name: str, command: str) -> None:
    with pytest.raises(ExtraMissing) as caught:
        TABLE.load(name)
    assert command in caught.value.way_out


def test_penstocks_own_defects_are_not_blamed_on_extras() -> None:
    with pytest.raises(ModuleNotFoundError):
        Table("thing", {"x": Row("penstock.no_such_module:Y")}).load("x")


def test_rows_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Table, "_outside", lambda _: {"added": "pathlib:PurePath"})
    assert Table("thing", {}).load("added") is pathlib.PurePath
    assert TABLE.names() == ["added", "bare", "lost", "path"]
