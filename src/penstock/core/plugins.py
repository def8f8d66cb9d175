"""The plug-in table: a name, where its class lives, which extra it needs. Loaded when first asked for.

Outside packages add rows through the entry-point group `penstock.<table>`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.core.errors import BadInput, ExtraMissing


@dataclass(frozen=True, slots=True)
class Row:
    target: str  # "package.module:Name"
    extra: str | None = None


@dataclass(slots=True)
class Table:
    """`what` is the noun used in messages ("engine"); `rows` maps a name to its Row."""

    what: str
    rows: Mapping[str, Row]
    _loaded: dict[str, Any] = field(default_factory=dict)

    def names(self) -> list[str]:
        return sorted({*self.rows, *self._outside()})

    def load(self, name: str) -> Any:
        """The object behind `name`. Raises BadInput (unknown, with the nearest name) or ExtraMissing."""
        if name in self._loaded:
            return self._loaded[name]
        row = self.rows.get(name)
        if row is None and name in (outside := self._outside()):
            row = Row(outside[name])
        if row is None:
            near = difflib.get_close_matches(name, self.names(), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise BadInput(f"no {self.what} is called {name!r}{hint} (known: {', '.join(self.names())})")
        module, _, attribute = row.target.partition(":")
        try:
            self._loaded[name] = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("penstock"):
                raise
            command = f"pip install 'penstock[{row.extra}]'" if row.extra else f"pip install {error.name}"
            raise ExtraMissing(f"{self.what} {name!r} needs {error.name}, which is not installed", remedy=f"Run: {command}") from error
        return self._loaded[name]

    def _outside(self) -> dict[str, str]:
        from importlib.metadata import entry_points

        return {point.name: point.value for point in entry_points(group=f"penstock.{self.what}")}
