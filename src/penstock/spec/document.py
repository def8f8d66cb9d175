"""YAML bytes to plain values with the line and column of each, or the list of what is wrong with them.

Built from the parser's events with an explicit stack, so deep nesting costs no recursion, and aliases are counted before they
grow. YAML 1.2 core schema; tags, infinities and keys that are not text are refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from penstock.core.errors import Problem

LIMIT_BYTES = 1 << 20
LIMIT_NODES = 20_000
LIMIT_DEPTH = 40

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]{1,300}|0o[0-7]{1,300}|0x[0-9a-fA-F]{1,300}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class Refused(Exception):
    """Carries the one problem that ends reading."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


@dataclass(slots=True)
class Node:
    """A value and where it starts (1-based). `children` is a dict of (key node, value node), a list of nodes, or None for a scalar."""

    line: int
    column: int
    scalar: Any = None
    children: dict[str, tuple[Node, Node]] | list[Node] | None = None
    size: int = 1
    depth: int = 1
    merged: list[Node] = field(default_factory=list)

    def plain(self) -> Any:
        if isinstance(self.children, dict):
            return {key: value.plain() for key, (_, value) in self.children.items()}
        if isinstance(self.children, list):
            return [child.plain() for child in self.children]
        return self.scalar


def place(root: Node | None, loc: tuple[str | int, ...], *, key: bool = False) -> tuple[int, int]:
    """Line and column of the value at `loc`, of its key when `key`, or of the nearest thing above it that is written."""
    if root is None:
        return 0, 0
    node, named = root, root
    for part in loc:
        if isinstance(node.children, dict) and part in node.children:
            named, node = node.children[str(part)]
        elif isinstance(node.children, list) and isinstance(part, int) and part < len(node.children):
            named = node = node.children[part]
        else:
            near = node if node.children is None else named  # a scalar in the way is a short form, such as `method: lora`
            return near.line, near.column
    if key or (node.children is None and node.scalar is None):
        node = named  # an empty value stands nowhere
    return node.line, node.column


def scalar(text: str) -> Any:
    """A plain (unquoted) YAML 1.2 scalar as None, bool, int, float or str. Raises ValueError on infinities and NaN."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if _FLOAT.fullmatch(text):
        number = math.inf if text[-1] in "fFnN" else float(text)
        if not math.isfinite(number):
            raise ValueError(f"{text} is not a finite number")
        return number
    return text


def read(data: bytes) -> tuple[Node | None, list[Problem]]:
    """The document's root and the problems met (duplicate keys, odd keys, …); root is None when reading had to stop."""
    builder = _Builder()
    try:
        text = _decode(data)
        if not text.strip():
            raise Refused(Problem("", "the file is empty; `penstock init` writes one to start from", 1, 1))
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except Refused as refusal:
        return None, [*builder.problems, refusal.problem]
    except MarkedYAMLError as error:
        return None, [*builder.problems, _syntax(error)]
    except (YAMLError, ValueError, IndexError, AttributeError, TypeError, AssertionError, NotImplementedError, OverflowError) as error:
        # The parser itself stumbles over some malformed bytes; to the reader all of them are one thing.
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return None, [*builder.problems, Problem("", f"this is not YAML that can be read ({first})", 1, 1)]
    if builder.root is None:
        return None, [*builder.problems, Problem("", "the file holds only comments; `penstock init` writes one to start from", 1, 1)]
    return builder.root, builder.problems


def _decode(data: bytes) -> str:
    if len(data) > LIMIT_BYTES:
        raise Refused(Problem("", f"the file has more than {LIMIT_BYTES:,} bytes; is this a data file?"))
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise Refused(Problem("", "the file holds binary data (a zero byte); a pipeline file is UTF-8 text", line, 1))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before) - before.rfind(b"\n")
        reason = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8 text"
        raise Refused(Problem("", reason, before.count(b"\n") + 1, column)) from error


# What the parser says, and what a person who wrote the line wants to know.
_PLAINLY = {
    "mapping values are not allowed here": "a second `: ` in one value, or a line indented too far; put text that holds `: ` in quotes",
    "could not find expected ':'": "a key without `: ` and a value",
    "found unexpected end of stream": "a quote is opened here and never closed",
    "expected <block end>, but found": "this line is not indented like those above it",
    "expected ',' or ']'": "a list opened with `[` is not closed, or an item lacks its comma",
    "expected ',' or '}'": "a map opened with `{` is not closed, or an item lacks its comma",
    "did not find expected ',' or": "a list or map opened with `[` or `{` is not closed, or an item lacks its comma",
    "'\\t'": "a tab cannot be used here; indent with spaces",
}


def _syntax(error: MarkedYAMLError) -> Problem:
    told = (error.problem or error.context or "this is not YAML").strip()
    opened = any(what in (error.context or "") for what in ("quoted scalar", "simple key"))
    mark = (error.context_mark if opened else error.problem_mark) or error.problem_mark or error.context_mark
    reason = next((plain for start, plain in _PLAINLY.items() if start in told), None)
    if reason is None:
        reason = f"{told} ({error.context.strip()})" if error.context and error.problem else told
    return Problem("", f"YAML: {reason}", mark.line + 1 if mark else 1, mark.column + 1 if mark else 1)


class _Builder:
    """Takes parser events in order; `root` is whole after the last."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._open: list[tuple[Node, str | None, Node | None]] = []  # container, its anchor, key waiting for a value
        self._anchors: dict[str, Node | None] = {}
        self._count = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if kind == "DocumentStartEvent":
            self._documents += 1
            if self._documents > 1:
                raise Refused(Problem("", "a second document starts here; a file holds one pipeline", line, column))
        elif kind == "ScalarEvent":
            self._add(self._scalar(event, line, column), event.anchor)
        elif kind == "AliasEvent":
            self._add(self._alias(event.anchor, line, column), None)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._begin(event, Node(line, column, children={} if kind[0] == "M" else []))
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            node, anchor, _ = self._open.pop()
            self._add(node, anchor)

    def _begin(self, event: Any, node: Node) -> None:
        self._tag(event, node.line, node.column)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append((node, event.anchor, None))
        if len(self._open) > LIMIT_DEPTH:
            raise Refused(Problem("", f"nested deeper than {LIMIT_DEPTH} levels", node.line, node.column))

    def _tag(self, event: Any, line: int, column: int) -> None:
        if event.tag is not None and str(event.tag) not in ("!", "tag:yaml.org,2002:str"):
            self.problems.append(Problem("", f"the tag {event.tag} is not allowed; write the plain value", line, column))

    def _scalar(self, event: Any, line: int, column: int) -> Node:
        self._tag(event, line, column)
        plain = event.style in (None, "") and event.tag is None
        try:
            return Node(line, column, scalar(event.value) if plain else event.value)
        except ValueError as error:
            self.problems.append(Problem("", str(error), line, column))
            return Node(line, column, event.value)

    def _alias(self, anchor: str, line: int, column: int) -> Node:
        target = self._anchors.get(anchor)
        if target is None:
            what = "refers to itself" if anchor in self._anchors else "names no anchor"
            raise Refused(Problem("", f"the alias *{anchor} {what}", line, column))
        return Node(line, column, target.scalar, target.children, target.size, target.depth)

    def _add(self, node: Node, anchor: str | None) -> None:
        self._count += node.size if node.children is None or node.size > 1 else 1
        if self._count > LIMIT_NODES or len(self._open) + node.depth > LIMIT_DEPTH + 1:
            raise Refused(
                Problem("", f"aliases and values grow beyond {LIMIT_NODES:,} values or {LIMIT_DEPTH} levels", node.line, node.column)
            )
        if anchor:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        container, its_anchor, key = self._open[-1]
        if isinstance(container.children, list):
            container.children.append(node)
        elif key is None:
            self._open[-1] = (container, its_anchor, node)
            return
        else:
            self._open[-1] = (container, its_anchor, None)
            self._pair(container, key, node)
        container.size += node.size
        container.depth = max(container.depth, node.depth + 1)

    def _pair(self, container: Node, key: Node, value: Node) -> None:
        pairs = container.children
        assert isinstance(pairs, dict)
        if key.children is not None or not isinstance(key.scalar, str):
            shown = "a list or map" if key.children is not None else repr(key.scalar)
            self.problems.append(Problem("", f"a key must be text, not {shown}; put it in quotes", key.line, key.column))
        elif key.scalar == "<<":
            for source in value.children if isinstance(value.children, list) else [value]:
                if not isinstance(source.children, dict):
                    self.problems.append(Problem("", "`<<` merges maps only", key.line, key.column))
                    continue
                container.merged.append(source)
                for name, pair in source.children.items():
                    pairs.setdefault(name, pair)
        elif key.scalar in pairs and not any(
            pairs[key.scalar] is (m.children or {}).get(key.scalar) for m in container.merged if isinstance(m.children, dict)
        ):
            first = pairs[key.scalar][0].line
            self.problems.append(
                Problem("", f"the key '{key.scalar}' stands twice here; the first is on line {first}", key.line, key.column)
            )
        else:
            pairs[key.scalar] = (key, value)
