"""Vertical advice: what the numbers of running replicas say about threads, batches, memory and replicas. Pure: facts in, advice out.

Each rule fires on what was measured and says what it expects; none is carried out. Replicas of one machine share its cores and memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.spec.deploy import Scale

BUSY, IDLE = 0.9, 0.3  # of the cores that are meant
FULL_BATCH = 0.75  # of the largest batch, on average, means that a larger one would be filled
MEMORY_SHARE = 0.9  # of what the machine has free that replicas may take
CLEAR = 1.1  # a trial must be this much faster to be advised
AS_GOOD = 0.95  # a trial with fewer threads may be this much slower and still be preferred


@dataclass(frozen=True, slots=True)
class ReplicaFacts:
    """Over the time it was watched. `cores`: CPU seconds a second; None where the platform does not say."""

    id: str
    memory_bytes: int
    cores: float | None = None
    requests_s: float = 0.0
    batch: float | None = None  # mean size of the batches that ran
    waiting: float = 0.0


@dataclass(frozen=True, slots=True)
class Tried:
    """One setting of the engine, run for some seconds on this machine with `at_once` requests at once."""

    settings: Mapping[str, Any]
    at_once: int
    requests_s: float
    p50_ms: float
    p95_ms: float
    cores: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Facts:
    """`settings`: the engine's, defaults filled in. `free_bytes`: of the machine, beside what the replicas have.

    `starts`: starts from zero in the last day.
    """

    cores: int
    free_bytes: int
    settings: Mapping[str, Any]
    scale: Scale
    replicas: Sequence[ReplicaFacts]
    waiting: float = 0.0
    cold_start_s: float = 0.0
    starts: float = 0.0
    tried: Sequence[Tried] = field(default=())


@dataclass(frozen=True, slots=True)
class Advice:
    """`setting` is a key of the file below `deploy`; `now` and `better` its values."""

    setting: str
    now: Any
    better: Any
    reason: str
    effect: str


def advise(facts: Facts) -> list[Advice]:
    """What to change, most telling first; empty when the numbers ask for nothing."""
    measured = list(_by_trial(facts))
    told = {advice.setting for advice in measured}
    rest = [advice for rule in (_memory, _threads, _batch, _replicas, _times) for advice in rule(facts) if advice.setting not in told]
    return measured + rest


def _by_trial(facts: Facts) -> Iterator[Advice]:
    """The fastest setting tried; among those about as fast, the one that needs the fewest threads, then the least memory."""
    present = next((t for t in facts.tried if all(facts.settings.get(k) == v for k, v in t.settings.items())), None)
    if present is None or len(facts.tried) < 2:
        return
    fastest = max(t.requests_s for t in facts.tried)
    good = [t for t in facts.tried if t.requests_s >= AS_GOOD * fastest]
    best = min(good, key=lambda t: (t.settings.get("threads") or facts.cores, t.memory_bytes))
    faster = best.requests_s / max(present.requests_s, 1e-9)
    thriftier = (best.settings.get("threads") or facts.cores) < (present.settings.get("threads") or facts.cores)
    if faster < CLEAR and not (thriftier and faster >= AS_GOOD):
        return
    for key, value in best.settings.items():
        if value != facts.settings.get(key):
            reason = f"tried with {best.at_once} at once: {_figures(best)}; as it is: {_figures(present)}"
            effect = f"{faster:.2f} × the requests/s"
            yield Advice(f"engine.{key}", facts.settings.get(key), value, reason, effect)


def _memory(facts: Facts) -> Iterator[Advice]:
    if not facts.replicas:
        return
    each = max(replica.memory_bytes for replica in facts.replicas)
    fits = len(facts.replicas) + int(MEMORY_SHARE * facts.free_bytes // max(each, 1))
    if facts.scale.most > fits:
        reason = f"a replica takes {_mib(each)}, and {_mib(facts.free_bytes)} are free beside the {len(facts.replicas)} that run"
        yield Advice("scale.max", facts.scale.most, max(fits, 1), reason, "no replica is started that the machine has no memory for")


def _threads(facts: Facts) -> Iterator[Advice]:
    count = max(len(facts.replicas), facts.scale.min, 1)
    if "threads" not in facts.settings or count < 2:
        return
    each = int(facts.settings["threads"] or facts.cores)
    fair = max(1, facts.cores // count)
    if each * count > facts.cores and fair < each:
        reason = f"{count} replicas of {each} threads share {facts.cores} cores"
        effect = "about the same requests/s with steadier latency: threads no longer wait for each other's cores"
        yield Advice("engine.threads", facts.settings["threads"], fair, reason, effect)


def _batch(facts: Facts) -> Iterator[Advice]:
    key = next((name for name in ("max_batch", "max_sequences") if name in facts.settings), None)
    batches = [replica.batch for replica in facts.replicas if replica.batch is not None]
    if key is None or not batches:
        return
    largest, mean = int(facts.settings[key]), sum(batches) / len(batches)
    queued = sum(replica.waiting for replica in facts.replicas) > 0
    if mean >= FULL_BATCH * largest and queued:
        reason = f"batches have {mean:.1f} of at most {largest} on average, and requests wait inside the engine"
        effect = "more requests/s under load; each takes a little longer. --measure tries it"
        yield Advice(f"engine.{key}", largest, largest * 2, reason, effect)


def _replicas(facts: Facts) -> Iterator[Advice]:
    used = [replica.cores for replica in facts.replicas if replica.cores is not None]
    if not used or len(used) < len(facts.replicas):
        return
    total, scale, count = sum(used), facts.scale, len(facts.replicas)
    if facts.waiting > 0 and count >= scale.most and total < BUSY * facts.cores:
        reason = f"{facts.waiting:.0f} requests wait, all {count} replicas run, and they use {total:.1f} of {facts.cores} cores"
        yield Advice("scale.max", scale.most, scale.most + 1, reason, f"up to {count + 1}/{count} of the requests/s, as cores are free")
    elif facts.waiting > 0 and total >= BUSY * facts.cores:
        reason = f"{facts.waiting:.0f} requests wait, and the replicas use {total:.1f} of {facts.cores} cores"
        effect = "more replicas on this machine would share the same cores: a smaller or quantised model, or another machine, helps"
        yield Advice("platform", f"{facts.cores} cores", "more cores", reason, effect)
    if scale.min > 1 and not facts.waiting and max(used) < IDLE:
        needed = max(1, -int(-total // (BUSY - IDLE)))
        if needed < scale.min:
            reason = f"{count} replicas use {total:.2f} cores together"
            saved = sum(replica.memory_bytes for replica in facts.replicas) * (scale.min - needed) // count
            yield Advice("scale.min", scale.min, needed, reason, f"{_mib(saved)} of memory back; load brings them again")


def _times(facts: Facts) -> Iterator[Advice]:
    scale, cold = facts.scale, facts.cold_start_s
    if cold > 0 and scale.sleeps and facts.starts > 24 and scale.idle < 20 * cold:
        reason = f"{facts.starts:.0f} cold starts of {cold:.1f} s in the last day"
        yield Advice("scale.idle", f"{scale.idle:g}s", f"{max(20 * cold, 2 * scale.idle):.0f}s", reason, "fewer requests wait for a start")
    if cold > scale.down_after and scale.most > max(scale.min, 1):
        reason = f"a start takes {cold:.1f} s, longer than down_after; the policy waits that long already"
        yield Advice("scale.down_after", f"{scale.down_after:g}s", f"{cold:.0f}s", reason, "none: the file then says what happens")


def _figures(one: Tried) -> str:
    return f"{one.requests_s:.1f} requests/s, p95 {one.p95_ms:.0f} ms, {one.cores:.1f} cores"


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"
