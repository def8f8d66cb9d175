"""`init` writes what `check` accepts, and never over anything; `check` tells every problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.commands.init import TEMPLATES, model_name
from penstock.spec.load import load

PLANTED = "hunter2-do-not-print"


@pytest.mark.parametrize("template", TEMPLATES)
def test_each_template_loads(call, folder: Path, template: str) -> None:
    told = call("init", "My Model", "--template", template, "--json")
    assert told.code == 0
    assert told.json["name"] == "my-model"
    assert all(Path(file).is_file() for file in told.json["files"])
    file = folder / "My Model" / "penstock.yaml"
    assert load(file).pipeline.name == "my-model"
    assert call("check", str(file)).code == 0
    assert "my-model" in (folder / "My Model" / "README.md").read_text()


def test_the_template_with_steps_runs_as_it_stands(call, folder: Path) -> None:
    call("init", "steps", "--template", "custom-steps")
    import importlib.util

    spec = importlib.util.spec_from_file_location("template_steps", folder / "steps" / "steps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.total(module.numbers(4)) == {"total": 14.0, "count": 4.0}


def test_nothing_is_overwritten(call, folder: Path) -> None:
    (folder / "README.md").write_text("mine")
    told = call("init")
    assert told.code == 2
    assert "README.md exists already" in told.err
    assert not (folder / "penstock.yaml").exists()
    assert (folder / "README.md").read_text() == "mine"


def test_state_is_kept_out_of_git_unless_the_folder_has_rules_of_its_own(call, folder: Path) -> None:
    assert ".gitignore" in call("init", "new", "--json").json["files"][0]
    assert ".penstock/" in (folder / "new" / ".gitignore").read_text().splitlines()
    (folder / "old").mkdir()
    (folder / "old" / ".gitignore").write_text("mine\n")
    assert call("init", "old").code == 0
    assert (folder / "old" / ".gitignore").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("name", "expected"), [("My Model!", "my-model"), ("___", "my-model"), ("é", "my-model"), ("a" * 80, "a" * 63), ("x.y_z", "x-y-z")]
)
def test_names_follow_the_folder(tmp_path: Path, name: str, expected: str) -> None:
    assert model_name(tmp_path / name) == expected


def test_check_lists_every_problem(call, folder: Path) -> None:
    (folder / "penstock.yaml").write_text("name: a\ntrian: {}\nsteps: [{name: s, uses: 'json:laods'}]\n")
    told = call("check")
    assert told.code == 2
    assert "penstock.yaml:2:1: trian: unknown key" in told.err
    assert "penstock.yaml:3:25: steps.0.uses: the module 'json' has no 'laods' (did you mean 'loads'?)" in told.err
    problems = call("check", "--json").error["problems"]
    assert [(p["path"], p["line"], p["suggestion"]) for p in problems] == [("trian", 2, "train"), ("steps.0.uses", 3, "loads")]


def test_check_after_set(call, folder: Path) -> None:
    (folder / "penstock.yaml").write_text("name: a\nsteps: [{name: s, uses: 'json:laods'}]\n")
    assert call("check", "--set", "steps.s.uses=json:loads", "--set", "steps.s.with={s: x}").code == 0
    assert "--set steps.s.nope=1" in call("check", "--set", "steps.s.nope=1").err


def test_check_says_what_is_there(call, folder: Path) -> None:
    (folder / "penstock.yaml").write_text("name: a\nsteps: [{name: s, uses: 'json:loads', with: {s: '${secret:TOKEN}'}}]\n")
    assert call("check", "--json").json == {
        "ok": True,
        "file": "penstock.yaml",
        "name": "a",
        "task": None,
        "steps": ["s"],
        "secrets": ["TOKEN"],
    }


def test_check_knows_the_dataset_entries(call, folder: Path) -> None:
    content = "name: a\ntask: text-classification\ndata:\n  sources: [{dataset: banking77/trian}]\n"
    (folder / "penstock.yaml").write_text(content)
    problem = call("check", "--json").error["problems"][0]
    assert (problem["path"], problem["line"], problem["suggestion"]) == ("data.sources.0.dataset", 4, "banking77/train")


def test_secrets_are_never_printed(call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_SECRET_TOKEN", PLANTED)
    (folder / "secrets").mkdir()
    (folder / "secrets" / "OTHER").write_text(PLANTED)
    monkeypatch.setenv("PENSTOCK_SECRETS_DIR", str(folder / "secrets"))
    (folder / "mine.py").write_text("def use(token, other): ...\n")
    good = "name: a\nsteps: [{name: s, uses: 'mine:use', with: {token: '${secret:TOKEN}', other: '${secret:OTHER}'}}]\n"
    (folder / "penstock.yaml").write_text(good)
    (folder / "bad.yaml").write_text(good.replace("name: a", "name: '${secret:TOKEN}'\ntask: '${secret:OTHER}'"))
    commands = [["check"], ["check", "bad.yaml"], ["plan"], ["plan", "bad.yaml"], ["doctor", "--no-devices"], ["runs"], ["run", "bad.yaml"]]
    for command in commands:
        for extra in ([], ["--json"], ["--debug"]):
            told = call(*command, *extra)
            assert PLANTED not in told.out + told.err, command
    assert call("check", "bad.yaml").code == 2
    assert call("plan").code == 0
