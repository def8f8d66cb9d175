"""Traffic for tests of control: records and feedback written as the gateway would, by the shares in its snapshot."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from penstock.serving.feedback import Feedback
from penstock.serving.records import Record
from penstock.testing.control import Bench
from penstock.testing.deployments import route

ANSWERED = "a"  # the label of every answer


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Of one version: shares of requests that fail, of labels that are right, and how long an answer takes."""

    failing: float = 0.0
    right: float = 1.0
    total_ms: float = 20.0
    rated: float = 1.0  # share of requests that feedback comes for


GOOD = Behaviour()


def serve(bench: Bench, count: int, by_version: Mapping[str, Behaviour], *, seed: int = 1) -> int:
    """Writes `count` requests to deployment `m`, each of its own session, with copies to the shadow; returns how many failed."""
    chance, found, folder = random.Random(seed), route(bench), bench.home.gateway
    shares = {v.version: v.weight for v in found.versions if v.weight > 0}
    lines, said, failed = [], [], 0
    for n in range(count):
        at, ident = bench.clock.now() + n * 1e-5, f"{seed}-{n}-{bench.clock.now()}"
        version = chance.choices(list(shares), list(shares.values()))[0]
        record = _record(chance, at, ident, version, by_version.get(version, GOOD), found.experiment)
        failed += record.status >= 500
        lines.append(record)
        if found.shadow is not None and chance.random() < found.shadow.sample:
            copied = found.shadow.version
            copy = _record(chance, at, f"{ident}-copy", copied, by_version.get(copied, GOOD), found.experiment)
            lines.append(copy._replace(shadow_of=ident, session=ident))
        behaviour = by_version.get(version, GOOD)
        if record.status == 200 and chance.random() < behaviour.rated:
            right = chance.random() < behaviour.right
            said.append(Feedback(at + 0.2, ident, f"fb-{ident}", "key-1", 1.0 if right else -1.0, ANSWERED if right else "other"))
    hour = time.strftime("%Y%m%d-%H", time.gmtime(bench.clock.now()))
    _append(folder / "records" / f"{hour}-1-1.jsonl", [line._replace(label=ANSWERED)._asdict() for line in lines])
    _append(folder / "feedback" / f"{hour}-1.jsonl", [asdict(one) for one in said])
    return failed


def _record(chance: random.Random, at: float, ident: str, version: str, behaviour: Behaviour, experiment: str | None) -> Record:
    status = 503 if chance.random() < behaviour.failing else 200
    took = behaviour.total_ms * chance.uniform(0.8, 1.2)
    return Record(
        at,
        ident,
        "m",
        version,
        f"replica-of-{version}",
        "/v1/classify",
        "key-1",
        status,
        bytes_in=10,
        bytes_out=10,
        prompt_tokens=3,
        completion_tokens=0,
        queue_ms=0.1,
        first_ms=took,
        total_ms=took,
        attempts=1,
        session=ident,
        experiment=experiment,
    )


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
