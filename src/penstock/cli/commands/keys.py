"""`penstock keys`: gateway keys and their limits. The key itself is shown once, when it is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.dates import when
from penstock.cli.output import here, table

if TYPE_CHECKING:
    from penstock.serving.spend import Spend
    from penstock.store.keys import Key, Terms

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
Requests = Annotated[str | None, typer.Option("--requests-per-minute", help="Requests a minute; none: no limit.")]
Tokens = Annotated[str | None, typer.Option("--tokens-per-minute", help="Tokens read and written a minute; none: no limit.")]
Concurrency = Annotated[str | None, typer.Option("--concurrency", help="Requests in flight at once; none: no limit.")]
Budget = Annotated[str | None, typer.Option("--budget", help="Most to spend a period, such as 20USD; none: no limit.")]
Period = Annotated[str | None, typer.Option("--period", help="Of the budget: day, month (UTC) or total.")]
Priority = Annotated[str | None, typer.Option("--priority", help="low, normal or high: low is refused first when there is too much to do.")]
Training = Annotated[bool | None, typer.Option("--training/--no-training", help="Whether what it asks may be trained on; default: yes.")]
Models = Annotated[list[str] | None, typer.Option("--model", help="A model it may ask for; may be repeated; none: all.")]


@app.callback()
def keys(ctx: typer.Context) -> None:
    """Create, limit, list and revoke gateway keys (alone: list)."""
    if ctx.invoked_subcommand is None:
        list_keys()


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")] = "default",
    requests: Requests = None,
    tokens: Tokens = None,
    concurrency: Concurrency = None,
    budget: Budget = None,
    period: Period = None,
    priority: Priority = None,
    models: Models = None,
    training: Training = None,
) -> None:
    """Create a key and print it, this once."""
    from penstock.cli.state import opened, principal
    from penstock.store.keys import Terms

    terms = Terms(**_changes(requests, tokens, concurrency, budget, period, priority, models, training))
    with opened(create=True) as store, store.database.begin():
        key, secret = store.keys.create(name, terms)
        store.audit.append(principal(), "key.create", key.id, {"name": name, **terms.told()})
    _in_force()
    here().show({"id": key.id, "name": name, "key": secret, **_told(terms)}, lambda: [secret])
    here().note(f"Keep it: it cannot be shown again. Revoke it with `penstock keys revoke {key.id}`.")


@app.command()
def limit(
    key: Annotated[str, typer.Argument(help="Id or name.")],
    requests: Requests = None,
    tokens: Tokens = None,
    concurrency: Concurrency = None,
    budget: Budget = None,
    period: Period = None,
    priority: Priority = None,
    models: Models = None,
    training: Training = None,
) -> None:
    """Change limits of every live key of that id or name; the others stay."""
    from penstock.cli.state import opened, principal
    from penstock.core.errors import BadInput

    changes = _changes(requests, tokens, concurrency, budget, period, priority, models, training)
    if not changes:
        raise BadInput("nothing to change", remedy="Give a limit, such as --requests-per-minute 60, or none to lift it.")
    with opened() as store, store.database.begin():
        changed = store.keys.limit(key, changes)
        for each in changed:
            store.audit.append(principal(), "key.limit", each.id, {"name": each.name, **each.terms.told()})
    _in_force()
    data = [{"id": k.id, "name": k.name, **_told(k.terms)} for k in changed]
    here().show({"limited": data}, lambda: [f"{k.id} ({k.name}): {_limits(k.terms)}" for k in changed])


@app.command("list")
def list_keys() -> None:
    """List keys with their limits and what they have spent, revoked ones too."""
    from penstock.cli.state import has_state, opened
    from penstock.core.home import Home

    found: list[Key] = []
    if has_state(Home.find()):
        with opened() as store:
            found = store.keys.list()
    spent, problem = _spent(Home.find().gateway)
    data: dict[str, Any] = {"keys": [_row(key, spent) for key in found]}
    if problem:
        data["problem"] = problem
        here().note(f"{problem}: keys with a budget are refused. Restore the file, or move it away to begin all budgets again.")
    rows = [
        (
            k.id,
            k.name,
            when(k.created_at),
            f"revoked {when(k.revoked_at)}" if k.revoked_at else "works",
            _limits(k.terms),
            _spending(k, spent),
        )
        for k in found
    ]
    here().show(data, lambda: table(("ID", "NAME", "CREATED", "STATE", "LIMITS", "SPENT"), rows) if rows else ["no keys"])


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="Id or name.")]) -> None:
    """Revoke every live key of that id or name."""
    from penstock.cli.state import opened, principal

    with opened() as store, store.database.begin():
        revoked = store.keys.revoke(key)
        for each in revoked:
            store.audit.append(principal(), "key.revoke", each.id, {"name": each.name})
    _in_force()
    data = [{"id": k.id, "name": k.name, "revoked_at": k.revoked_at} for k in revoked]
    here().show({"revoked": data}, lambda: [f"revoked {k.id} ({k.name})" for k in revoked])


def _in_force() -> None:
    """A running gateway goes by the change before the command ends: what is printed works, what is revoked does not."""
    from penstock.cli.state import opened
    from penstock.control.gateway import put_in_force
    from penstock.core.home import Home

    with opened() as store:
        put_in_force(store, Home.find())


def _changes(*given: Any) -> dict[str, Any]:
    """Options of a command line, in the order of create and limit, as changes to Terms. Raises BadInput."""
    from penstock.core.units import usd

    requests, tokens, concurrency, budget, period, priority, models, training = given
    numbers: list[tuple[str, str, str | None, Callable[[str], float]]] = [
        ("requests_per_minute", "--requests-per-minute", requests, float),
        ("tokens_per_minute", "--tokens-per-minute", tokens, float),
        ("concurrency", "--concurrency", concurrency, int),
        ("budget_usd", "--budget", budget, usd),
    ]
    changes: dict[str, Any] = {name: _number(option, text, read) for name, option, text, read in numbers if text is not None}
    words = {"budget_period": period, "priority": priority}
    changes.update({name: text for name, text in words.items() if text is not None})
    if models is not None:
        changes["models"] = () if models == ["none"] else tuple(models)
    if training is not None:
        changes["training"] = training
    return changes


def _number(option: str, text: str, read: Callable[[str], float]) -> float | None:
    from penstock.core.errors import BadInput

    if text == "none":
        return None
    try:
        return read(text)
    except ValueError:
        raise BadInput(f"{option} {text!r} is not a number", remedy=f"Write for example {option} 20, or {option} none.") from None


def _spent(gateway: Path) -> tuple[Mapping[str, Spend], str]:
    """What keys have spent, and why that cannot be told."""
    from penstock.serving.spend import SpendUnreadable, read_spend

    try:
        return read_spend(gateway, time.time()), ""
    except SpendUnreadable as error:
        return {}, f"what keys have spent cannot be read ({error})"


def _told(terms: Terms) -> dict[str, Any]:
    return {**asdict(terms), "models": list(terms.models)}


def _row(key: Key, spent: Mapping[str, Spend]) -> dict[str, Any]:
    found = spent.get(key.id)
    used = asdict(found) if found is not None else None
    return {"id": key.id, "name": key.name, "created_at": key.created_at, "revoked_at": key.revoked_at, **_told(key.terms), "spent": used}


def _limits(terms: Terms) -> str:
    shown = [
        f"{value:g} {words}"
        for value, words in (
            (terms.requests_per_minute, "requests/min"),
            (terms.tokens_per_minute, "tokens/min"),
            (terms.concurrency, "at once"),
            (terms.budget_usd, "USD in all" if terms.budget_period == "total" else f"USD a {terms.budget_period}"),
        )
        if value is not None
    ]
    shown += [f"{terms.priority} priority"] if terms.priority != "normal" else []
    shown += [f"only {', '.join(terms.models)}"] if terms.models else []
    shown += [] if terms.training else ["nothing is trained on"]
    return "; ".join(shown) or "-"


def _spending(key: Key, spent: Mapping[str, Spend]) -> str:
    """In the period of the key's budget."""
    found = spent.get(key.id)
    if found is None:
        return "-"
    return f"{getattr(found, f'{key.terms.budget_period}_usd'):.4f} USD"
