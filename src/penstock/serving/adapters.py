"""LoRA adapters of a replica: those of its spec loaded at start, others on request of who shares its machine.

`POST /v1/load_lora_adapter` {"lora_name", "lora_path"} and `POST /v1/unload_lora_adapter` {"lora_name"} are named as vLLM names them.
A path must lie inside what the replica's spec allows, and its files must be of kinds that cannot carry code.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import orjson

from penstock.core.errors import BadInput
from penstock.engines.bundle_file import refuse_code
from penstock.engines.contract import Adapting, Engine
from penstock.serving.errors import RequestRefused, nearest
from penstock.serving.exchange import Exchange
from penstock.serving.fields import bad, string
from penstock.serving.params import parse_object

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
MAX_ADAPTERS, MAX_PATH = 256, 4096
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def adapting(engine: Engine) -> Adapting | None:
    """The engine as one that takes adapters, if it does."""
    return cast(Adapting, engine) if hasattr(engine, "load_adapter") else None


def adapters(engine: Engine) -> tuple[str, ...]:
    """Names of the loaded adapters; none where the engine has no such thing."""
    found = adapting(engine)
    return tuple(found.adapters) if found is not None else ()


async def load_named(engine: Engine, named: Mapping[str, str]) -> None:
    """Loads name → folder. Raises BadInput for an engine without adapters, a bad name or a folder that holds something else."""
    able = adapting(engine)
    if named and able is None:
        raise BadInput(f"the engine {engine.info.engine} takes no adapters", remedy="Leave `adapters` out, or serve a decoder.")
    for name, folder in named.items():
        if not NAME.fullmatch(name):
            raise BadInput(f"{name[:80]!r} cannot name an adapter", remedy="Use up to 64 letters, digits, dots, dashes, underscores.")
        await _load(cast(Adapting, able), name, Path(folder))


async def unload_named(engine: Engine, name: str) -> None:
    """Answers that are on it end as they began; a name that is not loaded is no error."""
    if (able := adapting(engine)) is not None:
        await able.unload_adapter(name)


class AdapterAdmin:
    """Answers the two routes. `folders`: name → folder of the spec; `root`: whatever lies inside it may be loaded too."""

    def __init__(self, engine: Engine, folders: Mapping[str, str], root: str | None) -> None:
        self._engine, self._lock = engine, asyncio.Lock()
        self._folders = {Path(folder).resolve() for folder in folders.values()}
        self._root = Path(root).resolve() if root is not None else None

    async def handle(self, exchange: Exchange) -> None:
        try:
            async with self._lock:
                answer = await self._change(exchange)
            exchange.reply(200, orjson.dumps(answer))
        except RequestRefused as refused:
            exchange.reply(refused.status, refused.body(), refused.headers)
        except BadInput as error:
            exchange.reply(400, RequestRefused(400, str(error), "bad_input").body())

    async def _change(self, exchange: Exchange) -> dict[str, Any]:
        if not ipaddress.ip_address(exchange.peer or "0.0.0.0").is_loopback:
            raise RequestRefused(403, "Adapters are loaded from the replica's own machine only", "not_local")
        if exchange.headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
            # Else a page in somebody's browser could ask for it without the browser asking us first.
            raise RequestRefused(415, "Send application/json", "unsupported_media_type")
        value = parse_object(exchange.body)
        fields = {"lora_name", "lora_path"} if exchange.path == LOAD else {"lora_name"}
        for given in value:
            if given not in fields:
                raise bad(f"unknown field {given[:60]!r}{nearest(given, fields)}", given[:60], "unknown_field")
        able, name = adapting(self._engine), string(value, "lora_name", 64)
        if able is None:
            raise RequestRefused(400, f"The engine {self._engine.info.engine} takes no adapters", "wrong_task")
        if name is None or not NAME.fullmatch(name):
            raise bad("lora_name must be up to 64 letters, digits, dots, dashes and underscores", "lora_name")
        if exchange.path == UNLOAD:
            if name not in able.adapters:
                raise RequestRefused(404, f"No adapter {name!r} is loaded{nearest(name, able.adapters)}", "adapter_not_found", "lora_name")
            await able.unload_adapter(name)
        else:
            folder = self._allowed(string(value, "lora_path", MAX_PATH))
            if len(able.adapters) >= MAX_ADAPTERS and name not in able.adapters:
                raise RequestRefused(400, f"{MAX_ADAPTERS} adapters are loaded; unload one first", "too_many_adapters")
            await _load(able, name, folder)
        return {"object": "adapter", "id": name, "loaded": exchange.path == LOAD, "adapters": list(able.adapters)}

    def _allowed(self, given: str | None) -> Path:
        """The folder itself, links followed. One answer for all that may not be loaded: it tells nobody what exists."""
        if given is None or "\x00" in given:
            raise bad("lora_path must be the path of a folder", "lora_path")
        folder = ((self._root or Path("/")) / given).resolve()
        inside = self._root is not None and folder.is_relative_to(self._root) and folder != self._root
        if not (inside or folder in self._folders) or not folder.is_dir():
            raise RequestRefused(403, "lora_path is no folder inside this replica's `adapter_root`", "path_not_allowed", "lora_path")
        return folder


async def _load(engine: Adapting, name: str, folder: Path) -> None:
    if not folder.is_dir():
        raise BadInput(f"the adapter {name!r} has no folder {folder}")
    await asyncio.to_thread(refuse_code, folder)
    await engine.load_adapter(name, folder)
