"""`penstock keys`: gateway keys. The key itself is shown once, when it is made."""

from __future__ import annotations

from typing import Annotated

import typer

from penstock.cli.dates import when
from penstock.cli.output import here, table

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def keys(ctx: typer.Context) -> None:
    """Create, list and revoke gateway keys (alone: list)."""
    if ctx.invoked_subcommand is None:
        list_keys()


@app.command()
def create(name: Annotated[str, typer.Argument(help="What the key is for.")] = "default") -> None:
    """Create a key and print it, this once."""
    from penstock.cli.state import opened, principal

    with opened(create=True) as store, store.database.begin():
        key, secret = store.keys.create(name)
        store.audit.append(principal(), "key.create", key.id, {"name": name})
    here().show({"id": key.id, "name": name, "key": secret}, lambda: [secret])
    here().note(f"Keep it: it cannot be shown again. Revoke it with `penstock keys revoke {key.id}`.")


@app.command("list")
def list_keys() -> None:
    """List keys, revoked ones too."""
    from penstock.cli.state import has_state, opened
    from penstock.core.home import Home

    found = []
    if has_state(Home.find()):
        with opened() as store:
            found = store.keys.list()
    data = [{"id": k.id, "name": k.name, "created_at": k.created_at, "revoked_at": k.revoked_at} for k in found]
    rows = [(k.id, k.name, when(k.created_at), f"revoked {when(k.revoked_at)}" if k.revoked_at else "works") for k in found]
    here().show({"keys": data}, lambda: table(("ID", "NAME", "CREATED", "STATE"), rows) if rows else ["no keys"])


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="Id or name.")]) -> None:
    """Revoke every live key of that id or name."""
    from penstock.cli.state import opened, principal

    with opened() as store, store.database.begin():
        revoked = store.keys.revoke(key)
        for each in revoked:
            store.audit.append(principal(), "key.revoke", each.id, {"name": each.name})
    data = [{"id": k.id, "name": k.name, "revoked_at": k.revoked_at} for k in revoked]
    here().show({"revoked": data}, lambda: [f"revoked {k.id} ({k.name})" for k in revoked])
