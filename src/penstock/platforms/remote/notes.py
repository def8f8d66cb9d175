"""What a job that runs elsewhere leaves in the artifact store while it runs: its log in pieces, how it failed, its scratch.

Names of notes under `jobs/<key hex>/<attempt>/`: `order.json` (which container is this attempt, written before it is asked for), `log/<n>`
(whole lines), `failed.json`; and `jobs/<key hex>/scratch.json`, the digest of the newest copy of its scratch folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from penstock.core.digests import hex_of

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts


@dataclass(frozen=True, slots=True)
class Placed:
    """Which container an attempt is. `run`: that asked for it; `number`: how often the attempt was started anew."""

    name: str
    run: str
    number: int
    at: float


def reference_of(key: str, attempt: int) -> str:
    return f"{hex_of(key)}/{attempt}"


def placed(artifacts: Artifacts, reference: str) -> Placed | None:
    data = artifacts.get_note(f"jobs/{reference}/order.json")
    return None if data is None else Placed(**json.loads(data))


def place(artifacts: Artifacts, reference: str, order: Placed) -> None:
    artifacts.put_note(f"jobs/{reference}/order.json", json.dumps(asdict(order)).encode())


def failure(artifacts: Artifacts, reference: str, name: str) -> Mapping[str, Any] | None:
    """How container `name` of the attempt said that it failed."""
    data = artifacts.get_note(f"jobs/{reference}/{name}.failed.json")
    if data is None:
        return None
    found: Mapping[str, Any] = json.loads(data)
    return found


def fail(artifacts: Artifacts, reference: str, name: str, error: Mapping[str, Any]) -> None:
    artifacts.put_note(f"jobs/{reference}/{name}.failed.json", json.dumps(dict(error)).encode())


def log_note(reference: str, name: str, piece: int) -> str:
    return f"jobs/{reference}/{name}.log/{piece:06d}"


def scratch_note(key: str) -> str:
    return f"jobs/{hex_of(key)}/scratch.json"
