"""The root command: its table, where errors end, and what --json and --debug do everywhere."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from penstock.cli import main as root
from penstock.cli.main import COMMANDS, group, main
from penstock.core.errors import GateRefused, WaitingForPerson


def leaves(name: str) -> list[click.Command]:
    """The command and its subcommands."""
    root_command = group()
    command = root_command.get_command(click.Context(root_command), name)
    assert command is not None
    return [command, *(command.commands.values() if isinstance(command, click.Group) else [])]


def test_help_lists_every_command_in_one_line(call) -> None:
    told = call("--help")
    assert told.code == 0
    assert call().out == told.out
    for name, row in COMMANDS.items():
        assert f"  {name} " in told.out
        assert row.help.endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_explains_itself(name: str) -> None:
    assert all(leaf.help for leaf in leaves(name))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_subcommand_takes_json_and_debug(name: str) -> None:
    for leaf in leaves(name):
        options = [option for param in leaf.params for option in param.opts]
        assert options.count("--json") == 1
        assert options.count("--debug") == 1
        assert "--install-completion" not in options


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["chek"], "no command is called 'chek'; did you mean 'check'?"),
        (["check", "--nope"], "No such option"),
        (["runs", "list", "--limit", "0"], "'--limit'"),
        (["runs", "nonsense"], "No such command"),
        (["keys", "revoke"], "Missing argument"),
        (["up", "--port", "99999"], "'--port'"),
        (["init", "--template", "x"], "no template is called 'x'"),
    ],
)
def test_usage_errors_exit_with_2_and_say_how(call, arguments: list[str], part: str) -> None:
    told = call(*arguments)
    assert (told.code, told.out) == (2, "")
    assert part in told.err
    assert len(told.err.strip().splitlines()) >= 2
    as_json = call(*arguments, "--json")
    assert as_json.code == 2
    assert part in as_json.error["message"]
    assert as_json.error["remedy"]


@pytest.mark.parametrize(
    ("error", "code"), [(GateRefused("no"), 3), (WaitingForPerson("wait"), 4), (KeyboardInterrupt(), 130), (ValueError("odd"), 1)]
)
def test_exit_codes_follow_the_error(call, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    from penstock.cli.commands import init

    def fail(*_: object) -> str:
        raise error

    monkeypatch.setattr(init, "model_name", fail)
    assert call("init", "x").code == code
    told = call("init", "x", "--json")
    assert told.code == code
    assert set(told.error) >= {"code", "message", "remedy", "where"}
    assert "Traceback" in call("init", "x", "--debug").err


def test_an_exit_code_returned_by_a_command(call, monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.cli import examination
    from penstock.cli.examination import Finding

    monkeypatch.setattr(examination, "examine", lambda **_: [Finding("A", "b", "problem", "c", "d")])
    assert call("doctor").code == 1


def test_a_slip_is_answered_with_one_suggestion(call) -> None:
    assert call("runs", "shwo").err.count("'show'") == 1


@pytest.mark.parametrize("command", [[], ["runs"], ["runs", "show"], ["plan"]])
def test_short_help(call, command: list[str]) -> None:
    told = call(*command, "-h")
    assert (told.code, told.out) == (0, call(*command, "--help").out)


def test_up_says_that_it_runs_elsewhere(call, monkeypatch: pytest.MonkeyPatch) -> None:
    running = {"control": {"pid": 1}, "gateway": {"pid": 2, "host": "127.0.0.1", "port": 8081}}
    monkeypatch.setattr("penstock.control.daemon.ensure_up", lambda *_: running)
    assert "ran already, on port 8081" in call("up", "--port", "8082").err
    assert call("up", "--port", "0").err == ""


def test_version(call) -> None:
    from penstock import __version__

    assert call("--version").out == f"penstock {__version__}\n"
    assert call("--json", "--version").json == {"version": __version__}


def test_python_dash_m(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "penstock", "--version"], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stdout.startswith("penstock ")


@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_a_reader_that_goes_away_is_no_error(folder: Path, reader: str) -> None:
    command = f"{sys.executable} -m penstock schema | {reader}; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_no_colour_outside_a_terminal(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "penstock", "check", "x"], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 2
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colour_on_a_terminal(folder: Path, environ: dict[str, str], coloured: bool) -> None:
    import pty

    master, slave = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"} | environ
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "check", "x"], stderr=slave, stdout=subprocess.DEVNULL, env=env, cwd=folder, check=False
    )
    os.close(slave)
    told = os.read(master, 4096).decode()
    os.close(master)
    assert done.returncode == 2
    assert ("\x1b[" in told) is coloured


def test_schema_is_one_json_value(call) -> None:
    assert json.loads(call("schema").out) == call("schema", "--json").json


def test_arguments_default_to_the_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["penstock", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("penstock")
    assert root.group().name == "penstock"


def test_every_command_stands_in_the_reference() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        for leaf in leaves(name)[1:] or leaves(name):
            wanted = f"{leaf.name}" if leaf.name == name else f"{name} {leaf.name}"
            shown = [wanted, f"{name} [{leaf.name}", f"· `{leaf.name} "]
            assert any(form in text for form in shown), wanted


def test_numbers_that_json_lacks_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    from penstock.cli.output import Output

    Output(json=True).show({"a": [float("nan"), 1.5], "b": (float("inf"),)}, list)
    assert json.loads(capsys.readouterr().out) == {"a": [None, 1.5], "b": [None]}


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk-full"), (errno.EROFS, "read-only"), (errno.EIO, "penstock")])
def test_refusals_of_the_system_are_told_plainly(call, monkeypatch: pytest.MonkeyPatch, number: int, code: str) -> None:
    from penstock.cli.commands import init

    def refuse(*_: object) -> str:
        raise OSError(number, "refused", "/some/where")

    monkeypatch.setattr(init, "model_name", refuse)
    assert call("init", "x", "--json").error["code"] == code


def test_a_narrow_encoding_does_not_end_a_command(folder: Path) -> None:
    environ = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-m", "penstock", "schema", "--json"], capture_output=True, env=environ, cwd=folder, check=True)
    assert "2 ? rank" in done.stdout.decode("ascii")
