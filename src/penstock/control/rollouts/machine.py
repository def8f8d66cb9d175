"""What a rollout does next: (stages, policy, state, what is seen) → (state, what is told). Pure, so that every path of it can be tried.

pending → starting → running → … → starting (all) → watching → promoted; from anywhere before the end → rolling_back → rolled_back; or
stopped, when somebody else sets the traffic. What the deployment should be in each state is `wish`, a function of the state alone: a
process that takes over needs nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from penstock.control.rollouts.stages import Stage

Phase = Literal["pending", "starting", "running", "watching", "promoted", "rolling_back", "rolled_back", "stopped"]
ENDED: frozenset[str] = frozenset({"promoted", "rolled_back", "stopped"})
FAIL_AFTER_S = 300.0  # in which a stage must come to be routed


@dataclass(frozen=True, slots=True)
class Policy:
    """Of the strategy: what holds in all stages. Seconds."""

    patience_s: float
    undecided: Literal["wait", "promote", "rollback"]
    keep_warm_s: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What a condition says of the new version's requests in this stage. `says`: in words, with numbers; `evidence`: JSON values."""

    text: str
    verdict: Literal["breach", "kept", "open"]
    says: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    needed: bool = True  # whether a stage with `proof` waits for it to be shown kept


@dataclass(frozen=True, slots=True)
class Seen:
    """`confirmed`: the gateway routes as the state wishes. `broken`: why the new version cannot serve. `taken`: why the traffic is no
    longer this rollout's. `contest`: the verdict on the new version where two are compared. `order`: what a person asked for.
    """

    now: float
    confirmed: bool = False
    broken: str | None = None
    taken: str | None = None
    requests: int = 0
    findings: Sequence[Finding] = ()
    contest: Literal["better", "worse", "undecided"] | None = None
    contest_says: str = ""
    contest_over: bool = False
    order: Literal["", "pause", "abort", "promote"] = ""


@dataclass(frozen=True, slots=True)
class State:
    """JSON values. `since`: when the stage was routed (None: not yet); `entered`: when it was wished for. `told`: notes told once."""

    phase: Phase = "pending"
    stage: int = 0
    entered: float = 0.0
    since: float | None = None
    reason: str = ""
    ended_at: float | None = None
    told: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def parse(value: Mapping[str, Any]) -> State:
        known = {name: value[name] for name in State.__slots__ if name in value}
        return State(**{**known, "told": tuple(known.get("told", ()))})


@dataclass(frozen=True, slots=True)
class Told:
    """An event: what happened, and what it rests on."""

    type: str
    message: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the deployment should be: the new version's share of requests, its copies as a shadow, who is kept ready without any."""

    share: float
    shadow: float | None = None
    warm: Literal["", "old", "new"] = ""
    replicas: int | None = None  # of the new version; None: as the deployment has
    mine: bool = True  # the rollout still decides


def wish(stages: Sequence[Stage], state: State) -> Wish:
    if state.phase in ("rolling_back", "rolled_back"):
        return Wish(0.0, mine=state.phase == "rolling_back")
    if state.phase == "promoted":
        return Wish(1.0, mine=False)
    stage = stages[state.stage]
    if stage.kind == "full":
        return Wish(1.0, warm="old")
    if stage.kind == "shadow":
        return Wish(0.0, shadow=stage.share)
    if stage.kind == "ready":
        return Wish(0.0, warm="new", replicas=stage.replicas)
    return Wish(stage.share, replicas=stage.replicas)


def advance(stages: Sequence[Stage], policy: Policy, state: State, seen: Seen) -> tuple[State, Told | None]:
    """The next state, and what to tell of the way there. An ended rollout stays as it is."""
    if state.phase in ENDED:
        return state, None
    if seen.taken is not None:
        return _end(state, "stopped", seen, seen.taken)
    if state.phase == "rolling_back":
        return _end(state, "rolled_back", seen, state.reason) if seen.confirmed else (state, None)
    if seen.order == "abort":
        if state.phase == "pending":
            return _end(state, "stopped", seen, "a person called it off before it began")
        return _back(stages, state, seen, "a person asked for it", {})
    if state.phase == "pending":
        return _enter(stages, state, 0, seen, "it begins", {})
    if (breach := next((f for f in seen.findings if f.verdict == "breach"), None)) is not None:
        return _back(stages, state, seen, f"{breach.text}: {breach.says}", {"condition": breach.text, **breach.evidence})
    if state.phase == "starting":
        return _starting(stages, state, seen)
    if state.phase == "watching":
        return _watching(policy, state, seen)
    return _running(stages, policy, state, seen)


def _starting(stages: Sequence[Stage], state: State, seen: Seen) -> tuple[State, Told | None]:
    if seen.confirmed:
        full = stages[state.stage].kind == "full"
        return replace(state, phase="watching" if full else "running", since=seen.now), None
    if seen.broken is not None:
        return _back(stages, state, seen, f"the new version does not serve: {seen.broken}", {"error": seen.broken})
    if seen.now - state.entered > FAIL_AFTER_S:
        return _back(stages, state, seen, f"it was not ready within {FAIL_AFTER_S:.0f} s", {})
    return state, None


def _watching(policy: Policy, state: State, seen: Seen) -> tuple[State, Told | None]:
    assert state.since is not None
    if seen.now - state.since < policy.keep_warm_s:
        return state, None
    return _end(state, "promoted", seen, f"it kept every condition for {policy.keep_warm_s:g} s with all requests")


def _running(stages: Sequence[Stage], policy: Policy, state: State, seen: Seen) -> tuple[State, Told | None]:
    assert state.since is not None
    stage, here = stages[state.stage], seen.now - state.since
    if seen.order == "promote":
        return _enter(stages, state, len(stages) - 1, seen, "a person asked for it", _shown(seen))
    if seen.contest == "worse":
        return _back(stages, state, seen, seen.contest_says, {"contest": seen.contest_says})
    if seen.order == "pause":
        return state, None
    if here >= stage.hold_s and seen.requests >= stage.needs and _passed(stage, seen):
        return _enter(stages, state, state.stage + 1, seen, _why(stage, seen, here), _shown(seen))
    if here > max(policy.patience_s, stage.hold_s) or seen.contest_over:
        return _undecided(stages, policy, state, seen)
    return state, None


def _passed(stage: Stage, seen: Seen) -> bool:
    if stage.kind in ("compare", "bandit"):
        return seen.contest == "better"
    return not stage.proof or all(finding.verdict == "kept" or not finding.needed for finding in seen.findings)


def _why(stage: Stage, seen: Seen, here: float) -> str:
    if stage.kind in ("compare", "bandit"):
        return seen.contest_says
    kept = "; ".join(finding.says for finding in seen.findings if finding.verdict == "kept")
    count = f"{seen.requests} requests in {here:.0f} s, no condition broken" if stage.kind != "ready" else "every replica is ready"
    return f"{count}{': ' + kept if kept else ''}"


def _undecided(stages: Sequence[Stage], policy: Policy, state: State, seen: Seen) -> tuple[State, Told | None]:
    missing = [finding.says for finding in seen.findings if finding.verdict == "open" and finding.needed]
    if stages[state.stage].needs > seen.requests:
        missing.insert(0, f"{seen.requests} of {stages[state.stage].needs} requests")
    reason = f"nothing is proven after {policy.patience_s:g} s: {'; '.join(missing) or seen.contest_says or 'no request came'}"
    if policy.undecided == "promote":
        return _enter(stages, state, len(stages) - 1, seen, f"{reason}; undecided rollouts are promoted", _shown(seen))
    if policy.undecided == "rollback":
        return _back(stages, state, seen, f"{reason}; undecided rollouts go back", _shown(seen))
    note = f"undecided {state.stage}"
    if note in state.told:
        return state, None
    return replace(state, told=(*state.told, note)), Told(
        "rollout.undecided", f"{reason}; it waits for evidence, or a person", _shown(seen)
    )


def _enter(stages: Sequence[Stage], state: State, stage: int, seen: Seen, why: str, data: Mapping[str, Any]) -> tuple[State, Told | None]:
    before = f"{stages[state.stage].name} → " if state.phase != "pending" else ""
    told = Told("rollout.stage", f"{before}{stages[stage].name}: {why}", {"stage": stages[stage].name, **data})
    return replace(state, phase="starting", stage=stage, entered=seen.now, since=None, reason=why), told


def _back(stages: Sequence[Stage], state: State, seen: Seen, why: str, data: Mapping[str, Any]) -> tuple[State, Told | None]:
    at = stages[state.stage].name
    told = Told("rollout.rollback", f"back from {at}: {why}", {"stage": at, **data})
    return replace(state, phase="rolling_back", entered=seen.now, since=None, reason=why), told


def _end(state: State, phase: Phase, seen: Seen, why: str) -> tuple[State, Told | None]:
    return replace(state, phase=phase, reason=why, ended_at=seen.now), Told(f"rollout.{phase}", why, _shown(seen))


def _shown(seen: Seen) -> dict[str, Any]:
    found = {finding.text: {"verdict": finding.verdict, **finding.evidence} for finding in seen.findings}
    return {"requests": seen.requests, "conditions": found} if found or seen.requests else {}
