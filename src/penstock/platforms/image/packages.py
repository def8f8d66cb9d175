"""The packages that go into an image: those installed here that Penstock needs with some extras, or the wheels of a folder.

Notes of the installer (RECORD, INSTALLER, direct_url.json, …) stay out: they hold paths of this machine and times.
Not covered: data files that packages put outside their own folders (manuals, headers).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import penstock
from penstock.core.errors import BadInput, ExtraMissing
from penstock.platforms.image.contract import PREFIX, SITE, Entry

_NOTES = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "RECORD.jws", "RECORD.p7s", "uv_cache.json"})
_NAME = "penstock"


def own() -> list[Entry]:
    """The Penstock that runs, wherever it lies, with its metadata."""
    root, found = Path(penstock.__file__).parent, _found(_NAME)
    entries = [_file(path, f"{SITE}/{_NAME}/{path.relative_to(root).as_posix()}") for path in _files(root)]
    info = f"{SITE}/{_NAME}-{penstock.__version__}.dist-info"
    metadata = found.read_text("METADATA") or ""
    version = re.sub(r"^Version: .*$", f"Version: {penstock.__version__}", metadata, count=1, flags=re.MULTILINE)
    entries += [Entry(f"{info}/METADATA", version.encode()), Entry(f"{info}/entry_points.txt", _points(found).encode())]
    return entries + list(scripts(_points(found)))


def needed(extras: Sequence[str]) -> list[Distribution]:
    """What is installed of what Penstock needs with `extras`, sorted by name. Raises BadInput, ExtraMissing (not installed)."""
    from packaging.requirements import Requirement

    root = _found(_NAME)
    known = root.metadata.get_all("Provides-Extra") or []
    for extra in extras:
        if extra not in known:
            near = difflib.get_close_matches(extra, known, 1)
            raise BadInput(
                f"no extra is called {extra!r}{f'; did you mean {near[0]!r}?' if near else ''} (known: {', '.join(sorted(known))})"
            )
    seen: dict[str, Distribution] = {}
    asked: set[tuple[str, str]] = set()
    pending = [(_NAME, extra) for extra in ("", *extras)]
    while pending:
        name, extra = pending.pop()
        if (name, extra) in asked:
            continue
        asked.add((name, extra))
        found = root if name == _NAME else _found(name)
        seen[name] = found
        for line in found.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                pending += [(plain(requirement.name), more) for more in ("", *requirement.extras)]
    return [seen[name] for name in sorted(seen) if name != _NAME]


def installed(found: Distribution) -> list[Entry]:
    """The files of a package that is installed here, as its RECORD lists them."""
    points = _points(found)
    named = {entry.path for entry in scripts(points)}
    entries = list(scripts(points))
    for file in found.files or ():
        where = Path(str(found.locate_file(file)))
        parts = PurePosixPath(file).parts
        if _skipped(file.name, parts) or not where.is_file():
            continue
        if parts[0] != "..":
            entries.append(_file(where, f"{SITE}/{PurePosixPath(file)}"))
        elif parts[-2] == "bin" and f"{PREFIX}/bin/{parts[-1]}" not in named:
            entries.append(_script(where.read_bytes(), parts[-1]))
    return entries


def below(site: Path) -> list[Entry]:
    """Files of wheels that were unpacked into `site`, and the scripts that they name."""
    entries = [
        _file(path, f"{SITE}/{path.relative_to(site).as_posix()}")
        for path in _files(site)
        if not _skipped(path.name, path.relative_to(site).parts)
    ]
    for points in sorted(site.glob("*.dist-info/entry_points.txt")):
        entries += scripts(points.read_text(encoding="utf-8"))
    return entries


def need_packaging() -> None:
    """Raises ExtraMissing where the package that reads requirements and names of wheels is not installed."""
    if find_spec("packaging") is None:
        raise ExtraMissing("building an image needs packaging, which is not installed", remedy="Run: pip install 'penstock[image]'")


def scripts(points: str) -> Iterator[Entry]:
    """The commands of an entry_points.txt."""
    section = ""
    for line in (raw.strip() for raw in points.splitlines()):
        if line.startswith("["):
            section = line.strip("[] ")
        elif section == "console_scripts" and "=" in line:
            name, _, target = (part.strip() for part in line.partition("="))
            module, _, attribute = target.partition("[")[0].strip().partition(":")
            first = attribute.partition(".")[0]
            text = f"#!/{PREFIX}/bin/python\nimport sys\n\nfrom {module} import {first}\n\nsys.exit({attribute}())\n"
            yield Entry(f"{PREFIX}/bin/{name}", text.encode(), 0o755)


def plain(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def script_of_wheel(data: bytes, name: str) -> Entry:
    """A file of a wheel's `scripts`."""
    return _script(data, name)


def _script(data: bytes, name: str) -> Entry:
    first, newline, rest = data.partition(b"\n")
    if first.startswith(b"#!") and b"python" in first:
        data = b"#!/%b/bin/python" % PREFIX.encode() + newline + rest
    return Entry(f"{PREFIX}/bin/{name}", data, 0o755)


def _found(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        if name == _NAME:
            raise BadInput(
                "Penstock runs here without being installed, so nobody knows what it needs", remedy="pip install -e ."
            ) from error
        raise ExtraMissing(f"the image needs {name}, which is not installed here", remedy=f"Run: pip install {name}") from error


def _points(found: Distribution) -> str:
    return found.read_text("entry_points.txt") or ""


def _skipped(name: str, parts: Sequence[str]) -> bool:
    return "__pycache__" in parts or name.endswith(".pyc") or (name in _NOTES and len(parts) > 1 and parts[-2].endswith(".dist-info"))


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and not _skipped(path.name, path.relative_to(root).parts))


def _file(path: Path, name: str) -> Entry:
    return Entry(name, path, 0o755 if path.stat().st_mode & 0o100 else 0o644)
