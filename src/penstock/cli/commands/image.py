"""`penstock image`: builds the container image that platforms start, without a daemon, and checks one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.output import here, table

if TYPE_CHECKING:
    from penstock.platforms.image.build import Baked

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def image() -> None:
    """Build the container image that platforms start, without a daemon; check one."""


@app.command()
def build(
    to: Annotated[Path, typer.Option(metavar="FOLDER|FILE.tar", help="OCI image layout to write.")] = Path("image"),
    extras: Annotated[str, typer.Option(metavar="A,B", help="Of Penstock: serve, train, kubernetes, s3, …")] = "",
    base: Annotated[Path | None, typer.Option(help="OCI layout, or tar of one or of a root. [default: this Python alone]")] = None,
    wheels: Annotated[Path | None, typer.Option(help="Folder of wheels. [default: the packages installed here]")] = None,
    lock: Annotated[Path | None, typer.Option(help="Requirements with hashes that the wheels are held to.")] = None,
    bundle: Annotated[
        str | None, typer.Option(metavar="MODEL[:VERSION]", help="Put this model in, for a function that starts fast.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Name of the image in the layout. [default: Penstock's version]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what the layers would hold; write nothing.")] = False,
) -> None:
    """Build an image whose digest follows from its inputs alone.

    SOURCE_DATE_EPOCH is the time that files in it carry (default 0).
    """
    import os
    import tempfile

    import penstock
    from penstock.core.errors import BadInput
    from penstock.platforms.image.build import Wish, plan, sizes
    from penstock.platforms.image.build import build as make

    if lock is not None and wheels is None:
        raise BadInput("--lock says which wheels may come in, so it needs --wheels")
    named = tuple(sorted({part.strip() for part in extras.split(",") if part.strip()}))
    baked = _baked(bundle) if bundle is not None else None
    created = _epoch(os.environ.get("SOURCE_DATE_EPOCH") or "0")
    wish = Wish(named, base, wheels, lock, baked, tag or penstock.__version__, created)
    if dry_run:
        with tempfile.TemporaryDirectory() as scratch:
            planned = plan(wish, Path(scratch))
            rows = _planned(planned)
        here().show({"layers": rows, "unpacked": sum(row["unpacked"] for row in rows)}, lambda: _table(rows, "unpacked"))
        return
    made = make(wish, to)
    rows = sizes(made.layers)
    data = {"digest": made.digest, "size": made.size, "to": str(to), "tag": wish.tag, "layers": rows}
    here().show(data, lambda: [*_table(rows, "size"), f"{made.digest}  {_size(made.size)} in {to}"])


@app.command()
def check(folder: Annotated[Path, typer.Argument(help="OCI image layout.", exists=True, file_okay=False)]) -> int:
    """Hold a layout to the OCI image specification; every byte is read. Exit code 1 when something is wrong."""
    from penstock.platforms.image.check import check as examine

    found = examine(folder)
    layers = [{"digest": row["digest"], "size": row["size"]} for row in found.manifest.get("layers", ()) if isinstance(row, dict)]
    data = {"digest": found.digest, "tag": found.tag, "layers": layers, "problems": found.problems}
    here().show(data, lambda: found.problems or [f"sound: {found.digest} ({found.tag}), {len(layers)} layers"])
    return 1 if found.problems else 0


def _baked(name: str) -> Baked:
    from penstock.cli.state import opened
    from penstock.platforms.image.build import Baked

    model, _, version = name.partition(":")
    with opened() as store:
        found = store.registry.get(model, version or "latest")
        folder = store.artifacts.materialize(found.bundle)
        manifest = store.artifacts.manifest(found.bundle).data
    return Baked(found.bundle, folder, manifest, model, str(found.version))


def _epoch(text: str) -> int:
    from penstock.core.errors import BadInput

    if not text.isdigit():
        raise BadInput(f"SOURCE_DATE_EPOCH is {text!r}; it counts seconds since 1970")
    return int(text)


def _planned(planned: Any) -> list[dict[str, Any]]:
    base = planned.base.layers if planned.base is not None else ()
    rows = [{"layer": "base", "files": None, "unpacked": layer.size, "holds": layer.says or layer.digest} for layer in base]
    for part in planned.parts:
        files = sum(entry.source is not None for entry in part.entries)
        rows.append({"layer": part.name, "files": files, "unpacked": part.size, "holds": part.says})
    return rows


def _table(rows: list[dict[str, Any]], size: str) -> list[str]:
    first = "layer" if "layer" in rows[0] else "digest"
    return table((first.upper(), size.upper(), "HOLDS"), [(row[first][:19], _size(row[size]), row["holds"]) for row in rows])


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
