"""Packages import only what lies below them, never in a circle, and vendors' packages only where they belong."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
FLOORS = {
    "core": 0,
    "spec": 1,
    "store": 2,
    "engines": 2,
    "screening": 3,
    "monitoring": 3,
    "stages": 4,
    "serving": 4,
    "governance": 4,
    "platforms": 5,
    "control": 6,
    "cli": 7,
    "server": 7,
}
SHARED = "remote"  # what all platforms beyond this machine share; of them it imports only this machine, where its bridges run
FACES = {"penstock", "penstock.__main__"}  # the package itself and `python -m`: they point at anything, lazily
VENDORS = {"boto3": "sagemaker", "botocore": "sagemaker", "google.cloud": "vertex", "azure": "azureml", "kubernetes": "kubernetes"}


def modules() -> dict[str, Path]:
    found = {}
    for file in (SOURCE / "penstock").rglob("*.py"):
        parts = file.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


def imports(name: str, tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(module imported, line) for imports at any depth, those for type checking too; relative ones made absolute."""
    package = name if MODULES.get(name, Path("x")).name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield (inner if inner in MODULES else base), node.lineno


@functools.cache
def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(file.read_bytes(), str(file)) for name, file in MODULES.items()}


def room(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


def test_every_package_has_a_floor() -> None:
    packages = {p.name for p in (SOURCE / "penstock").iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert packages - {"testing"} == set(FLOORS)


def test_packages_import_only_lower_floors() -> None:
    wrong = []
    for name, tree in trees().items():
        if name in FACES or room(name) == "testing":
            continue
        for target, line in imports(name, tree):
            if not target.startswith("penstock.") or room(target) == room(name):
                continue
            if room(target) not in FLOORS or FLOORS[room(target)] >= FLOORS[room(name)]:
                wrong.append(f"{name}:{line} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_stages_and_platforms_never_import_each_other() -> None:
    wrong = []
    for name, tree in trees().items():
        for kind in ("stages", "platforms"):
            mine = name.removeprefix(f"penstock.{kind}.").partition(".")[0] if name.startswith(f"penstock.{kind}.") else ""
            if not mine or not (SOURCE / "penstock" / kind / mine).is_dir():
                continue
            for target, line in imports(name, tree):
                other = target.removeprefix(f"penstock.{kind}.").partition(".")[0] if target.startswith(f"penstock.{kind}.") else ""
                if (
                    other
                    and other not in (mine, SHARED)
                    and (mine, other) != (SHARED, "local")
                    and (SOURCE / "penstock" / kind / other).is_dir()
                ):
                    wrong.append(f"{name}:{line} imports {target}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("vendor", VENDORS)
def test_vendors_are_imported_only_by_their_platform(vendor: str) -> None:
    home = f"penstock.platforms.{VENDORS[vendor]}"
    wrong = []
    for name, tree in trees().items():
        if name.startswith(home) or room(name) == "testing":
            continue
        wrong += [f"{name}:{line}" for target, line in imports(name, tree) if f"{target}.".startswith(f"{vendor}.")]
    assert not wrong, "\n".join(wrong)


def test_no_import_cycles() -> None:
    edges = {name: {t for t, _ in imports(name, tree) if t in MODULES and t != name} for name, tree in trees().items()}
    edges["penstock"] = set()  # its imports are lazy, by name (`__getattr__`)
    rings = [ring for ring in components(edges) if len(ring) > 1]
    assert not rings, rings


def components(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components (Tarjan 1972), with an explicit stack."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    for start in edges:
        work = [(start, iter(sorted(edges[start])))] if start not in order else []
        while work:
            node, rest = work[-1]
            if node not in order:
                order[node] = low[node] = len(order)
                stack.append(node)
            for target in rest:
                if target not in order:
                    work.append((target, iter(sorted(edges[target]))))
                    break
                if target in stack:
                    low[node] = min(low[node], order[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == order[node]:
                    ring = []
                    while True:
                        ring.append(stack.pop())
                        if ring[-1] == node:
                            break
                    found.append(ring)
    return found


def test_the_checks_can_fail() -> None:
    assert [sorted(ring) for ring in components({"a": {"b"}, "b": {"a"}, "c": {"a"}}) if len(ring) > 1] == [["a", "b"]]
    tree = ast.parse("def f():\n    from penstock.control.api import run\n    import boto3.session\n")
    assert {target for target, _ in imports("penstock.core.x", tree)} == {"penstock.control.api", "boto3.session"}
