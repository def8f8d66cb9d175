"""What the watcher has to remember, in one step: how far it has read, and the states of all measures at exactly that point.

`watch.state` names the state file of each deployment and is replaced last, so a process killed at any moment finds the old whole or the
new whole. Every file begins with the digest of what follows; one that is damaged is refused, never half believed.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from penstock.core.files import write_atomic

VERSION = 1
_DIGEST = 32


@dataclass(frozen=True, slots=True)
class Kept:
    """Of one deployment. `resource`: the id of its row, so that a new one of the same name begins anew. `states`: of measures, by name."""

    resource: str
    states: Mapping[str, bytes]


@dataclass(slots=True)
class Saved:
    """The files under `folder`. `position`: JSON values that say how far was read. `problems`: what could not be read, in words."""

    folder: Path
    position: dict[str, Any] = field(default_factory=dict)
    deployments: dict[str, Kept] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _written: dict[str, tuple[Kept, str]] = field(default_factory=dict)  # by deployment: what lies in which file
    _number: int = 0

    @classmethod
    def read(cls, folder: Path) -> Saved:
        found = cls(folder)
        try:
            value = orjson.loads(_checked(folder / "watch.state"))
            if value["version"] != VERSION:
                raise ValueError(f"its version is {value['version']}, not {VERSION}")
            found._number, found.position = int(value["number"]), dict(value["position"])
            named = dict(value["deployments"])
        except FileNotFoundError:
            return found
        except (ValueError, KeyError, TypeError) as error:
            found.problems.append(f"{folder / 'watch.state'} cannot be read ({error}); everything is measured anew")
            found.position = {}
            return found
        for name, (resource, file) in named.items():
            try:
                found.deployments[name] = Kept(resource, _parted(_checked(folder / name / file)))
                found._written[name] = (found.deployments[name], file)
            except (OSError, ValueError, KeyError, TypeError) as error:
                found.problems.append(f"{folder / name / file} cannot be read ({error}); {name} is measured anew")
        return found

    def write(self, position: Mapping[str, Any], deployments: Mapping[str, Kept]) -> None:
        """All of it or nothing. Raises DiskFull, ReadOnly."""
        number, written = self._number + 1, dict[str, tuple[Kept, str]]()
        for name, kept in deployments.items():
            before = self._written.get(name)
            if before is not None and before[0] == kept:
                written[name] = before
                continue
            file = f"state-{number}"
            write_atomic(self.folder / name / file, _sealed(_joined(kept.states)))
            written[name] = (kept, file)
        named = {name: (kept.resource, file) for name, (kept, file) in written.items()}
        value = {"version": VERSION, "number": number, "position": position, "deployments": named}
        write_atomic(self.folder / "watch.state", _sealed(orjson.dumps(value)))
        self._number, self._written = number, written
        self.position, self.deployments = dict(position), dict(deployments)
        self._sweep()

    def _sweep(self) -> None:
        """Removes states that nothing names."""
        for path in self.folder.glob("*/state-*"):
            if self._written.get(path.parent.name, (None, ""))[1] != path.name:
                with contextlib.suppress(OSError):
                    path.unlink()


def _sealed(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest() + data


def _checked(path: Path) -> bytes:
    """Raises FileNotFoundError, ValueError."""
    data = path.read_bytes()
    if hashlib.blake2b(data[_DIGEST:], digest_size=_DIGEST).digest() != data[:_DIGEST]:
        raise ValueError("it is damaged")
    return data[_DIGEST:]


def _joined(states: Mapping[str, bytes]) -> bytes:
    head = orjson.dumps({name: len(state) for name, state in states.items()})
    return b"".join([len(head).to_bytes(4, "little"), head, *states.values()])


def _parted(data: bytes) -> dict[str, bytes]:
    size = int.from_bytes(data[:4], "little")
    at, found = 4 + size, {}
    for name, length in orjson.loads(data[4:at]).items():
        found[name] = data[at : at + length]
        at += length
    return found
