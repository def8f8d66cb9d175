"""Wheels of a folder, held to a lock, unpacked as pip would (PEP 427).

A lock is a requirements file with hashes, as `pip install --require-hashes` takes it.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from penstock.core.digests import digest_file, hex_of
from penstock.core.errors import ArtifactCorrupt, BadInput
from penstock.platforms.image.contract import Entry
from penstock.platforms.image.packages import below, plain, script_of_wheel

_LINE = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def locked(lock: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """By name: version, and the digests that its files may have. Raises BadInput with the line that has none."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for line in lock.read_text().replace("\\\n", " ").splitlines():
        text = line.partition(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        pin, hashes = _LINE.match(text), _HASH.findall(text)
        if pin is None or not hashes:
            raise BadInput(f"{lock}: {text[:80]!r} is not NAME==VERSION with a --hash=sha256:…")
        found[plain(pin[1])] = (pin[2], frozenset(hashes))
    return found


def unpacked(folder: Path, lock: Path | None, scratch: Path) -> list[Entry]:
    """Raises BadInput (a wheel that does not fit this Python, or is not just what the lock says), ArtifactCorrupt (other bytes)."""
    wheels = _by_name(folder)
    if not wheels:
        raise BadInput(f"{folder} holds no wheels", remedy="pip download --only-binary :all: -r LOCK -d FOLDER")
    if lock is not None:
        _hold(wheels, locked(lock), lock)
    site, scripts = scratch / "site", list[Entry]()
    for path in wheels.values():
        _fits(path)
        scripts += _unpack(path, site)
    return [*below(site), *scripts]


def _by_name(folder: Path) -> dict[str, Path]:
    """Penstock's own wheel, if there is one, is left out: the one that runs goes into the image."""
    from packaging.utils import parse_wheel_filename

    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.whl")):
        name = plain(parse_wheel_filename(path.name)[0])
        if name in found:
            raise BadInput(f"{folder} holds two wheels of {name}: {found[name].name} and {path.name}")
        if name != "penstock":
            found[name] = path
    return found


def _hold(wheels: Mapping[str, Path], pins: Mapping[str, tuple[str, frozenset[str]]], lock: Path) -> None:
    missing, extra = sorted(set(pins) - set(wheels)), sorted(set(wheels) - set(pins))
    if missing or extra:
        raise BadInput(f"the wheels are not those of {lock.name}: missing {missing or 'none'}, unknown {extra or 'none'}")
    for name, path in wheels.items():
        if hex_of(digest_file(path)) not in pins[name][1]:
            raise ArtifactCorrupt(f"{path.name} has other bytes than {lock.name} says", remedy="Download it again.")


def _fits(path: Path) -> None:
    from packaging.tags import sys_tags
    from packaging.utils import parse_wheel_filename

    tags = parse_wheel_filename(path.name)[3]
    if tags.isdisjoint(sys_tags()):
        raise BadInput(
            f"{path.name} is not for this Python and machine", remedy="Build the image on a machine like those that will run it."
        )


def _unpack(path: Path, site: Path) -> list[Entry]:
    scripts = []
    with zipfile.ZipFile(path) as wheel:
        for member in wheel.infolist():
            parts = PurePosixPath(member.filename).parts
            if member.is_dir():
                continue
            if ".." in parts or member.filename.startswith("/"):
                raise BadInput(f"{path.name} holds {member.filename!r}, which leads out of it")
            data = wheel.read(member)
            if parts[0].endswith(".data"):
                if parts[1] == "scripts":
                    scripts.append(script_of_wheel(data, parts[-1]))
                parts = parts[2:] if parts[1] in ("purelib", "platlib") else ()
            if parts:
                target = site.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                target.chmod(0o755 if (member.external_attr >> 16) & 0o100 else 0o644)
    return scripts
