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
    files = {folder / name: text for name, text in texts(system).items()}
    for path, text in files.items():
        write_atomic(path, text.encode())
    return list(files)


def texts(system: str) -> dict[str, str]:
    """By the name of the file. Raises BadInput, ExtraMissing."""
    writer = WRITERS.load(system)()
    return {f"{board.name}.{writer.ending}": writer.write(board) for board in BOARDS}
