"""A real PostgreSQL for tests: an unprivileged server of its own on a free loopback port, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.testing.ports import free_port


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """`folder`: data and socket. Databases are cheap: take a fresh one per test. `commands`: pg_ctl's, to stop and to start."""

    folder: Path
    port: int
    commands: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def url(self, database: str) -> str:
        return f"postgresql://app@127.0.0.1:{self.port}/{database}"

    def restart(self) -> None:
        """Every connection breaks at once, as when the server is killed; what was committed is there again."""
        for command in self.commands:
            _do(list(command), str(self.folder))

    @contextlib.contextmanager
    def fresh_database(self) -> Iterator[str]:
        """URL of an empty database, dropped at the end."""
        import psycopg

        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield self.url(name)
        finally:  # by a connection of its own: the server may have been restarted
            with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def binaries() -> Path | None:
    """Folder of initdb and pg_ctl; None when PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda p: int(p.parts[-3]) if p.parts[-3].isdigit() else 0)
    if found:
        return found[-1].parent
    on_path = shutil.which("pg_ctl")
    return Path(on_path).resolve().parent if on_path else None


@contextlib.contextmanager
def running() -> Iterator[PostgresServer]:
    """Starts and stops a server; durability is off, because nothing here outlives the test. Raises RuntimeError with its log."""
    folder = binaries()
    if folder is None:
        raise RuntimeError("PostgreSQL is not installed (apt-get install postgresql)")
    with tempfile.TemporaryDirectory(prefix="penstock-postgres-", ignore_cleanup_errors=True) as place:
        data, port, prefix = Path(place, "data"), free_port(), _unprivileged(Path(place))
        _do([*prefix, str(folder / "initdb"), "-D", str(data), "-A", "trust", "-U", "app", "--no-sync"], place)
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {place} -c fsync=off -c max_connections=80"
        log = Path(place, "server.log")
        control = [*prefix, str(folder / "pg_ctl"), "-D", str(data)]
        start, stop = [*control, "-l", str(log), "-o", options, "-w", "start"], [*control, "-m", "immediate", "-w", "stop"]
        try:
            _do(start, place)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{log.read_text() if log.exists() else ''}") from error
        try:
            yield PostgresServer(Path(place), port, (tuple(stop), tuple(start)))
        finally:
            _do(stop, place)


def _unprivileged(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: then it runs as `postgres`."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, "postgres", "postgres")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


def _do(command: list[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[-1]} failed ({done.returncode}): {done.stdout}")
