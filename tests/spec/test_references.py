"""References to the environment and to secrets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.core.errors import Problem, ReferenceUnset
from penstock.spec.load import load
from penstock.spec.pipeline import dump
from penstock.spec.references import put_environment, resolve_secret, secrets_in

PLANTED = "hunter2-do-not-print"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${env:A}", "one"),
        ("x-${env:A}-${env:B}", "x-one-two"),
        ("${env:NONE:-fallback}", "fallback"),
        ("${env:NONE:-}", ""),
        ("${env:A:-unused}", "one"),
        ("$${env:A}", "${env:A}"),
        ("${secret:KEY}", "${secret:KEY}"),
        ("no reference $A", "no reference $A"),
    ],
)
def test_environment(text: str, expected: str) -> None:
    assert put_environment({"k": [text]}, {"A": "one", "B": "two"}) == ({"k": [expected]}, [])


@pytest.mark.parametrize("text", ["${env:NONE}", "${oops}", "${env:}", "${env:A", "${secret:KEY:-open}", "${vault:x}"])
def test_problems_have_their_place(text: str) -> None:
    _, problems = put_environment({"k": ["x", text]}, {"A": "one"})
    assert [loc for loc, _ in problems] == [("k", 1)]


def test_missing_variables_are_told_with_their_line(problems: Callable[..., list[Problem]], good: str) -> None:
    found = problems(good.replace("base: minilm", "base: ${env:BASE}").replace("epochs: 3", "epochs: ${env:N}"))
    assert [(p.path, p.line) for p in found] == [("train.base", 8), ("train.epochs", 10)]
    assert "BASE is not set" in found[0].reason


def test_numbers_come_through_the_environment(written: Callable[[str], Path], good: str) -> None:
    loaded = load(written(good.replace("epochs: 3", "epochs: ${env:N}")), environ={"N": "2"})
    assert loaded.pipeline.train is not None
    assert loaded.pipeline.train.epochs == 2


def test_secrets_stay_references(written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_TOKEN", PLANTED)
    content = "name: a\nsteps: [{name: s, uses: 'json:loads', with: {s: 'key=${secret:TOKEN}'}}]\n"
    pipeline = load(written(content)).pipeline
    assert PLANTED not in str(dump(pipeline))
    assert list(secrets_in(dump(pipeline))) == ["TOKEN"]


def test_a_secret_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "B").write_text(f"{PLANTED}\n")
    environ = {"PENSTOCK_SECRET_A": "one", "PENSTOCK_SECRETS_DIR": str(tmp_path)}
    assert resolve_secret("${secret:A}:${secret:B}", environ) == f"one:{PLANTED}"
    assert resolve_secret("plain $${secret:A}", environ) == "plain ${secret:A}"


@pytest.mark.parametrize("with_folder", [False, True])
def test_a_missing_secret_names_itself_and_where_it_was_sought(tmp_path: Path, with_folder: bool) -> None:
    (tmp_path / "OTHER").write_text(PLANTED)
    environ = {"PENSTOCK_SECRETS_DIR": str(tmp_path)} if with_folder else {}
    with pytest.raises(ReferenceUnset, match="the secret MISSING is not there: no variable PENSTOCK_SECRET_MISSING") as caught:
        resolve_secret("${secret:MISSING}", environ)
    assert PLANTED not in str(caught.value.as_json())


def test_a_name_never_leaves_the_folder(tmp_path: Path) -> None:
    assert resolve_secret("${secret:../etc/passwd}", {"PENSTOCK_SECRETS_DIR": str(tmp_path)}) == "${secret:../etc/passwd}"
