"""Several real processes on one database: first opening, leases, claims, first writer, the audit chain."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.core.home import Home
from penstock.store import owners
from penstock.store.artifacts import Artifacts
from penstock.store.store import Store

HAMMER = Path(__file__).with_name("hammer.py")


def _hammer(url: str, folder: Path, workers: int = 3) -> list[dict]:
    """All open the empty database at once, then work together."""
    started = [
        subprocess.Popen([sys.executable, str(HAMMER), url, str(folder), f"w{n}"], stdout=subprocess.PIPE, text=True)
        for n in range(workers)
    ]
    try:
        assert _within(120.0, lambda: all((folder / f"ready-w{n}").exists() for n in range(workers)) or _any_ended(started))
        store = Store.open(Home(folder, url, (folder / "artifacts").as_uri()))
        for number in range(12):
            store.resources.create("job", f"n{number}", {})
        (folder / "go").touch()
        reports = [json.loads(p.communicate(timeout=120)[0]) for p in started]
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert all(p.returncode == 0 for p in started)
    _check(store, reports)
    store.close()
    return reports


def _any_ended(processes: list[subprocess.Popen[str]]) -> bool:
    return any(process.poll() is not None for process in processes)


def _check(store: Store, reports: list[dict]) -> None:
    assert sum(r["clashes"] for r in reports) == 0
    jobs = store.resources.list("job")
    assert [j.status for j in jobs] == [{"count": 5}] * 12
    assert sum(r["leases"] for r in reports) == 60
    won = [key for r in reports for key in r["won"]]
    assert sorted(won) == sorted(f"key-{n}" for n in range(30))
    assert store.audit.verify() == 60


def test_on_one_sqlite_file(tmp_path: Path) -> None:
    _hammer(f"sqlite:///{tmp_path / 'one.db'}", tmp_path)


@pytest.mark.postgres
def test_on_one_postgres(tmp_path: Path, postgres_url: str) -> None:
    _hammer(postgres_url, tmp_path)


_MATERIALIZE = """
import sys
from pathlib import Path
from penstock.store.artifacts import Artifacts
for _ in range(20):
    folder = Artifacts(sys.argv[1], Path(sys.argv[2])).materialize(sys.argv[3])
    assert sorted(p.name for p in folder.iterdir()) == [f"f{n:02}" for n in range(20)], sorted(folder.iterdir())
    assert all(p.read_text() == p.name * 100 for p in folder.iterdir())
    if sys.argv[4] == "breaker":
        for path in list(folder.iterdir())[::3]:
            path.unlink(missing_ok=True)
"""


def test_materialise_the_same_artifact(tmp_path: Path) -> None:
    artifacts = Artifacts((tmp_path / "store").as_uri(), tmp_path / "cache")
    source = tmp_path / "out"
    source.mkdir()
    for number in range(20):
        (source / f"f{number:02}").write_text(f"f{number:02}" * 100)
    digest = artifacts.commit(source, "model", {}).digest
    arguments = [sys.executable, "-c", _MATERIALIZE, artifacts.url, str(tmp_path / "cache"), digest]
    started = [subprocess.Popen([*arguments, "reader"], stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ends = [(p.communicate(timeout=60)[1], p.returncode) for p in started]
    assert ends == [("", 0)] * 3


def test_a_killed_owner_is_told_from_a_living_one() -> None:
    code = "import sys; from penstock.store.owners import this_owner; print(this_owner('w'), flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    owner = process.stdout.readline().strip()
    assert owners.alive(owner) is True
    host, pid, start, worker = owner.split(":")
    assert owners.alive(f"{host}:{pid}:{int(start) + 1}:{worker}") is False
    assert owners.alive(f"another:{pid}:{start}") is None
    assert owners.alive("anything") is None
    process.kill()
    assert _within(5.0, lambda: owners.alive(owner) is False), "a zombie counts as gone"
    process.communicate()
    assert owners.alive(owner) is False


def _within(limit_s: float, holds) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.postgres
def test_work_goes_on_when_the_server_cut_the_connections(tmp_path: Path, postgres_url: str) -> None:
    import psycopg

    store = Store.open(Home(tmp_path, postgres_url, (tmp_path / "artifacts").as_uri()))
    made = store.resources.create("run", "a", {})
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        assert connection.execute(cut).fetchall()
    assert store.resources.get("run", made.id) == made
    assert store.resources.take("run", made.id, "me", 30.0)
    store.close()
