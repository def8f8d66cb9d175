"""What docs/how-to/user-steps.md shows works as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "user-steps.md"


def test_the_page_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.S)
    python = [text for kind, text in blocks if kind == "python"]
    yaml = [text for kind, text in blocks if kind == "yaml"]
    assert (len(python), len(yaml)) == (2, 2)
    (tmp_path / "intents.py").write_text("\n".join(python))
    limited = re.sub(r" +environment:.*\n", "", yaml[1])  # it would reach for a package index
    (tmp_path / "penstock.yaml").write_text(yaml[0] + limited)
    environ = {**os.environ, "PENSTOCK_HOME": str(tmp_path / ".penstock")}
    command = [sys.executable, "-c", "import sys; from penstock.cli.main import main; sys.exit(main())", "run", "penstock.yaml", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "succeeded"
    assert told["metrics"]["fit.steps"] == 100
    assert told["metrics"]["check.rows"] > 10
    assert {a["name"] for a in told["artifacts"]} >= {"value", "made", "model"}
