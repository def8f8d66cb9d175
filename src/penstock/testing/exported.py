"""User steps and a file of them, small enough that a test may run each in a container: what exported pipelines are tried with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.control.api import RunResult

CODE = """
import time
from pathlib import Path

from penstock.core.errors import StepTransient
from penstock.stages.user.types import Folder, Output


def table(value: int, times: int, made: Output) -> None:
    (made / "table.txt").write_text(f"{value * times}")


def total(folder: Folder, tries: str) -> int:
    with Path(tries).open("a") as file:
        file.write("x")
    return int((folder / "table.txt").read_text()) + 3


def both(left: int, right: int) -> int:
    return left + right


def fail(tries: str) -> int:
    with Path(tries).open("a") as file:
        file.write("x")
    if len(Path(tries).read_text()) < 2:
        raise StepTransient("the service is away")
    raise ValueError("it cannot be")


def wait(seconds: float) -> int:
    time.sleep(seconds)
    return 1
"""


def sums(tries: Path) -> list[dict[str, Any]]:
    """Two steps: a table, and a number from it, which writes an `x` into `tries` each time that it runs."""
    return [
        {"name": "table", "uses": "work:table", "with": {"value": 3, "times": 10}},
        {"name": "total", "uses": "work:total", "inputs": {"folder": "table.made"}, "with": {"tries": str(tries)}},
    ]


def write(folder: Path, section: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], name: str = "there", **more: Any) -> Path:
    """The file and its code; `section` is the platform called `name`."""
    (folder / "work.py").write_text(CODE)
    file = {"name": "sums", "steps": list(steps), "platforms": {"laptop": {"kind": "local"}, name: dict(section)}, **more}
    (folder / "penstock.yaml").write_text(json.dumps(file))
    return folder / "penstock.yaml"


def keys(result: RunResult) -> dict[str, str]:
    """By step."""
    return {step["name"]: step["key"] for step in result.steps}
