"""How many replicas are wanted: a pure function of what was seen, what is set, and the time.

Sources: the stable and the panic window of Knative's autoscaler (knative.dev/docs/serving/autoscaling), and the stabilization window of
Kubernetes' HorizontalPodAutoscaler for going down. Formulas in docs/explanation/scaling.md.
Not covered: which version a replica serves (see live.py), and starting or ending it (control/deployments.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.control.scaling.schedule import Bounds, bounds
from penstock.control.scaling.windows import Average, Bucket, Peak, average, growth, peaks, put
from penstock.spec.deploy import Scale

STABLE_S = (4.0, 60.0)  # the stable window is `down_after` within these
PANIC_SHARE, PANIC_LEAST_S = 0.1, 1.0  # of the stable window
PANIC_AT = 2.0  # times what the ready replicas are meant to carry
LOOK_AHEAD_S = 120.0  # a trend is not drawn out further than this, however long a start takes


@dataclass(frozen=True, slots=True)
class Observation:
    """Of one deployment. `waiting` counts requests held for a first replica too; `last_request`: seconds since the epoch, 0 for none."""

    in_flight: float
    waiting: float
    rate: float
    last_request: float
    ready: int


@dataclass(frozen=True, slots=True)
class Rules:
    """`cold_start_s`: from the wish for a replica to its first answer, as measured. `expected`: replicas that this time of day
    needed on the last days, None where unknown."""

    scale: Scale
    cold_start_s: float = 0.0
    expected: int | None = None

    @property
    def stable_s(self) -> float:
        return min(max(self.scale.down_after, STABLE_S[0]), STABLE_S[1])

    @property
    def panic_s(self) -> float:
        return max(self.stable_s * PANIC_SHARE, PANIC_LEAST_S)

    @property
    def down_after_s(self) -> float:
        """A replica that takes longer to start than `down_after` is kept that much longer: else a short lull costs a start."""
        return max(self.scale.down_after, self.cold_start_s)


@dataclass(frozen=True, slots=True)
class State:
    """What one decision hands to the next. `active_at`: when the last request was seen, or the deployment first.

    Times are seconds since the epoch.
    """

    wanted: int | None = None
    buckets: tuple[Bucket, ...] = ()
    peaks: tuple[Peak, ...] = ()
    panic_until: float = 0.0
    active_at: float | None = None

    def as_json(self) -> dict[str, Any]:
        rows = [[round(b.at, 2), b.count, *(round(v, 3) for v in (b.demand, b.waiting, b.rate))] for b in self.buckets]
        told = {"wanted": self.wanted, "buckets": rows, "peaks": [[round(at, 2), value] for at, value in self.peaks]}
        return {**told, "panic_until": round(self.panic_until, 2), "active_at": self.active_at}

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> State:
        """What cannot be read counts as nothing known."""
        try:
            rows = tuple(Bucket(*row) for row in value.get("buckets", ()))
            known = tuple((float(at), int(number)) for at, number in value.get("peaks", ()))
            return cls(value.get("wanted"), rows, known, float(value.get("panic_until", 0.0)), value.get("active_at"))
        except (TypeError, ValueError):
            return cls()


@dataclass(frozen=True, slots=True)
class Decision:
    """`wishes`: replicas that each rule alone asks for, by its name; the largest within the bounds is `wanted`."""

    state: State
    wanted: int
    reason: str
    wishes: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"wanted": self.wanted, "reason": self.reason, "wishes": dict(self.wishes)}


def decide(state: State, seen: Observation | None, rules: Rules, now: float) -> Decision:
    """The next number of replicas and the reason in words. `seen` None: the load is not known, and the number stays within its bounds."""
    limits = bounds(rules.scale, now)
    if seen is None:
        return _keep(state, limits, rules, now)
    demand = seen.in_flight + seen.waiting
    buckets = put(state.buckets, now, Average(demand, seen.waiting, seen.rate), rules.stable_s)
    active_at = _active_at(state, seen, now)
    state = replace(state, buckets=buckets, active_at=active_at)
    wishes, reasons = _wishes(state, seen, rules, now)
    panic_until = _panic_until(state, wishes, seen.ready, rules, now)
    if now >= panic_until:
        wishes.pop("burst", None)
    name = max(wishes, key=lambda rule: wishes[rule])
    known = peaks(state.peaks, now, wishes[name], rules.down_after_s)
    before, wanted, reason = state.wanted, known[0][1], reasons[name]
    if wanted > wishes[name]:
        reason = f"low load for less than {rules.down_after_s:.0f} s (now {reason})"
    if wanted == 0 and demand == 0 and now - active_at < rules.scale.idle:
        wanted, reason = 1, f"a request less than {rules.scale.idle:.0f} s ago"
    elif wanted == 0 and limits.least == 0:
        reason = f"no request for {now - active_at:.0f} s"
    wanted, reason = _within(wanted, reason, limits)
    if seen.waiting and before == 0 and wanted:
        reason = f"{seen.waiting:.0f} held for a first replica; {reason}"
    state = replace(state, wanted=wanted, peaks=known, panic_until=panic_until)
    return Decision(state, wanted, reason, wishes)


def _wishes(state: State, seen: Observation, rules: Rules, now: float) -> tuple[dict[str, int], dict[str, str]]:
    """Replicas that each rule asks for, and why."""
    scale, stable = rules.scale, average(state.buckets, now, rules.stable_s)
    burst = average(state.buckets, now, rules.panic_s)
    target = scale.target_concurrency
    wishes = {"concurrency": _ceil(stable.demand / target), "burst": _ceil(burst.demand / target)}
    reasons = {
        "concurrency": f"{stable.demand:.1f} requests at once over {rules.stable_s:.0f} s, {target} a replica",
        "burst": f"{burst.demand:.1f} requests at once over the last {rules.panic_s:.0f} s, {target} a replica",
    }
    if seen.waiting and seen.ready == 0:
        wishes["held"], reasons["held"] = 1, f"{seen.waiting:.0f} requests wait for a first replica"
    slope = growth(state.buckets)
    ahead = min(rules.cold_start_s, LOOK_AHEAD_S)
    if slope > 0 and ahead > 0:
        wishes["trend"] = _ceil((burst.demand + slope * ahead) / target)
        reasons["trend"] = f"load grows by {slope * 60:.1f} requests at once a minute, and a start takes {ahead:.0f} s"
    if scale.target_rate is not None:
        wishes["rate"] = _ceil(stable.rate / scale.target_rate)
        reasons["rate"] = f"{stable.rate:.2f} requests/s over {rules.stable_s:.0f} s, {scale.target_rate:g} a replica"
    if scale.target_queue is not None and burst.waiting >= scale.target_queue:
        # From what is ready, not from what was wanted: else replicas that start would ask for more while they do.
        wishes["queue"] = seen.ready + int(burst.waiting / scale.target_queue)
        reasons["queue"] = f"{burst.waiting:.1f} waiting over the last {rules.panic_s:.0f} s, {scale.target_queue} ask for one more"
    if scale.predict and rules.expected is not None:
        wishes["predicted"], reasons["predicted"] = rules.expected, "what this time of day needed on the last days"
    return wishes, reasons


def _panic_until(state: State, wishes: Mapping[str, int], ready: int, rules: Rules, now: float) -> float:
    """Panic begins where the short window asks for PANIC_AT times what is ready, and ends a stable window after it last did."""
    if wishes["burst"] >= PANIC_AT * max(ready, 1):
        return now + rules.stable_s
    return min(state.panic_until, now + rules.stable_s)  # a clock that was set back must not prolong it


def _active_at(state: State, seen: Observation, now: float) -> float:
    if seen.in_flight or seen.waiting:
        return now
    known = [at for at in (state.active_at, seen.last_request) if at]
    return min(max(known), now) if known else now


def _keep(state: State, limits: Bounds, rules: Rules, now: float) -> Decision:
    present = state.wanted if state.wanted is not None else max(limits.least, 1)
    wishes = {"present": present}
    if rules.scale.predict and rules.expected is not None:
        wishes["predicted"] = rules.expected
    wanted, reason = _within(max(wishes.values()), "the gateway does not say how much it is asked: the number stays", limits)
    # Idleness is counted from when load is known again: nobody saw the requests in between.
    return Decision(replace(state, wanted=wanted, active_at=now), wanted, reason, wishes)


def _within(wanted: int, reason: str, limits: Bounds) -> tuple[int, str]:
    by = f" ({limits.why})" if limits.why else ""
    if wanted < limits.least:
        return limits.least, f"at least {limits.least}{by}; {reason}"
    if wanted > limits.most:
        return limits.most, f"at most {limits.most}{by}; wanted {wanted}: {reason}"
    return wanted, reason


def _ceil(value: float) -> int:
    return math.ceil(value - 1e-9)
