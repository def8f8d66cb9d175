"""The local code that a user's function reaches, found without importing any of it.

Follows `import` statements, at module level and inside functions, from the module named in `uses` through every module
that lies under the project's folders. Not covered: modules imported by computed name, data files read at run time,
installed packages (declare those in the step's `environment`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from penstock.core.digests import digest_bytes
from penstock.core.errors import BadInput


def local_code(uses: str, folders: Sequence[Path]) -> dict[str, str]:
    """Digest of the source of each local module reached, by module name. Raises BadInput when the first is not found."""
    first = uses.partition(":")[0]
    if _find(first, folders) is None:
        places = ", ".join(str(f) for f in folders)
        raise BadInput(f"uses: {uses!r}: no module {first!r} under {places}")
    seen: dict[str, str] = {}
    pending = [*_with_parents(first)]
    while pending:
        name = pending.pop()
        if name in seen or (path := _find(name, folders)) is None:
            continue
        source = path.read_bytes()
        seen[name] = digest_bytes(source)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for imported in _imports(source, path, package):
            pending.extend(_with_parents(imported))
    return dict(sorted(seen.items()))


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])


def _find(name: str, folders: Sequence[Path]) -> Path | None:
    relative = Path(*name.split("."))
    for folder in folders:
        for candidate in (folder / relative / "__init__.py", folder / relative.with_suffix(".py")):
            if candidate.is_file():
                return candidate
    return None


def _imports(source: bytes, path: Path, package: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"does not parse: {error}", where=str(path)) from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names if alias.name != "*")


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])
