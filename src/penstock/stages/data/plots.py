"""Bar charts as inline SVG: no script, no font of their own, the same bytes for the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, ROW, GUTTER = 720, 18, 230
BAR = "#3b6ea5"


def bars(title: str, values: Sequence[tuple[str, int]]) -> str:
    """Horizontal bars, one a line, with their numbers; for labels, rules, reasons."""
    if not values:
        return ""
    most = max(1, max(count for _, count in values))
    lines = []
    for number, (name, count) in enumerate(values):
        y = number * ROW
        width = round((WIDTH - GUTTER - 80) * count / most)
        short = name if len(name) <= 34 else f"{name[:33]}…"
        lines.append(
            f'<text x="{GUTTER - 8}" y="{y + 13}" text-anchor="end">{escape(short)}</text>'
            f'<rect x="{GUTTER}" y="{y + 3}" width="{width}" height="{ROW - 6}" fill="{BAR}"/>'
            f'<text x="{GUTTER + width + 6}" y="{y + 13}">{count:,}</text>'
        )
    return _figure(title, len(values) * ROW, lines)


def columns(title: str, values: Sequence[tuple[str, int]], unit: str) -> str:
    """Upright bars side by side, for a histogram; `unit` names what the axis counts."""
    if not values:
        return ""
    height, base = 180, 150
    most = max(1, max(count for _, count in values))
    step = WIDTH / len(values)
    lines = []
    for number, (name, count) in enumerate(values):
        tall = round((base - 20) * count / most)
        x = round(number * step)
        lines.append(
            f'<rect x="{x + 1}" y="{base - tall}" width="{max(1, round(step) - 2)}" height="{tall}" fill="{BAR}">'
            f"<title>{escape(name)} {escape(unit)}: {count:,}</title></rect>"
            f'<text x="{round(x + step / 2)}" y="{base + 14}" text-anchor="middle">{escape(name)}</text>'
        )
    lines.append(f'<text x="{WIDTH // 2}" y="{height - 2}" text-anchor="middle">{escape(unit)}</text>')
    return _figure(title, height, lines)


def _figure(title: str, height: int, lines: Sequence[str]) -> str:
    body = "\n".join(lines)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return (
        f'<figure><figcaption>{escape(title)}</figcaption>\n<svg {size} role="img" aria-label="{escape(title)}">\n{body}\n</svg></figure>'
    )
