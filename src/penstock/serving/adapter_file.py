"""Which adapters a replica should hold, as a file that a platform writes, and which it holds, as a file that the replica answers with.

`adapters.json` is replaced whole; the replica looks at it while it serves, loads and unloads until it is as the file says, and keeps
`adapters.state.json` beside it. So adapters come and go without a restart, and either side may die and begin again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from penstock.core.errors import BadInput
from penstock.core.files import write_atomic

WANTED, STATE = "adapters.json", "adapters.state.json"


@dataclass(frozen=True, slots=True)
class WantedAdapter:
    """`digest`: of the artifact whose files (POSIX path → digest) lie in `folder`. `error`: why they could not be brought there."""

    digest: str
    folder: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """`loaded`: name → digest. `errors`: name → (digest that could not be loaded, why)."""

    loaded: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def write_wanted(folder: Path, wanted: Mapping[str, WantedAdapter]) -> None:
    write_atomic(folder / WANTED, json.dumps({name: asdict(one) for name, one in sorted(wanted.items())}).encode(), sync=False)


def read_wanted(folder: Path) -> dict[str, WantedAdapter]:
    """Nothing is wanted where there is no file. Raises BadInput for one that does not read."""
    try:
        return {name: WantedAdapter(**value) for name, value in json.loads((folder / WANTED).read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise BadInput(f"{folder / WANTED} does not read as a list of adapters ({error})") from error


def write_held(folder: Path, held: Held) -> None:
    write_atomic(folder / STATE, json.dumps(asdict(held)).encode(), sync=False)


def read_held(folder: Path) -> Held:
    """Nothing is held where there is no file yet, or only half of one."""
    try:
        value = json.loads((folder / STATE).read_bytes())
        return Held(value["loaded"], {name: (digest, why) for name, (digest, why) in value["errors"].items()})
    except (OSError, ValueError, KeyError, TypeError):
        return Held()
