"""The dataset card: source, licence, personal data, columns, statistics and known limits, as Markdown and as one HTML page.

Written from the config and the statistics alone; no time, no place, so equal datasets have equal cards. The front matter is
what the Hugging Face hub reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from penstock.spec.steps import DataConfig
from penstock.stages.data import plots
from penstock.stages.data.ingest import display_name

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:760px;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{border-bottom:1px solid #ddd;padding:.25rem .75rem;text-align:left}
td{overflow-wrap:anywhere}
td.number{text-align:right;white-space:nowrap}figure{margin:1rem 0}figcaption{font-weight:600}
svg text{font:11px system-ui,sans-serif;fill:#333}"""

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def write_cards(folder: Path, config: DataConfig, statistics: dict[str, Any]) -> None:
    tables = [_sources(config), _columns(config), _splits(statistics), _lengths(statistics), _removed(statistics), _quarantined(statistics)]
    limits = known_limits(config, statistics)
    (folder / "card.md").write_text(_markdown(config, statistics, tables, limits), encoding="utf-8")
    (folder / "card.html").write_text(_html(statistics, tables, limits), encoding="utf-8")


def known_limits(config: DataConfig, statistics: dict[str, Any]) -> list[str]:
    """What a reader of results should know, found in the numbers; plain sentences."""
    found = []
    splits, twice = statistics["splits"], statistics["duplicates"]
    if any(not s.source.licence for s in (*config.sources, *config.test)):
        found.append("A source declares no licence: whether this data may be used or passed on is unknown.")
    if any(s.source.contains_personal_data for s in (*config.sources, *config.test)):
        found.append("The data contains personal data, by declaration of its sources; nothing was redacted.")
    if twice["label_conflicts"]:
        found.append(
            f"{twice['label_conflicts']:,} training texts have several labels ({twice['rows_in_conflict']:,} rows); dedup keeps the first."
        )
    if statistics["training_rows_equal_to_test_rows"]:
        count = statistics["training_rows_equal_to_test_rows"]
        found.append(f"{count:,} training rows equal a test row: test results flatter the model. Declare `decontaminate` to remove them.")
    if twice["test"]:
        found.append(f"{twice['test']:,} test rows repeat another test row; they were kept, because a test set is used as published.")
    if (statistics["imbalance"] or 1) > 3:
        found.append(f"The largest class has {statistics['imbalance']:.1f} times the rows of the smallest.")
    if statistics["contiguous"]:
        found.append("The documents are cut in order (first part trains, last part validates), so validation follows training in the text.")
    if not splits["test"]["rows"]:
        found.append("There is no test split: nothing here measures the final model.")
    if statistics["quarantined"]["rows"]:
        found.append(f"{statistics['quarantined']['rows']:,} rows could not be read and are in quarantine.parquet with their reasons.")
    found.append("Near-duplicates (other wording, other punctuation) are not looked for.")
    return found


def _sources(config: DataConfig) -> Table:
    rows: list[tuple[str, ...]] = [
        (display_name(s), use, s.source.licence or "not declared", "yes" if s.source.contains_personal_data else "no", s.digest)
        for use, sources in (("training", config.sources), ("test", config.test))
        for s in sources
    ]
    return "Sources", ("source", "use", "licence", "personal data", "digest"), rows


def _columns(config: DataConfig) -> Table:
    rows: list[tuple[str, ...]] = [
        ("id", "string", "hash of text and label, `-n` for the n-th repetition"),
        ("text", "string", "the text as the rules left it"),
    ]
    if config.task == "text-classification":
        rows.append(("label", "int32", "index into labels.json"))
    return "Columns", ("column", "type", "meaning"), rows


def _splits(statistics: dict[str, Any]) -> Table:
    rows: list[tuple[str, ...]] = [
        (name, f"{s['rows']:,}", f"{s['characters']:,}", f"{sum(1 for n in s['labels'].values() if n):,}" if "labels" in s else "-")
        for name, s in statistics["splits"].items()
    ]
    return "Splits", ("split", "rows", "characters", "classes"), rows


def _lengths(statistics: dict[str, Any]) -> Table:
    filled = {name: s["length"] for name, s in statistics["splits"].items() if "length" in s}
    names = tuple(next(iter(filled.values())))
    rows = [(split, *(f"{lengths[name]:,}" for name in names)) for split, lengths in filled.items()]
    return "Length in characters", ("split", *names), rows


def _removed(statistics: dict[str, Any]) -> Table:
    return "Removed by rule (removed.parquet)", ("rule", "rows"), [(rule, f"{count:,}") for rule, count in statistics["removed"].items()]


def _quarantined(statistics: dict[str, Any]) -> Table:
    reasons = statistics["quarantined"]["reasons"]
    return "Set aside (quarantine.parquet)", ("reason", "rows"), [(reason, f"{count:,}") for reason, count in reasons.items()]


def _facts(statistics: dict[str, Any]) -> str:
    words = statistics["vocabulary"]
    more = "" if words["complete"] else "more than "
    return f"Training vocabulary: {more}{words['words']:,} words, {words['characters']:,} characters. Task: {statistics['task']}."


def _markdown(config: DataConfig, statistics: dict[str, Any], tables: Sequence[Table], limits: Sequence[str]) -> str:
    licences = sorted({s.source.licence for s in (*config.sources, *config.test) if s.source.licence})
    front = ["---", f"task_categories: [{config.task}]", *([f"license: {_quoted(', '.join(licences))}"] if licences else []), "---"]
    parts = ["\n".join(front), "# Dataset card", _facts(statistics)]
    for title, heads, rows in tables:
        if rows:
            lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in (heads, ("---",) * len(heads), *rows)]
            parts.append(f"## {title}\n\n" + "\n".join(lines))
    parts.append("## Known limits\n\n" + "\n".join(f"- {limit}" for limit in limits))
    return "\n\n".join(parts) + "\n"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _cell(value: str) -> str:
    return " ".join(value.split()).replace("|", "\\|")


def _html(statistics: dict[str, Any], tables: Sequence[Table], limits: Sequence[str]) -> str:
    parts = [f"<h1>Dataset card</h1><p>{escape(_facts(statistics))}</p>"]
    for title, heads, rows in tables:
        if rows:
            body = "".join(f"<tr>{''.join(map(_td, row))}</tr>" for row in rows)
            parts.append(f"<h2>{escape(title)}</h2><table><tr>{''.join(f'<th>{escape(h)}</th>' for h in heads)}</tr>{body}</table>")
    train = statistics["splits"]["train"]
    parts.append(plots.columns("Training rows by length", [(name, count) for name, count in statistics["histogram"]], "characters, up to"))
    if "labels" in train:
        counts = sorted(train["labels"].items(), key=lambda item: (-item[1], item[0]))
        parts.append(plots.bars("Training rows by class", counts))
    parts.append(f"<h2>Known limits</h2><ul>{''.join(f'<li>{escape(limit)}</li>' for limit in limits)}</ul>")
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>Dataset card</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _td(value: str) -> str:
    number = value.replace(",", "").isdigit()
    return f'<td class="number">{escape(value)}</td>' if number else f"<td>{escape(value)}</td>"
