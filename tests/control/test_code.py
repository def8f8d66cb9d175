"""The local code that a user's step reaches: found transitively, without importing."""

from pathlib import Path

import pytest

from penstock.control.code import local_code
from penstock.core.errors import BadInput


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_follows_imports_of_every_form(tmp_path: Path) -> None:
    write(
        tmp_path,
        steps="import pkg.one\nfrom pkg import two\ndef run():\n    from pkg.three import x\n",
        pkg__one="from . import four\n",
        pkg__two="import json, os\n",
        pkg__three="from .deep.five import y\nx = 1\n",
        pkg__four="raise SystemExit('imported!')\n",
        pkg__deep__five="y = 2\n",
        unrelated="z = 3\n",
    )
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "pkg" / "deep" / "__init__.py").write_text("")
    found = local_code("steps:run", [tmp_path])
    assert set(found) == {"steps", "pkg", "pkg.one", "pkg.two", "pkg.three", "pkg.four", "pkg.deep", "pkg.deep.five"}


def test_an_edit_deep_below_changes_exactly_that_digest(tmp_path: Path) -> None:
    write(tmp_path, steps="import a\n", a="import b\n", b="x = 1\n")
    before = local_code("steps:run", [tmp_path])
    write(tmp_path, b="x = 2\n")
    after = local_code("steps:run", [tmp_path])
    assert {name for name in before if before[name] != after[name]} == {"b"}


def test_a_circle_of_imports_ends(tmp_path: Path) -> None:
    write(tmp_path, steps="import a\n", a="import steps\n")
    assert set(local_code("steps:run", [tmp_path])) == {"steps", "a"}


def test_missing_module_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no module 'nowhere'"):
        local_code("nowhere:run", [tmp_path])


def test_code_that_does_not_parse_is_named_with_its_file(tmp_path: Path) -> None:
    write(tmp_path, steps="def run(:\n")
    with pytest.raises(BadInput, match=r"steps\.py.*does not parse"):
        local_code("steps:run", [tmp_path])
