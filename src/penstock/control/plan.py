"""What a run would do: each step cached or not, why not, and how long it took before. Nothing is run or written."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from penstock.control.graph import Binding, Graph, Node
from penstock.control.keys import differences, key_parts, step_key

if TYPE_CHECKING:
    from penstock.platforms.quotes import Quote
    from penstock.store.builds import Build
    from penstock.store.store import Store


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """`key` is known once every input is; `why` says what makes a step run; `estimate_s` is the median of its past, if any."""

    name: str
    stage: str
    action: Literal["cached", "run"]
    why: tuple[str, ...]
    key: str | None
    estimate_s: float | None
    needs: tuple[str, ...]
    outputs: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1  # on all its nodes together


@dataclass(frozen=True, slots=True)
class Plan:
    pipeline: str
    steps: tuple[PlannedStep, ...]
    gates: tuple[str, ...]
    deploy: str | None
    platform: str = "laptop"
    quotes: Mapping[str, Quote] = field(default_factory=dict)
    adapters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # name → digest, from
    serving: tuple[str, ...] = ()  # what the deployment would ask for of the platform

    @property
    def estimate_s(self) -> float | None:
        """Seconds of the steps that would run, one after another; None when one of them never ran before."""
        parts = [s.estimate_s for s in self.steps if s.action == "run"]
        return None if any(p is None for p in parts) else sum(p for p in parts if p is not None)

    @property
    def estimate_usd(self) -> float | None:
        """Of the steps that would run; None when the time or the price of one of them is not known."""
        parts = [(s.estimate_s, quote.usd_per_h) for s in self.steps if s.action == "run" and (quote := self.quotes.get(s.name))]
        if any(usd is None or (s is None and usd) for s, usd in parts):
            return None
        return sum((s or 0.0) * (usd or 0.0) / 3600 for s, usd in parts)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "estimate_s": self.estimate_s, "estimate_usd": self.estimate_usd}


def make_plan(pipeline: str, graph: Graph, store: Store, *, gates: tuple[str, ...] = (), deploy: str | None = None) -> Plan:
    outputs: dict[str, Mapping[str, str]] = {}
    steps = []
    for node in graph:
        planned = replace(_plan_step(pipeline, node, outputs, store), processes=node.nodes * node.processes)
        if planned.action == "cached":
            outputs[node.name] = planned.outputs
        steps.append(planned)
    return Plan(pipeline, tuple(steps), gates, deploy)


def bound(binding: Binding, outputs: Mapping[str, Mapping[str, str]]) -> str | None:
    """The digest that a binding stands for, or None while its step is not done."""
    return binding.digest or outputs.get(binding.step, {}).get(binding.output)


def _plan_step(pipeline: str, node: Node, outputs: Mapping[str, Mapping[str, str]], store: Store) -> PlannedStep:
    needs = tuple(sorted(node.needs))
    estimate = _estimate(node, store)
    inputs = {name: bound(b, outputs) for name, b in node.inputs.items()}
    pending = sorted(need for need in node.needs if need not in outputs)
    known = {name: digest for name, digest in inputs.items() if digest is not None}
    before = store.builds.latest(pipeline, node.name)
    if pending or len(known) < len(inputs):
        why = [f"waits for {', '.join(pending)}, which will run"]
        if before is not None:
            why += [d for d in differences(before.parts, key_parts(node, known)) if not d.startswith("input ")]
        return PlannedStep(node.name, node.stage, "run", tuple(why), None, estimate, needs)
    parts = key_parts(node, known)
    key = step_key(parts)
    build = store.builds.get(key)
    if build is not None:
        missing = lost_outputs(build, store)
        if not missing:
            return PlannedStep(node.name, node.stage, "cached", (), key, 0.0, needs, build.outputs)
        lost = tuple(f"output {m} is no longer in the store" for m in missing)
        return PlannedStep(node.name, node.stage, "run", lost, key, estimate, needs)
    why = differences(before.parts, parts) if before is not None else ["never built before"]
    reasons = tuple(why or ["its last build was invalidated"])
    return PlannedStep(node.name, node.stage, "run", reasons, key, estimate, needs)


def lost_outputs(build: Build, store: Store) -> list[str]:
    """Names of outputs of a build that the artifact store no longer has."""
    return [name for name, digest in build.outputs.items() if not store.artifacts.has(digest)]


def _estimate(node: Node, store: Store) -> float | None:
    seconds = store.builds.durations(node.stage, node.name)
    return statistics.median(seconds) if seconds else None
