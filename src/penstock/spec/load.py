"""From a file to a Pipeline, or to the list of everything wrong with it.

Order: bytes → YAML values with positions → `--set` → `${env:…}` → types → structure → surroundings. Every problem of one stage
is collected, and the later stages still look at what they can.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from penstock.core.errors import FileProblems, Problem
from penstock.spec import diagnose, overrides, references, structure, surroundings
from penstock.spec.diagnose import Complaint
from penstock.spec.document import LIMIT_BYTES, Node, place, read
from penstock.spec.pipeline import Pipeline

Loc = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """`lines` maps a dotted path (`data.sources.0.uri`) to its 1-based line; what `--set` added has none."""

    pipeline: Pipeline
    file: Path
    lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Written:
    """Where each value was written: in the file, or on the command line."""

    root: Node
    origins: Mapping[Loc, str]

    def problem(self, complaint: Complaint) -> Problem:
        shown = dotted(complaint.loc)
        for loc, text in self.origins.items():
            if complaint.loc[: len(loc)] == loc or (complaint.at_key and loc[: len(complaint.loc)] == complaint.loc):
                reason = complaint.reason if complaint.loc == loc else f"{shown}: {complaint.reason}"
                return Problem(text, reason, suggestion=complaint.suggestion)
        line, column = place(self.root, complaint.loc, key=complaint.at_key)
        return Problem(shown, complaint.reason, line, column, complaint.suggestion)


def load(path: str | os.PathLike[str], *, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Loaded:
    """The pipeline in the file at `path`, changed by `overrides` (`path.to.key=value`).

    `environ` (default: the process's) answers `${env:…}`; secrets stay references. Relative sources and user modules are looked for
    beside the file. Raises FileProblems with every problem found, and nothing else for any content.
    """
    file = Path(path)
    return loads(_bytes(file), file=file, overrides=overrides, environ=environ)


def loads(data: bytes, *, file: Path, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Loaded:
    """As `load`, of bytes that are meant to stand at `file`."""
    root, problems = read(data)
    if root is None:
        raise FileProblems(problems, str(file))
    if not isinstance(root.children, dict):
        reason = f"a pipeline file is a map of keys such as `name: my-model`, not {diagnose.show(root.plain())}"
        raise FileProblems([*problems, Problem("", reason, root.line, root.column)], str(file))
    pipeline, found = _understand(root, file, overrides, os.environ if environ is None else environ)
    # A value that could not even be read is told once, not again as one of the wrong type.
    unread = {(p.line, p.column) for p in problems}
    problems = [*problems, *(p for p in found if (p.line, p.column) not in unread or not p.line)]
    if problems or pipeline is None:
        raise FileProblems(sorted(_once(problems), key=lambda p: (p.line, p.column)), str(file))
    return Loaded(pipeline, file, _lines(root))


def _understand(root: Node, file: Path, sets: Sequence[str], environ: Mapping[str, str]) -> tuple[Pipeline | None, list[Problem]]:
    values, origins, problems = overrides.apply(root.plain(), sets)
    written = _Written(root, origins)
    values, unset = references.put_environment(values, environ)
    found = [Complaint(loc, reason) for loc, reason in unset]
    pipeline = None
    try:
        pipeline = Pipeline.model_validate(values, context=structure.CHECKED)
    except ValidationError as error:
        silent = {complaint.loc for complaint in found}
        found += [c for c in diagnose.complaints(error, Pipeline) if c.loc not in silent]
    found += structure.complaints(values)
    found += surroundings.complaints(values, file.absolute().parent)
    return pipeline, [*problems, *(written.problem(c) for c in found)]


def _bytes(file: Path) -> bytes:
    try:
        if file.is_dir():
            raise FileProblems([Problem("", f"{file} is a folder; name the file in it, such as {file / 'penstock.yaml'}")], str(file))
        if not file.exists():
            raise FileProblems([Problem("", "there is no such file; `penstock init` writes one")], str(file))
        with file.open("rb") as opened:
            return opened.read(LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        raise FileProblems([Problem("", f"the file cannot be read ({getattr(error, 'strerror', None) or error})")], str(file)) from error


def dotted(loc: Iterable[str | int]) -> str:
    return ".".join(str(part) for part in loc)


def _once(problems: Iterable[Problem]) -> list[Problem]:
    return list(dict.fromkeys(problems))


def _lines(root: Node) -> dict[str, int]:
    lines: dict[str, int] = {}
    pending: list[tuple[Loc, Node]] = [((), root)]
    while pending:
        loc, node = pending.pop()
        inner: Any = node.children.items() if isinstance(node.children, dict) else enumerate(node.children or ())
        for part, child in inner:
            key, value = child if isinstance(node.children, dict) else (child, child)
            lines[dotted((*loc, part))] = key.line
            pending.append(((*loc, part), value))
    return lines
