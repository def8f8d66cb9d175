"""Completion scripts for three shells, and what they complete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.cli.completion import complete_model, complete_run
from penstock.cli.main import COMMANDS


def completions(words: str, folder: Path, shell: str = "bash") -> list[str]:
    """What the shell's script would get for the command line `words`."""
    environ = {**os.environ, "_PENSTOCK_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    environ |= {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run([sys.executable, "-m", "penstock"], capture_output=True, text=True, env=environ, cwd=folder, check=False)
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(folder: Path, shell: str) -> None:
    environ = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "--show-completion", shell], capture_output=True, text=True, env=environ, cwd=folder, check=True
    )
    assert "_PENSTOCK_COMPLETE" in done.stdout
    assert f"complete_{shell}" in done.stdout


def test_installing_writes_into_the_home_of_the_user(folder: Path) -> None:
    environ = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "--install-completion", "bash"],
        capture_output=True,
        text=True,
        env=environ,
        cwd=folder,
        check=True,
    )
    assert "bash completion installed" in done.stdout
    scripts = [p for p in folder.rglob("*") if p.is_file() and "_PENSTOCK_COMPLETE" in p.read_text()]
    assert scripts


def test_command_names(folder: Path) -> None:
    assert set(completions("penstock ", folder)) >= set(COMMANDS)
    assert completions("penstock ru", folder) == ["run", "runs"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_ask_in_their_own_way(folder: Path, shell: str) -> None:
    told = "\n".join(completions("penstock ru", folder, shell))
    assert "runs" in told
    assert COMMANDS["run"].help.rstrip(".") in told
    assert "doctor" not in told


def test_subcommands(folder: Path) -> None:
    assert {"list", "show", "logs", "cancel", "compare"} <= set(completions("penstock runs ", folder))


def test_names_from_the_store(store, folder: Path) -> None:
    run = store.resources.create("run", "intents", {})
    store.registry.register("intents", "sha256:" + "a" * 64, run="r", task="t", metrics={}, gates=[], facts={})
    assert complete_run("run-") == [run.id]
    assert complete_model("int") == ["intents"]
    assert complete_model("x") == []
    assert completions("penstock runs show ", folder) == [run.id]
    assert completions("penstock deploy ", folder) == ["intents"]
    store.resources.create("deployment", "desk", {})
    store.resources.create("deployment", "gone", {}, phase="deleted")
    for command in ("predict", "rollback", "deployments show", "deployments delete"):
        assert completions(f"penstock {command} ", folder) == ["desk"]


def test_no_state_completes_to_nothing_and_makes_no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete_run("") == []
    assert list(folder.iterdir()) == []
    monkeypatch.setenv("PENSTOCK_DATABASE", "postgresql://nowhere/x")
    assert complete_model("") == []
