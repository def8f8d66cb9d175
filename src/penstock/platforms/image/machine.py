"""A base without a distribution: this machine's Python, the system libraries that it and the packages load, certificates. No shell.

Not covered: platforms that start a job through a shell (Azure ML) need a base that has one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

from penstock.core.errors import BadInput
from penstock.platforms.image.contract import PYTHON, Entry, folder
from penstock.platforms.remote.container import USER, WORK

AT = "usr/local"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_LEFT_OUT = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idlelib", "ensurepip", "lib2to3", "tkinter", "turtledemo", "__pycache__"}
)
_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_LINE = re.compile(r"^\s+(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$")
_ALWAYS = ("libnss_dns.so.2", "libresolv.so.2")  # glibc opens them by itself, to ask for names


def interpreter() -> list[Entry]:
    """The executable and its standard library, at /usr/local. Raises BadInput on a machine that is not Linux with glibc."""
    if not sys.platform.startswith("linux") or not os.confstr("CS_GNU_LIBC_VERSION"):
        raise BadInput("only a Linux machine with glibc can give its own Python to an image", remedy="Name a --base.")
    executable = Path(os.path.realpath(sys.executable))
    library = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}))
    return [Entry(f"{AT}/bin/{PYTHON}", executable, 0o755), Entry(f"{AT}/bin/python3", link=PYTHON), *_standard(library)]


def libraries(entries: Iterable[Entry]) -> list[Entry]:
    """The shared libraries of the system that programs and modules among `entries` load, each where the loader looks for it."""
    files = sorted({entry.source for entry in entries if isinstance(entry.source, Path) and _is_elf(entry.source)})
    found: dict[str, Path] = {}
    for path in _loaded(files):
        if path.is_relative_to(sys.prefix) or path in files:
            continue  # lies beside what loads it
        found[str(path)] = path
    libc = next((path for path in found.values() if path.name.startswith("libc.so")), None)
    if libc is None:
        raise BadInput("this Python is linked with no libc that could be found (ldd)", remedy="Name a --base.")
    for name in _ALWAYS:
        if (libc.parent / name).exists():
            found[str(libc.parent / name)] = libc.parent / name
    # What lies outside the loader's own folders (a Python built by hand) goes beside libc.
    return [
        Entry((path if str(path.parent).startswith(_SYSTEM) else libc.parent / path.name).as_posix().lstrip("/"), path.resolve(), 0o755)
        for path in found.values()
    ]


def surroundings() -> list[Entry]:
    """What every root has: users, a folder for temporary files, certificates."""
    found = [folder("tmp", 0o1777), folder("root", 0o700), folder("proc"), folder("sys"), folder("dev")]
    found += [Entry("etc/passwd", b"root:x:0:0::/root:/sbin/nologin\n" + PASSWD), Entry("etc/group", b"root:x:0:\n" + GROUP)]
    found += [Entry("etc/nsswitch.conf", b"hosts: files dns\n")]
    if CERTIFICATES.is_file():
        found.append(Entry(str(CERTIFICATES).lstrip("/"), CERTIFICATES))
        found.append(Entry("usr/lib/ssl/cert.pem", link=str(CERTIFICATES)))
    return found


PASSWD = f"penstock:x:{USER}:{USER}::{WORK}:/sbin/nologin\n".encode()
GROUP = f"penstock:x:{USER}:\n".encode()


def _standard(library: Path) -> list[Entry]:
    found = []
    for parent, folders, names in os.walk(library):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT and not name.startswith("config-"))
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and not name.endswith((".pyc", ".a")):
                mode = 0o755 if ".so" in name else 0o644
                found.append(Entry(f"{AT}/lib/{PYTHON}/{path.relative_to(library).as_posix()}", path, mode))
    return found


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _loaded(files: Sequence[Path]) -> list[Path]:
    if not files:
        return []
    done = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True)  # its status tells of files that are no programs
    return sorted({Path(line[1]) for text in done.stdout.splitlines() if (line := _LINE.match(text))})
