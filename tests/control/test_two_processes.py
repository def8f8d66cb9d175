"""Several real `penstock run` processes over one database and one artifact store: every step is run by exactly one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os, time
from pathlib import Path

def work(value: int = 0, *, step: int) -> int:
    with open(Path(__file__).with_name("ran"), "a") as file:
        file.write(f"{step} {os.getpid()}\\n")
    time.sleep(0.15)
    return value + step
"""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shared.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def test_no_step_runs_twice(database: str, tmp_path: Path) -> None:
    rows = ["name: shared", "steps:", "  - {name: s0, uses: 'steps:work', with: {step: 0}}"]
    rows += [f"  - {{name: s{n}, uses: 'steps:work', with: {{step: {n}}}, inputs: {{value: s{n - 1}}}}}" for n in range(1, 6)]
    (tmp_path / "penstock.yaml").write_text("\n".join(rows) + "\n")
    (tmp_path / "steps.py").write_text(CODE)
    environment = {**os.environ, "PENSTOCK_DATABASE": database, "PENSTOCK_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "penstock", "run", "--json"]
    processes = [subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    ran = [line.split()[0] for line in (tmp_path / "ran").read_text().splitlines()]
    assert sorted(ran) == ["0", "1", "2", "3", "4", "5"]
    results = [json.loads(out) for out, _ in outputs]
    # A process may take up the run that another has made and not yet leased; then both watch that one. Each run ends well either way.
    assert {result["status"] for result in results} == {"succeeded"}
    assert len({json.dumps(result["artifacts"], sort_keys=True) for result in results}) == 1
