"""How often a rollout decides wrongly, and how soon it decides: the real machine and the real tests over simulated requests.

Beside it the rule that roll-out controllers commonly use: the average of each interval against the limit, so many failed intervals allowed.
Declared for ours: at most 5 % of good versions sent back, at most 5 % of bad ones promoted. Prints one row a case.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from penstock.control.outcomes import Outcome
from penstock.control.rollouts.conditions import conditions_of
from penstock.control.rollouts.evidence import Batch, Evidence, Trial, errors_of, findings, gathered
from penstock.control.rollouts.machine import Policy, Seen, State, advance, wish
from penstock.control.rollouts.stages import stages_of
from penstock.spec.strategy import Strategy

WHEN = ("error_rate > 2%", "latency.p95_ms > 50", "live.accuracy < 0.85")
STRATEGY = Strategy(canary=(0.05, 0.25, 1.0), hold=120.0, keep_warm=600.0, patience=6 * 3600.0)
LONGEST_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class Case:
    """Of the new version: shares of failing and slow answers, of right labels, of requests that are labelled; `breaks_at` a share."""

    name: str
    good: bool
    failing: float = 0.002
    slow: float = 0.01
    right: float = 0.92
    labelled: float = 0.3
    breaks_at: float = 0.0


CASES = (
    Case("healthy", True),
    Case("healthy, few labels", True, labelled=0.05),
    Case("healthy, errors at half the limit", True, failing=0.01),
    Case("accuracy near its limit", True, right=0.88),
    Case("errors 4 %", False, failing=0.04),
    Case("errors 20 %", False, failing=0.2),
    Case("slow: 15 % over", False, slow=0.15),
    Case("accuracy 0.78", False, right=0.78),
    Case("breaks under load (from 25 %)", False, failing=0.1, breaks_at=0.25),
    Case("breaks under all load", False, failing=0.1, breaks_at=1.0),
)


@dataclass(frozen=True, slots=True)
class Run:
    """How it ended, after how many seconds and requests to the new version."""

    phase: str
    seconds: float
    requests: int


def requests_of(case: Case, share: float, count: int, chance: random.Random) -> tuple[list[dict[str, object]], list[Outcome]]:
    worse = share >= case.breaks_at
    rows: list[dict[str, object]] = []
    rated = []
    for _ in range(count):
        failing = case.failing if worse else 0.002
        status = 503 if chance.random() < failing else 200
        total = 80.0 if chance.random() < case.slow else 20.0
        rows.append({"status": status, "total_ms": total, "first_ms": total, "queue_ms": 0.1, "attempts": 1, "flags": ()})
        if chance.random() < case.labelled:
            rated.append(Outcome(0.0, "2", f"{chance.random()}", float(chance.random() < case.right)))
    return rows, rated


def ours(case: Case, rate: float, seed: int, step_s: float) -> Run:
    chance = random.Random(seed)
    stages, conditions = stages_of(STRATEGY, 2), conditions_of(WHEN)
    policy = Policy(STRATEGY.patience, "wait", STRATEGY.keep_warm)
    errors = errors_of(STRATEGY.confidence, len(conditions), len(stages))
    state, evidence, now, seen_requests = State(), None, 0.0, 0
    while now < LONGEST_S:
        share = wish(stages, state).share if state.phase != "pending" else 0.0
        seen = Seen(now, confirmed=True)
        if state.phase in ("running", "watching") and state.since is not None:
            if evidence is None or evidence.stage != state.stage:
                evidence = Evidence(state.stage, now, now)
            rows, rated = requests_of(case, share, _poisson(rate * share * step_s, chance), chance)
            seen_requests += len(rows)
            evidence = gathered(evidence, Batch(rows, rows, rated), conditions, Trial("1", "2", max(min(share, 0.99), 0.01)))
            seen = Seen(now, confirmed=True, requests=evidence.requests, findings=findings(evidence, conditions, errors))
        state, _ = advance(stages, policy, state, seen)
        if state.phase in ("promoted", "rolled_back"):
            return Run(state.phase, now, seen_requests)
        now += step_s
    return Run("undecided", now, seen_requests)


def averages(case: Case, rate: float, seed: int, _: float) -> Run:
    """Interval averages against the limits, as controllers are commonly set up: 30 s intervals, the second failed one sends back."""
    chance, now, failed, seen_requests = random.Random(seed), 0.0, 0, 0
    for share, hold_s in ((0.05, 120.0), (0.25, 120.0), (1.0, 600.0)):
        for _ in range(int(hold_s / 30)):
            now += 30
            rows, rated = requests_of(case, share, _poisson(rate * share * 30, chance), chance)
            seen_requests += len(rows)
            bad = rows and statistics.mean(r["status"] >= 500 for r in rows) > 0.02  # type: ignore[operator]  # a number
            slow = rows and statistics.mean(r["total_ms"] > 50 for r in rows) > 0.05  # type: ignore[operator]  # a number
            wrong = rated and statistics.mean(o.value for o in rated) < 0.85
            failed += bool(bad) or bool(slow) or bool(wrong)
            if failed >= 2:
                return Run("rolled_back", now, seen_requests)
    return Run("promoted", now, seen_requests)


def _poisson(mean: float, chance: random.Random) -> int:
    """By arrivals for small means, by a rounded normal for large ones."""
    if mean > 50:
        return max(0, round(chance.gauss(mean, mean**0.5)))
    count, left = 0, chance.expovariate(1.0)
    while left < mean:
        count, left = count + 1, left + chance.expovariate(1.0)
    return count


def table(name: str, decide: Callable[[Case, float, int, float], Run], runs: int, rate: float) -> bool:
    print(f"\n{name}, {rate:g} requests/s, {runs} runs a case")
    print(f"{'new version':36} {'promoted':>9} {'back':>7} {'open':>7} {'wrong':>7} {'median time':>12} {'its requests':>13}")
    fine = True
    for case in CASES:
        found = [decide(case, rate, seed, 10.0) for seed in range(runs)]
        share = {phase: sum(r.phase == phase for r in found) / runs for phase in ("promoted", "rolled_back", "undecided")}
        wrong = share["rolled_back"] if case.good else share["promoted"]
        fine &= wrong <= 0.05 + 2 * (0.05 * 0.95 / runs) ** 0.5
        took, asked = statistics.median(r.seconds for r in found), statistics.median(r.requests for r in found)
        print(
            f"{case.name:36} {share['promoted']:9.1%} {share['rolled_back']:7.1%} {share['undecided']:7.1%} {wrong:7.1%} "
            f"{took / 60:8.1f} min {asked:13,.0f}"
        )
    return fine


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rates", type=float, nargs="+", default=[5.0, 50.0])
    options = parser.parse_args()
    began, fine = time.monotonic(), True
    for rate in options.rates:
        fine &= table("penstock", ours, options.runs, rate)
        table("interval averages", averages, options.runs, rate)
    print(f"\ndeclared: at most 5 % wrong in every case: {'kept' if fine else 'NOT KEPT'} ({time.monotonic() - began:.0f} s)")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
