"""The user's own code on `sys.path` and its folder to work in, for one job, in a process that lives for many."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

_OWN = frozenset(sys.modules)  # loaded before any job ran: no user's code is among them


@contextlib.contextmanager
def importable(folders: Sequence[str]) -> Iterator[None]:
    """Puts `folders` first on `sys.path`, works in the first of them, and forgets every module loaded from them, before and after.

    Bytecode is not written meanwhile: its stamps have whole seconds, so a quick edit would be missed.
    Not covered: modules of installed packages (below a site-packages folder), which stay loaded.
    """
    if not folders:
        yield
        return
    roots = [os.path.join(os.path.abspath(folder), "") for folder in folders]
    path, wrote, place = list(sys.path), sys.dont_write_bytecode, os.getcwd()
    _forget(tuple(roots), sys.modules.keys() - _OWN)
    importlib.invalidate_caches()
    before = set(sys.modules)
    sys.path[:0] = [root.rstrip(os.sep) or os.sep for root in roots]
    sys.dont_write_bytecode = True
    os.chdir(roots[0])
    try:
        yield
    finally:
        os.chdir(place)
        sys.path[:], sys.dont_write_bytecode = path, wrote
        _forget(tuple(roots), sys.modules.keys() - before)


def _forget(roots: tuple[str, ...], names: Iterable[str]) -> None:
    for name in names:
        file = getattr(sys.modules[name], "__file__", None)
        if not (isinstance(file, str) and file.startswith(roots)) or "site-packages" in file:
            continue
        if name != "__main__" and name.partition(".")[0] != "penstock":
            del sys.modules[name]
