"""A load test as one self-contained page: figures first, plots drawn by hand as SVG, nothing fetched and nothing run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.core.units import show_seconds
from penstock.stages.evaluate.document import document, figure, tile
from penstock.stages.evaluate.markup import Markup, joined, tag
from penstock.stages.evaluate.plots import curves

_EXTRA = """
.dot.broken { fill: var(--miss); }
.warning { border-left: 4px solid var(--miss); padding: 8px 14px; background: var(--panel); }
"""


def page(report: Mapping[str, Any]) -> str:
    """The whole HTML document of a report."""
    sections = [_header(report), _warning(report), _tiles(report), _knee(report), _recovery(report), _over_time(report), _numbers(report)]
    footer = tag("footer", f"Load test report, schema {report['schema']}. `--json` prints the same numbers.")
    return document(f"Load test of {report['target']['model']}", *sections, footer, style=_EXTRA)


def describe(load: Mapping[str, Any]) -> str:
    """The load in words."""
    if load["kind"] == "closed":
        return f"closed loop, {load['concurrency']} clients"
    if load["kind"] == "trace":
        scaled = f", tokens × {load['token_scale']:g}" if load["token_scale"] != 1 else ""
        return f"trace {load['trace']}, {load['speedup']:g} times as fast{scaled}"
    if load["kind"] == "knee":
        return f"search for the knee, {load['arrivals']} arrivals"
    parts = [
        f"{p['start']:g}/s for {p['seconds']:g} s" if p["start"] == p["end"] else f"{p['start']:g} to {p['end']:g}/s in {p['seconds']:g} s"
        for p in load["pieces"]
    ]
    return f"{load['kind']}: {', '.join(parts)}, {load['arrivals']} arrivals"


def _header(report: Mapping[str, Any]) -> Markup:
    target = report["target"]
    facts = {
        "address": tag("code", f"{target['url']}{target['path']}"),
        "model": f"{target['model']}" + (f", version {target['version']}" if target.get("version") else ""),
        "load": describe(report["load"]),
        "began": report["began"],
    }
    listed = [joined([tag("dt", name), tag("dd", value)]) for name, value in facts.items()]
    lead = "Latency counts from when a request was due, so a stall is charged to every request that it made wait."
    return joined([tag("h1", f"Load test of {target['model']}"), tag("p", lead, class_="soft"), tag("dl", listed, class_="facts")])


def _warning(report: Mapping[str, Any]) -> Markup:
    found = report.get("result", {}).get("generator", {"valid": True})
    if found["valid"]:
        return Markup("")
    return tag("p", tag("strong", "Not valid. "), f"{'; '.join(found['reasons'])}.", class_="warning")


def _tiles(report: Mapping[str, Any]) -> Markup:
    tiles = []
    knee, result = report.get("knee"), report.get("result")
    if knee:
        kept = f"{knee['max_rate']:.4g}" if knee["max_rate"] else "none"
        tiles.append(tile("Highest rate that keeps the promise", kept, "req/s", promise_words(knee["promise"])))
    if result:
        tiles.append(tile("Throughput", f"{result['throughput_rps']:.4g}", "req/s", f"{result['offered_rps']:.4g} offered"))
        for name, title in (("p50_ms", "Latency, median"), ("p95_ms", "Latency, p95"), ("p99_ms", "Latency, p99")):
            if name in result["latency"]:
                tiles.append(tile(title, f"{result['latency'][name]:.4g}", "ms", ""))
        if "p95_ms" in result.get("first_token", {}):
            tiles.append(tile("First token, p95", f"{result['first_token']['p95_ms']:.4g}", "ms", ""))
        tiles.append(tile("Errors", f"{result['error_rate']:.2%}", "", f"{result['failed']:,} of {result['requests']:,}"))
    return tag("div", tiles, class_="tiles")


def promise_words(promise: Mapping[str, Any]) -> str:
    what = "first token" if promise["of"] == "first_token" else "latency"
    return f"{what} p{promise['share'] * 100:g} ≤ {show_seconds(promise['limit_s'])}"


def _knee(report: Mapping[str, Any]) -> Markup:
    knee = report.get("knee")
    if not knee:
        return Markup("")
    trials = knee["trials"]
    lines = {name: [(t["rate"], t["figures"][f"{name}_ms"]) for t in trials if f"{name}_ms" in t["figures"]] for name in ("p95", "p50")}
    drawn = figure("Latency against load", curves(lines, "requests offered a second", "milliseconds", _marks(knee)), _key("p95", "p50"))
    flow = [(t["rate"], t["figures"]["throughput_rps"]) for t in trials if "throughput_rps" in t["figures"]]
    flows = figure("Answered against offered", curves({"answered": flow}, "requests offered a second", "answered a second", {}), "")
    rows = [
        tag("tr", *(tag("td", cell, class_="number" if at else None) for at, cell in enumerate(trial_cells(trial)))) for trial in trials
    ]
    head = tag("tr", *(tag("th", name, class_="number" if at else None) for at, name in enumerate(TRIAL_HEAD)))
    turn = f" Latency turns up at about {knee['turns_up_at']:.4g} req/s." if knee["turns_up_at"] else ""
    limit = f" The search ended at {knee['limited_by']}." if knee["limited_by"] else ""
    about = "A rate keeps the promise when the upper end of the 95 % interval of its share of slow requests does."
    table = tag("div", tag("table", tag("thead", head), tag("tbody", rows)), class_="scroll")
    return joined([tag("h2", "The knee"), tag("p", about + turn + limit, class_="soft"), tag("div", drawn, flows, class_="plots"), table])


TRIAL_HEAD = ("rate", "promise", "slow", "interval", "requests", "p50 ms", "p95 ms", "errors")


def trial_cells(trial: Mapping[str, Any]) -> list[str]:
    """One row of the table of trials, as text."""
    figures = trial["figures"]
    times = [f"{figures[name]:.1f}" if name in figures else "–" for name in ("p50_ms", "p95_ms")]
    interval = f"{trial['low']:.2%} – {trial['high']:.2%}"
    errors = f"{figures.get('error_rate', 0):.2%}"
    return [f"{trial['rate']:.4g}/s", trial["verdict"], f"{trial['slow_share']:.2%}", interval, f"{trial['requests']:,}", *times, errors]


def _marks(knee: Mapping[str, Any]) -> dict[str, float]:
    return {f"{knee['max_rate']:.4g}/s": knee["max_rate"]} if knee["max_rate"] else {}


def _recovery(report: Mapping[str, Any]) -> Markup:
    found = report.get("stress")
    if not found:
        return Markup("")
    told = recovery_words(found)
    timeline = found["result"]["timeline"]
    lines = {name: [(w["at"], w[f"{name}_ms"]) for w in timeline if f"{name}_ms" in w] for name in ("p95", "p50")}
    plot = figure("Latency through the overload", curves(lines, "seconds", "milliseconds", {}), _key("p95", "p50"))
    return joined([tag("h2", "Overload"), tag("p", told, class_="soft"), tag("div", plot, class_="plots")])


def recovery_words(found: Mapping[str, Any]) -> str:
    """What the overload did, in a sentence."""
    back = "did not come back to normal within the test" if found["seconds"] is None else f"was normal again after {found['seconds']:.1f} s"
    return (
        f"At {found['peak_rate']:.4g} req/s p95 went from {found['before_p95_ms']:.4g} to {found['peak_p95_ms']:.4g} ms "
        f"with {found['peak_error_rate']:.1%} errors; back at {found['base_rate']:.4g} req/s it {back}."
    )


def _over_time(report: Mapping[str, Any]) -> Markup:
    result = report.get("result")
    if not result or len(result["timeline"]) < 2:
        return Markup("")
    windows = result["timeline"]

    def line(name: str) -> list[tuple[float, float]]:
        return [(w["at"], w[name]) for w in windows if name in w]

    latency = {"p99": line("p99_ms"), "p95": line("p95_ms"), "p50": line("p50_ms")}
    figures = [
        figure("Latency", curves(latency, "seconds", "milliseconds", {}), _key("p99", "p95", "p50")),
        figure(
            "Throughput",
            curves({"answered": line("answered_rps"), "offered": line("offered_rps")}, "seconds", "requests a second", {}),
            _key("answered", "offered"),
        ),
    ]
    if any("first_token_p50_ms" in w for w in windows):
        tokens = {"p95": line("first_token_p95_ms"), "p50": line("first_token_p50_ms")}
        figures.append(figure("Time to first token", curves(tokens, "seconds", "milliseconds", {}), _key("p95", "p50")))
    errors = [(at, 100 * share) for at, share in line("error_rate")]
    figures.append(figure("Errors", curves({"errors": errors}, "seconds", "% of requests", {}), ""))
    return joined([tag("h2", "Over time"), tag("div", figures, class_="plots")])


def _key(*names: str) -> str:
    colours = ("blue", "orange", "grey")
    return ", ".join(f"{name} {colour}" for name, colour in zip(names, colours, strict=False)) + "."


def _numbers(report: Mapping[str, Any]) -> Markup:
    result = report.get("result")
    if not result:
        return Markup("")
    names = ("latency", "service_time", "first_token", "inter_token")
    titles = ("latency, from when due", "service time, from when sent", "first token, from when due", "between tokens")
    columns = ("count", "mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "p99_9_ms", "max_ms")
    rows = [
        tag("tr", tag("td", title), *(tag("td", _cell(result[name].get(column)), class_="number") for column in columns))
        for name, title in zip(names, titles, strict=True)
        if name in result
    ]
    late = result["generator"]["lateness"]
    rows.append(tag("tr", tag("td", "generator's own lateness"), *(tag("td", _cell(late.get(c)), class_="number") for c in columns)))
    head = tag("tr", tag("th", ""), *(tag("th", column.removesuffix("_ms").replace("_", "."), class_="number") for column in columns))
    errors = [
        tag("tr", tag("td", tag("code", kind)), tag("td", f"{count:,}", class_="number"), tag("td", result["first_messages"].get(kind, "")))
        for kind, count in result["errors"].items()
    ]
    failed = joined([tag("h2", "Errors"), tag("table", tag("tbody", errors))]) if errors else Markup("")
    table = tag("div", tag("table", tag("thead", head), tag("tbody", rows)), class_="scroll")
    return joined([tag("h2", "Every number, in milliseconds"), table, failed])


def _cell(value: float | int | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
