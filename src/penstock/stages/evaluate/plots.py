"""Plots as inline SVG. Colours come from the page's style sheet by class, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.stages.evaluate.markup import Markup, joined, tag

WIDTH, HEIGHT = 480.0, 300.0
FEW_ROWS = 10
LEFT, RIGHT, TOP, BOTTOM = 62.0, 12.0, 12.0, 44.0
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axes:
    """Linear axes over a range of each variable; `x` and `y` give SVG coordinates."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def bar(self, left: float, right: float, bottom: float, top: float, kind: str, hint: str) -> Markup:
        """A rectangle in data coordinates with a 1-pixel gap to its right neighbour."""
        x, y = self.x(left), self.y(top)
        width, height = max(0.5, self.x(right) - x - 1), max(0.0, self.y(bottom) - y)
        return tag("rect", tag("title", hint), x=x, y=y, width=width, height=height, class_=kind)

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> Markup:
        return tag("polyline", points=" ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points), class_=kind)

    def mark(self, value: float, name: str) -> list[Markup]:
        """A vertical line with its name beside it."""
        at, flip = self.x(value), self.x(value) > (LEFT + WIDTH - RIGHT) * 0.6
        return [
            tag("line", x1=at, x2=at, y1=TOP, y2=HEIGHT - BOTTOM, class_="limit"),
            tag("text", name, x=at - 4 if flip else at + 4, y=TOP + 10, text_anchor="end" if flip else "start", class_="note"),
        ]


def chart(
    axes: Axes, x_label: str, y_label: str, marks: Sequence[str], about: str, along: Sequence[tuple[float, str]] | None = None
) -> Markup:
    """An SVG with grid, ticks and titles around `marks`; `about` is read out by screen readers. `along`: the ticks of x, if not numbers."""
    bottom, middle = HEIGHT - BOTTOM, (TOP + HEIGHT - BOTTOM) / 2
    across = [
        tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=axes.y(v), y2=axes.y(v), class_="grid")
        + tag("text", shown(v), x=LEFT - 6, y=axes.y(v) + 3.5, text_anchor="end")
        for v in ticks(*axes.y_range)
    ]
    named = [(value, shown(value)) for value in ticks(*axes.x_range)] if along is None else along
    below = [tag("text", text, x=axes.x(value), y=bottom + 16, text_anchor="middle") for value, text in named]
    titles = [
        tag("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 8, text_anchor="middle", class_="title"),
        tag("text", y_label, x=12, y=middle, text_anchor="middle", class_="title", transform=f"rotate(-90 12 {middle:.0f})"),
    ]
    base = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis")
    drawn = joined(Markup(part) for part in (*across, *below, *titles, *marks, base))
    return tag("svg", drawn, viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}", role="img", aria_label=about)


def ticks(low: float, high: float) -> list[float]:
    """Three to six round values inside the range."""
    wanted = (high - low) / 5
    scale = 10.0 ** math.floor(math.log10(wanted))
    step = next(scale * round_ for round_ in (1, 2, 2.5, 5, 10) if scale * round_ >= wanted * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{tick * step:.12g}") for tick in range(first, math.floor(high / step + 1e-9) + 1)]


def shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def curves(lines: Mapping[str, Points], x_label: str, y_label: str, marks: Mapping[str, float]) -> Markup:
    """Up to three lines over one range, the first of them blue, orange, grey; `marks`: named vertical lines."""
    points = [point for line in lines.values() for point in line]
    if not points:
        return tag("p", "Nothing to draw: no request was answered.", class_="soft")
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min(xs), max(xs)
    axes = Axes((low, high if high > low else low + 1), (0.0, max(ys) * 1.1 or 1.0))
    drawn = []
    for kind, (name, line) in zip(("curve", "second", "third"), lines.items(), strict=False):
        drawn.append(axes.line(line, kind))
        if len(line) <= 40:
            drawn += [
                tag("circle", tag("title", f"{name} {y:.4g} at {x:.4g}"), cx=axes.x(x), cy=axes.y(y), r=3, class_="dot") for x, y in line
            ]
    drawn += [mark for name, value in marks.items() for mark in axes.mark(value, name)]
    return chart(axes, x_label, y_label, drawn, f"{y_label} by {x_label}")


def reliability_plot(bins: Sequence[Mapping[str, float]]) -> Markup:
    """Accuracy against stated confidence; the line leaves out bins of fewer than FEW_ROWS rows, whose share is mostly chance."""
    axes = Axes((0.0, 1.0), (0.0, 1.0))
    most = max(row["rows"] for row in bins)
    steady = [(row["confidence"], row["accuracy"]) for row in bins if row["rows"] >= FEW_ROWS]
    marks = [axes.line([(0, 0), (1, 1)], "ideal"), axes.line(steady, "curve")]
    for row in bins:
        hint = f"confidence {row['confidence']:.3f}, accuracy {row['accuracy']:.3f}, {row['rows']:,.0f} rows"
        radius = 3 + 6 * (row["rows"] / most) ** 0.5
        marks.append(tag("circle", tag("title", hint), cx=axes.x(row["confidence"]), cy=axes.y(row["accuracy"]), r=radius, class_="dot"))
    return chart(axes, "confidence stated", "share that was right", marks, "Reliability diagram")


def confidence_plot(right: Sequence[int], wrong: Sequence[int]) -> Markup:
    """Rows by confidence: right below, wrong stacked on top."""
    bins = len(right)
    axes = Axes((0.0, 1.0), (0.0, max(1, *(r + w for r, w in zip(right, wrong, strict=True))) * 1.05))
    marks = []
    for i, (r, w) in enumerate(zip(right, wrong, strict=True)):
        left, end = i / bins, (i + 1) / bins
        hint = f"confidence {left:.2f}–{end:.2f}: {r:,} right, {w:,} wrong"
        marks += [axes.bar(left, end, 0, r, "mark", hint), axes.bar(left, end, r, r + w, "miss", hint)]
    return chart(axes, "confidence stated", "rows", marks, "Histogram of confidence")


def coverage_plot(points: Sequence[Sequence[float]]) -> Markup:
    """Accuracy on the share of rows that is answered, surest first."""
    low = min(accuracy for _, accuracy in points)
    axes = Axes((0.0, 1.0), (max(0.0, low - 0.02), 1.0 if low < 0.999 else 1.001))
    marks = [axes.line([(share, accuracy) for share, accuracy in points], "curve")]
    return chart(axes, "share of rows answered, surest first", "accuracy on them", marks, "Accuracy by coverage")


def histogram(values: Sequence[float], x_label: str, y_label: str, lines: Mapping[str, float]) -> Markup:
    """Values in 40 bins up to their 99.5th percentile (the rest in the last bin), with named vertical lines."""
    import numpy as np

    low, high = float(np.min(values)), float(max(np.quantile(values, 0.995), *lines.values()) if lines else np.quantile(values, 0.995))
    spread = (high - low) or abs(high) or 1.0
    low, high = max(0.0, low - 0.05 * spread), high + 0.05 * spread
    counts, edges = np.histogram(np.minimum(values, high), 40, (low, high))
    axes = Axes((low, high), (0.0, float(counts.max()) * 1.2))
    marks = [
        axes.bar(float(a), float(b), 0, int(n), "mark", f"{a:.3g}–{b:.3g}: {n:,}")
        for n, a, b in zip(counts, edges, edges[1:], strict=False)
        if n
    ]
    for row, (name, value) in enumerate(lines.items()):
        at, flip = axes.x(value), axes.x(value) > WIDTH * 0.75
        marks += [
            tag("line", x1=at, x2=at, y1=TOP, y2=HEIGHT - BOTTOM, class_="limit"),
            tag("text", name, x=at - 4 if flip else at + 4, y=TOP + 10 + 13 * row, text_anchor="end" if flip else "start", class_="note"),
        ]
    return chart(axes, x_label, y_label, marks, f"Distribution: {x_label}")


def whisker(value: float, low: float, high: float) -> Markup:
    """A mark with its interval on a line from 0 to 1; 300 × 14."""

    def x(share: float) -> float:
        return 2 + 296 * share

    inside = [
        tag("line", x1=x(0), x2=x(1), y1=7, y2=7, class_="grid"),
        tag("line", x1=x(low), x2=max(x(high), x(low) + 1), y1=7, y2=7, class_="whisker"),
        tag("line", x1=x(value), x2=x(value), y1=1, y2=13, class_="value"),
    ]
    return tag("svg", inside, viewBox="0 0 300 14", class_="whiskers", aria_hidden="true")


MOST_CLASSES = 100  # drawn in a heat map; beyond, those with the most errors
CELL = 11.0


def heat_map(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Markup:
    """Confusion: a row a true class, a column a predicted one; strength is the share of the row, errors in their own colour."""
    kept = _worst_classes(matrix)
    gutter = min(230.0, 14 + 5.2 * max(len(labels[i]) for i in kept))
    cell = CELL if len(kept) > 24 else 26.0
    side, marks = cell * len(kept), []
    for row, i in enumerate(kept):
        total, y = sum(matrix[i]) or 1, gutter + row * cell
        marks.append(tag("text", _cut(labels[i]), x=gutter - 5, y=y + cell / 2 + 3, text_anchor="end"))
        turned = f"translate({gutter + row * cell + cell / 2 + 3:.1f} {gutter - 5:.1f}) rotate(-90)"
        marks.append(tag("text", _cut(labels[i]), transform=turned))
        marks.append(tag("line", x1=gutter, x2=gutter + side, y1=y, y2=y, class_="hair"))
        marks.append(tag("line", y1=gutter, y2=gutter + side, x1=gutter + row * cell, x2=gutter + row * cell, class_="hair"))
        marks += [_cell(labels, matrix, (i, j), (gutter + column * cell, y, cell), total) for column, j in enumerate(kept) if matrix[i][j]]
    size = gutter + side + 4
    box = f"0 0 {size:.0f} {size:.0f}"
    return tag("svg", marks, viewBox=box, class_="heat", style=f"max-width:{size * 1.25:.0f}px", role="img", aria_label="Confusion matrix")


def _cell(labels: Sequence[str], matrix: Any, at: tuple[int, int], box: tuple[float, float, float], total: int) -> Markup:
    (i, j), (x, y, cell) = at, box
    share, count = matrix[i][j] / total, matrix[i][j]
    hint = f"{labels[i]} → {labels[j]}: {count:,} of {total:,} ({share:.0%})"
    strength = 0.12 + 0.78 * share if i == j else 0.38 + 0.62 * min(1.0, share * 3) ** 0.7
    kind = "mark" if i == j else "miss"
    drawn = tag("rect", tag("title", hint), x=x + 0.5, y=y + 0.5, width=cell - 1, height=cell - 1, class_=kind, fill_opacity=strength)
    if cell < 20:
        return drawn
    return joined([drawn, tag("text", f"{count}", x=x + cell / 2, y=y + cell / 2 + 3, text_anchor="middle", class_="count")])


def _worst_classes(matrix: Sequence[Sequence[int]]) -> list[int]:
    """Classes that occur, in label order; when there are too many, those with the most errors."""
    columns = [sum(row[j] for row in matrix) for j in range(len(matrix))]
    present = [i for i, row in enumerate(matrix) if sum(row) or columns[i]]
    if len(present) <= MOST_CLASSES:
        return present
    errors = {i: sum(matrix[i]) + columns[i] - 2 * matrix[i][i] for i in present}
    return sorted(sorted(present, key=lambda i: (-errors[i], i))[:MOST_CLASSES])


def _cut(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
