"""Every error a user can meet has its own code, a way out, an exit code that scripts know, and a place in the reference."""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path

import pytest

from penstock.core import errors
from penstock.core.errors import FileProblems, PenstockError, Problem, catalogue

REFERENCE = Path(__file__).parents[1] / "docs" / "reference" / "errors.md"
KINDS = list(catalogue())


def made(kind: type[PenstockError]) -> PenstockError:
    return FileProblems([Problem("a.b", "is wrong", 3, 4, "a.c")], "f.yaml") if kind is FileProblems else kind("something happened")


def test_codes_are_unique_and_written_like_anchors() -> None:
    codes = [kind.code for kind in KINDS]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.code)
def test_each_says_the_way_out(kind: type[PenstockError]) -> None:
    assert "code" in vars(kind)
    assert len(kind.remedy) > 20
    assert kind.remedy[0].isupper()
    assert kind.remedy.endswith(".")
    assert kind.exit_code in (1, 2, 3, 4, 130)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.code)
def test_each_survives_a_process_boundary(kind: type[PenstockError]) -> None:
    error = made(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.as_json() == error.as_json()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.code)
def test_each_has_a_heading_in_the_reference(kind: type[PenstockError]) -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert f"## {kind.code}\n" in text


def test_the_reference_names_no_error_that_is_gone() -> None:
    headings = re.findall(r"^## (\S+)$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(headings) == {kind.code for kind in KINDS}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"^[│├└─ ]*([A-Z]\w+)", inspect.getdoc(errors) or "", re.MULTILINE)
    assert [name for name in drawn if name in {k.__name__ for k in KINDS}].__len__() == len(KINDS)
