"""One file, many places: on every emulated platform examples/banking77 trains, deploys, answers, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.testing.emulators.table import EMULATORS

TOOL = Path(__file__).resolve().parents[2] / "tools" / "platforms.py"
pytestmark = [pytest.mark.slow, pytest.mark.models, pytest.mark.timeout(900)]


@pytest.mark.parametrize("kind", EMULATORS.names())
def test_the_same_file_trains_deploys_answers_and_leaves_nothing(kind: str, mirror: Path) -> None:
    environment = {**os.environ, "PENSTOCK_MIRROR": str(mirror)}
    done = subprocess.run([sys.executable, str(TOOL), "small", kind], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    head, row = done.stdout.splitlines()
    assert head.split()[:2] == ["platform", "jobs"]
    assert row.split()[:6] == [kind, "5/5", "succeeded", "live", "passcode_forgotten", "nothing"]
