"""`penstock screen FILE`: what the checks of guardrails find in a text, or the text with it masked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.output import here

if TYPE_CHECKING:
    from penstock.screening.contract import Check, Finding

app = typer.Typer(rich_markup_mode=None)
_ALL = ("personal_data", "injection", "toxicity")


@app.command()
def screen(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Text file (UTF-8); - for standard input.")],
    checks: Annotated[str, typer.Option(help="Checks, by comma: personal_data, injection, toxicity, words.")] = ",".join(_ALL),
    types: Annotated[str, typer.Option(help="Kinds of personal data, by comma; default: all.")] = "",
    words: Annotated[list[str] | None, typer.Option("--word", help="Word or phrase that the check words looks for; repeatable.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Score from which injection and toxicity count.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="The file is one text; otherwise each line is one.")] = False,
    mask: Annotated[bool, typer.Option("--mask", help="Print the text with personal data and words masked.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 3 when something was found.")] = False,
) -> int:
    """Show what guardrails find in texts, or print them masked. Findings are told by their place, without their text."""
    from penstock.core.errors import BadInput
    from penstock.screening.table import open_check

    names = [name for name in checks.split(",") if name]
    if words and "words" not in names:
        names.append("words")
    if "words" in names and not words:
        raise BadInput("the check words needs words", remedy="Name them: --word 'first phrase' --word second.")
    kinds = tuple(kind for kind in types.split(",") if kind)
    opened = [open_check(name, threshold=threshold, types=kinds, words=words or ()) for name in names]
    found: list[dict[str, Any]] = []
    lines: list[str] = []
    for number, text in enumerate(_texts(file, whole), 1):
        for check, finding in _findings(opened, text):
            found.append(_told(number, check, finding))
        lines.append(_masked(opened, text))
    if mask:
        here().show({"text": "".join(lines), "findings": found}, lambda: "".join(lines).splitlines())
    else:
        here().show({"findings": found}, lambda: [_line(row) for row in found] or ["nothing found"])
    return 3 if strict and found else 0


def _texts(file: str, whole: bool) -> list[str]:
    """Lines with their ends, or one text. Raises BadInput for what is not UTF-8."""
    from penstock.core.errors import BadInput

    raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8 (byte {error.start})", remedy="Convert it first, such as with iconv.") from None
    return [text] if whole else text.splitlines(keepends=True)


def _masked(checks: Sequence[Check], text: str) -> str:
    from penstock.screening.masking import masked

    for check in checks:
        text = text if check.whole else masked(text, check.find(text))
    return text


def _findings(checks: Sequence[Check], text: str) -> Iterator[tuple[Check, Finding]]:
    for check in checks:
        for finding in check.find(text):
            yield check, finding


def _told(number: int, check: Check, finding: Finding) -> dict[str, Any]:
    place = {"text": number, "start": finding.start, "end": finding.end}
    return {**place, "check": finding.check, "kind": finding.kind, "score": round(finding.score, 3) if check.whole else 1.0}


def _line(row: dict[str, Any]) -> str:
    what = row["check"] if row["check"] == row["kind"] else f"{row['check']}: {row['kind']}"
    score = f" {row['score']:.2f}" if row["score"] != 1.0 else ""
    return f"text {row['text']}, characters {row['start'] + 1}–{row['end']}: {what}{score}"
