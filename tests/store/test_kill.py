"""kill -9 in the middle of work: whatever was acknowledged is there afterwards, whole, and the rest is repaired by doing it again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.core.home import Home
from penstock.store.store import Store

_WORK = """
import sys
from pathlib import Path
from penstock.core.home import Home
from penstock.store.builds import Build
from penstock.store.points import Point
from penstock.store.store import Store
folder = Path(sys.argv[1])
store = Store.open(Home.find(folder, {}))
for number in range(int(sys.argv[2]), 100_000):
    out = folder / f"out-{number}"
    out.mkdir(exist_ok=True)
    (out / "a").write_text(f"{number}" * 2000)
    (out / "b").write_text("shared")
    digest = store.artifacts.commit(out, "model", {}, consume=True).digest
    with store.database.begin():
        store.builds.record(Build(f"k{number}", "p", "s", "st", {"o": digest}, {}, {}, 0.0, "r", store.clock.now()))
        store.points.append([Point("r", "s", "loss", number * 10 + n, 0.5, 0.0) for n in range(10)])
        store.audit.append("me", "build", f"k{number}", {})
    print(number, flush=True)
"""


@pytest.mark.parametrize("attempt", range(3))
def test_nothing_acknowledged_is_lost(tmp_path: Path, attempt: int) -> None:
    done = -1
    for _ in range(2):
        done = _work_until_killed(tmp_path, done, 0.05 + 0.07 * attempt)
    store = Store.open(Home.find(tmp_path, {}))
    for number in range(done + 1):
        build = store.builds.get(f"k{number}")
        assert build is not None
        store.artifacts.verify(build.outputs["o"])
    # Each kill may leave one piece committed and not acknowledged; the first one's is then done again, which audit notes as a second entry
    # and points, being the same points, do not.
    recorded, points = store.audit.verify(), len(store.points.read("r"))
    assert done + 1 <= recorded <= done + 3
    assert points in ((done + 1) * 10, (done + 2) * 10)
    assert points <= recorded * 10
    store.close()


def _work_until_killed(folder: Path, done: int, after_s: float) -> int:
    """Number of the last acknowledged piece of work; the next process goes on after it."""
    process = subprocess.Popen([sys.executable, "-c", _WORK, str(folder), str(done + 1)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    rest = process.stdout.read().split()
    process.communicate()
    return int(rest[-1] if rest else first)
