"""`penstock init [DIR]`: a pipeline file to start from."""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.output import here
from penstock.core.errors import BadInput
from penstock.core.files import write_atomic

app = typer.Typer(rich_markup_mode=None)

TEMPLATES = {
    "text-classification": "a pre-trained encoder fine-tuned on labelled text",
    "text-generation": "a small decoder trained from scratch on plain text",
    "custom-steps": "your own functions as steps",
}
PLACEHOLDER = "my-model"
IGNORED = "# State: models, logs, what the gateway was asked.\n.penstock/\n"


def _complete(incomplete: str) -> list[tuple[str, str]]:
    return [(name, about) for name, about in TEMPLATES.items() if name.startswith(incomplete)]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write; made if it is not there.")] = Path(),
    template: Annotated[str, typer.Option(help=f"One of {', '.join(TEMPLATES)}.", autocompletion=_complete)] = "text-classification",
) -> None:
    """Write a pipeline file to start from. Never overwrites."""
    if template not in TEMPLATES:
        known = "; ".join(f"{name}: {about}" for name, about in TEMPLATES.items())
        raise BadInput(f"no template is called {template!r} ({known})")
    name = model_name(folder)
    source = resources.files("penstock.cli.templates") / template
    files = {item.name: _filled(item, name) for item in source.iterdir() if item.is_file()}
    if taken := sorted(file for file in files if (folder / file).exists()):
        raise BadInput(f"{folder / taken[0]} exists already; nothing was written", remedy="Choose another folder, or move the file away.")
    if not (folder / ".gitignore").exists():
        files[".gitignore"] = IGNORED
    for file, text in files.items():
        write_atomic(folder / file, text.encode())
    shown = folder / "penstock.yaml"
    written = [str(folder / file) for file in sorted(files)]
    data = {"name": name, "template": template, "folder": str(folder), "files": written}
    here().show(data, lambda: [*(f"wrote {file}" for file in written), f"Next: penstock check {shown}, then penstock run {shown}"])


def model_name(folder: Path) -> str:
    """The folder's name as a pipeline name (a–z, 0–9, dashes)."""
    slug = re.sub(r"[^a-z0-9]+", "-", folder.absolute().name.lower()).strip("-")[:63].strip("-")
    return slug or PLACEHOLDER


def _filled(item: Traversable, name: str) -> str:
    return item.read_text(encoding="utf-8").replace(PLACEHOLDER, name)
