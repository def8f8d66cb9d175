"""Parameters of an exported pipeline: values of the file that may be others each time it is started.

Of the section `train` and of what user steps are given (`steps.NAME.with`): they are in the config of one step, and so in its key.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from penstock.control.graph import Graph, Node
from penstock.core.errors import BadInput
from penstock.platforms.configs import validated
from penstock.spec.types import Record

Plain = bool | int | float | str
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """`path` as it stands after `--set`; `step` whose config has it."""

    path: str
    step: str
    default: Plain

    @property
    def name(self) -> str:
        return re.sub(r"\W", "_", self.path)


def parameter(path: str, graph: Graph) -> Parameter:
    """Raises BadInput for what is no plain value of a step's config, with those that are."""
    known = {at: Parameter(at, node.name, value) for node in graph for at, value in _values(node)}
    if path not in known:
        raise BadInput(
            f"{path!r} is no value that a pipeline may be started with",
            remedy=f"One of: {', '.join(sorted(known)) or 'none here'}. What the file leaves out has none: write it there first.",
        )
    return known[path]


def changed(node: Node, values: Mapping[str, str]) -> Node:
    """The step with `values` (path → text, as a command line has them) in its config. Raises BadInput, FileProblems."""
    config, known = copy.deepcopy(dict(node.config)), dict(_values(node))
    for path, text in values.items():
        if path not in known:
            raise BadInput(f"step {node.name!r} has no value {path!r}")
        *folders, last = _parts(path, node)
        place = config
        for folder in folders:
            place = place[folder]
        place[last] = _read(text, type(known[path]), path)
    checked = validated(node.stage, config)
    return replace(
        node, config=checked.model_dump(mode="json", by_alias=True, exclude_none=True) if isinstance(checked, Record) else config
    )


def _values(node: Node) -> Iterator[tuple[str, Plain]]:
    """Path and value of everything plain in the step's part of the file."""
    root, inside = _roots(node)
    pending: list[tuple[str, Any]] = [(root, node.config.get(inside, {}))] if root else []
    while pending:
        path, value = pending.pop()
        if isinstance(value, Mapping):
            pending += [(f"{path}.{key}", inner) for key, inner in value.items() if key not in node.aside.get(path, {})]
        elif isinstance(value, bool | int | float | str):
            yield path, value


def _roots(node: Node) -> tuple[str, str]:
    """Where its values stand in the file, and in its config."""
    return {"train": ("train", "train"), "user": (f"steps.{node.name}.with", "values")}.get(node.stage, ("", ""))


def _parts(path: str, node: Node) -> list[str]:
    root, inside = _roots(node)
    return [inside, *path.removeprefix(f"{root}.").split(".")]


def _read(text: str, kind: type[Plain], path: str) -> Plain:
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.strip().lower()]
        return kind(text)
    except (KeyError, ValueError):
        raise BadInput(f"{path}: {text!r} is not {_KINDS[kind]}") from None
