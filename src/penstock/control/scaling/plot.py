"""One SVG that stands alone: replicas over time of each policy, and the load that they faced."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from penstock.control.scaling.compare import Compared
from penstock.stages.evaluate.markup import Markup, joined, tag
from penstock.stages.evaluate.plots import HEIGHT, LEFT, TOP, WIDTH, Axes, chart

POINTS = 400  # of a line; more than a screen shows
COLOURS = ("#8a8f98", "#5b6068", "#2a6fdb", "#c8641b", "#1f8a4c")
STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#444}.title{font-weight:600}.grid{stroke:#ddd;stroke-width:1}"
    ".axis{stroke:#666;stroke-width:1}polyline{fill:none;stroke-width:1.6}.demand{stroke:#999;stroke-dasharray:2 2;stroke-width:1}"
    + "".join(f".p{n}{{stroke:{colour}}}.k{n}{{fill:{colour}}}" for n, colour in enumerate(COLOURS))
)


def replicas_plot(rows: Sequence[Compared], target: int) -> str:
    """`target`: requests at once a replica; the dashed line is the load in replicas of that size."""
    start = rows[0].outcome.moments[0].at
    hours = max((moment.at for row in rows for moment in row.outcome.moments), default=start) - start
    most = max(max(m.ready, m.wanted) for row in rows for m in row.outcome.moments)
    axes = Axes((0.0, max(hours / 60, 0.1)), (0.0, most * 1.25 + 1))
    demand = [(moment.at, min(moment.demand / target, axes.y_range[1])) for moment in rows[-1].outcome.moments]
    lines = [axes.line(_thinned([((at - start) / 60, value) for at, value in demand]), "demand")]
    keys = []
    for number, row in enumerate(rows):
        points = [((moment.at - start) / 60, float(moment.ready)) for moment in row.outcome.moments]
        lines.append(axes.line(_stepped(points), f"p{number % len(COLOURS)}"))
        keys.append(
            tag("text", row.name, x=LEFT + 8 + 200 * (number % 2), y=TOP + 10 + 13 * (number // 2), class_=f"k{number % len(COLOURS)}")
        )
    drawn = chart(axes, "minutes", "replicas ready; dashed: load", [*lines, *keys], "Replicas over time by policy")
    width, height = f"{WIDTH * 2:.0f}", f"{HEIGHT * 2:.0f}"
    return tag("svg", joined([tag("style", Markup(STYLE)), drawn]), xmlns="http://www.w3.org/2000/svg", width=width, height=height)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return list(points[:: max(1, len(points) // POINTS)])


def _stepped(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Only where the number changes, drawn as stairs."""
    found = [points[0]]
    for (_, before), (at, value) in itertools.pairwise(points):
        if value != before:
            found += [(at, before), (at, value)]
    return [*found, points[-1]]
