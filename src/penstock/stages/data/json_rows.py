"""JSON Lines, and whole JSON documents: a list of objects, an object of objects by id, or one list under a single key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from penstock.core.errors import SourceUnreadable
from penstock.stages.data.delimited import choose_columns
from penstock.stages.data.rows import Batch, Collector, Wanted
from penstock.stages.data.survey import Readable


def read_jsonl(file: Readable, wanted: Wanted) -> Iterator[Batch]:
    """One object a line; lines that are none, or lack a key, go to quarantine. Raises ColumnMissing when no line has the key."""
    gathered = Collector(wanted)
    keys: Counter[str] = Counter()
    found = 0
    with file.path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                value = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                gathered.reject(number, f"not JSON: {error}", line.decode("utf-8", "surrogateescape").rstrip())
                continue
            found += _offer(gathered, keys, number, value)
            if gathered.full:
                yield gathered.take()
    _require(file, wanted, keys, found)
    yield gathered.take()


def read_json(file: Readable, wanted: Wanted) -> Iterator[Batch]:
    """Rows of one document; `line` in the quarantine is the 1-based number of the element."""
    try:
        document = orjson.loads(file.path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise SourceUnreadable(
            f"{file.name} is not a JSON document: {error}", remedy="If it has one object a line, set `format: jsonl`."
        ) from error
    gathered = Collector(wanted)
    keys: Counter[str] = Counter()
    found = 0
    for number, value in enumerate(_elements(file, document), 1):
        found += _offer(gathered, keys, number, value)
        if gathered.full:
            yield gathered.take()
    _require(file, wanted, keys, found)
    yield gathered.take()


def _elements(file: Readable, document: Any) -> list[Any]:
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        lists = [value for value in document.values() if isinstance(value, list)]
        if len(lists) == 1:
            return lists[0]
        if all(isinstance(value, dict) for value in document.values()):
            return list(document.values())
    raise SourceUnreadable(f"{file.name} is JSON, but neither a list of objects nor an object of objects")


def _offer(gathered: Collector, keys: Counter[str], number: int, value: Any) -> int:
    """Offers one element; 1 when it has the text key."""
    wanted = gathered.wanted
    if not isinstance(value, dict):
        gathered.reject(number, f"not an object but {type(value).__name__}", _shown(value))
        return 0
    keys.update(value.keys())
    gathered.offer(number, value.get(wanted.text), value.get(wanted.label) if wanted.label is not None else None, _shown(value))
    return 1


def _shown(value: Any) -> str:
    return orjson.dumps(value).decode()


def _require(file: Readable, wanted: Wanted, keys: Counter[str], found: int) -> None:
    if found:
        choose_columns(file.name, list(keys), wanted)
