"""A report as one self-contained page: figures, a picture a signal with what happened marked in it, alerts, reactions, everything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from penstock.control.report.contract import Plot, Story
from penstock.control.report.course import Point, course, mean, step_of, time_ticks
from penstock.control.report.plots import PLOTS
from penstock.control.timeline.page import COLOURS, STYLE, drawn, entry_row
from penstock.core.units import show_seconds
from penstock.stages.evaluate.document import document, figure, tile
from penstock.stages.evaluate.markup import Markup, joined, tag
from penstock.stages.evaluate.plots import HEIGHT, TOP, Axes, chart
from penstock.store.signals import Signal

MOST_MARKS, MOST_ENTRIES, MOST_ROWS = 60, 400, 100
_BOTTOM = 44.0
_STYLE = (
    STYLE
    + """
.plots polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
.plots polygon { fill: var(--band); }
.at { stroke-width: 1.5; stroke-opacity: .55; } .at.alert { stroke: #dc2626; } .at.decision { stroke: #7c3aed; }
.keyed b { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 5px 0 12px; }
.keyed b:first-child { margin-left: 0; }
"""
    + "".join(f".line{n} {{ stroke: {colour}; }}\n" for n, colour in enumerate(COLOURS))
)
_MARKED = {"alert.fired": "alert", "rollout.": "decision", "reaction.caused": "decision", "traffic.set": "decision"}
Lines = Mapping[str, Sequence[Sequence[Point]]]


def page(story: Story) -> str:
    """The whole HTML document."""
    lead = f"{_clock(story.since)} to {_clock(story.until)} ({_span(story.until - story.since)}). Times are local."
    pictures = [picture for plot in PLOTS if (picture := _picture(story, plot)) is not None]
    sections = [
        tag("h1", f"Report of {story.deployment}"),
        tag("p", lead, class_="soft"),
        tag("div", [tile(*one) for one in figures(story)], class_="tiles"),
        tag("h2", "Who served"),
        drawn(story.shares, story.since, story.until) if story.shares else _nothing("no version has served yet"),
        tag("h2", "Over time"),
        _legend(story),
        tag("div", pictures, class_="plots") if pictures else _nothing("nothing was measured in this time"),
        tag("h2", "Alerts"),
        _table(("alert", "of", "severity", "from", "to", "said"), [_alert(one) for one in story.alerts], "none fired"),
        tag("h2", "Reactions"),
        _table(
            ("rule", "did", "phase", "began", "ended", "said"), [_reaction(one) for one in story.reactions], "there was nothing to react to"
        ),
        tag("h2", "What happened"),
        *_entries(story),
    ]
    return document(f"Report of {story.deployment}", *sections, style=_STYLE)


def figures(story: Story) -> list[tuple[str, str, str, str]]:
    """(title, value, unit, note) of the whole deployment over the whole time."""
    found = _grouped((signal.name, signal) for signal in story.signals if not signal.version)
    tiles = [("Requests", f"{sum(s.value for s in found.get('requests', ())):,.0f}", "", "")]
    if errors := found.get("error_rate"):
        tiles.append(("Errors", f"{mean(errors) * 100:.3g}", "%", f"worst window {max(s.value for s in errors) * 100:.3g} %"))
    if times := sorted(s.value for s in found.get("latency.p95_ms", ())):
        tiles.append(("Latency, p95", f"{times[len(times) // 2]:.4g}", "ms", f"median of windows; worst {times[-1]:.4g} ms"))
    if right := found.get("live.accuracy"):
        tiles.append(("Accuracy", f"{mean(right) * 100:.4g}", "%", f"{sum(s.count for s in right):,.0f} labelled"))
    if costs := found.get("cost.request"):
        tiles.append(("Cost", f"{sum(s.value * s.count for s in costs):,.2f}", "USD", "by the prices of deploy.price"))
    firing = sum(one["phase"] == "firing" for one in story.alerts)
    return [*tiles, ("Alerts", f"{len(story.alerts)}", "", f"{firing} still firing" if firing else "none firing now")]


def _picture(story: Story, plot: Plot) -> Markup | None:
    lines = _lines(story, plot)
    points = [point for pieces in lines.values() for piece in pieces for point in piece]
    if not points:
        return None
    names = list(lines)[-len(COLOURS) :] if plot.by_version else list(lines)[: len(COLOURS)]
    colours = _colours(story, plot, names)
    top = max([point.value for point in points] + ([1.0] if plot.against_limit else []))
    lowest = min(point.value for point in points)
    bottom = 0.0 if plot.from_zero else max(0.0, lowest - 0.5 * (top - lowest))
    axes = Axes((story.since, max(story.until, story.since + 1)), (bottom, top + 0.1 * (top - bottom) if top > bottom else top + 1.0))
    marks: list[Markup] = [*_marks(story, axes)]
    if plot.against_limit:
        marks.append(tag("line", x1=axes.x(story.since), x2=axes.x(story.until), y1=axes.y(1), y2=axes.y(1), class_="limit"))
    for n, name in zip(colours, names, strict=True):
        marks += [mark for piece in lines[name] for mark in _drawn(axes, piece, n, len(names) == 1)]
    keys = [joined([tag("b", style=f"background:{COLOURS[n]}"), name]) for n, name in zip(colours, names, strict=True)]
    more = f" and {len(lines) - len(names)} more that are not drawn" if len(lines) > len(names) else ""
    step = step_of(story.since, story.until, story.window_s)
    each = f"{'Worst' if plot.told == 'worst' else 'Mean'} of each {show_seconds(step)}." if step > story.window_s else ""
    caption = joined([tag("div", *keys, more), tag("div", " ".join(filter(None, (plot.about, each))))])
    about = f"{plot.title} over time: {', '.join(names)}"
    return figure(plot.title, chart(axes, "", plot.unit, marks, about, time_ticks(*axes.x_range)), tag("div", caption, class_="keyed"))


def _lines(story: Story, plot: Plot) -> Lines:
    """By name of the line, in the order of the key."""
    if plot.against_limit:
        found = _grouped((signal.name, signal) for signal in story.signals if signal.limit is not None and signal.limit > 0)
        ordered = sorted(found)
    elif plot.by_version:
        mine = [signal for signal in story.signals if signal.name in plot.of]
        found = _grouped((f"version {signal.version}", signal) for signal in mine if signal.version)
        found = found or _grouped(("all", signal) for signal in mine if plot.whole_else)
        ordered = sorted(found, key=_in_order)
    else:
        found = _grouped((signal.name, signal) for signal in story.signals if signal.name in plot.of and not signal.version)
        ordered = [name for name in plot.of if name in found]
    step = step_of(story.since, story.until, story.window_s)
    return {name: course([_scaled(signal, plot) for signal in found[name]], step, plot.told) for name in ordered}


def _grouped(named: Iterable[tuple[str, Signal]]) -> dict[str, list[Signal]]:
    found: dict[str, list[Signal]] = {}
    for name, signal in named:
        found.setdefault(name, []).append(signal)
    return found


def _colours(story: Story, plot: Plot, names: Sequence[str]) -> list[int]:
    """Numbers of the lines' colours: a version has the one that it has in the picture of shares."""
    if not plot.by_version:
        return list(range(len(names)))
    served = sorted({version for _, split in story.shares for version in split}, key=_in_order)
    known = [f"version {version}" for version in served] + [name for name in names if name.removeprefix("version ") not in served]
    return [known.index(name) % len(COLOURS) for name in names]


def _in_order(name: str) -> tuple[int, str]:
    return len(name), name


def _scaled(signal: Signal, plot: Plot) -> Signal:
    by = 1.0 / signal.limit if plot.against_limit and signal.limit else plot.scale
    low, high = (None if end is None or plot.against_limit else end * by for end in (signal.low, signal.high))
    return Signal(signal.deployment, signal.name, signal.at, signal.value * by, signal.count, signal.version, low=low, high=high)


def _drawn(axes: Axes, piece: Sequence[Point], number: int, alone: bool) -> Iterator[Markup]:
    """With the band of its interval where there is only one line."""
    if alone and any(point.high > point.low for point in piece):
        floor, ceiling = axes.y_range
        edge = [(p.at, min(p.high, ceiling)) for p in piece] + [(p.at, max(p.low, floor)) for p in reversed(piece)]
        yield tag("polygon", points=" ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in edge))
    if len(piece) == 1:
        hint = tag("title", f"{piece[0].value:.4g} at {_clock(piece[0].at)}")
        yield tag("circle", hint, cx=axes.x(piece[0].at), cy=axes.y(piece[0].value), r=2.5, style=f"fill:{COLOURS[number]}")
    else:
        yield axes.line([(point.at, point.value) for point in piece], f"line{number}")


def _marks(story: Story, axes: Axes) -> Iterator[Markup]:
    for at, kind, said in _moments(story):
        yield tag(
            "line", tag("title", f"{_clock(at)} {said}"), x1=axes.x(at), x2=axes.x(at), y1=TOP, y2=HEIGHT - _BOTTOM, class_=f"at {kind}"
        )


def _moments(story: Story) -> list[tuple[float, str, str]]:
    """What is marked in every picture: alerts that fired, and what was decided about the traffic; the newest of too many."""
    found = []
    for entry in story.entries:
        kind = next((kind for start, kind in _MARKED.items() if entry.type.startswith(start)), None)
        if kind is not None:
            found.append((entry.at, kind, entry.message))
    return found[-MOST_MARKS:]


def _legend(story: Story) -> Markup:
    kinds = {kind for _, kind, _ in _moments(story)}
    said = [
        text for kind, text in (("alert", "red: an alert fired"), ("decision", "violet: a roll-out or reaction acted")) if kind in kinds
    ]
    return tag("p", f"Upright lines, {'; '.join(said)}.", class_="soft") if said else Markup("")


def _alert(one: Mapping[str, Any]) -> list[str]:
    of = " ".join(filter(None, (one["version"] and f"version {one['version']}", one["slice"]))) or "all"
    ended = _clock(one["resolved_at"]) if one["resolved_at"] else "fires"
    return [one["alert"], of, one["severity"], _clock(one["since"] or one["fired_at"] or 0.0), ended, one["message"] or ""]


def _reaction(one: Mapping[str, Any]) -> list[str]:
    did = ", ".join(one["actions"]) + (" (dry run)" if one["dry_run"] else "")
    return [
        one["rule"],
        did,
        one["phase"],
        _clock(one["created_at"]),
        _clock(one["ended_at"]) if one["ended_at"] else "",
        one["says"] or "",
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> Markup:
    if not rows:
        return _nothing(empty)
    body = [tag("tr", [tag("td", cell) for cell in row]) for row in rows[:MOST_ROWS]]
    more = tag("p", f"and {len(rows) - MOST_ROWS} more", class_="soft") if len(rows) > MOST_ROWS else Markup("")
    head = tag("thead", tag("tr", [tag("th", name) for name in heads]))
    return joined([tag("div", tag("table", head, tag("tbody", body)), class_="scroll"), more])


def _entries(story: Story) -> Iterator[Markup]:
    if not story.entries:
        yield _nothing("nothing was noted in this time")
    if (left_out := len(story.entries) - MOST_ENTRIES) > 0:
        yield tag("p", f"the newest {MOST_ENTRIES}; {left_out} came before them", class_="soft")
    yield from (entry_row(one) for one in story.entries[-MOST_ENTRIES:])


def _nothing(why: str) -> Markup:
    return tag("p", f"{why[0].upper()}{why[1:]}.", class_="soft")


def _span(seconds: float) -> str:
    days = seconds / 86400
    return f"{days:.3g} days" if days >= 2 else show_seconds(seconds)


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%d %b %H:%M:%S")
