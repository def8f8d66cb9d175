"""The kinds of personal data by name. Where findings overlap, the kind higher up keeps the place."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from penstock.core.errors import BadInput
from penstock.core.plugins import Row, Table
from penstock.screening.personal.contract import Kind

KINDS = Table(
    "personal-data",
    {
        name: Row(f"penstock.screening.personal.{name}:KIND")
        for name in ("url", "email", "iban", "card", "crypto", "ssn", "ip", "date", "document", "phone", "address", "postcode", "age")
    },
)
_NO_FORM = "it cannot be told by form, and no model for names is built in"
NOT_COVERED = dict.fromkeys(("person", "name", "organization", "organisation", "location", "city"), _NO_FORM)


@cache
def kinds(names: tuple[str, ...] = ()) -> tuple[Kind, ...]:
    """The kinds of these names, in the table's order; none: all. Raises BadInput for a name that is unknown or not covered."""
    for name in names:
        if name in NOT_COVERED and name not in KINDS.names():
            raise BadInput(f"personal data of kind {name!r} is not covered: {NOT_COVERED[name]}")
    wanted: Iterable[str] = names or KINDS.names()
    loaded: dict[str, Kind] = {name: KINDS.load(name) for name in wanted}
    order = [*KINDS.rows, *sorted(set(loaded) - set(KINDS.rows))]
    return tuple(loaded[name] for name in order if name in loaded)
