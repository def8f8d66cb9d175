"""A user step's function, looked at without importing anything: where its module lies, and which parameters it takes."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from penstock.spec.diagnose import nearest

_PLAIN = {"str", "int", "float", "bool", "list", "dict"}


class Unfound(Exception):
    """`reason` says what is not there; `suggestion` is the nearest spelling."""

    def __init__(self, reason: str, suggestion: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.suggestion = reason, suggestion


@dataclass(frozen=True, slots=True)
class Signature:
    """Parameters by name, and those that must be given a value (only where the annotation leaves no doubt)."""

    parameters: tuple[str, ...]
    needed: tuple[str, ...]


def signature(uses: str, folder: Path) -> Signature | None:
    """Of `package.module:function`; None where only importing would tell. Raises Unfound. `folder` is the pipeline file's."""
    module, _, name = uses.partition(":")
    spec = find_module(module, [folder, folder / "src"])
    if spec is None:
        raise Unfound(f"no module '{module}' is found beside the file or on the Python path")
    if not spec.origin or not spec.origin.endswith(".py"):
        return None
    try:
        tree = ast.parse(Path(spec.origin).read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise Unfound(f"the module '{module}' cannot be read as Python ({type(error).__name__}{line})") from error
    names = _top_level(tree)
    found = names.get(name)
    if name not in names and not {"*", "__getattr__"} & set(names):
        raise Unfound(f"the module '{module}' has no '{name}'", nearest(name, names))
    if isinstance(found, ast.AsyncFunctionDef):
        raise Unfound(f"{uses} is an async function; write a plain one that calls asyncio.run")
    return _signature(found) if isinstance(found, ast.FunctionDef) and not found.decorator_list else None


def find_module(module: str, folders: list[Path]) -> ModuleSpec | None:
    """Spec of `module` as seen with `folders` first on the path; parent packages are looked into, never imported."""
    where: list[str] | None = [*map(str, folders), *sys.path]
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for depth in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: depth + 1]), where)
        if spec is None:
            return None
        where = list(spec.submodule_search_locations or ())
    return spec


def _signature(function: ast.FunctionDef) -> Signature | None:
    given = function.args
    if given.vararg or given.kwarg:
        return None
    positional = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(positional) - len(given.defaults)) + [*given.defaults]
    pairs = [*zip(positional, defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    needed = tuple(arg.arg for arg, default in pairs if default is None and _is_value(arg.annotation))
    return Signature(tuple(arg.arg for arg, _ in pairs), needed)


def _is_value(annotation: ast.expr | None) -> bool:
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    return annotation is None or (isinstance(annotation, ast.Name) and annotation.id in _PLAIN)


def _top_level(tree: ast.Module) -> dict[str, ast.stmt]:
    """Names bound at the top level of a module with the statement that binds them; `*` stands for a star import."""
    names: dict[str, ast.stmt] = {}
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        node = pending.pop(0)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names[node.name] = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(dict.fromkeys((alias.asname or alias.name.partition(".")[0] for alias in node.names), node))
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(dict.fromkeys((t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name)), node))
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            pending.extend(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))
            pending.extend(stmt for handler in getattr(node, "handlers", ()) for stmt in handler.body)
    return names
