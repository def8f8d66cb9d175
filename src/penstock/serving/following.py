"""A replica that goes by its platform's list of adapters: brought to it before it is ready, and whenever the list changes after that.

An adapter that cannot be loaded harms nobody: the base, the others and an older one of that name go on; the answer file says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from penstock.core.errors import BadInput, PenstockError
from penstock.engines.bundle_file import verify_files
from penstock.engines.contract import Engine
from penstock.serving.adapter_file import WANTED, Held, WantedAdapter, read_wanted, write_held
from penstock.serving.adapters import adapters, load_named, unload_named

log = logging.getLogger("penstock.replica")
LOOK_S = 0.2


class Follower:
    """Loads into `engine` what the list in `folder` names, and tells there what is loaded."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine, self._folder = engine, folder
        self._loaded: dict[str, str] = {}  # name → digest
        self._stamp: tuple[int, int] | None = None

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            lost = any(name not in adapters(self._engine) for name in self._loaded)  # unloaded by somebody else
            if lost or self._written() != self._stamp:
                await self.converge()

    async def converge(self) -> None:
        """One pass: unloads what is no longer listed, then loads what is missing or another."""
        self._stamp = self._written()
        try:
            wanted = await asyncio.to_thread(read_wanted, self._folder)
        except BadInput as error:
            log.error("%s; the adapters stay as they are", error)
            return
        present = adapters(self._engine)
        self._loaded = {name: digest for name, digest in self._loaded.items() if name in present}
        for name in sorted(set(self._loaded) - set(wanted)):
            await unload_named(self._engine, name)
            del self._loaded[name]
        errors = await self._load({name: one for name, one in wanted.items() if self._loaded.get(name) != one.digest})
        await asyncio.to_thread(write_held, self._folder, Held(dict(self._loaded), errors))

    async def _load(self, wanted: Mapping[str, WantedAdapter]) -> dict[str, tuple[str, str]]:
        errors = {}
        for name, one in wanted.items():
            try:
                if one.error is not None:
                    raise BadInput(one.error)
                await asyncio.to_thread(verify_files, Path(one.folder), one.files, f"adapter {name!r}")
                await load_named(self._engine, {name: one.folder})
                self._loaded[name] = one.digest
            except PenstockError as error:
                errors[name] = (one.digest, error.message)
                log.error("adapter %s (%s): %s", name, one.digest, error.message)
            except Exception as error:  # of the engine's own making, such as no memory
                errors[name] = (one.digest, f"{type(error).__name__}: {error}")
                log.exception("adapter %s (%s) could not be loaded", name, one.digest)
        return errors

    def _written(self) -> tuple[int, int] | None:
        try:
            facts = (self._folder / WANTED).stat()
        except OSError:
            return None
        return facts.st_mtime_ns, facts.st_ino
