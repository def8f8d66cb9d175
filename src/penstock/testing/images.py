"""Images for tests: small bases and wheels, and an image laid out as the root that a container would see."""

from __future__ import annotations

import base64
import csv
import ctypes
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.platforms.image.contract import PYTHON


def root_tar(path: Path, files: Mapping[str, bytes] | None = None) -> Path:
    """The tar of a root file system that has our Python by name."""
    held = {f"usr/local/bin/{PYTHON}": b"#!", "etc/passwd": b"root:x:0:0::/root:/bin/sh\n", "etc/group": b"root:x:0:\n", **(files or {})}
    with tarfile.open(path, "w") as tar:
        for folder in sorted({str(parent) for name in held for parent in Path(name).parents} - {"."}):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for name, data in sorted(held.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return path


def wheel(
    folder: Path, name: str, files: Mapping[str, bytes], *, version: str = "1.0", tag: str = "py3-none-any", points: str = ""
) -> Path:
    """A wheel with those files, entry points and a RECORD."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    held = {**files, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()}
    held[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: penstock\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()
    if points:
        held[f"{info}/entry_points.txt"] = points.encode()
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for path, data in held.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow([path, f"sha256={digest}", len(data)])
    rows.writerow([f"{info}/RECORD", "", ""])
    made = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(made, "w") as file:
        for inner, data in {**held, f"{info}/RECORD": record.getvalue().encode()}.items():
            file.writestr(inner, data)
    return made


def lock_of(folder: Path, path: Path) -> Path:
    """A lock of just the wheels in `folder`."""
    lines = []
    for file in sorted(folder.glob("*.whl")):
        name, version, *_ = file.name.split("-")
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}")
    path.write_text("\n".join(lines) + "\n")
    return path


def blob(layout: Path, descriptor: Mapping[str, Any]) -> Path:
    return layout / "blobs" / str(descriptor["digest"]).replace(":", "/")


def manifest(layout: Path) -> Any:
    [row] = json.loads((layout / "index.json").read_bytes())["manifests"]
    return json.loads(blob(layout, row).read_bytes())


def config(layout: Path) -> Any:
    return json.loads(blob(layout, manifest(layout)["config"]).read_bytes())


def members(layout: Path, layer: int) -> dict[str, tarfile.TarInfo]:
    with gzip.open(blob(layout, manifest(layout)["layers"][layer])) as plain, tarfile.open(fileobj=plain) as tar:
        return {member.name: member for member in tar}


def laid_out(layout: Path, root: Path) -> Path:
    """Applies the layers in order (layer.md): what one removes by a `.wh.` file goes, what it brings replaces."""
    root.mkdir(parents=True)
    for layer in manifest(layout)["layers"]:
        with tarfile.open(blob(layout, layer)) as tar:
            gone = [member.name for member in tar if Path(member.name).name.startswith(".wh.")]
            for name in gone:
                victim = root / Path(name).parent / Path(name).name.removeprefix(".wh.")
                shutil.rmtree(victim) if victim.is_dir() else victim.unlink(missing_ok=True)
            tar.extractall(root, filter="fully_trusted", members=[member for member in tar if member.name not in gone])
    return root


_NEW_MOUNTS, _READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 0x20000, 1, 32, 4096, 16384, 1 << 18  # of unshare(2), mount(2)


def can_enter() -> bool:
    """Whether this process may give another one mounts of its own: root on most machines, not in most containers."""
    unshare = shutil.which("unshare")
    return unshare is not None and os.geteuid() == 0 and subprocess.run([unshare, "--mount", "true"], capture_output=True).returncode == 0


def enter(root: Path, user: int, writable: Sequence[str] = ("work", "tmp")) -> None:
    """Makes `root` this process's root, read-only but for some folders, with a /proc, as `user`. Called between fork and exec."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, target: str, kind: str, flags: int) -> None:
        if libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None):
            raise OSError(ctypes.get_errno(), "mount", target)

    if libc.unshare(_NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "unshare")
    mount("none", "/", "", _RECURSIVE | _PRIVATE)
    mount(str(root), str(root), "", _BIND | _RECURSIVE)
    for name in writable:
        mount(f"{root}/{name}", f"{root}/{name}", "", _BIND)
    mount("proc", f"{root}/proc", "proc", 0)
    mount("none", str(root), "", _REMOUNT | _BIND | _READ_ONLY)
    os.chroot(root)
    os.chdir("/work")
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
