"""Strategies that compare: the verdict on the new version beside the old one, and for a bandit the share that it has earned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from penstock.control.contest import more, race_of
from penstock.control.outcomes import Outcome, Span, measured, rewarded
from penstock.control.recent import Recent
from penstock.control.rollouts.evidence import Batch, Trial
from penstock.monitoring.sequential import read
from penstock.monitoring.thompson import Arm, best_probabilities, moves, shares
from penstock.store.resources import Resource

Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True, slots=True)
class Contest:
    """`state`: JSON values, kept in the row. `over`: as many requests were seen as were allowed."""

    state: dict[str, Any]
    verdict: Verdict
    says: str
    over: bool
    arms: tuple[Arm, Arm]  # old, new


def contest_of(
    known: Mapping[str, Any] | None,
    batch: Batch,
    rollout: Resource,
    trial: Trial,
    at: tuple[int, Span],
    recent: Recent,
) -> Contest:
    """After one more batch. `at`: number of the stage, and the span of the batch."""
    (stage, span), strategy = at, rollout.spec["strategy"]
    wish = strategy.get("compare") or strategy.get("bandit") or {}
    metric = wish.get("metric", "reward")
    outcomes = rewarded(recent, span) if metric == "reward" else measured(list(batch.rows), metric)
    contest = more(known, outcomes, (trial.old, trial.new), trial.share)
    arms = tuple(_arm(known, name, version, outcomes) for name, version in (("old", trial.old), ("new", trial.new)))
    requests = int((known or {}).get("requests", 0)) + len(batch.rows)
    reading = read(race_of(contest), float(strategy.get("confidence", 0.95)))
    state = {**(known or {}), **contest, "stage": stage, "requests": requests, "old": arms[0].as_json(), "new": arms[1].as_json()}
    interval = f"difference {reading.low:+.3f} to {reading.high:+.3f}"
    says = f"{metric} {reading.b_mean:.3f} against {reading.a_mean:.3f}, {interval}: {reading.verdict}"
    limit = wish.get("stop_after")
    return Contest(state, reading.verdict, says, limit is not None and requests >= limit, (arms[0], arms[1]))


def shift(contest: Contest, rollout: Resource, present: float, now: float) -> float:
    """The new version's share of requests by what it has earned, looked at `every` so often; `present` where that changes little."""
    wish, state = rollout.spec["strategy"]["bandit"], contest.state
    if now < state.get("moved_at", 0.0) + float(wish.get("every", 60.0)):
        return present
    state["moved_at"] = now
    kind = "normal" if wish.get("metric") == "latency" else "beta"
    wanted = shares(best_probabilities(list(contest.arms), "normal" if kind == "normal" else "beta"), float(wish.get("explore", 0.05)))
    return wanted[1] if moves([1 - present, present], wanted) else present


def _arm(known: Mapping[str, Any] | None, name: str, version: str, outcomes: list[Outcome]) -> Arm:
    return Arm.parse((known or {}).get(name)).seen(o.value for o in outcomes if o.version == version)
