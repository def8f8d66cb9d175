"""An image from what is wanted in it: the same wish over the same inputs gives the same digest, byte for byte."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import penstock
from penstock.platforms.image.base import Base, read_base
from penstock.platforms.image.compiled import bytecode
from penstock.platforms.image.contract import (
    BUNDLE,
    COMMAND,
    ENTRYPOINT,
    PREFIX,
    PYTHON,
    Entry,
    Layer,
    Part,
    folder,
)
from penstock.platforms.image.layers import LEVEL, complete, pack
from penstock.platforms.image.layout import Built, config_of, free, moment, write
from penstock.platforms.image.machine import AT, GROUP, PASSWD, interpreter, libraries, surroundings
from penstock.platforms.image.packages import installed, need_packaging, needed, own
from penstock.platforms.image.wheels import unpacked
from penstock.platforms.remote.container import PLACES, PORT, USER, WORK, architecture


@dataclass(frozen=True, slots=True)
class Baked:
    """A bundle that goes into the image, and what it serves there. `folder` holds its files, `manifest` lists them."""

    digest: str
    folder: Path
    manifest: bytes
    model: str
    version: str


@dataclass(frozen=True, slots=True)
class Wish:
    """`base` None: this machine's Python. `wheels` None: the packages installed here. `created`: seconds since the epoch."""

    extras: tuple[str, ...] = ()
    base: Path | None = None
    wheels: Path | None = None
    lock: Path | None = None
    baked: Baked | None = None
    tag: str = penstock.__version__
    created: int = 0
    compiled: bool = True
    level: int = LEVEL  # of compression


@dataclass(frozen=True, slots=True)
class Planned:
    """`layers` name, files, bytes before compression, and what they hold; those of the base come first."""

    base: Base | None
    parts: Sequence[Part]
    python: str


def plan(wish: Wish, scratch: Path) -> Planned:
    """What the layers shall hold, but for bytecode; nothing is packed. Raises BadInput, ExtraMissing, ArtifactCorrupt."""
    need_packaging()
    base = read_base(wish.base, scratch) if wish.base is not None else None
    python = base.python if base is not None else f"{AT}/bin/{PYTHON}"
    if wish.wheels is not None:
        packages, of = unpacked(wish.wheels, wish.lock, scratch), f"wheels of {wish.lock.name if wish.lock else wish.wheels.name}"
    else:
        found = needed(wish.extras)
        packages = [entry for one in found for entry in installed(one)]
        of = f"{len(found)} installed packages"
    packages = [*packages, *_environment(python)]
    parts = []
    if base is None:
        standard = interpreter()
        standard += libraries([*standard, *packages])
        parts.append(Part("python", [*standard, *surroundings()], f"this machine's {PYTHON}"))
    extras = f" for penstock[{','.join(wish.extras)}]" if wish.extras else ""
    parts.append(Part("packages", packages, of + extras))
    parts.append(Part("penstock", [*own(), *_place(base)], f"penstock {penstock.__version__}"))
    if wish.baked is not None:
        parts.append(Part("bundle", _bundle(wish.baked), f"bundle {wish.baked.digest} of {wish.baked.model} {wish.baked.version}"))
    return Planned(base, parts, python)


def build(wish: Wish, to: Path) -> Built:
    """Writes the image to `to` (layout.write). Raises what `plan` raises."""
    free(to)
    with tempfile.TemporaryDirectory(prefix="penstock-image-") as made:
        scratch = Path(made)
        planned = plan(wish, scratch)
        layers = list(planned.base.layers) if planned.base is not None else []
        layers += [pack(_compiled(part, scratch) if wish.compiled else part, wish.created, scratch, wish.level) for part in planned.parts]
        config = config_of(planned.base.config if planned.base else _BARE, container(wish), layers, wish.created)
        return write(to, layers, config, _annotations(wish, planned.base), wish.tag)


def container(wish: Wish) -> dict[str, Any]:
    """What a container is started with."""
    variables = {
        "PATH": f"/{PREFIX}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        **PLACES,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
    }
    if wish.baked is not None:
        told = {"bundle": wish.baked.digest, "folder": f"/{BUNDLE}", "model": wish.baked.model, "version": wish.baked.version}
        variables["PENSTOCK_SERVING"] = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return {
        "User": f"{USER}:{USER}",
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "Entrypoint": list(ENTRYPOINT),
        "Cmd": list(COMMAND),
        "WorkingDir": WORK,
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "StopSignal": "SIGTERM",
        "Labels": {
            "org.opencontainers.image.title": "penstock",
            "org.opencontainers.image.version": penstock.__version__,
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    }


_BARE: Mapping[str, Any] = {"architecture": architecture()}


def _annotations(wish: Wish, base: Base | None) -> dict[str, str]:
    found = {"org.opencontainers.image.created": moment(wish.created), "org.opencontainers.image.version": penstock.__version__}
    if base is not None and base.digest:
        found["org.opencontainers.image.base.digest"] = base.digest
    return found


def _compiled(part: Part, scratch: Path) -> Part:
    place = scratch / f"{part.name}-bytecode"
    place.mkdir()
    entries = complete(part.entries)
    return Part(part.name, [*entries, *bytecode(entries, place)], part.says)


def _environment(python: str) -> list[Entry]:
    """A virtual environment, so that the base's own packages stay apart."""
    home = python.rpartition("/")[0]
    about = f"home = /{home}\ninclude-system-site-packages = false\n"
    links = [Entry(f"{PREFIX}/bin/{name}", link=f"/{python}") for name in ("python", "python3")]
    return [Entry(f"{PREFIX}/pyvenv.cfg", about.encode()), *links]


def _place(base: Base | None) -> list[Entry]:
    """The folder to write in, and the user in the base's lists of them."""
    found = [folder(WORK.lstrip("/"), 0o755, USER)]
    for name, line in (("etc/passwd", PASSWD), ("etc/group", GROUP)):
        before = base.files.get(name, b"") if base is not None else None
        if before is not None and not any(row.split(":")[2:3] == [str(USER)] for row in before.decode("utf-8", "replace").splitlines()):
            found.append(Entry(name, before + (b"" if before.endswith(b"\n") or not before else b"\n") + line))
    return found


def _bundle(baked: Baked) -> list[Entry]:
    files = [path for path in sorted(baked.folder.rglob("*")) if path.is_file()]
    entries = [Entry(f"{BUNDLE}/files/{path.relative_to(baked.folder).as_posix()}", path) for path in files]
    return [*entries, Entry(f"{BUNDLE}/manifest.json", baked.manifest)]


def sizes(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    return [{"digest": layer.digest, "size": layer.size, "holds": layer.says or "base"} for layer in layers]
