"""JSON files that are read far more often than they are written: read again only when they were replaced."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class JsonFiles:
    """Of files that are replaced whole (core/files.py), never changed in place."""

    _known: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = field(default_factory=dict)

    def read(self, path: Path) -> dict[str, Any]:
        """Not to be changed. Empty where there is none, or none that reads."""
        name = str(path)
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._known.pop(name, None)
            return {}
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = self._known.get(name)
        if known is None or known[0] != stamp:
            try:
                known = (stamp, json.loads(path.read_bytes()))
            except (FileNotFoundError, ValueError):
                known = (stamp, {})
            self._known[name] = known
        return known[1]
