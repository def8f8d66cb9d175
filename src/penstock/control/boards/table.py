"""The boards that there are, and the monitoring systems that they are written for; each row of WRITERS is a contract.py Writer."""

from __future__ import annotations

from pathlib import Path

from penstock.control.boards import deployment, signals
from penstock.core.files import write_atomic
from penstock.core.plugins import Row, Table

BOARDS = (deployment.BOARD, signals.BOARD)
WRITERS = Table("dashboard", {"grafana": Row("penstock.control.boards.grafana:Grafana", "grafana")})


def write_boards(folder: Path, system: str) -> list[Path]:
    """One file a board. Raises BadInput, ExtraMissing, DiskFull, ReadOnly."""
    writer = WRITERS.load(system)()
    files = [(folder / f"{board.name}.{writer.ending}", writer.write(board)) for board in BOARDS]
    for path, text in files:
        write_atomic(path, text.encode())
    return [path for path, _ in files]
