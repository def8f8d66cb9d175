"""The report as one self-contained page: style and plots inside, no scripts, nothing fetched. Works without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.stages.evaluate import plots
from penstock.stages.evaluate.document import document, figure, tile
from penstock.stages.evaluate.markup import Markup, joined, tag

NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "calibration.ece": "Calibration error",
    "perplexity": "Perplexity",
    "bits_per_character": "Bits per character",
    "latency.p50_ms": "Latency, median",
    "latency.p95_ms": "Latency, p95",
    "latency.first_token_p50_ms": "First token, median",
    "throughput_tokens_per_s": "Generation speed",
    "throughput_rps": "Throughput",
}
UNITS = {"_ms": "ms", "_rps": "req/s", "_tokens_per_s": "tok/s"}
SHARES = ("accuracy", "precision", "recall", "macro_f1", "micro_f1", "weighted_f1", "calibration.ece")  # between 0 and 1
TILES = 6


def page(report: Mapping[str, Any]) -> str:
    """The whole HTML document for the value of report.json."""
    sections = [_header(report), _tiles(report), _metrics(report), _plots(report), _classes(report), _confusion(report), _errors(report)]
    return document(f"Evaluation of {report['name']}", *sections, _samples(report), _footer(report))


def _header(report: Mapping[str, Any]) -> Markup:
    engine = report["engine"]
    labels = f", {len(_labels(report))} labels" if _labels(report) else ""
    facts = {
        "bundle": tag("code", report["bundle"]),
        "dataset": tag("code", report["dataset"]),
        "engine": f"{engine['name']}, {engine['precision']}, up to {engine['max_length']:,} tokens",
        report["unit"]: f"{report['rows']:,} of the {report['split']} split{labels}",
    }
    listed = [joined([tag("dt", name), tag("dd", value)]) for name, value in facts.items()]
    lead = f"Measured on the bytes that are served, through the engine that serves them. Ranges are {report['confidence']:.0%} intervals."
    return joined([tag("h1", f"Evaluation of {report['name']}"), tag("p", lead, class_="soft"), tag("dl", listed, class_="facts")])


def _tiles(report: Mapping[str, Any]) -> Markup:
    metrics, tiles = report["metrics"], []
    for name, title in NAMES.items():
        if name in metrics:
            found = metrics[name]
            tiles.append(tile(title, _figures(found["value"]), "", f"{_figures(found['low'])} – {_figures(found['high'])}"))
        elif name in report["timings"]:
            unit = next(shown for ending, shown in UNITS.items() if name.endswith(ending))
            tiles.append(tile(title, _timing(report["timings"][name]), unit, "one request at a time" if unit == "ms" else "32 at once"))
    return tag("div", tiles[:TILES], class_="tiles")


def _figures(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1 else f"{value:.4g}"


def _timing(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _metrics(report: Mapping[str, Any]) -> Markup:
    rows = []
    for name, found in report["metrics"].items():
        drawn = plots.whisker(found["value"], found["low"], found["high"]) if name in SHARES else ""
        numbers = [tag("td", f"{found[end]:.4f}", class_="number") for end in ("value", "low", "high")]
        rows.append(tag("tr", tag("td", tag("code", name)), *numbers, tag("td", drawn)))
    for name, value in report["timings"].items():
        empty = [tag("td"), tag("td"), tag("td")]
        rows.append(tag("tr", tag("td", tag("code", name)), tag("td", _timing(value), class_="number"), *empty))
    head, drawn = ["metric", "value", "low", "high"], "from 0 to 1" if "accuracy" in report["metrics"] else ""
    return joined(
        [
            tag("h2", "Every number"),
            tag("p", f"Names as gates read them. Intervals at {report['confidence']:.0%}: {report['intervals']}.", class_="soft"),
            tag("div", _table(head, rows, numeric=(1, 2, 3), last=drawn), class_="narrow"),
        ]
    )


def _table(head: Sequence[str], rows: Sequence[str], numeric: Sequence[int] = (), last: str | None = None) -> Markup:
    cells = [tag("th", name, class_="number" if i in numeric else None) for i, name in enumerate(head)]
    cells += [tag("th", last)] if last is not None else []
    return tag("div", tag("table", tag("thead", tag("tr", cells)), tag("tbody", rows)), class_="scroll")


def _plots(report: Mapping[str, Any]) -> Markup:
    figures = []
    if "reliability" in report:
        counts = report["confidences"]
        figures += [
            figure(
                "Reliability",
                plots.reliability_plot(report["reliability"]),
                "Above the dashes: too modest. Below: too sure.",
            ),
            figure("Confidence", plots.confidence_plot(counts["right"], counts["wrong"]), _legend()),
            figure("Coverage", plots.coverage_plot(report["coverage"]), "What is gained by leaving the least sure rows to a person."),
        ]
    if report["blocks"]:
        drawn = plots.histogram(report["blocks"], "bits per character of a block", "blocks", {})
        figures.append(figure("Held-out text", drawn, "Each block of test text is one count."))
    if report["single_ms"]:
        lines = {f"p{q}": report["timings"][f"latency.p{q}_ms"] for q in (50, 95)}
        drawn = plots.histogram(report["single_ms"], "milliseconds, one request at a time", "requests", lines)
        figures.append(figure("Latency", drawn, f"{report['request']}. The last bar holds all that were slower."))
    return joined([tag("h2", "Behaviour"), tag("div", figures, class_="plots")])


def _legend() -> Markup:
    return joined([tag("span", class_="key right"), "right", tag("span", class_="key wrong"), "wrong"])


def _classes(report: Mapping[str, Any]) -> Markup:
    if "per_class" not in report:
        return Markup("")
    bars = [
        tag(
            "div",
            tag("div", row["label"], class_="label", title=row["label"]),
            tag("div", tag("div", class_="fill", style=f"width:{row['f1'] * 100:.1f}%"), class_="track"),
            tag("div", f"{row['f1']:.3f} ", tag("span", f"({row['rows']:,})"), class_="score"),
            class_="bar",
            title=f"precision {row['precision']:.3f}, recall {row['recall']:.3f}",
        )
        for row in report["per_class"]
    ]
    about = "F1 of each label, worst first, with its number of rows."
    return joined([tag("h2", "Labels"), tag("p", about, class_="soft"), tag("div", bars, class_="bars")])


def _labels(report: Mapping[str, Any]) -> Sequence[str]:
    found: Sequence[str] = report["confusion"]["labels"] if "confusion" in report else ()
    return found


def _confusion(report: Mapping[str, Any]) -> Markup:
    if "confusion" not in report:
        return Markup("")
    found = report["confusion"]
    pairs = [
        tag("tr", tag("td", pair["label"]), tag("td", pair["prediction"]), tag("td", f"{pair['rows']:,}", class_="number"))
        for pair in found["most_confused"][:12]
    ]
    about = "A row is the true label, a column the predicted one. Blue is right, orange wrong; stronger is a larger share of the row."
    cut = len(found["labels"]) > plots.MOST_CLASSES
    about += f" Only the {plots.MOST_CLASSES} labels with the most errors are drawn; report.json has all." if cut else ""
    table = _table(["true label", "predicted", "rows"], pairs, numeric=(2,)) if pairs else tag("p", "No row was wrong.")
    map_ = tag("figure", tag("div", plots.heat_map(found["labels"], found["matrix"]), class_="scroll"))
    return joined([tag("h2", "Confusion"), table, tag("p", about, class_="soft", style="margin-top:20px"), map_])


def _errors(report: Mapping[str, Any]) -> Markup:
    if not report.get("worst_errors"):
        return Markup("")
    rows = [
        tag(
            "tr",
            tag("td", f"{row['confidence']:.3f}", class_="number"),
            tag("td", row["text"], class_="text"),
            tag("td", row["label"]),
            tag("td", row["prediction"]),
            tag("td", tag("code", row["id"])),
        )
        for row in report["worst_errors"]
    ]
    about = "Wrong answers given with the most confidence. Some of them are wrong labels: look before you blame the model."
    table = _table(["confidence", "text", "label", "predicted", "row"], rows, numeric=(0,))
    return joined([tag("h2", "Worst errors"), tag("p", about, class_="soft"), table])


def _samples(report: Mapping[str, Any]) -> Markup:
    if not report["samples"]:
        return Markup("")
    shown = [
        tag("figure", tag("div", tag("span", row["prompt"], class_="prompt"), row["continuation"], class_="sample"))
        for row in report["samples"]
    ]
    about = "Test text in grey, the model's continuation after it (temperature 0.8)."
    return joined([tag("h2", "Continuations"), tag("p", about, class_="soft"), tag("div", shown, class_="plots")])


def _footer(report: Mapping[str, Any]) -> Markup:
    return tag("footer", f"Evaluation report, schema {report['schema']}. The same numbers lie beside this page in report.json.")
