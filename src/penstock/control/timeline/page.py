"""A timeline as one self-contained page: who got which requests, drawn, and below it everything that happened, with cause and evidence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from penstock.control.timeline.entries import Entry
from penstock.stages.evaluate.document import document
from penstock.stages.evaluate.markup import Markup, joined, tag

WIDTH, HEIGHT, LEFT = 880, 120, 8
COLOURS = ("var(--v0)", "var(--v1)", "var(--v2)", "var(--v3)", "var(--v4)", "var(--v5)")
STYLE = """
:root { --v0: #4269d0; --v1: #efb118; --v2: #ff725c; --v3: #6cc5b0; --v4: #a463f2; --v5: #97bbf5; }
.entry { display: grid; grid-template-columns: 8.5em 6em 1fr; gap: 0 14px; padding: 7px 0; border-top: 1px solid var(--line); }
.entry time { color: var(--soft); font-variant-numeric: tabular-nums; }
.role { font-size: 12px; text-transform: uppercase; letter-spacing: .04em; color: var(--soft); padding-top: 2px; }
.role.cause { color: #b45309; } .role.decision { color: #7c3aed; } .role.effect { color: #15803d; } .role.action { color: #1d4ed8; }
.entry details { color: var(--soft); font-size: 13px; margin-top: 3px; }
.entry pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 4px 0 0; }
.shares text { font-size: 11px; fill: var(--soft); }
.keyed span { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 5px 0 14px; }
"""
Shares = Sequence[tuple[float, Mapping[str, float]]]


def page(name: str, found: Sequence[Entry], live: Shares, until: float) -> str:
    """The whole HTML document."""
    lead = "Everything that happened to this deployment, and why. Times are local."
    since = found[0].at if found else until
    body = [tag("h1", f"Timeline of {name}"), tag("p", lead, class_="soft"), drawn(live, since, until), tag("h2", "What happened")]
    body += [entry_row(one) for one in found]
    return document(f"Timeline of {name}", *body, style=STYLE)


def drawn(live: Shares, since: float, until: float) -> Markup:
    """Shares of requests over time, a band a version."""
    versions = sorted({version for _, split in live for version in split}, key=lambda v: (len(v), v))
    span = max(until - since, 1e-9)
    bands = []
    for n, (start, split) in enumerate(live):
        end = live[n + 1][0] if n + 1 < len(live) else until
        left, right = (LEFT + (WIDTH - 2 * LEFT) * min(max((x - since) / span, 0), 1) for x in (start, end))
        top = 0.0
        for version in versions:
            height = HEIGHT * split.get(version, 0.0)
            if height and right > left:
                colour = COLOURS[versions.index(version) % len(COLOURS)]
                title = tag("title", f"version {version}: {split[version]:.0%} from {_clock(start)}")
                bands.append(tag("rect", title, x=left, y=top, width=max(right - left, 0.5), height=height, fill=colour))
            top += height
    picture = tag("svg", bands, viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="shares", role="img", width="100%")
    keys = [
        joined([tag("span", class_="", style=f"background:{COLOURS[n % len(COLOURS)]}"), f"version {version}"])
        for n, version in enumerate(versions)
    ]
    caption = tag(
        "figcaption", f"Share of requests, {_clock(since)} to {_clock(until)}", tag("span", keys, class_="keyed", style="all:unset")
    )
    return tag("figure", picture, caption, class_="keyed")


def entry_row(one: Entry) -> Markup:
    """When, in which role, what, and the evidence to unfold."""
    kept = {key: value for key, value in one.evidence.items() if value not in (None, {}, [])}
    evidence = (
        tag("details", tag("summary", "evidence"), tag("pre", json.dumps(kept, indent=1, ensure_ascii=False, default=str))) if kept else ""
    )
    said = tag("div", tag("div", one.message), evidence)
    return tag("div", tag("time", _clock(one.at), title=one.of), tag("div", one.role, class_=f"role {one.role}"), said, class_="entry")


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%d %b %H:%M:%S")


def as_json(name: str, found: Sequence[Entry], live: Shares) -> dict[str, Any]:
    return {
        "deployment": name,
        "entries": [one.as_json() for one in found],
        "live": [{"at": at, "shares": dict(split)} for at, split in live],
    }
