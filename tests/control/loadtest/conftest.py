"""A server of known delays, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from penstock.control.loadtest.orders import Asking, Writer, made
from penstock.control.loadtest.session import Options, Session, Target


@pytest.fixture
def server() -> Iterator[Callable[..., str]]:
    """`server("--delay-ms", "5")` starts one and returns its address."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> str:
        process = subprocess.Popen([sys.executable, "-m", "penstock.testing.delays", *arguments], stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        return f"http://127.0.0.1:{int(process.stdout.readline())}"

    yield start
    for process in running:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def session() -> Callable[..., Session]:
    """`session(url, stream=True, …options)`: a session that asks a model called echo."""

    def on(url: str, *, stream: bool = False, **options: object) -> Session:
        asking = Asking("echo", "completions", stream, 8)
        chosen = Options(**{"warmup_s": 0.0, **options})  # type: ignore[arg-type]
        return Session(Target(url, None), made(asking, Writer(1), 8, distinct=16), chosen)

    return on
