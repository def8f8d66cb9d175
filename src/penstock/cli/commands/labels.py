"""`penstock labels`: the labelling queue: what waits, what to do next, answers, agreement."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from penstock.cli.completion import complete_deployment
from penstock.cli.output import here, table

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
Name = Annotated[str, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)]
Item = Annotated[str, typer.Argument(help="Id of an item, or its beginning.")]
By = Annotated[str | None, typer.Option(help="Who answers; default: you.")]
Label = Annotated[str, typer.Argument(help="The right label.")]


@app.callback()
def labels(ctx: typer.Context) -> None:
    """Label requests that the model was unsure of, or that drifted."""
    if ctx.invoked_subcommand is None:
        _list(None, "open")


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(help="Deployment name.", autocompletion=complete_deployment)] = None,
    phase: Annotated[str | None, typer.Option(help="open, labelled, disputed or skipped; default: all.")] = None,
) -> None:
    """List items of the queue, the most wanted first."""
    _list(name, phase)


def _list(name: str | None, phase: str | None) -> None:
    from penstock.control.labelling.commands import items

    rows = items(name, phase)
    heads = ("item", "deployment", "why", "predicted", "answers", "phase", "text")
    cells = [
        (r["id"], r["deployment"], r["why"], _sure(r), f"{len(r['answers'])}/{r['annotators']}", r["phase"], r["text"][:60]) for r in rows
    ]
    here().show({"items": rows}, lambda: table(heads, cells) if rows else ["nothing waits for a label"])


@app.command("next")
def next_(name: Name, by: By = None) -> None:
    """Show what to label next."""
    from penstock.control.labelling.commands import next_item

    found = next_item(name, by)
    here().show(found, lambda: list(_shown(found)) if found else ["nothing waits for a label"])


@app.command()
def give(item: Item, label: Label, by: By = None) -> None:
    """Give ITEM its right LABEL."""
    _answered(item, label, by)


@app.command()
def settle(item: Item, label: Label, by: By = None) -> None:
    """Decide about an item that people disagree on."""
    _answered(item, label, by, decides=True)


@app.command()
def skip(item: Item, by: By = None) -> None:
    """Say that an item cannot be labelled."""
    _answered(item, None, by)


@app.command()
def work(name: Name, by: By = None) -> None:
    """Label one after another: a label, an empty line for the predicted one, `-` to skip, `q` to stop."""
    from penstock.control.labelling.commands import answer, known_labels, next_item

    known, count = known_labels(name), 0
    while (found := next_item(name, by)) is not None:
        for line in _shown(found):
            typer.echo(line)
        said = typer.prompt("label", default=found["predicted"] or "", show_default=bool(found["predicted"])).strip()
        if said == "q":
            break
        if said not in ("-", *known) and (near := difflib.get_close_matches(said, known, 3, 0.5)):
            typer.echo(f"new to the model; near it are: {', '.join(near)}")
            if not typer.confirm(f"take {said!r} as a new label?", default=False):
                continue
        answer(found["id"], None if said == "-" else said, by)
        count += 1
    here().show({"answered": count}, lambda: [f"{count} answered"])


@app.command()
def agreement(name: Name) -> None:
    """Say how far people agree: Krippendorff's alpha over all, Cohen's kappa of each pair."""
    from penstock.control.labelling.commands import agreement as of

    found = of(name)
    here().show(found, lambda: list(_agreement(found)))


def _answered(item: str, label: str | None, by: str | None, *, decides: bool = False) -> None:
    from penstock.control.labelling.commands import answer

    row = answer(item, label, by, decides=decides)
    here().show(row, lambda: [f"{row['id']}: {row['phase']}{' ' + row['label'] if row['label'] else ''}"])


def _shown(row: dict[str, Any]) -> Iterator[str]:
    yield f"{row['id']}  ({row['why']}, predicted {_sure(row)})"
    yield f"  {row['text']}"


def _sure(row: dict[str, Any]) -> str:
    return "-" if row["predicted"] is None else f"{row['predicted']} {row['confidence']:.2f}" if row["confidence"] else row["predicted"]


def _agreement(found: dict[str, Any]) -> Iterator[str]:
    alpha = "not to be said yet" if found["alpha"] is None else f"{found['alpha']:.3f}"
    yield f"Krippendorff's alpha {alpha} over {found['items']} items that two people or more labelled; {found['disputed']} disputed"
    for pair in found["pairs"]:
        kappa = "-" if pair["kappa"] is None else f"{pair['kappa']:.3f}"
        yield f"  {' and '.join(pair['people'])}: kappa {kappa} over {pair['both']}"
