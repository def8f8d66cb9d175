"""Commands called in this process, in an empty folder with its own state."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

with warnings.catch_warnings():
    # typer 0.25 imports names that click 8.5 has deprecated.
    warnings.filterwarnings("ignore", r"'click\.", DeprecationWarning)
    from penstock.cli.main import main

if TYPE_CHECKING:
    from penstock.store.store import Store


@dataclass(frozen=True, slots=True)
class Called:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error object on stderr."""
        return json.loads(self.err)["error"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with no state and no settings from outside."""
    for name in ("PENSTOCK_HOME", "PENSTOCK_DATABASE", "PENSTOCK_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    def run(*arguments: str) -> Called:
        assert Path.cwd() == folder
        capsys.readouterr()
        code = main(arguments)
        told = capsys.readouterr()
        return Called(code, told.out, told.err)

    return run


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """The store that the commands of this test see."""
    from penstock.core.home import Home
    from penstock.store.store import Store

    opened = Store.open(Home.find(folder, {}))
    yield opened
    opened.close()
