"""Batches by a vendor's own service: it starts containers for a file of requests, and ends them when the last one is answered.

What is asked are *orders* (serving/bulk.py), a line each, in shards below `asked`; answers come back below `answered`. Whose rows they are,
what is asked again and what becomes a file of answers is settled above, the same for every vendor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from penstock.core.errors import NotFound
from penstock.platforms.quotes import Quote
from penstock.platforms.remote.driver import Sight
from penstock.platforms.remote.machines import Machine

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

WITHOUT_VENDOR = "Leave --vendor out: then a replica of ours answers the rows, in a job there."


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """Everything that one round of a batch is asked with. `name` is used once, ever; it follows from what is asked.

    `asked`, `answered`: folders of notes in the artifact store; `shards`: names below `asked`. `longest_bytes`: of a line.
    `concurrency`: requests at once of an instance. `limits`: of the replica's spec, for bodies so large.
    """

    name: str
    model: str
    bundle: str  # digest
    asked: str
    answered: str
    shards: Sequence[str]
    machine: str
    instances: int
    concurrency: int
    rows_per_request: int
    longest_bytes: int
    limits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one row, by its number from 0. `body`: JSON as the replica gave it. `status` 0: no replica survived it, and `body` says how."""

    row: int
    status: int
    body: str


class Batches(Protocol):
    """Raises what core/errors.py names, as a Driver does: PlatformDenied, PlatformFull, PlatformAway, BadInput.

    `service`: as people call it. `grouped`: a line of a shard is a whole request (`{"instances": […]}`); else the service makes requests of
    lines itself. `most_bytes`: that a line may have.
    """

    service: str
    grouped: bool
    most_bytes: int

    def machine(self, wanted: str | None, instances: int) -> Machine:
        """The named type, or the section's, or the cheapest that serves. Raises PlatformLacks."""
        ...

    def quote(self, machine: Machine, instances: int) -> Quote:
        """What it costs and what is called. Asks nobody."""
        ...

    def submit(self, order: BatchOrder) -> None:
        """Starts it. One of that name that is there already is this one: the answer to an earlier call was lost."""
        ...

    def observe(self, order: BatchOrder) -> Sight | None:
        """None: there is none of that name, or not yet."""
        ...

    def cancel(self, order: BatchOrder) -> None:
        """Idempotent; nothing there is no error."""
        ...

    def collect(self, order: BatchOrder, known: Collection[str]) -> Iterator[tuple[str, Iterator[Answer]]]:
        """(name, answers) of every file of answers that is there and not `known`."""
        ...

    def tail(self, order: BatchOrder) -> Sequence[str]:
        """The last lines that the vendor kept of it."""
        ...

    def remove(self, order: BatchOrder) -> None:
        """Takes away what was made for it, but for the record of what was paid. Idempotent; it has ended, or never began."""
        ...


def line_of(row: int, path: str, body: bytes) -> bytes:
    """One order. Rows are told as text, like bodies: a number may come back as another (1 as 1.0)."""
    return orjson.dumps({"row": str(row), "path": path, "body": body.decode("utf-8", "replace")})


def grouped(orders: Sequence[bytes]) -> bytes:
    """The request of several orders."""
    return b'{"instances":[' + b",".join(orders) + b"]}"


def answer_of(prediction: Mapping[str, Any]) -> Answer:
    """Raises KeyError, TypeError, ValueError for what is no answer to an order."""
    return Answer(int(prediction["row"]), int(prediction["status"]), str(prediction["body"]))


def published(artifacts: Artifacts, order: BatchOrder) -> str:
    """The note that an order lies in, for commands that answer a share of it."""
    name = f"{order.asked.rpartition('/')[0]}/order.json"
    artifacts.put_note(name, orjson.dumps(order))
    return name


def fetched(artifacts: Artifacts, name: str) -> BatchOrder:
    """Raises NotFound."""
    data = artifacts.get_note(name)
    if data is None:
        raise NotFound(f"there is no order {name} in {artifacts.url}")
    return BatchOrder(**orjson.loads(data))


def tell(artifacts: Artifacts, order: BatchOrder, part: int, why: str) -> None:
    """Why a share was not answered."""
    artifacts.put_note(f"{order.asked.rpartition('/')[0]}/failed/{part}", why.encode())


def told(artifacts: Artifacts, order: BatchOrder) -> list[str]:
    """Lines of the newest reason that a share left."""
    names = artifacts.notes(f"{order.asked.rpartition('/')[0]}/failed")
    return (artifacts.get_note(names[-1]) or b"").decode("utf-8", "replace").splitlines() if names else []
