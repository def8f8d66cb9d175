"""Every link in the documentation leads somewhere; every page is reached."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_links_lead_somewhere() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "docs" / "build.py")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
