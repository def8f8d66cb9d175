"""`penstock audit` and `penstock gc` as they are typed."""

import json
import sqlite3
from pathlib import Path

import pytest

from penstock.core.home import Home
from penstock.store.store import Store
from penstock.testing.store.artifacts import fill

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:click", "ignore::DeprecationWarning:typer")


def main(arguments: list[str]) -> int:
    from penstock.cli.main import main as run  # typer warns of click at import, which only a test's own filter can excuse

    return run(arguments)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    home = Home.find()
    store = Store.open(home)
    for number in range(3):
        store.audit.append("user ada", "promote", f"intents/{number}", {"to": "champion"})
    store.artifacts.commit(fill(tmp_path / "out", a="one"), "model", {})
    store.close()
    return home


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("home")
def test_verify_list_export(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    verified = _json(capsys, "audit", "verify")
    assert verified["entries"] == 3
    assert main(["audit", "verify", "--head", verified["head"]]) == 0
    assert capsys.readouterr().out.startswith("3 entries, unbroken\nhead 3:sha256:")
    assert [e["subject"] for e in _json(capsys, "audit", "list", "--since", "1")["entries"]] == ["intents/1", "intents/2"]
    assert main(["audit", "list"]) == 0
    assert "user ada" in capsys.readouterr().out
    assert main(["audit", "export", str(tmp_path / "log.jsonl")]) == 0
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [e["previous"] for e in entries[1:]] == [e["hash"] for e in entries[:-1]]


def test_a_changed_row_is_named(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(home.folder / "penstock.db") as connection:
        connection.execute("UPDATE audit SET principal = 'user eve' WHERE seq = 2")
    connection.close()
    assert main(["audit", "verify"]) == 1
    assert "row 2" in capsys.readouterr().err
    assert main(["audit", "verify", "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["error"]["where"] == "row 2"


@pytest.mark.usefixtures("home")
def test_a_head_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", "--head", "latest"]) == 2
    assert "latest" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_gc(capsys: pytest.CaptureFixture[str]) -> None:
    assert _json(capsys, "gc")["artifacts"] == []
    told = _json(capsys, "gc", "--dry-run", "--grace", "0s")
    assert (len(told["artifacts"]), told["freed_bytes"], told["dry_run"]) == (1, 3, True)
    assert main(["gc", "--keep", "30d", "--grace", "0s"]) == 0
    assert capsys.readouterr().out.startswith("freed 3 B: 1 artifacts, 1 files")
    assert main(["gc", "--keep", "a while"]) == 2
    assert "a while" in capsys.readouterr().err
    assert _json(capsys, "audit", "list", "--since", "3")["entries"][-1]["action"] == "store.collect"
