"""`penstock audit`: who did what, and the proof that nobody changed it afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.dates import when
from penstock.cli.output import here, table

if TYPE_CHECKING:
    from penstock.store.audit import Entry, Head

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


@app.command()
def verify(
    head: Annotated[str | None, typer.Option(help="A head kept elsewhere, as `verify` printed it: SEQ:sha256:HEX.")] = None,
) -> None:
    """Check the whole chain; exit 1 and name the first bad row when it is broken."""
    from penstock.cli.state import opened

    with opened() as store:
        count = store.audit.verify(_head(head) if head else None)
        now = store.audit.head()
    shown = f"{now.seq}:{now.hash}" if count else None
    lines = [f"{count} entries, unbroken", f"head {shown}"] if shown else ["0 entries"]
    here().show({"entries": count, "head": shown}, lambda: lines)


@app.command("list")
def list_entries(
    since: Annotated[int, typer.Option(help="Only entries after this number.")] = 0,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 100,
) -> None:
    """List entries, oldest first."""
    from penstock.cli.state import opened

    with opened() as store:
        entries = store.audit.list(since=since, limit=limit)
    rows = [(e.seq, when(e.at), e.principal, e.action, e.subject) for e in entries]
    data = {"entries": [_fields(e) for e in entries]}
    here().show(data, lambda: table(("SEQ", "AT", "PRINCIPAL", "ACTION", "SUBJECT"), rows) if rows else ["no entries"])


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="JSON lines, one entry each; - for the screen.", allow_dash=True)] = Path("-"),
) -> None:
    """Write the whole log, with its hashes, so that others can verify it."""
    import json
    import sys

    from penstock.cli.state import opened
    from penstock.core.files import write_atomic

    with opened() as store:
        lines = [json.dumps(_fields(e), ensure_ascii=False, sort_keys=True) + "\n" for e in store.audit.all()]
    if str(file) == "-":
        sys.stdout.writelines(lines)
        return
    write_atomic(file, "".join(lines).encode())
    here().show({"entries": len(lines), "file": str(file)}, lambda: [f"wrote {len(lines)} entries to {file}"])


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__slots__}


def _head(text: str) -> Head:
    from penstock.core.errors import BadInput
    from penstock.store.audit import Head

    seq, _, digest = text.partition(":")
    if not seq.isdigit() or not digest.startswith("sha256:"):
        raise BadInput(f"{text!r} is not a head", remedy="Write it as `penstock audit verify` printed it: SEQ:sha256:HEX.")
    return Head(int(seq), digest)
