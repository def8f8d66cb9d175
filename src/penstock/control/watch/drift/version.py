"""Drift of one version: its rows into flows, full windows into signals, and the summaries over them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.control.watch.drift.errors import Errors
from penstock.control.watch.drift.evidence import Read, Vocabulary, evidence, of_summary, remember
from penstock.control.watch.drift.flow import Flow
from penstock.control.watch.drift.rows import Budget
from penstock.core.errors import PenstockError
from penstock.monitoring.drift.calibrate import calibrated
from penstock.monitoring.drift.standard import Asked, Reference, group_of, summaries_of
from penstock.stages.reference.features import Looked, column, is_numeric
from penstock.stages.reference.vectors import Vectors
from penstock.store.signals import Signal

log = logging.getLogger("penstock.watch.drift")
LEARNING_DRAWS, STALE_S = 1000, 86_400.0
ERRORS = "drift.feedback.errors"


@dataclass(slots=True)
class Version:
    """`latest[group][summary]`: (ratio to the limit, when, of which signal) of its last window. `known`: names of words."""

    deployment: str
    name: str
    everything: tuple[Asked, ...]
    stored: Reference | None
    flows: dict[str, Flow]
    budget: Budget
    vectors: Vectors | None = None
    errors: Errors | None = None
    seen: int = 0
    last: float = 0.0
    latest: dict[str, dict[str, tuple[float, float, str]]] = field(default_factory=dict)
    known: dict[int, str] = field(default_factory=dict)

    def take(self, rows: Sequence[Looked]) -> Iterator[Signal]:
        """Requests in the order in which they were over."""
        flows = [flow for stream in ("requests", "learned") if (flow := self.flows.get(stream)) is not None]
        chosen: list[tuple[Looked, list[Flow]]] = []
        for row in rows:
            into = [flow for flow in flows if flow.asked and self._takes(flow, row)]
            if not into:
                continue
            self.seen += 1
            if self.budget.takes(row):
                chosen.append((replace(row, seen=self.seen), into))
        for row, into in self._embedded(chosen):
            for flow in into:
                yield from self._add(flow, row)

    def rate(self, rows: Sequence[Looked]) -> Iterator[Signal]:
        """Rated requests in the order in which they were."""
        flow = self.flows.get("rated")
        for row in rows if flow is not None and flow.asked else ():
            assert flow is not None
            if self.errors is not None and row.wrong is not None and (found := self.errors.update(row.wrong)):
                yield self._signal(ERRORS, row.ended, found.pop("rise"), self.errors.limit, found.pop("count"), found)
            if flow.takes(row):
                yield from self._add(flow, row)

    def _takes(self, flow: Flow, row: Looked) -> bool:
        """Vectors are made later, of rows with a text."""
        return flow.takes(row if row.text is None else replace(row, vector=True))

    def _embedded(self, chosen: Sequence[tuple[Looked, list[Flow]]]) -> Iterator[tuple[Looked, list[Flow]]]:
        if self.vectors is None or not chosen:
            yield from chosen
            return
        found = self.vectors.of([row.text or "" for row, _ in chosen])
        for (row, into), vector in zip(chosen, found, strict=True):
            yield replace(row, vector=vector), into

    def _add(self, flow: Flow, row: Looked) -> Iterator[Signal]:
        for size, rows in flow.add(row):
            yield from self._judge(flow, size, rows)
        if (learnt := flow.learnt) is not None:
            self._learn(flow, learnt)

    def _judge(self, flow: Flow, size: int, rows: Sequence[Looked]) -> Iterator[Signal]:
        assert flow.reference is not None
        at = self._instant(max(row.ended for row in rows))
        read: dict[str, Read] = {}
        for one in flow.asked:
            standard = flow.reference.standards.get(one.signal)
            if one.window == size and standard is not None:
                values = column(one.signal, rows, standard.parts[0].sketch.kind == "numbers")
                read[one.signal] = Read(standard, standard.read(values), values)
        alarmed, about = any(each.reading.ratio > 1 for each in read.values()), self._about(flow, rows)
        told = {name: evidence(each, rows, self._words(flow.reference), alarmed) for name, each in read.items()}
        for name, each in read.items():
            yield self._signal(name, at, each.reading.value, each.reading.limit, len(rows), {**told[name], **about})
        yield from self._summaries(flow, size, {name: each.reading.ratio for name, each in read.items()}, told, at)
        if "drift.words" in read:
            remember(self.known, read["drift.words"].values)
        if self.errors is not None and ERRORS in read:
            self.errors.told = False
        flow.skipped = 0

    def _words(self, reference: Reference) -> Vocabulary:
        standard = reference.standards.get("drift.words")
        return Vocabulary(self.known, standard.parts[0].sketch if standard is not None else None)

    def _about(self, flow: Flow, rows: Sequence[Looked]) -> dict[str, Any]:
        """Said only where it is not the plain case: that requests were passed over, or lacked a text, or that the reference was learnt."""
        told: dict[str, Any] = {}
        span = rows[-1].seen - rows[0].seen + 1
        if span > len(rows):
            told |= {"requests": span, "sampled": round(len(rows) / span, 4)}
        if flow.skipped:
            told["skipped"] = flow.skipped
        if flow.learns:
            told["reference"] = "learnt from the first live windows"
        return told

    def _summaries(
        self, flow: Flow, size: int, ratios: Mapping[str, float], told: Mapping[str, Mapping[str, Any]], at: float
    ) -> Iterator[Signal]:
        assert flow.reference is not None
        group = group_of(flow.stream, size)
        auto = {one.signal for one in self.everything if one.limit is None}
        mine: dict[str, tuple[float, float, str]] = {}
        for signal, ratio in ratios.items():
            for summary in summaries_of(signal):
                scale = flow.reference.scales.get(summary, {}).get(group, 1.0) if signal in auto else 1.0
                if summary not in mine or ratio / scale > mine[summary][0]:
                    mine[summary] = ratio / scale, at, signal
        self.latest[group] = mine
        for summary in mine:
            found = [each[summary] for each in self.latest.values() if summary in each and at - each[summary][1] <= STALE_S]
            value, _, leading = max(found)
            within = {name: one for name, one in told.items() if summary in summaries_of(name)}
            yield self._signal(summary, at, value, 1.0, len(found), of_summary(within, leading))

    def _learn(self, flow: Flow, rows: Sequence[Looked]) -> None:
        values = {}
        for one in flow.asked:
            field_name = one.signal.removeprefix("drift.metadata.")
            values[one.signal] = column(one.signal, rows, is_numeric([row.metadata.get(field_name) for row in rows]))
        stored = set(self.stored.standards) if self.stored is not None else set()
        try:
            flow.settle(calibrated(values, flow.asked, self.everything, stored, draws=LEARNING_DRAWS))
        except PenstockError as error:  # too few rows: a window below 25 requests cannot be, so this is a defect that must not stop others
            log.error("no reference could be learnt for %s of %s (%s)", ", ".join(values), self.deployment, error)
            flow.rows.clear()
            return
        log.info("a reference for %s of %s version %s is learnt from %d requests", ", ".join(values), self.deployment, self.name, len(rows))
        self.set_errors()

    def set_errors(self) -> None:
        """Streaming detectors, once the usual share of errors is known."""
        flow = self.flows.get("rated")
        standard = flow.reference.standards.get(ERRORS) if flow is not None and flow.reference is not None else None
        self.errors = Errors(standard) if standard is not None else None

    def _instant(self, at: float) -> float:
        """Two windows that end at one instant are two all the same."""
        self.last = max(at, self.last + 0.001) if self.last else at
        return self.last

    def _signal(self, name: str, at: float, value: float, limit: float, count: float, told: Mapping[str, Any]) -> Signal:
        return Signal(self.deployment, name, at, value, count, self.name, limit=limit, evidence=dict(told))
