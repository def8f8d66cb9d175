"""A comparison of two tables as one self-contained page: verdicts, a plot a column, the words that moved. Nothing fetched or run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.stages.evaluate.document import document
from penstock.stages.evaluate.markup import Markup, joined, tag
from penstock.stages.evaluate.plots import Axes, chart

_EXTRA = """
.then { fill: var(--soft); fill-opacity: .45; }
.now { fill: var(--hit); fill-opacity: .55; }
.key.then-key { background: var(--soft); } .key.now-key { background: var(--hit); }
.bars { columns: 1; } .bar { grid-template-columns: minmax(0, 1fr) 150px 120px; }
.drifted td:first-child { border-left: 4px solid var(--miss); }
.words { line-height: 1.9; }
.words span { border: 1px solid var(--line); border-radius: 4px; padding: 1px 6px; margin-right: 6px; white-space: nowrap; }
"""
_VERDICTS = {"drifted": "drifted", "small": "beyond chance, but small", "same": "no difference beyond chance"}


def page(report: Mapping[str, Any]) -> str:
    """The whole HTML document of a report."""
    sections = [_header(report), _table(report["columns"]), _plots(report["columns"]), _footer(report)]
    return document("Drift between two tables", *sections, style=_EXTRA)


def _header(report: Mapping[str, Any]) -> Markup:
    facts = {name: f"{report[side]['source']}, {report[side]['rows']:,} rows" for name, side in (("then", "first"), ("now", "second"))}
    listed = [joined([tag("dt", name), tag("dd", value)]) for name, value in facts.items()]
    verdict = f"{report['drifted']} of {report['compared']} comparisons show drift"
    about = (
        f"Drifted: further apart than chance puts rows of one table ({report['false_alarms']:.1%} for all comparisons together), "
        "and by enough to matter."
    )
    title, facts_ = tag("h1", "Drift between two tables"), tag("dl", listed, class_="facts")
    return joined([title, tag("p", verdict), tag("p", about, class_="soft"), facts_])


def _table(columns: Sequence[Mapping[str, Any]]) -> Markup:
    rows = [
        tag(
            "tr",
            tag("td", _name(row)),
            tag("td", row["kind"]),
            tag("td", row["detector"]),
            tag("td", f"{row['value']:.4f}", class_="number"),
            tag("td", f"{row['chance']:.4f}", class_="number"),
            tag("td", _VERDICTS[row["verdict"]]),
            class_="drifted" if row["verdict"] == "drifted" else None,
        )
        for row in columns
    ]
    heads = [tag("th", name, class_="number" if name in ("distance", "chance") else None) for name in _HEADS]
    return joined([tag("h2", "Columns"), tag("div", tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows)), class_="scroll")])


_HEADS = ("column", "compared as", "by", "distance", "chance", "verdict")


def _plots(columns: Sequence[Mapping[str, Any]]) -> Markup:
    figures = [figure for row in columns if (figure := _figure(row)) is not None]
    legend = tag("p", tag("span", class_="key then-key"), "then ", tag("span", class_="key now-key"), "now", class_="soft")
    return joined([tag("h2", "Then and now"), legend, tag("div", figures, class_="plots")]) if figures else Markup("")


def _figure(row: Mapping[str, Any]) -> Markup | None:
    drawn: Markup | None = None
    if "shares" in row["plot"]:
        drawn = _histogram(row)
    elif "bars" in row["plot"]:
        drawn = _bars(row["plot"]["bars"])
    words = [
        joined(["new and grown: " if key == "words" else "gone: ", *(tag("span", _word(one)) for one in row["moved"][key])])
        for key in ("words", "vanished")
        if row["moved"].get(key)
    ]
    if drawn is None and not words:
        return None
    listed = [tag("p", line, class_="words") for line in words]
    return tag("figure", tag("h3", _name(row)), *([drawn] if drawn is not None else []), *listed, tag("figcaption", _caption(row)))


def _histogram(row: Mapping[str, Any]) -> Markup:
    plot = row["plot"]
    then, now = plot["shares"]
    low, high, count = plot["low"], plot["high"], len(then)
    axes = Axes((low, high), (0.0, max(*then, *now) * 1.1 or 1.0))
    width = (high - low) / count
    marks = []
    for place in range(count):
        left, right = low + place * width, low + (place + 1) * width
        hint = f"{left:.4g} to {right:.4g}: {then[place]:.1%} then, {now[place]:.1%} now"
        marks += [axes.bar(left, right, 0, then[place], "then", hint), axes.bar(left, right, 0, now[place], "now", hint)]
    return chart(axes, _name(row), "share of rows", marks, f"Distribution of {_name(row)}")


def _bars(bars: Sequence[Sequence[Any]]) -> Markup:
    rows = []
    most = max(max(then, now) for _, then, now in bars) or 1.0
    for name, then, now in bars:
        tracks = [
            tag("div", tag("div", class_="fill", style=f"width:{share / most * 100:.1f}%;opacity:{opacity}"), class_="track")
            for share, opacity in ((then, ".35"), (now, "1"))
        ]
        shares = tag("div", f"{then:.1%} → {now:.1%}", class_="score")
        rows.append(tag("div", tag("div", name, class_="label", title=name), tag("div", *tracks), shares, class_="bar"))
    return tag("div", rows, class_="bars")


def _word(one: Mapping[str, Any]) -> str:
    return f"{one['word']} {one['was']:.1%} → {one['share']:.1%}"


def _caption(row: Mapping[str, Any]) -> str:
    grew = row["moved"].get("grew")
    if grew is None:
        return _VERDICTS[row["verdict"]]
    low, high = grew["range"]
    where = f"above {low:g}" if high is None else f"up to {high:g}"
    return f"{_VERDICTS[row['verdict']]}; {where}: {grew['was']:.1%} then, {grew['share']:.1%} now"


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['column']}: {row['what']}" if row["what"] else str(row["column"])


def _footer(report: Mapping[str, Any]) -> Markup:
    left = f" Left out (identifiers, dates, columns of one table only): {', '.join(report['left_out'])}." if report["left_out"] else ""
    return tag("footer", f"Drift report, schema {report['schema']}. `penstock drift compare --json` prints the same numbers.{left}")
