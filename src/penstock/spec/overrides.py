"""`--set path.to.key=value`: changes to the file's values before they are checked.

The value is read as YAML (`3`, `true`, `[a, b]`, `{lora: {rank: 8}}`). A part of the path is a key, the index of a list item
(`sources.0` or `sources[0]`; the length appends), or the `name` of a list item (`steps.clean.with.limit`).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

from penstock.core.errors import Problem
from penstock.spec.document import read

Loc = tuple[str | int, ...]
_PATH = re.compile(r"[A-Za-z_][\w-]*(\[\d+\])*(\.([\w-]+)(\[\d+\])*)*")


def apply(data: Any, overrides: Sequence[str]) -> tuple[Any, dict[Loc, str], list[Problem]]:
    """The changed values, the text of the override behind each changed location, and what was wrong with the overrides."""
    changed, origins, problems = copy.deepcopy(data), {}, []
    for text in overrides:
        path, equals, written = text.partition("=")
        if not equals or not _PATH.fullmatch(path.strip()):
            problems.append(Problem(f"--set {text}", "write it as path.to.key=value, such as train.epochs=3"))
            continue
        root, wrong = read(written.encode("utf-8", "replace")) if written.strip() else (None, [])
        if wrong:
            problems.append(Problem(f"--set {text}", f"the value is not YAML: {wrong[0].reason}"))
            continue
        parts = [p for p in re.split(r"[.\[\]]+", path.strip()) if p]
        try:
            loc, changed = _put(changed, parts, root.plain() if root else None)
        except ValueError as error:
            problems.append(Problem(f"--set {text}", str(error)))
            continue
        origins[loc] = f"--set {text}"
    return changed, origins, problems


def _put(data: Any, parts: list[str], value: Any) -> tuple[Loc, Any]:
    root = data if isinstance(data, dict) else {}
    node: Any = root
    loc: list[str | int] = []
    for depth, part in enumerate(parts):
        key = _index(node, part) if isinstance(node, list) else part
        loc.append(key)
        if depth == len(parts) - 1:
            _store(node, key, value)
            break
        inner = node[key] if (isinstance(node, list) and isinstance(key, int) and key < len(node)) else None
        if isinstance(node, dict):
            inner = node.get(key)
        if not isinstance(inner, (dict, list)):
            # A scalar in the way is a short form (`method: lora`): its long form is a map with that key, which the next part may open.
            inner = {inner: {}} if inner == parts[depth + 1] else {}
            _store(node, key, inner)
        node = inner
    return tuple(loc), root


def _store(node: Any, key: str | int, value: Any) -> None:
    if isinstance(node, list) and key == len(node):
        node.append(value)
    else:
        node[key] = value


def _index(items: list[Any], part: str) -> int:
    named = [i for i, item in enumerate(items) if isinstance(item, dict) and item.get("name") == part]
    if named:
        return named[0]
    if not part.isdecimal() or int(part) > len(items):
        raise ValueError(f"'{part}' is neither the name nor the index of an item of that list, which has {len(items)}")
    return int(part)
