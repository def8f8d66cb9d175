"""The closed loop as a whole, at small size: examples/story checks itself, and an independent client counts failed requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STORY = Path(__file__).resolve().parents[2] / "examples" / "story" / "story.py"
CHAPTERS = ("first", "clean", "drifts", "retrains", "shuffled", "slow", "broken")


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.timeout(2400)
def test_drift_is_seen_and_mended_and_whatever_is_bad_goes_back(tmp_path: Path, mirror: Path) -> None:
    place = tmp_path / "run"
    environment = {**os.environ, "PENSTOCK_MIRROR": str(mirror)}
    told = subprocess.run([sys.executable, str(STORY), "small", str(place)], env=environment, capture_output=True, text=True, timeout=2300)
    assert told.returncode == 0, f"{told.stdout}{told.stderr}"
    facts = json.loads((place / "story.json").read_bytes())
    assert facts["requests"]["failed"] == 0
    assert facts["requests"]["asked"] > 1000
    assert facts["clean"]["over"] == 0
    assert facts["drifts"]["windows"] <= 3
    assert facts["retrains"]["new"]["challenger"] > facts["retrains"]["new"]["champion"]
    assert {name for name in CHAPTERS if facts[name]["seconds"] > 0} == set(CHAPTERS)
    page = (place / "story.html").read_text()
    assert "http://" not in page.split("<body", 1)[0]  # nothing is loaded from elsewhere
    for version in {facts["retrains"]["version"], facts["broken"]["version"]}:
        assert f"version {version}" in page
