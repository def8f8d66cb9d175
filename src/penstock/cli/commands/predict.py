"""`penstock predict NAME TEXT…`: sends text to a deployment through the gateway and prints the answer."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None)


@app.command()
def predict(
    name: Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)],
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts; default: lines of standard input.")] = None,
    key: Annotated[str | None, typer.Option(envvar="PENSTOCK_KEY", help="Gateway key; default: the commands' own.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Labels to show.")] = 3,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens to generate.")] = 64,
) -> None:
    """Send text to a deployment through the gateway and print the answer."""
    from penstock.control.delivery import ask

    inputs = texts or [line.rstrip("\n") for line in sys.stdin]
    answers = ask(name, inputs, key=key, top_k=top_k, max_tokens=max_tokens)
    here().show({"model": name, "answers": answers}, lambda: [_line(a) for a in answers])


def _line(answer: dict[str, Any]) -> str:
    if "labels" in answer:
        ranked = "  ".join(f"{row['label']} {row['score']:.3f}" for row in answer["labels"])
        return f"{answer['input']!r}: {ranked}"
    return f"{answer['input']}{answer['text']}"
