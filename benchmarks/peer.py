"""A peer in an environment of its own (made once, under the user's cache), and load on it by `wrk`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_UNIT_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of wrk. `failed`: answers that were not 2xx, and socket errors. `cpu_s`: of the server, a request; nan if unknown."""

    per_second: float
    p50_s: float
    p99_s: float
    failed: int
    cpu_s: float


def environment(name: str, *installs: Sequence[str]) -> Path:
    """Python of the environment `name`, with each of `installs` (arguments of pip) done in order; made again when they change."""
    mark = hashlib.sha256(repr((installs, sys.version)).encode()).hexdigest()[:12]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "penstock-benchmarks" / f"{name}-{mark}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"making {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for packages in installs:
            subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)
        (folder / "complete").touch()
    return python


def cpu_seconds(pids: Sequence[int]) -> float:
    """Used so far by these processes and their children: what a shared machine cannot blur as it blurs wall time."""
    trees = [[psutil.Process(pid), *psutil.Process(pid).children(recursive=True)] for pid in pids]
    return sum(times.user + times.system for tree in trees for times in (process.cpu_times() for process in tree))


def wrk(url: str, concurrency: int, seconds: float, script: Path, pids: Sequence[int] = ()) -> Measured:
    """Closed-loop load from one thread of wrk; `pids` are the server's processes."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; run: apt-get install -y wrk")
    command = ["wrk", "-t1", f"-c{concurrency}", f"-d{seconds:g}s", "--timeout", "30s", "--latency", "-s", str(script), url]
    before = cpu_seconds(pids)
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used = cpu_seconds(pids) - before
    count = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = int(bad[1]) if bad else 0
    failed += sum(int(count) for count in errors.groups()) if errors else 0
    return Measured(
        float(rate[1]) if rate else 0.0,
        _percentile(text, "50"),
        _percentile(text, "99"),
        failed,
        used / int(count[1]) if count and used > 0 else float("nan"),
    )


def _percentile(text: str, share: str) -> float:
    found = re.search(rf"^\s+{share}%\s+([\d.]+)(us|ms|s)\s*$", text, re.MULTILINE)
    return float(found[1]) * _UNIT_S[found[2]] if found else float("nan")


def post_script(path: Path, bodies: Sequence[str], headers: dict[str, str]) -> Path:
    """A wrk script that posts the JSON `bodies` in turn."""
    lines = ['wrk.method = "POST"', *(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items())]
    listed = ", ".join(f"[==[{body}]==]" for body in bodies)
    lines += [f"local bodies = {{{listed}}}", "local turn = 0"]
    lines += ["request = function()", f"  turn = turn % {len(bodies)} + 1", "  return wrk.format(nil, nil, nil, bodies[turn])", "end"]
    path.write_text("\n".join(lines))
    return path


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@contextlib.contextmanager
def server(command: Sequence[str], url: str, log: Path, within_s: float = 180.0, env: dict[str, str] | None = None) -> Iterator[int]:
    """Runs `command` until the block is left; yields its pid once `url` answers anything below 500."""
    with log.open("ab") as file, subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **(env or {})}) as process:
        try:
            _await(url, process, log, within_s)
            yield process.pid
        finally:
            # A peer's own children often outlive it and would blur every measurement that follows.
            tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []
            process.terminate()
            _, left = psutil.wait_procs(tree, timeout=20)
            for one in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()


def _await(url: str, process: subprocess.Popen[bytes], log: Path, within_s: float) -> None:
    end = time.monotonic() + within_s
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"the peer did not start; its log ends with:\n{log.read_text()[-2000:]}")
