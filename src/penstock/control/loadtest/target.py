"""What is tested: a deployment by name, with its address, key, route and tokenizer found; or any OpenAI-compatible URL."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from penstock.control.loadtest.orders import OF_TASK, Count
from penstock.control.loadtest.session import Target, driven
from penstock.core.errors import ArtifactMissing, BadInput, PenstockError
from penstock.serving.address import Address
from penstock.serving.client import Client, Lost, Reply

if TYPE_CHECKING:
    from penstock.control.world import World


@dataclass(frozen=True, slots=True)
class Found:
    """`count` counts tokens as the model does, `max_length` is its context; both None where the bundle is not at hand."""

    target: Target
    model: str
    route: str
    version: str | None = None
    count: Count | None = None
    max_length: int | None = None


def find_target(name: str, *, key: str | None, route: str | None, model: str | None) -> Found:
    """By deployment name, or by URL (then `route` is "completions" unless told). Raises NotFound, BadInput, PenstockError."""
    if "://" in name:
        return _at_url(name.removesuffix("/").removesuffix("/v1"), key, route, model)
    from penstock.control.asking import own_key
    from penstock.control.delivery import opened_world
    from penstock.control.deployments import get_deployment
    from penstock.control.gateway import gateway_url
    from penstock.control.split import leading, live_of

    with opened_world() as world:
        resource = get_deployment(world, name)
        url = gateway_url(world.home)
        if url is None:
            raise PenstockError("the gateway does not run", remedy="Start it with `penstock up`.")
        live = leading(live_of(resource.status))
        chosen = route or OF_TASK.get(resource.spec["task"], "completions")
        count, length = _tokens(world, live.bundle if live else None)
        version = str(live.version) if live else None
        return Found(Target(url, key or own_key(world.store, world.home)), model or name, chosen, version, count, length)


def _at_url(url: str, key: str | None, route: str | None, model: str | None) -> Found:
    target = Target(url, key)
    if model is not None:
        return Found(target, model, route or "completions")
    answer = driven(_models(target))
    try:
        names = [str(row["id"]) for row in orjson.loads(answer.body)["data"]]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise BadInput(f"{url}/v1/models answered {answer.status} and no list of models", remedy="Name the model with --model.") from error
    if len(names) != 1:
        listed = ", ".join(names[:20]) or "none"
        raise BadInput(f"{url} serves {len(names)} models ({listed})", remedy="Name one with --model.")
    return Found(target, names[0], route or "completions")


async def _models(target: Target) -> Reply:
    client = Client(Address.of(target.url), connections=1, timeout_s=10)
    try:
        return await client.ask("/v1/models", None, target.all_headers(), "GET")
    except Lost as error:
        raise PenstockError(f"{target.url} does not answer: {error}", remedy="Check the address; `penstock status` shows ours.") from error
    finally:
        await client.close()


def _tokens(world: World, bundle: str | None) -> tuple[Count | None, int | None]:
    """The tokenizer and the context of the bundle that serves, where they can be read."""
    if bundle is None:
        return None, None
    from penstock.engines.bundle_file import read_bundle

    with contextlib.suppress(ArtifactMissing, ImportError):
        folder = world.store.artifacts.materialize(bundle)
        return counter(folder), read_bundle(folder).max_length
    return None, None


def counter(folder: Path) -> Count | None:
    """Counts tokens by the model's own tokenizer; None where the folder has none."""
    if not (folder / "tokenizer.json").is_file():
        return None
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    return lambda text: len(tokenizer.encode(text).ids)
