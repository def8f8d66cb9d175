"""The live view of a deployment: figures by version, series, the machine, drift, alerts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.cli.figures import interval, signal_figure
from penstock.cli.sparkline import sparkline
from penstock.core.units import show_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from penstock.control.watch.board import Board, Line

COLUMNS = (
    ("REQ/S", "requests_per_s"),
    ("ERRORS", "error_rate"),
    ("P50", "latency.p50_ms"),
    ("P95", "latency.p95_ms"),
    ("P99", "latency.p99_ms"),
    ("FIRST P95", "first_token.p95_ms"),
    ("TOK/S", "tokens_per_s"),
    ("USD/REQ", "cost.request"),
    ("ACCURACY", "live.accuracy"),
    ("SCORE", "live.score"),
)
SERIES = ("requests_per_s", "error_rate", "latency.p95_ms", "tokens_per_s", "live.accuracy", "live.score")
MACHINE = ("host.cpu", "host.memory", "host.disk", "host.network_bytes_per_s", "gpu.use", "gpu.memory", "gpu.temperature_c", "gpu.power_w")
SPEND = ("cost.hour", "cost.day", "cost.month")
WIDTH = 40  # of a series
EACH = 11  # columns that a figure takes; where a terminal is narrow, the figures that matter least are left out
LEAST = ("cost.request", "tokens_per_s", "first_token.p95_ms", "latency.p50_ms", "live.score", "latency.p99_ms", "live.accuracy")
MOST_LIMITED = 12


def draw(board: Board, window: str, width: int = 160) -> RenderableType:
    """`window`: how far back the series go, in words; `width`: columns of the terminal."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text.assemble((board.deployment, "bold"), f"  {board.phase}  {_clock(board.at)}  ", _watcher(board))]
    if not board.lines:
        return Group(*parts, Text("no signals yet: the first window is told some seconds after it ends", style="dim"))
    parts += [Text(), _versions(board, width), Text(), _series(board, window, width)]
    parts += [Text(), Text(line)] if (line := _machine(board)) else []
    parts += [Text(), *limited] if (limited := _limits(board)) else []
    return Group(*parts, Text(), *_alerts(board))


def overview(boards: Sequence[Board], width: int = 160) -> RenderableType:
    """One line a deployment."""
    from rich.text import Text

    columns = _fitting(width - 66)
    shown = _table("DEPLOYMENT", "PHASE", *(head for head, _ in columns), "OVER", "ALERTS", "REQ/S")
    for board in boards:
        figures = [_figure(board.line(name)) for _, name in columns]
        over = sum(line.signal.over for line in board.limited)
        rate = board.line("requests_per_s")
        style = "red" if board.alerts else "yellow" if over else ""
        last = sparkline(rate.values, 20) if rate else ""
        shown.add_row(Text(board.deployment, style or "bold"), board.phase, *figures, f"{over or ''}", f"{len(board.alerts) or ''}", last)
    return shown


def _versions(board: Board, width: int) -> RenderableType:
    columns = _fitting(width - 18)
    shown = _table("VERSION", "SHARE", *(head for head, _ in columns))
    rows = [("all", "", "", "")]
    versions = dict.fromkeys((*board.shares, *(version for _, version, part in board.lines if version and not part)))
    rows += [(version, f"{board.shares[version] * 100:.3g} %" if version in board.shares else "", version, "") for version in versions]
    for part in ("traffic=shadow", "traffic=fallback"):
        there = dict.fromkeys(version for _, version, slice_ in board.lines if slice_ == part)
        rows += [(version, part.removeprefix("traffic="), version, part) for version in there]
    for name, share, version, part in rows:
        shown.add_row(name, share, *(_figure(board.line(of, version, part)) for _, of in columns))
    return shown


def _series(board: Board, window: str, width: int) -> RenderableType:
    shown = _table("SIGNAL", "NOW", "BETWEEN", f"LAST {window}")
    shown.columns[3].justify = "left"
    for name in SERIES:
        line = board.line(name)
        if line is None:
            continue
        signal = line.signal
        between = interval(signal)
        shown.add_row(name, signal_figure(name, signal.value), between, sparkline(line.values, max(10, min(WIDTH, width - 52))))
    return shown


def _machine(board: Board) -> str:
    told = [f"{name} {signal_figure(name, value)}" for name in (*MACHINE, *SPEND) if (value := board.value(name)) is not None]
    ready = board.value("replicas.ready")
    return "  ".join([*([f"replicas.ready {ready:.0f}"] if ready is not None else []), *told])


def _limits(board: Board) -> list[RenderableType]:
    from rich.text import Text

    found: list[RenderableType] = []
    for line in board.limited[:MOST_LIMITED]:
        signal = line.signal
        of = " ".join(part for part in (signal.version and f"version {signal.version}", signal.slice) if part)
        text = f"{signal.name:<24} {signal.value:.3g} of {signal.limit:.3g}  {of}  {sparkline(line.values, 20)}"
        found.append(Text(("! " if signal.over else "  ") + text, style="bold red" if signal.over else ""))
    return found


def _alerts(board: Board) -> list[RenderableType]:
    from rich.text import Text

    if not board.alerts:
        return [Text("no alert fires", style="green")]
    return [
        Text(f"ALERT {a['severity']} {a['alert']}  for {show_seconds(max(0.0, board.at - a['since']))}  {a['message']}", style="bold red")
        for a in board.alerts
    ]


def _watcher(board: Board) -> tuple[str, str]:
    state = board.watcher
    if state is None or not state["runs"]:
        return "no watcher runs: nothing new is measured (penstock up)", "bold red"
    if state.get("waits_for"):
        return f"the watcher waits: {state['waits_for']}", "yellow"
    return f"watcher {show_seconds(state['lag_s'])} behind, {state['records_per_s']:g} records/s", "dim"


def _fitting(width: int) -> Sequence[tuple[str, str]]:
    """The columns for which there is room."""
    left_out = LEAST[: max(0, len(COLUMNS) - max(2, width // EACH))]
    return [column for column in COLUMNS if column[1] not in left_out]


def _table(*heads: str) -> Table:
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="dim")
    for place, head in enumerate(heads):
        made.add_column(head, justify="left" if place == 0 else "right", no_wrap=True)
    return made


def _figure(line: Line | None) -> str:
    return "-" if line is None else signal_figure(line.signal.name, line.signal.value)


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
