"""What a pipeline points at on this machine: local files, and the modules and functions of user steps, found without importing them."""

from __future__ import annotations

import ast
import glob
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from penstock.spec.diagnose import Complaint, nearest


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
    steps = data.get("steps")
    for index, step in enumerate(steps if isinstance(steps, (list, tuple)) else ()):
        if isinstance(step, Mapping) and isinstance(step.get("uses"), str) and step["uses"].count(":") == 1:
            yield from _function(step["uses"], folder, ("steps", index, "uses"))


def _file(uri: str, folder: Path, loc: tuple[str | int, ...]) -> Iterator[Complaint]:
    if "${secret:" in uri or ("://" in uri and not uri.startswith("file://")):
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


def _function(uses: str, folder: Path, loc: tuple[str | int, ...]) -> Iterator[Complaint]:
    module, _, name = uses.partition(":")
    spec = find_module(module, folder)
    if spec is None:
        yield Complaint(loc, f"no module '{module}' is found beside the file or on the Python path")
        return
    if not spec.origin or not spec.origin.endswith(".py"):
        return  # built in or compiled: only importing would tell
    try:
        tree = ast.parse(Path(spec.origin).read_bytes())
    except (SyntaxError, ValueError, OSError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        yield Complaint(loc, f"the module '{module}' cannot be read as Python ({type(error).__name__}{line})")
        return
    names, open_ended = _top_level(tree)
    if name not in names and not open_ended:
        yield Complaint(loc, f"the module '{module}' has no '{name}'", nearest(name, names))


def find_module(module: str, folder: Path) -> ModuleSpec | None:
    """Spec of `module` as seen with `folder` first on the path; parent packages are looked into, never imported."""
    where: list[str] | None = [str(folder), *sys.path]
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for depth in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: depth + 1]), where)
        if spec is None:
            return None
        where = list(spec.submodule_search_locations or ())
    return spec


def _top_level(tree: ast.Module) -> tuple[set[str], bool]:
    """Names bound at the top level of a module, and whether others may exist (`import *`, `__getattr__`)."""
    names: set[str] = set()
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name))
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            pending.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))
            pending.extend(stmt for handler in getattr(node, "handlers", ()) for stmt in handler.body)
    return names, bool({"*", "__getattr__"} & names)
