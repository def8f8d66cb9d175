"""When a lease has ended, as SQL, so that no two owners ever hold one whatever their clocks do.

PostgreSQL: the database's clock alone decides. SQLite lives on one host: the host's steady clock decides, which no change of the
wall clock moves; a row of an earlier boot of this host has no living owner; a row of another host (a copied file) ends by wall clock.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Double, FromClause, Text, and_, bindparam, cast, extract, func, literal, or_
from sqlalchemy.sql.expression import null

from penstock.core.clock import Clock
from penstock.store import owners


def server_now() -> ColumnElement[float]:
    return cast(extract("epoch", func.clock_timestamp()), Double)


def ended(table: FromClause, dialect: str) -> ColumnElement[bool]:
    """True where nobody holds the row's lease. Uses the bound values of `bound`."""
    c = table.c
    if dialect == "postgresql":
        return or_(c.owner.is_(None), c.lease_until <= server_now())
    same_boot = c.lease_boot == bindparam("b_boot")
    of_this_host = func.substr(c.owner, 1, func.length(bindparam("b_host"))) == bindparam("b_host")
    return or_(
        c.owner.is_(None),
        and_(same_boot, c.lease_until <= bindparam("b_steady", type_=Double)),
        and_(~same_boot, or_(of_this_host, c.lease_wall <= bindparam("b_wall", type_=Double))),
    )


def held(dialect: str) -> dict[str, Any]:
    """Column values of a lease taken now for `b_lease_s` by `b_owner`."""
    length = bindparam("b_lease_s", type_=Double)
    owner: ColumnElement[str] = bindparam("b_owner", type_=Text)
    if dialect == "postgresql":
        return {"owner": owner, "lease_until": server_now() + length, "lease_wall": literal(0.0), "lease_boot": literal("")}
    return {
        "owner": owner,
        "lease_until": bindparam("b_steady", type_=Double) + length,
        "lease_wall": bindparam("b_wall", type_=Double) + length,
        "lease_boot": bindparam("b_boot"),
    }


FREED: dict[str, Any] = {"owner": null(), "lease_until": null(), "lease_wall": null(), "lease_boot": null()}


def bound(dialect: str, clock: Clock, owner: str, lease_s: float) -> dict[str, Any]:
    if dialect == "postgresql":
        return {"b_owner": owner, "b_lease_s": lease_s}
    return {
        "b_owner": owner,
        "b_lease_s": lease_s,
        "b_boot": owners.boot(),
        "b_host": owners.host() + ":",
        "b_steady": clock.monotonic(),
        "b_wall": clock.now(),
    }
