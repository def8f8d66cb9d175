"""Lists: the filter language as far as the services here take it, and pages whose token holds for one question only."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from penstock.testing.emulators.vertex.errors import VertexError

PAGE, LARGEST = 10, 100
_TERM = re.compile(r'([\w.]+)\s*(=|!=|:)\s*("(?:[^"\\]|\\.)*"|[\w./*-]+)')


def matcher(text: str, value_of: Callable[[Any, str], str | None]) -> Callable[[Any], bool]:
    """Terms joined by AND: `field="value"`, `field!="value"`, `labels.key:*` (has it). `value_of` (row, field): None where it has none.

    Raises VertexError (INVALID_ARGUMENT) for anything else.
    """
    terms, rest = [], text.strip()
    while rest:
        found = _TERM.match(rest)
        if found is None:
            raise VertexError("INVALID_ARGUMENT", f"Invalid filter: {text}")
        field, operator, value = found.groups()
        terms.append((field, operator, json.loads(value) if value.startswith('"') else value))
        rest = rest[found.end() :].strip()
        if rest:
            joined = re.match(r"AND\s+", rest)
            if joined is None:
                raise VertexError("INVALID_ARGUMENT", f"Invalid filter: {text}")
            rest = rest[joined.end() :]

    def fits(row: Any) -> bool:
        return all(_holds(value_of(row, field), operator, value) for field, operator, value in terms)

    return fits


def _holds(seen: str | None, operator: str, wanted: str) -> bool:
    if operator == ":":
        return seen is not None and wanted in ("*", seen)
    return (seen == wanted) == (operator == "=")


def settled_page(project: Any, kind: str, settle: Callable[[Any, Any], object], request: Any, states: Any) -> tuple[list[Any], str]:
    """As `jobs_page`, of all jobs of a kind as they are by now."""
    project.check_parent(request.parent)
    jobs = list(project.of(kind).values())
    for job in jobs:
        settle(project, job)
    return jobs_page((job.row for job in jobs), request, states)


def jobs_page(rows: Iterable[Any], request: Any, states: Any) -> tuple[list[Any], str]:
    """As `page`, of jobs that fit the request's filter (state, display_name, labels), newest first. `states`: the enum of their state."""

    def value_of(row: Any, field: str) -> str | None:
        if field.startswith("labels."):
            return dict(row.labels).get(field.removeprefix("labels."))
        if field == "state":
            return str(states(row.state).name)
        if field == "display_name":
            return str(row.display_name)
        raise VertexError("INVALID_ARGUMENT", f"Invalid filter: {field} is not supported.")

    fits = matcher(request.filter, value_of)
    return page(sorted((row for row in rows if fits(row)), key=lambda row: row.create_time, reverse=True), request)


def page(rows: Sequence[Any], request: Any) -> tuple[list[Any], str]:
    """One page and the token of the next, empty at the end. Raises VertexError for a token of another question."""
    size = min(request.page_size or PAGE, LARGEST)
    question = [getattr(request, "parent", ""), getattr(request, "filter", "")]
    begin = 0
    if request.page_token:
        try:
            told = json.loads(base64.urlsafe_b64decode(request.page_token))
        except ValueError:
            raise VertexError("INVALID_ARGUMENT", "Invalid page token.") from None
        if told["for"] != question:
            raise VertexError("INVALID_ARGUMENT", "The page token was given for another request.")
        begin = int(told["at"])
    more = begin + size < len(rows)
    token = base64.urlsafe_b64encode(json.dumps({"at": begin + size, "for": question}).encode()).decode() if more else ""
    return list(rows[begin : begin + size]), token
