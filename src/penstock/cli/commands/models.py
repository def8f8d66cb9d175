"""`penstock models`: the registry's versions and aliases."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli import compare as comparing
from penstock.cli.completion import complete_model
from penstock.cli.dates import when
from penstock.cli.figures import headline, listed
from penstock.cli.output import here, table
from penstock.core.errors import BadInput, GateRefused

if TYPE_CHECKING:
    from penstock.store.registry import ModelVersion
    from penstock.store.store import Store

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)


class Pooling(StrEnum):
    mean = "mean"
    cls = "cls"
    max = "max"


Model = Annotated[str, typer.Argument(help="Model name.", autocompletion=complete_model)]


@app.callback()
def models(ctx: typer.Context) -> None:
    """List model versions; show, promote or compare them (alone: list)."""
    if ctx.invoked_subcommand is None:
        list_models(None)


@app.command("list")
def list_models(model: Annotated[str | None, typer.Argument(help="Only this model.", autocompletion=complete_model)] = None) -> None:
    """List model versions, newest first."""
    from penstock.cli.state import has_state, opened
    from penstock.core.home import Home

    found: list[dict[str, Any]] = []
    if has_state(Home.find()):
        with opened() as store:
            for name in [model] if model else store.registry.models():
                found += [_as_json(v, store) for v in store.registry.versions(name)]
    rows = [
        (v["model"], v["version"], ", ".join(v["aliases"]) or "-", v["state"], when(v["created_at"]), headline(v["metrics"]) or "-")
        for v in found
    ]
    here().show(
        {"models": found},
        lambda: table(("MODEL", "VERSION", "ALIASES", "STATE", "CREATED", "METRICS"), rows) if rows else ["no models yet"],
    )


@app.command()
def show(model: Model, version: Annotated[str, typer.Argument(help="Number, alias or latest.")] = "latest") -> None:
    """Show one version: metrics, gates, what it was made from."""
    from penstock.cli.state import opened

    with opened() as store:
        found = _as_json(store.registry.get(model, version), store)
    here().show(found, lambda: _lines(found))


@app.command("import")
def import_model(
    model: Annotated[str, typer.Argument(help="Model name.")],
    bundle: Annotated[Path | None, typer.Argument(help="Folder of a bundle.", exists=True, file_okay=False)] = None,
    embed: Annotated[str | None, typer.Option(help="Base model that turns texts into vectors: minilm, a folder, a hub id.")] = None,
    pooling: Annotated[Pooling | None, typer.Option(help="Of --embed. [default: as the base says, else mean]")] = None,
    url: Annotated[str | None, typer.Option(help="Of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1.")] = None,
    there: Annotated[str, typer.Option("--model", help="The model's name at that server; needed when it has several.")] = "",
    key: Annotated[str | None, typer.Option(help="The server's key as a reference: '${secret:NAME}'.")] = None,
    task: Annotated[str, typer.Option(help="text-generation or embedding.")] = "text-generation",
) -> None:
    """Register a model server (vLLM, TGI, llama.cpp, …), a sentence encoder or a bundle folder as a version."""
    from penstock.cli.state import opened, principal
    from penstock.control.imports import import_bundle, import_embedder, import_server

    if [bundle, url, embed].count(None) != 2:
        raise BadInput("give a bundle folder, --url or --embed", remedy="`penstock models import NAME --url http://127.0.0.1:8000/v1`")
    with opened(create=True) as store:
        if bundle is not None:
            made = import_bundle(store, model, bundle, principal=principal())
        elif embed is not None:
            mode: Any = pooling.value if pooling else None
            made = import_embedder(store, model, embed, pooling=mode, normalize=True, max_length=None, principal=principal())
        else:
            made = import_server(store, model, str(url), model=there, key=key, task=task, principal=principal())
    data = {"model": model, "version": made.version, "digest": made.bundle, "task": made.task, "facts": dict(made.facts)}
    here().show(data, lambda: [f"{model} version {made.version}: serve it with `penstock deploy {model} {made.version}`"])


@app.command()
def promote(
    model: Model,
    version: Annotated[str, typer.Argument(help="Number, alias or latest.")],
    alias: Annotated[str, typer.Option(help="The alias to move.")] = "champion",
    force: Annotated[bool, typer.Option("--force", help="Promote a version that its gates refused. Audited.")] = False,
) -> None:
    """Move an alias to a version, and write it to the audit log."""
    from penstock.cli.state import opened, principal

    with opened() as store, store.database.begin():
        chosen = store.registry.get(model, version)
        if chosen.state == "refused" and not force:
            raise _refusal(chosen)
        before = store.registry.aliases(model).get(alias)
        store.registry.set_alias(model, alias, chosen.version, principal())
        detail = {"alias": alias, "before": before, "state": chosen.state, "forced": force}
        store.audit.append(principal(), "model.promote", f"{model}:{chosen.version}", detail)
    data = {"model": model, "version": chosen.version, "alias": alias, "before": before, "digest": chosen.bundle}
    here().show(data, lambda: [f"{model} {alias}: version {chosen.version}" + (f" (was {before})" if before else "")])


@app.command()
def compare(
    model: Model, first: Annotated[str, typer.Argument(help="Version.")], second: Annotated[str, typer.Argument(help="Version.")]
) -> None:
    """Compare the metrics of two versions."""
    from penstock.cli.state import opened

    with opened() as store:
        one, two = store.registry.get(model, first), store.registry.get(model, second)
    rows = comparing.metrics(one.metrics, two.metrics)
    data = {"model": model, "first": one.version, "second": two.version, "same_bundle": one.bundle == two.bundle, "metrics": rows}
    here().show(data, lambda: comparing.lines((f"v{one.version}", f"v{two.version}"), rows))


def _refusal(version: ModelVersion) -> GateRefused:
    reasons = [f"{gate['gate']} ({gate['reason']})" for gate in version.gates if not gate["passed"]]
    name = f"{version.model}:{version.version}"
    return GateRefused(
        f"{name} was refused by its gates: {'; '.join(reasons)}", remedy="Promote another version, or add --force; it is audited."
    )


def _as_json(version: ModelVersion, store: Store) -> dict[str, Any]:
    aliases = [alias for alias, number in store.registry.aliases(version.model).items() if number == version.version]
    found = asdict(version)
    return {"model": found.pop("model"), "version": found.pop("version"), "digest": found.pop("bundle"), "aliases": aliases, **found}


def _lines(found: dict[str, Any]) -> list[str]:
    aliases = f" ({', '.join(found['aliases'])})" if found["aliases"] else ""
    lines = [f"{found['model']} version {found['version']}{aliases}: {found['state']}"]
    lines += [f"bundle   {found['digest']}", f"run      {found['run']}", f"created  {when(found['created_at'])}"]
    lines += [f"gate     {g['gate']}: {'passed' if g['passed'] else 'refused'} ({g['reason']})" for g in found["gates"]]
    lines += [f"metric   {line}" for line in listed(found["metrics"])]
    lines += [f"made of  {name} {digest}" for name, digest in sorted(found["facts"].items())]
    return lines
