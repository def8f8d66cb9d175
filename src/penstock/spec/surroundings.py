"""What a pipeline points at on this machine: local files, and the functions of user steps."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from penstock.spec.diagnose import Complaint, nearest
from penstock.spec.functions import Unfound, signature

Loc = tuple[str | int, ...]


def complaints(data: Mapping[str, Any], folder: Path) -> Iterator[Complaint]:
    """Missing local sources and bases, missing modules and functions. `folder` is the pipeline file's."""
    section = data.get("data")
    for part in ("sources", "test"):
        sources = section.get(part) if isinstance(section, Mapping) else None
        for index, source in enumerate(sources if isinstance(sources, (list, tuple)) else ()):
            if isinstance(source, Mapping) and isinstance(source.get("uri"), str):
                yield from _file(source["uri"], folder, ("data", part, index, "uri"))
    train = data.get("train")
    base = train.get("base") if isinstance(train, Mapping) else None
    if isinstance(base, str) and base.startswith((".", "/", "~")):
        yield from _file(base, folder, ("train", "base"))
    deploy = data.get("deploy")
    adapters = deploy.get("adapters") if isinstance(deploy, Mapping) else None
    for name, source in (adapters if isinstance(adapters, Mapping) else {}).items():
        if isinstance(source, str) and not source.startswith(("registry:", "sha256:")):
            yield from _file(source, folder, ("deploy", "adapters", name))
    steps = data.get("steps")
    for index, step in enumerate(steps if isinstance(steps, (list, tuple)) else ()):
        if isinstance(step, Mapping):
            yield from _step(step, folder, ("steps", index))


def _file(uri: str, folder: Path, loc: Loc) -> Iterator[Complaint]:
    if "${" in uri or ("://" in uri and not uri.startswith("file://")):
        return
    path = folder / Path(uri.removeprefix("file://")).expanduser()
    try:
        found = any(glob.iglob(str(path), recursive=True)) if glob.has_magic(uri) else path.exists()
    except (OSError, ValueError):
        found = False
    if not found:
        beside = [p.name for p in path.parent.iterdir()] if _is_folder(path.parent) else []
        yield Complaint(loc, f"nothing is at {path}", nearest(path.name, beside))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _step(step: Mapping[str, Any], folder: Path, loc: Loc) -> Iterator[Complaint]:
    uses = step.get("uses")
    if not isinstance(uses, str) or uses.count(":") != 1:
        return
    try:
        found = signature(uses, folder)
    except Unfound as problem:
        yield Complaint((*loc, "uses"), problem.reason, problem.suggestion)
        return
    if found is None:
        return
    given: set[str] = set()
    for part in ("with", "inputs"):
        for name in step[part] if isinstance(step.get(part), Mapping) else ():
            given.add(name)
            if name not in found.parameters:
                takes = ", ".join(found.parameters) or "none"
                yield Complaint(
                    (*loc, part, name), f"{uses} has no such parameter (it has: {takes})", nearest(name, found.parameters), at_key=True
                )
    for name in found.needed:
        if name not in given:
            yield Complaint((*loc, "uses"), f"the parameter '{name}' of {uses} is given neither in `with` nor in `inputs`")
