"""`penstock gc`: frees the disk of what nothing references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.output import here

if TYPE_CHECKING:
    from penstock.store.collect import Collection

app = typer.Typer(rich_markup_mode=None)


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would go; remove nothing.")] = False,
    keep: Annotated[str | None, typer.Option(help="Also give up cached builds older than this, such as 30d.")] = None,
    grace: Annotated[str, typer.Option(help="Spare what was written within this time.")] = "1d",
) -> None:
    """Remove artifacts that no build, model version, deployment or run names."""
    from penstock.cli.state import opened, principal
    from penstock.core.errors import BadInput
    from penstock.core.units import seconds
    from penstock.store.collect import collect_garbage

    try:
        keep_days, grace_s = (None if keep is None else seconds(keep) / 86_400.0), seconds(grace)
    except ValueError as error:
        raise BadInput(str(error)) from error
    with opened() as store:
        done = collect_garbage(store, keep_days, grace_s=grace_s, dry_run=dry_run)
        if not dry_run:
            detail = {"artifacts": len(done.swept.artifacts), "freed_bytes": done.swept.freed_bytes, "builds": len(done.given_up)}
            store.audit.append(principal(), "store.collect", "artifacts", detail)
    data = {
        "dry_run": dry_run,
        "builds_given_up": list(done.given_up),
        "waited": done.waited,
        "artifacts": list(done.swept.artifacts),
        "blobs": done.swept.blobs,
        "freed_bytes": done.swept.freed_bytes,
        "kept_artifacts": done.swept.kept_artifacts,
        "kept_bytes": done.swept.kept_bytes,
    }
    here().show(data, lambda: _lines(done))


def _lines(done: Collection) -> list[str]:
    from penstock.core.units import show_bytes

    swept, verb = done.swept, "would free" if done.dry_run else "freed"
    lines = [f"{verb} {show_bytes(swept.freed_bytes)}: {len(swept.artifacts)} artifacts, {swept.blobs} files"]
    if done.given_up:
        lines.append(f"{len(done.given_up)} old builds {'would be' if done.dry_run else 'were'} given up")
    if done.waited:
        lines.append(f"old builds were left alone: {done.waited}")
    return [*lines, f"kept {show_bytes(swept.kept_bytes)} in {swept.kept_artifacts} artifacts"]
